"""The fenced blocks of a Markdown text."""

import re

FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def python_blocks(text):
    """[(first line, source)] of the fenced blocks marked python."""
    return [
        (text.count("\n", 0, fence.start(2)) + 1, fence[2])
        for fence in FENCE.finditer(text)
        if fence[1].split()[:1] == ["python"]
    ]
