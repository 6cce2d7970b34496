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


def run(text, name):
    """Run the Python blocks in order in one namespace."""
    blocks = python_blocks(text)
    if "```" in text:
        assert blocks, f"{name} has fenced blocks, and none is marked python"
    namespace = {"__name__": "__main__"}
    for line, source in blocks:
        # padded, so that a traceback names the line of the text
        exec(compile("\n" * (line - 1) + source, name, "exec"), namespace)
