"""Facts in more than one file of the repository agree."""

import re

from support import ROOT
from test_layers import LAYERS

import npr

SETUP = (ROOT / "setup.cfg").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_pre_commit_uses_the_linters_of_the_lint_extra():
    extra = re.search(r"^lint =\n((?:    .*\n)+)", SETUP, re.MULTILINE)[1].split()
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r"(?:ruff|mypy)==[\d.]+", hooks)) == set(extra)


def test_ci_runs_on_every_declared_python():
    declared = set(re.findall(r"Programming Language :: Python :: (3\.\d+)", SETUP))
    (tested,) = re.findall(r"^\s+python: \[(.*)\]$", WORKFLOW, re.MULTILINE)
    assert set(tested.replace('"', "").split(", ")) == declared
    oldest = re.search(r"python_requires = >=(\S+)", SETUP)[1]
    assert oldest == min(declared, key=lambda v: int(v.split(".")[1]))


def test_the_citation_names_this_version():
    (version,) = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert version == npr.__version__
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_has_the_layers():
    rows = re.findall(r"^\| (\d) \| (.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    listed = {name.strip("/"): int(n) for n, names in rows for name in re.findall("`(.*?)`", names)}
    assert listed == {name: n for name, n in LAYERS.items() if name != "__init__"}


def test_the_test_files_that_other_files_name_exist():
    named = re.findall(r"tests/[\w/]+\.py", "".join(path.read_text() for path in DOCUMENTS))
    once = re.search(r"^APART +:= ((?:.*\\\n)*.*)\n", (ROOT / "Makefile").read_text(), re.MULTILINE)
    paths = [*named, *(f"tests/{path}" for path in once[1].replace("\\", "").split())]
    paths = {path for path in paths if "NAME" not in path}
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
