"""Docstrings of npr, which are plain text, as reStructuredText for autodoc.

A paragraph stays one; indented text is a literal block; lines such as

    name    what it means

are a list of definitions. The sections "Parameters" of algorithms are left out: the reference has
a table of settings.
"""

import re

ROW = re.compile(r"^(\S+(?:(?:,| or) \S+)*|\S.{0,40}?)  +(\S.*)$")
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
            before, rows = rows
            out += [*map(escaped, before), ""] if before else []
            for name, text in rows:
                out += [f"``{name}``", f"    {escaped(' '.join(text))}", ""]
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
    """([lines before], [(name, [lines])]) of a block with lines "name   meaning"; else None.

    The meanings begin in one column, and lines that begin there continue them.
    """
    for start in range(min(len(block), 4)):
        match = ROW.match(block[start])
        if not match:
            continue
        column, rows = match.start(2), []
        for line in block[start:]:
            row = ROW.match(line)
            if row and row.start(2) == column:
                rows.append((row[1].strip(), [row[2]]))
            elif rows and line[:column].strip() == "":
                rows[-1][1].append(line[column:].strip())
            else:
                break
        else:
            return block[:start], rows
    return None


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
