"""The fenced blocks of a Markdown text."""

import re
import textwrap
from pathlib import Path

FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def python_blocks(text):
    """[(first line, source)] of the fenced blocks marked python."""
    return [
        (text.count("\n", 0, fence.start(2)) + 1, fence[2])
        for fence in FENCE.finditer(text)
        if fence[1].split()[:1] == ["python"]
    ]


def run(text, name):
    """Run the Python blocks in order in one namespace. A block that begins with a comment `# x.py`
    is written to that file in the working folder instead."""
    blocks = python_blocks(text)
    if "```" in text:
        assert blocks, f"{name} has fenced blocks, and none is marked python"
    namespace = {"__name__": "__main__"}
    for line, source in blocks:
        if named := re.match(r"# (\w+\.py)\n", source):
            Path(named[1]).write_text(source)
            continue
        # padded, so that a traceback names the line of the text
        exec(compile("\n" * (line - 1) + source, name, "exec"), namespace)


def changes(text):
    """{path: [(old lines, new lines), ...]} of the blocks marked diff, also within lists.

    The first line of a block is `# path`, and `@@` separates its changes.
    """
    found = {}
    for fence in re.finditer(r"^( *)```diff\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        (_, path), *lines = (
            line.split(" ", 1) if i == 0 else line
            for i, line in enumerate(textwrap.dedent(fence[2]).splitlines())
        )
        for change in "\n".join(lines).split("\n@@\n"):
            marked = [(line[:1], line[1:]) for line in change.splitlines()]
            assert {sign for sign, _ in marked} <= {" ", "+", "-"}, change
            old = [line for sign, line in marked if sign in " -"]
            found.setdefault(path, []).append((old, [x for sign, x in marked if sign in " +"]))
    return found


def changed(text, old, new):
    """The text with these lines in place of others, which must be there once; at its end, if there
    are none."""
    if not old:
        return text + "\n\n" + "\n".join(new) + "\n"
    lines, n = text.split("\n"), len(old)
    places = [i for i in range(len(lines)) if lines[i : i + n] == old]
    assert len(places) == 1, f"{len(places)} times: {old}"
    (i,) = places
    return "\n".join([*lines[:i], *new, *lines[i + n :]])
