"""The pages in docs/extending: their code runs outside of npr, and their changes within it."""

import os
import shutil
import subprocess
import sys

import pytest
from algorithms.test_pseudocode import wrong_tags
from support import ROOT
from support.markdown import changed, changes, python_blocks, run

import npr
from npr.algorithms.base import REGISTRY
from npr.autodiff import OPS
from npr.cli import main
from npr.heads import HEADS

FOLDER = ROOT / "docs" / "extending"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """Modules in the working folder can be imported. What they register is forgotten later."""
    registries = [(held, dict(held)) for held in (REGISTRY, OPS, HEADS, npr.presets.PRESETS)]
    before = {*sys.modules}
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for held, entries in registries:
        held.clear()
        held.update(entries)
    for name in {*sys.modules} - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_pages_are_those_that_are_followed():
    assert PAGES == ["algorithm", "head", "kernel", "op"]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, own_modules):
    run((FOLDER / f"{page}.md").read_text(), f"{page}.md")


def test_the_tags_of_the_algorithm_are_those_of_its_pseudocode():
    ((_, source), *_) = python_blocks((FOLDER / "algorithm.md").read_text())
    assert wrong_tags(source.partition("\n")[2]) == []


def test_the_command_line_trains_an_algorithm_of_a_file(own_modules, tmp_path, capsys):
    ((_, source), *_) = python_blocks((FOLDER / "algorithm.md").read_text())
    (tmp_path / "expected_sarsa.py").write_text(source)
    words = ["train", "expectedsarsa", "CliffWalking-v1", "--import", "expected_sarsa"]
    words += ["--max-episode-steps", "50", "--eval-freq", "0", "--total-timesteps", "200"]
    assert main(words) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert main(["eval", str(folder), "--episodes", "1", "--import", "expected_sarsa"]) == 0
    assert "ExpectedSarsa of" in capsys.readouterr().out
    del REGISTRY["ExpectedSarsa"]
    assert main(["eval", str(folder), "--episodes", "1"]) == 1
    assert "once its module is imported (--import MODULE)" in capsys.readouterr().err


# ---- within the package

TESTS = {  # of the changed package: file -> what is selected there
    "autodiff/test_ops.py": "symlog and (numpy or each_argument or float32) or cases_cover",
    "autodiff/test_singular_points.py": "symlog and drops or function_of_rows",
    "kernels/test_kernels.py": "running_returns or cases_cover",
    "heads/test_distributions.py": "Laplace",
    "algorithms/test_expected_sarsa.py": "updates_by_hand",
    "files/test_resume.py": "ExpectedSarsa and a_resumed_run",
}

BY_HAND = """
from npr import ExpectedSarsa

def test_updates_by_hand():
"""


def followed(folder):
    """A copy of the package and its tests, of links, with the changes of the pages."""
    for name in ("npr", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, copy_function=os.symlink)
    (folder / "setup.cfg").symlink_to(ROOT / "setup.cfg")
    blocks = {}
    for page in PAGES:
        text = (FOLDER / f"{page}.md").read_text()
        for path, wanted in changes(text).items():
            file = folder / path
            source = file.read_text()
            for old, new in wanted:
                source = changed(source, old, new)
            file.unlink()
            file.write_text(source)
        blocks[page] = [source for _, source in python_blocks(text)]
    module, by_hand, *_ = blocks["algorithm"]
    (folder / "npr" / "algorithms" / "expected_sarsa.py").write_text(module.partition("\n")[2])
    _, _, *lines = by_hand.splitlines()
    test = BY_HAND + "".join(f"    {line}\n" for line in lines)
    (folder / "tests" / "algorithms" / "test_expected_sarsa.py").write_text(test)
    head = blocks["head"][0].partition("\n")[2].rpartition("HEADS[")[0]
    head = head.replace(
        "from npr.heads import HEADS, Distribution", "from npr.heads.base import Distribution"
    )
    (folder / "npr" / "heads" / "laplace.py").write_text(head)


def python(folder, *words):
    """Run Python in a copy of the package."""
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip


NAMES = """
import npr
from npr.autodiff import OPS, symlog
from npr.heads import HEADS, LaplaceHead
from npr.kernels.returns import running_returns
assert OPS["symlog"] is symlog and HEADS["laplace"] is LaplaceHead
assert running_returns.loop and "ExpectedSarsa" in npr.__all__ and npr.ExpectedSarsa.table
"""


def test_the_changes_of_the_pages_fit_the_package(tmp_path):
    followed(tmp_path)
    done = python(tmp_path, "-c", NAMES)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_tests_of_the_changed_package_pass(tmp_path):
    followed(tmp_path)
    selected = " or ".join(f"({one})" for one in TESTS.values())
    files = [f"tests/{path}" for path in TESTS]
    options = ["-p", "no:cacheprovider", "-rN", "-k", selected]
    done = python(tmp_path, "-m", "pytest", *options, *files)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 20


# ---- tests of these helpers

PAGE = """
```diff
# a/b.py
 x
+y
@@
-old
+new
@@
+last
```

1. in a list

   ```diff
   # a/c.py
        deep
   +    deeper
   ```
"""


def test_changes_are_read_also_within_lists():
    assert changes(PAGE) == {
        "a/b.py": [(["x"], ["x", "y"]), (["old"], ["new"]), ([], ["last"])],
        "a/c.py": [(["    deep"], ["    deep", "    deeper"])],
    }


def test_a_change_is_made_at_its_only_place():
    assert changed("w\nx\nz\n", ["x"], ["x", "y"]) == "w\nx\ny\nz\n"
    assert changed("x\nz\n", ["x"], ["y"]) == "y\nz\n"
    assert changed("x\n", [], ["y", "z"]) == "x\n\n\ny\nz\n"
    for text in ("xy\n", "x\nx\n"):
        with pytest.raises(AssertionError, match=r"[02] times"):
            changed(text, ["x"], ["y"])
