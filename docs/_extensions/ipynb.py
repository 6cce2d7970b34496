"""Lessons as Jupyter notebooks: each page of a MyST notebook links to its own .ipynb.

`parse` reads the text of a lesson, `notebook` turns it into the JSON of a notebook without outputs;
they need the standard library only. `setup` is for Sphinx.
"""

import json
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = re.compile(r"^answer = \.\.\.", re.MULTILINE)  # of an answer to an exercise
FENCE = re.compile(r"^(`{3,}|~{3,})(.*)$")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+?\.md)(#[^)\s]*)?\)")


@dataclass
class Cell:
    """A cell of a lesson: Markdown or code, and the line where it begins in the text."""

    kind: str
    source: str
    line: int
    metadata: dict = field(default_factory=dict)

    @property
    def folded(self):
        return "hide-cell" in self.metadata.get("tags", ())


def parse(text):
    """(front matter, [Cell]) of the text of a lesson."""
    lines = text.splitlines()
    front, start = {}, 0
    if lines and lines[0] == "---":
        end = lines.index("---", 1)
        front, start = metadata(lines[1:end], 2), end + 1
    cells, held, first = [], [], start

    def close(following):
        nonlocal held, first
        if source := "\n".join(held).strip("\n"):
            blank = next(i for i, line in enumerate(held) if line.strip())
            cells.append(Cell("markdown", source, first + blank + 1))
        held, first = [], following

    i = start
    while i < len(lines):
        fence = FENCE.match(lines[i])
        if fence:
            end = closing(lines, i, fence[1])
            if fence[2].split()[:1] == ["{code-cell}"]:
                if fence[2].split()[1:] != ["python"]:
                    raise ValueError(f"line {i + 1}: write ```{{code-cell}} python")
                close(end + 1)
                cells.append(code_cell(lines[i + 1 : end], i + 2))
            else:
                held += lines[i : end + 1]
            i = end + 1
        else:
            held.append(lines[i])
            i += 1
    close(len(lines))
    return front, cells


def closing(lines, start, marks):
    """The line that closes the fence which begins in line `start`."""
    last = re.compile(rf"^{re.escape(marks[0])}{{{len(marks)},}}\s*$")
    for i in range(start + 1, len(lines)):
        if last.match(lines[i]):
            return i
    raise ValueError(f"line {start + 1}: this block is not closed")


def code_cell(lines, number):
    """A Cell of code; its metadata is YAML between lines ---."""
    body = lines.index("---", 1) + 1 if lines and lines[0] == "---" else 0
    held = metadata(lines[1 : body - 1], number + 1) if body else {}
    while body < len(lines) and not lines[body].strip():
        body += 1
    return Cell("code", "\n".join(lines[body:]).rstrip(), number + body, held)


def metadata(lines, number):
    """The values of a few lines of YAML: names with a text, a list [a, b], or indented names."""
    found = {}
    inner = None
    for i, line in enumerate(lines, number):
        if not line.strip():
            continue
        match = re.fullmatch(r"( *)([\w-]+):(?: +(.*?))?\s*", line)
        if not match or (match[1] and inner is None):
            raise ValueError(f"line {i}: {line!r} is not read; write name: value, or name: [a, b]")
        name, value = match[2], match[3]
        if match[1]:
            inner[name] = scalar(value or "")
        elif value:
            found[name], inner = scalar(value), None
        else:
            found[name] = inner = {}
    return found


def scalar(text):
    if text.startswith("[") and text.endswith("]"):
        return [scalar(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def notebook(text, name="docs/lessons/"):
    """The JSON of a notebook, without outputs; the same text gives the same bytes.

    A notebook may be anywhere, so a link to another page becomes its text and the file of the page
    in the repository. `name` is the file of the lesson there.
    """
    cells = []
    for number, cell in enumerate(parse(text)[1], 1):
        made = {"cell_type": cell.kind, "id": f"cell-{number}", "metadata": {}}
        if cell.kind == "code":
            source = cell.source
            made["metadata"] = dict(cell.metadata)
            if cell.folded:
                made["metadata"]["jupyter"] = {"source_hidden": True}
            made |= {"execution_count": None, "outputs": []}
        else:
            source = LINK.sub(lambda link: named(link, name), cell.source)
        cells.append(made | {"source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    held = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(held, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def named(link, name):
    return f"{link[1]} ({posixpath.normpath(posixpath.join(posixpath.dirname(name), link[2]))})"


def is_lesson(text):
    return text.startswith("---\n") and parse(text)[0].get("file_format") == "mystnb"


def lessons(app):
    """{name of the page: text} of the pages that are MyST notebooks."""
    found = {}
    for name in sorted(app.env.found_docs):
        path = Path(app.env.doc2path(name))
        if path.suffix == ".md" and is_lesson(text := path.read_text(encoding="utf-8")):
            found[name] = text
    return found


def write(app, error):
    if error or app.builder.format != "html":
        return
    for name, text in lessons(app).items():
        target = Path(app.outdir, f"{name}.ipynb")
        target.parent.mkdir(parents=True, exist_ok=True)
        page = Path(app.env.doc2path(name)).resolve().relative_to(ROOT).as_posix()
        target.write_text(notebook(text, page), encoding="utf-8")


def link(app, doctree, name):
    """Put the link to the notebook after the title."""
    from docutils import nodes
    from words import word

    path = Path(app.env.doc2path(name))
    if app.builder.format != "html" or path.suffix != ".md":
        return
    if not is_lesson(path.read_text(encoding="utf-8")):
        return
    label = word(app.config, "Download this lesson as a notebook")
    address = posixpath.basename(name) + ".ipynb"
    inside = nodes.reference("", label, refuri=address, internal=True, classes=["download"])
    line = nodes.paragraph("", "", inside, nodes.Text(" (.ipynb)"), classes=["notebook"])
    for title in doctree.findall(nodes.title):
        title.parent.insert(title.parent.index(title) + 1, line)
        return


def exercises(app, doctree):
    """Leave out the outputs of exercises, which say that there is no answer yet."""
    from docutils import nodes
    from words import word

    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        if PLACE.search(cell.astext()):
            del cell[1:]
        elif "prompt_hide" in cell:  # a solution has its title when it is open, too
            title = word(app.config, "Solution of {}")
            title = title.format(cell["prompt_show"].removeprefix("Solution of "))
            cell["prompt_show"] = cell["prompt_hide"] = title


def pictures(app, doctree):
    """Describe each plot by the heading of its section; else its file is its alternative text."""
    from docutils import nodes

    for output in doctree.findall(nodes.container):
        if output.get("nb_element") != "cell_code_output":
            continue
        section = output.parent
        while not isinstance(section, nodes.section):
            section = section.parent
        for image in output.findall(nodes.image):
            image["alt"] = section[0].astext()


def setup(app):
    app.connect("doctree-read", exercises)
    app.connect("doctree-read", pictures)
    app.connect("doctree-resolved", link)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
