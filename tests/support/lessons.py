"""The lessons of docs/lessons: their cells, their exercises, and running them outside Jupyter.

`python tests/lessons/test_lessons.py FILE` runs a lesson with `main`.
"""

import argparse
import ast
import re
import sys
import time
from pathlib import Path

import numpy as np

from npr.lessons import CHECKS
from support import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
import ipynb
from ipynb import notebook, parse

FOLDER = ROOT / "docs" / "lessons"


def _raises(*args, **kwargs):
    raise KeyError("of the answer")


# answers of no use: every check refuses them with a sentence
NONSENSE = [
    None, "nonsense", b"", {}, {"a": 1}, object(), [None], [[1, 2], [3]], float("nan"), 1j, _raises,
    lambda *args, **kwargs: None, lambda *args, **kwargs: "nonsense", int, np.array(["a"]),
]  # fmt: skip


def correct(exercise, answer):
    """The check accepts the answer."""
    assert CHECKS[exercise](answer) is None


def refused(exercise, answer, hint):
    """The check refuses the answer with one sentence or two that match the hint."""
    sentence = CHECKS[exercise](answer)
    assert isinstance(sentence, str), f"{exercise} accepts {answer!r}"
    assert re.search(hint, sentence), sentence
    assert sentence[-1] in ".?" or "raised" in sentence, sentence


HEADING = re.compile(r"^###+ .*?\b([a-z][a-z0-9_]*-\d+)\b", re.MULTILINE)
SECTION = re.compile(r"^## ", re.MULTILINE)
CHECKED = re.compile(r"^check\(\s*\"([^\"]+)\"", re.MULTILINE)


def pages():
    """The lessons in English, sorted."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.md"))


def lesson_of(path):
    """ "dqn" of docs/lessons/05_dqn.md."""
    return path.stem.partition("_")[2]


def exercises(cells):
    """[(id, number of headings, places, solutions)]: each list holds the cells for that exercise.

    A place is a cell in which `answer = ...` is checked, a solution a folded cell that checks.
    """
    headings, places, solutions = {}, {}, {}
    last = None
    for cell in cells:
        if cell.kind == "markdown":
            for found in HEADING.finditer(cell.source):
                last = found[1]
                headings[last] = headings.get(last, 0) + 1
        for name in CHECKED.findall(cell.source) if cell.kind == "code" else ():
            kind = solutions if cell.folded else places
            kind.setdefault(name, []).append((cell, last))
    return headings, places, solutions


def faults(path):
    """What is wrong with the form of a lesson, as sentences."""
    front, cells = parse(path.read_text(encoding="utf-8"))
    found = []
    if front.get("file_format") != "mystnb" or front.get("kernelspec", {}).get("name") != "python3":
        found.append("the front matter needs file_format: mystnb and a kernelspec python3")
    if not cells or not cells[0].source.startswith("# "):
        found.append("the text does not begin with a title")
    headings, places, solutions = exercises(cells)
    names = [f"{lesson_of(path)}-{i}" for i in range(1, len(headings) + 1)]
    if list(headings) != names or not 3 <= len(names) <= 5 or set(headings.values()) > {1}:
        found.append(f"the exercises are {list(headings)}, expected three to five: {names}")
    for what, held in (("place", places), ("solution", solutions)):
        if list(held) != list(headings):
            found.append(f"the exercises with a {what} are {list(held)}")
        for name, uses in held.items():
            if len(uses) > 1:
                found.append(f"{name} has {len(uses)} cells that are a {what}")
            if any(under != name for _, under in uses):
                found.append(f"the {what} of {name} is not under its heading")
    for name, [(cell, _), *_] in places.items():
        if not ipynb.PLACE.search(cell.source):
            found.append(f"the place of {name} has no line `answer = ...`")
    for name, [(cell, _), *_] in solutions.items():
        prompt = cell.metadata.get("mystnb", {}).get("code_prompt_show", "")
        if name not in prompt:
            found.append(f'the solution of {name} needs code_prompt_show: "Solution of {name}"')
        if name in places and cell.line < places[name][0][0].line:
            found.append(f"the solution of {name} comes before the place for the answer")
    for cell in cells:
        if cell.kind == "code":
            try:
                tree = ast.parse(cell.source)
            except SyntaxError as error:
                found.append(f"line {cell.line + error.lineno - 1}: {error.msg}")
                continue
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            if "answer" in names and not CHECKED.search(cell.source):
                found.append(f"line {cell.line}: a cell outside the exercises uses `answer`")
    texts = [i for i, cell in enumerate(cells) if cell.kind == "markdown"]
    last = max((i for i in texts if SECTION.search(cells[i].source)), default=0)
    if not any("plt." in cell.source for cell in cells[last:] if cell.kind == "code"):
        found.append("the last section has no picture")
    words = sum(len(cell.source.split()) for cell in cells if not cell.folded)
    if words > 3_000:
        found.append(f"{words} words of text and code are more than 15 minutes at 200 a minute")
    return found


def run(path, figures=None, show=False):
    """Run the cells in order in one namespace; returns the seconds of each.

    figures  folder for the figures, as PNG
    show     print the value of a cell's last expression, as a notebook would
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.show = lambda *args, **kwargs: None
    plt.close("all")
    namespace = {"__name__": "__main__"}
    seconds = []
    for cell in parse(path.read_text(encoding="utf-8"))[1]:
        if cell.kind != "code":
            continue
        start = time.perf_counter()
        value = _execute(cell, path, namespace)
        seconds.append((cell.line, time.perf_counter() - start))
        if show and value is not None:
            print(value if hasattr(value, "_repr_html_") else repr(value))
        for number in plt.get_fignums():
            if figures:
                figures.mkdir(parents=True, exist_ok=True)
                name = f"{path.stem}-line{cell.line}-{number}.png"
                plt.figure(number).savefig(figures / name, dpi=100, bbox_inches="tight")
        plt.close("all")
    return seconds


def _execute(cell, path, namespace):
    """Run a cell; a traceback names the line of the text. Returns the value of its last line."""
    tree = ast.parse(cell.source, str(path))
    ast.increment_lineno(tree, cell.line - 1)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not cell.source.endswith(";"):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, str(path), "exec"), namespace)
    return eval(compile(last, str(path), "eval"), namespace) if last else None


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Run a lesson; print its seconds.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--figures", type=Path, help="folder for the figures, as PNG")
    parser.add_argument("--notebook", type=Path, help="write the lesson as .ipynb, and do not run")
    given = parser.parse_args(arguments)
    if given.notebook:
        given.notebook.write_text(notebook(given.file.read_text("utf-8")), encoding="utf-8")
        return 0
    wrong = faults(given.file)
    for sentence in wrong:
        print(f"{given.file}: {sentence}", file=sys.stderr)
    start, cpu = time.perf_counter(), time.process_time()
    seconds = run(given.file, given.figures, show=True)
    print("\nseconds of the cells, by line:")
    print(", ".join(f"{line}: {taken:.1f}" for line, taken in seconds if taken >= 0.05))
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{given.file.name}: {wall:.1f} s, {cpu:.1f} s of CPU, in {len(seconds)} cells")
    return bool(wrong)
