"""The pseudocode of every algorithm file and the line tags of its code agree."""

import ast
import re
import sys

import pytest
from support import ROOT
from support.source_files import PACKAGE

sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
from pseudocode import numbered_lines, tags

SHARED = {PACKAGE / "algorithms" / name for name in ("agent.py", "base.py")}
ALGORITHMS = sorted({*(PACKAGE / "algorithms").glob("[!_]*.py")} - SHARED)


def wrong_tags(source):
    """Errors of the tags: a missing or duplicate line, or a wrong order in a method.

    In a method the last lines of the brackets are increasing. There is no condition across
    methods, as `train` ends its loops before `update` is defined. Lines that begin with "(once, "
    in the pseudocode, such as "(once, before the epochs)", may be anywhere.
    """
    lines, brackets = [n for n, _ in numbered_lines(source)], tags(source)
    once = {n for n, text in numbered_lines(source) if text.startswith("(once, ")}
    errors = []
    if lines != list(range(1, len(lines) + 1)):
        errors.append(f"the pseudocode is numbered {lines}")
    tagged = [number for _, numbers in brackets for number in numbers]
    counts = {n: tagged.count(n) for n in lines}
    errors += [f"[{n}] is tagged {count} times" for n, count in counts.items() if count != 1]
    errors += [f"[{n}] is no line of the pseudocode" for n in sorted({*tagged} - {*lines})]
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = range(function.lineno, _end(function, source) + 1)
            last = [ns[-1] for line, ns in brackets if line in inside and not once & {*ns}]
            if last != sorted(last):
                errors.append(f"{function.name} tags its lines in the order {last}")
    return errors


def _end(function, source):
    """The last line of a function, including comments at its end."""
    end, lines = function.end_lineno, source.splitlines()
    indent = " " * (function.col_offset + 1)
    while end < len(lines) and lines[end].startswith(indent):
        end += 1
    return end


@pytest.mark.parametrize("path", ALGORITHMS, ids=lambda path: path.stem)
def test_every_line_of_the_pseudocode_is_tagged_once_and_in_order(path):
    source = path.read_text()
    assert numbered_lines(source), "the module's docstring has no numbered pseudocode"
    assert wrong_tags(source) == []


EXAMPLE = '''"""Title.

     1  initialize theta
     2  for each step:
     3      s <- s2
     4      (once, before the steps) update
     5  end
"""
theta = 0  # [1]
def train():
    update()  # [4]
    for t in steps:  # [2] a fraction in [0, 1)
        s = s2  # [3]
    # [5]
'''


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("# [3]", "#", r"\[3\] is tagged 0 times"),
        ("# [3]", "# [3-4]", r"\[4\] is tagged 2 times"),
        ("# [1]", "# [1, 7]", r"\[7\] is no line"),
        ("     5  end", "     6  end", r"numbered \[1, 2, 3, 4, 6\]"),
        ("# [3]", "# [1]", r"\[1\] is tagged 2 times"),
        ("# [2]", "# [5]", r"train tags its lines in the order \[5, 3, 5\]"),
        ("(once, before the steps) ", "", r"train tags its lines in the order \[4, 2, 3, 5\]"),
    ],
)
def test_wrong_tags_are_found(old, new, message):
    assert wrong_tags(EXAMPLE) == []
    assert any(re.search(message, c) for c in wrong_tags(EXAMPLE.replace(old, new)))
