"""The lessons: their form, their exercises, their notebooks, and that all cells run.

`python tests/lessons/test_lessons.py docs/lessons/05_dqn.md --figures FOLDER` runs one lesson.
"""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

if __name__ == "__main__":  # a program, too: it finds npr and the support of the tests
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import pytest
from support import ROOT
from support.lessons import (
    NONSENSE,
    exercises,
    faults,
    ipynb,
    lesson_of,
    main,
    notebook,
    pages,
    parse,
    refused,
)

from npr.errors import ConfigError
from npr.lessons import CHECKS, LESSONS, check

NAMES = [module.__name__.rpartition(".")[2] for module in LESSONS]


def test_there_are_twelve_lessons():
    assert [lesson_of(path) for path in pages()] == NAMES


@pytest.mark.parametrize("path", pages(), ids=lesson_of)
def test_the_form_of_a_lesson(path):
    assert faults(path) == []


def test_every_exercise_has_a_check_and_every_check_an_exercise():
    named = {}
    for path in pages():
        named |= exercises(parse(path.read_text(encoding="utf-8"))[1])[0]
    assert set(named) == set(CHECKS)


@pytest.mark.parametrize("exercise", CHECKS)
def test_nonsense_is_refused(exercise):
    for answer in NONSENSE:
        refused(exercise, answer, "got|shape|raised|NaN|must")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dqn2", "the nearest is 'dqn-2'"),
        ("DQN_2", "the nearest is 'dqn-2'"),
        ("dqn-9", "this lesson has dqn-1, dqn-2, dqn-3, dqn-4, dqn-5"),
        ("xyzzy", "names are those of the headings"),
        (2, "names are those of the headings"),
    ],
)
def test_an_unknown_exercise_names_the_nearest(name, said):
    with pytest.raises(ConfigError) as caught:
        check(name, 1)
    assert f"There is no exercise {name!r}; {said}" in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("path", pages(), ids=lesson_of)
def test_the_notebook_of_a_lesson(path):
    text = path.read_text(encoding="utf-8")
    made = notebook(text)
    assert made == notebook(text)
    held = json.loads(made)
    assert (held["nbformat"], held["nbformat_minor"]) == (4, 5)
    sources = ["".join(cell["source"]) for cell in held["cells"]]
    assert [s for s, c in zip(sources, held["cells"]) if c["cell_type"] == "code"] == [
        cell.source for cell in parse(text)[1] if cell.kind == "code"
    ]
    for source, cell in zip(sources, held["cells"]):
        hidden = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        assert hidden == ("hide-cell" in cell["metadata"].get("tags", []))
        assert cell.get("outputs", []) == [] and not re.search(r"\]\((?!http)[^)]*\.md", source)
    assert len({cell["id"] for cell in held["cells"]}) == len(sources)


TEXT = """---
file_format: mystnb
---

# Title

A [page](../algorithms/dqn.md#pseudocode), [a site](https://example.org/a.md) and ![](x.md).

```text
```{code-cell} python
```

```{code-cell} python
---
tags: [hide-cell, remove-output]
---
1 + 1
```
"""


def test_the_cells_of_a_text():
    front, cells = parse(TEXT)
    assert front == {"file_format": "mystnb"}
    assert [(cell.kind, cell.line, cell.folded) for cell in cells] == [
        ("markdown", 5, False), ("code", 17, True),
    ]  # fmt: skip
    assert cells[1].source == "1 + 1"
    assert cells[1].metadata == {"tags": ["hide-cell", "remove-output"]}
    both = {"tags": ["hide-cell"], "mystnb": {"code_prompt_show": "Solution: a"}}
    head = '---\ntags: [hide-cell]\nmystnb:\n  code_prompt_show: "Solution: a"\n---'
    assert parse(f"```{{code-cell}} python\n{head}\nx = 1\n```\n")[1][0].metadata == both


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```{code-cell} python\nx = 1\n", "line 1: this block is not closed"),
        ("```{code-cell}\nx = 1\n```\n", "code-cell} python"),
        ("```{code-cell} python\n---\ntags:\n- a\n---\n```\n", "line 4: '- a' is not read"),
    ],
)
def test_a_text_that_is_not_read(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_the_site_shows_no_output_of_an_exercise():
    nodes = pytest.importorskip("docutils.nodes")

    def cell(source, **folded):
        blocks = [nodes.literal_block(text=text) for text in (source, "said")]
        return nodes.container("", *blocks, nb_element="cell_code", **folded)

    place = cell('from npr.lessons import check\n\nanswer = ...  # a number\ncheck("a-1", answer)')
    solution = cell("answer = 1", prompt_show="Solution of a-1", prompt_hide="Hide")
    app = types.SimpleNamespace(config=types.SimpleNamespace(language="en"))
    ipynb.exercises(app, nodes.container("", place, solution, cell("x = 1")))
    assert [len(one) for one in place.parent] == [1, 2, 2]
    assert "answer = ..." in place.astext()
    assert solution["prompt_hide"] == "Solution of a-1"


def test_a_plot_is_described_by_the_heading_of_its_section():
    nodes = pytest.importorskip("docutils.nodes")
    plot, drawing = nodes.image(uri="9f.png"), nodes.image(uri="a.svg", alt="a circuit")
    output = nodes.container("", plot, nb_element="cell_code_output")
    cell = nodes.container("", output, nb_element="cell_code")
    title = nodes.title("", "What it has learned")
    ipynb.pictures(None, nodes.container("", nodes.section("", title, drawing, cell)))
    assert (plot["alt"], drawing["alt"]) == ("What it has learned", "a circuit")


def test_a_lesson_ends_with_a_picture(tmp_path):
    text = pages()[0].read_text(encoding="utf-8")
    path = tmp_path / pages()[0].name
    path.write_text(text + "\n## Papers\n\n```{code-cell} python\nx = 1\n```\n", encoding="utf-8")
    assert faults(path) == ["the last section has no picture"]


def test_links_in_a_notebook_name_the_file():
    source = json.loads(notebook(TEXT, "docs/zh/lessons/05_dqn.md"))["cells"][0]["source"]
    assert source[2] == (
        "A page (docs/zh/algorithms/dqn.md), [a site](https://example.org/a.md) and ![](x.md).\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("numba", ["1", "0"], ids=["numba", "without_numba"])
@pytest.mark.parametrize("path", pages(), ids=lesson_of)
def test_the_cells_of_a_lesson_run(path, numba, tmp_path):
    """All cells in order, so that each solution passes; make docs runs them, too, with Numba."""
    environment = os.environ | {"NPR_NUMBA": numba, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, str(path)],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
