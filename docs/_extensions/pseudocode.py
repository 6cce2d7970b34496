"""The numbered pseudocode in a docstring, and the tags `[9, 11-12]` in comments of the code.

For the site, and for tests/algorithms/test_pseudocode.py. Needs the standard library only.
"""

import ast
import io
import re
import tokenize
from typing import NamedTuple

BRACKET = re.compile(r"\[\s*(\d+(?:\s*[-,]\s*\d+)*)\s*\]")
NUMBERED = re.compile(r"^(\s*)(\d+)  (\s*)(.*)$")
SKIPPED = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}


def numbered_lines(source):
    """[(13, "y = r + gamma ...")] of the pseudocode in a module's docstring."""
    text = ast.get_docstring(ast.parse(source), clean=False)
    found = [NUMBERED.match(line) for line in text.splitlines()]
    return [(int(match[2]), match[4]) for match in found if match]


def tags(source):
    """[(line of the file, [9, 11, 12])] for each bracket `[9, 11-12]` in a comment."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        for bracket in BRACKET.findall(token.string):
            found.append((token.start[0], numbers_of(bracket)))
    return found


def numbers_of(bracket):
    """The numbers that a bracket lists: "9, 11-12" -> [9, 11, 12]."""
    numbers = []
    for span in bracket.split(","):
        first, _, last = span.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


class Line(NamedTuple):
    """A line of pseudocode: its number, None where it continues the one before; and its text,
    indented as it is to be shown."""

    number: int | None
    text: str


def pseudocode(text):
    """[Line] of the numbered lines in a text, and of those that continue one of them."""
    found, column = [], None
    for line in text.splitlines():
        if match := NUMBERED.match(line):
            column = match.end(2) + 2
            found.append(Line(int(match[2]), match[3] + match[4]))
        elif not line.strip():
            column = None
        elif column is not None:
            found.append(Line(None, line[column:] if line[:column].isspace() else line.strip()))
    return found


class Region(NamedTuple):
    """Lines first..last of a file, which a tag says are these lines of the pseudocode."""

    first: int
    last: int
    numbers: list[int]


def regions(source):
    """[Region], one for each line of the file that has tags, in the order of the file.

    A tag belongs to the statement, or to the head of a compound statement, if its comment is on the
    first line of it or is its only tag; else to its own line. A comment alone is its own region.
    """
    tagged = {}
    for line, numbers in tags(source):
        tagged.setdefault(line, []).extend(numbers)
    spans = logical_lines(source)
    found = []
    for line, numbers in sorted(tagged.items()):
        first, last = next((span for span in spans if span[0] <= line <= span[1]), (line, line))
        alone = sum(first <= other <= last for other in tagged) == 1
        found.append(
            Region(first, last, numbers) if line == first or alone else Region(line, line, numbers)
        )
    return sorted(found, key=lambda region: (region.first, -region.last))


def logical_lines(source):
    """[(first, last)] of the statements, and of the heads of compound statements."""
    found, first = [], None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            found.append((first, token.start[0]))
            first = None
        elif first is None and token.type not in SKIPPED:
            first = token.start[0]
    return found


def first_line_of_code(source):
    """The first line after the docstring and the imports of a module."""
    last = 0
    for node in ast.parse(source).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (docstring or isinstance(node, ast.Import | ast.ImportFrom)):
            break
        last = node.end_lineno
    lines = source.splitlines()
    while last < len(lines) and not lines[last].strip():
        last += 1
    return last + 1
