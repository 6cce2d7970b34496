"""Docstrings of npr, which are plain text, as reStructuredText for autodoc.

A paragraph stays one; indented text is a literal block; lines such as

    name    what it means

are a list of definitions. The sections "Parameters" of algorithms are left out: the reference has
a table of settings.
"""

import re

ROW = re.compile(r"^(\S.{0,40}?)  +(\S.*)$")  # two spaces or more between name and meaning
CODE = re.compile(r"(`+)([^`]+)\1")
NAME = re.compile(r"[A-Za-z_][\w.]*(?:\(\))?")


def converted(lines):
    """The lines of a docstring as lines of reStructuredText."""
    out = []
    for block in _blocks(lines):
        if len(block) > 1 and re.fullmatch(r"-{3,}", block[1]) and block[0] == "Parameters":
            break
        if all(line.startswith(" ") for line in block):
            out += ["::", "", *(f"    {line}" for line in block), ""]
        elif rows := table(block):
            before, rows, after = rows
            out += [*map(escaped, before), ""] if before else []
            for name, text in rows:
                out += [f"``{name}``", f"    {escaped(' '.join(text))}", ""]
            out += [*map(escaped, after), ""] if after else []
        else:
            out += [*_paragraph(block), ""]
    return out


def _blocks(lines):
    """The blocks between empty lines."""
    block = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


def table(block):
    """(lines before, [(name, [lines])], lines after) of a block that has rows "name   meaning";
    else None. Indented lines continue a row; a long name may be on a line of its own.
    """
    for start in range(min(len(block), 4)):
        if ROW.match(block[start]):
            break
    else:
        return None
    rows = []
    for i, line in enumerate(block[start:], start):
        following = block[i + 1] if i + 1 < len(block) else ""
        if line.startswith(" ") and rows:
            rows[-1][1].append(line.strip())
        elif row := ROW.match(line):
            rows.append((row[1].strip(), [row[2]]))
        elif following.startswith("      "):
            rows.append((line.strip(), []))
        else:
            return block[:start], rows, block[i:]
    return block[:start], rows, []


def _paragraph(block):
    """A paragraph; a part that is indented after its first lines is code."""
    code = next((i for i, line in enumerate(block) if line.startswith("    ")), len(block))
    lines = [escaped(line) for line in block[:code]]
    if code < len(block):
        lines += ["", "::", "", *block[code:]]
    return lines


def escaped(text):
    """A line with the marks of reStructuredText escaped, and code in backquotes as code."""
    parts, end = [], 0
    for match in CODE.finditer(text):
        parts += [_plain(text[end : match.start()]), _code(match[2])]
        end = match.end()
    return "".join([*parts, _plain(text[end:])])


def _plain(text):
    return re.sub(r"([\\*|`]|(?<=\w)_(?!\w))", r"\\\1", text)


def _code(text):
    """Code; the name of an object is a link where the reference has it."""
    if NAME.fullmatch(text):
        return f"\\ :py:obj:`{text}`\\ " if "." in text or text.isidentifier() else f"``{text}``"
    return f"\\ ``{text}``\\ "


def process(app, what, name, found, options, lines):
    lines[:] = converted(lines)


def setup(app):
    app.connect("autodoc-process-docstring", process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
