"""README.md and README.zh-CN.md: Python code runs, `make` targets, commands and links exist, both
say the same, and figures here and in docs/ equal the measurements."""

import re
import shlex
import sys
from pathlib import PurePosixPath

import pytest
from support import ROOT
from support.markdown import FENCE, run

from npr.cli import main

sys.path.insert(0, str(ROOT / "benchmarks"))
import table

README, CHINESE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")
)
PAGES = ["README.md", "CONTRIBUTING.md", "docs/speed.md", "docs/trust.md", "docs/embedded.md"]


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


def test_every_make_target_that_is_named_exists_and_contributors_find_all():
    targets = makefile_targets((ROOT / "Makefile").read_text())
    named = {page: make_targets_named((ROOT / page).read_text()) for page in PAGES}
    assert named["README.md"] == {"demo", "test", "docs", "bench"}
    assert set().union(*named.values()) == targets - {"clean"}


def test_the_folders_in_the_first_commands_are_those_of_its_runs(capsys):
    page = (ROOT / "docs" / "command_line.md").read_text()
    block, *_ = (m[2] for m in FENCE.finditer(page) if m[2].startswith("npr train"))
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert main([*commands[0], "--dry-run"]) == 0
    runs = {f"runs/{line.split()[1]}" for line in capsys.readouterr().out.splitlines()}
    named = {word for words in commands for word in words if re.match(r"runs/\w", word)}
    assert named and named <= runs


def links(text):
    return re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)", FENCE.sub("", text))


def anchors(text):
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("text", [README, CHINESE], ids=["English", "Chinese"])
def test_every_link_leads_to_a_file_and_a_heading(text):
    assert len(links(text)) > 30
    for path, anchor in links(text):
        assert (ROOT / path).is_file(), path
        assert not anchor or anchor in anchors((ROOT / path).read_text(encoding="utf-8")), anchor


# ---- both languages


def code(text):
    """The code blocks, without comments."""
    return [(fence[1], re.sub(r"(?m) *#.*$", "", fence[2])) for fence in FENCE.finditer(text)]


def outline(text):
    """The levels of headings, lists of the cells per row of tables, and paragraphs, in order."""
    kinds = {"#": lambda line: line.split()[0], "|": lambda line: line.count("|"),
             "!": lambda line: "picture"}  # fmt: skip
    lines = FENCE.sub("", text).split("\n")
    shown = [kinds.get(line[:1], lambda line: "text")(line) for line in lines if line]
    return [kind for i, kind in enumerate(shown) if kind != "text" or shown[i - 1] != "text"]


def numbers(text):
    return re.findall(r"-?\d[\d.,]*\d|\d", FENCE.sub("", text))


def test_the_readmes_have_the_same_code_sections_pictures_and_figures():
    assert code(README) == code(CHINESE) and len(code(README)) == 2
    assert outline(README) == outline(CHINESE)
    tables = [re.findall(r"^\|.*$", text, re.MULTILINE) for text in (README, CHINESE)]
    assert len(tables[0]) > 25
    for ours, theirs in zip(*tables):
        assert numbers(ours) == numbers(theirs), theirs


def test_the_readmes_have_the_same_links_and_chinese_pages_where_there_are():
    ours, theirs = ([path for path, _ in links(text)] for text in (README, CHINESE))
    assert (ours[0], theirs[0]) == ("README.zh-CN.md", "README.md")
    for path, chinese in zip(ours[1:], theirs[1:], strict=True):
        inside = PurePosixPath(path)
        if inside.suffix == ".md" and inside.parts[0] == "docs":
            there = PurePosixPath("docs", "zh", *inside.parts[1:])
            path = str(there if (ROOT / there).exists() else inside)
        assert chinese == path


def test_the_animation_is_a_small_gif_that_repeats():
    data = (ROOT / "docs" / "learning.gif").read_bytes()
    assert data.startswith(b"GIF89a") and b"NETSCAPE2.0" in data and len(data) < 1_500_000


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
    paths = [path for path, text in files if path.read_text(encoding="utf-8") == text]
    stale = {path.name for path, _ in files} - {path.name for path in paths}
    assert not stale, f"run python benchmarks/table.py: {stale}"
    pages = {"README.md", "README.zh-CN.md", "results.md", "speed.md"}
    assert pages < {path.name for path in paths}
    written = {path.stem for path in paths if path.suffix == ".py"}
    assert written == {p.stem for p in (ROOT / "npr" / "algorithms").glob("*.py")} - {
        "__init__", "agent", "base",
    }  # fmt: skip
