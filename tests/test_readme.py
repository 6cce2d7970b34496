"""The README: Python code runs, `make` targets exist, and figures equal the measurements."""

import re
import shlex
import sys

import pytest
from support import ROOT
from support.markdown import FENCE, run

from npr.cli import main

sys.path.insert(0, str(ROOT / "benchmarks"))
import table

README = (ROOT / "README.md").read_text()


def make_targets_named(text):
    """The targets after `make` in code: inline code and fenced blocks."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", text))
    lines = [line for fence in FENCE.finditer(text) for line in fence[2].splitlines()]
    found = set()
    for code in spans + lines:
        for words in re.findall(r"(?:^|&&|;|\$)\s*make((?:\s+[\w./=-]+)+)", code):
            found |= {word for word in words.split() if re.fullmatch(r"[a-z][\w-]*", word)}
    return found


def makefile_targets(text):
    return set(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_python_block_of_the_readme_runs(folder):
    run(README, "README.md")


def test_every_make_target_of_the_readme_exists():
    targets = makefile_targets((ROOT / "Makefile").read_text())
    assert {"demo", "test", "lint", "bench"} <= targets
    assert make_targets_named(README) <= targets


def test_the_folders_in_the_commands_of_the_readme_are_those_of_its_runs(capsys):
    (block,) = (m[2] for m in FENCE.finditer(README) if m[2].startswith("npr train"))
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert main([*commands[0], "--dry-run"]) == 0
    runs = {f"runs/{line.split()[1]}" for line in capsys.readouterr().out.splitlines()}
    named = {word for words in commands for word in words if re.match(r"runs/\w", word)}
    assert named and named <= runs


# ---- tests of these helpers

EXAMPLE = """# npr
Type `make demo`, or make do:

```sh
git clone https://example.org/npr && cd npr
make test JOBS=4   # two minutes
cd npr && make lint
```

```python
x = 1
```

```python
open("y", "w").write(str(x + 1))
```
"""


def test_blocks_run_in_order(folder):
    run(EXAMPLE, "example")
    assert (folder / "y").read_text() == "2"


def test_an_error_in_a_block_has_its_line_number(folder):
    text = EXAMPLE.replace("x = 1", "x = npr.SAC()")
    with pytest.raises(NameError) as caught:
        run(text, "example")
    assert caught.traceback[-1].lineno + 1 == text[: text.index("x = npr")].count("\n") + 1


def test_blocks_without_a_language_are_an_error():
    with pytest.raises(AssertionError, match="none is marked python"):
        run(EXAMPLE.replace("```python", "```"), "example")


def test_make_targets_are_found_in_code_only():
    assert make_targets_named(EXAMPLE) == {"demo", "test", "lint"}
    assert makefile_targets("VENV ?= x\n.PHONY: a\ndemo: $(V)/.core\n\tmake me\ntest-slow:\n") == {
        "demo",
        "test-slow",
    }


def test_figures_equal_the_measurements():
    files = [*table.files()]
    paths = [path for path, text in files if path.read_text() == text]
    stale = {path.name for path, _ in files} - {path.name for path in paths}
    assert not stale, f"run python benchmarks/table.py: {stale}"
    written = {path.stem for path in paths} - {"README", "results"}
    assert written == {p.stem for p in (ROOT / "npr" / "algorithms").glob("*.py")} - {
        "__init__", "agent", "base",
    }  # fmt: skip
