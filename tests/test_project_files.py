"""Facts in more than one file of the repository agree."""

import configparser
import os
import re
import subprocess
import sys

import pytest
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


def test_the_table_of_layers_is_complete():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d) \| (.*?) \|", page, re.MULTILINE)
    listed = {name.strip("/"): int(n) for n, names in rows for name in re.findall("`(.*?)`", names)}
    assert listed == {name: n for name, n in LAYERS.items() if name != "__init__"}


def makefile_list(name):
    """The words of a variable of the Makefile."""
    found = re.search(
        rf"^{name} +:= ((?:.*\\\n)*.*)\n", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    return found[1].replace("\\", "").split()


def test_the_packages_that_make_test_lacks_are_those_of_make_test_services():
    extras = configparser.ConfigParser()
    extras.read_string(SETUP)
    installed = dict(extras["options.extras_require"])
    services = set(re.findall(r"^[\w-]+", installed["test-services"], re.MULTILINE))
    modules = {"stable-baselines3": "stable_baselines3", "scikit-learn": "sklearn"}
    files = [*(ROOT / "tests").rglob("test_*.py")]
    for package in services:
        skips = f'importorskip("{modules.get(package, package)}'
        users = {path for path in files if skips in path.read_text()}
        listed = [ROOT / "tests" / name for name in makefile_list("SERVICES")]
        assert users, package
        assert all(path in listed or path.parent in listed for path in users), package


SKIPPING = """
import pytest

def test_one():
    pytest.importorskip("no_such_package")

@pytest.mark.xfail
def test_two():
    raise ValueError
"""


@pytest.mark.parametrize("skips, failed", [("error", 2), ("", 0)])
def test_a_skip_fails_where_every_package_is_installed(skips, failed, tmp_path):
    (tmp_path / "test_it.py").write_text(SKIPPING)
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_one')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-r", "N",
         "--continue-on-collection-errors", "-c", os.devnull, "--rootdir", "."],
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "NPR_SKIPS": skips, "PYTHONPATH": f"{ROOT}/tests"},
    )  # fmt: skip
    summary = done.stdout.splitlines()[-1]
    assert done.returncode == (1 if failed else 0), done.stdout
    assert "1 xfailed" in summary and ("skipped" in summary) == (not failed)
    named = done.stdout.count("skipped, with NPR_SKIPS=error: Skipped: could not import 'no_such_")
    assert named == failed


def test_the_test_files_that_other_files_name_exist():
    named = re.findall(r"tests/[\w/]+\.py", "".join(path.read_text() for path in DOCUMENTS))
    lists = [*makefile_list("KERNELS"), *makefile_list("APART"), *makefile_list("SERVICES")]
    paths = [*named, *(f"tests/{path}" for path in lists)]
    paths = {path for path in paths if "NAME" not in path}
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_all_files_of_the_package_are_installed():
    config = configparser.ConfigParser()
    config.read_string(SETUP)
    patterns = config["options.package_data"]["npr"].split()
    package = ROOT / "npr"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".py"}
    files = {path for path in files if "__pycache__" not in path.parts}
    assert sorted(files - installed) == []
