"""CI installs compilers and emulators where it can, and goes on without them."""

import os
import shutil
import subprocess

import pytest
from support import ROOT
from support.emulators.targets import TARGETS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a script for Debian")
SCRIPT = ROOT / ".ci" / "packages"
STUBS = {
    "dpkg-query": '[ "$4" != clang ] && [ "$4" != simavr ] && printf installed',
    "apt-get": 'echo "apt-get $*" >&2; exit ${APT:-0}',
    "id": "echo ${USER_ID:-0}",
}


@pytest.fixture
def packages(tmp_path):
    """Run the script with stubs of the programs that it calls; what it prints."""
    bash = shutil.which("bash")
    for name, text in STUBS.items():
        stub = tmp_path / name
        stub.write_text(f"#!{bash}\n{text}\n")
        stub.chmod(0o755)

    def run(**variables):
        done = subprocess.run(
            [bash, str(SCRIPT)], env={"PATH": str(tmp_path), **variables}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        return done.stdout, done.stderr

    return run


def test_what_is_missing_is_installed(packages):
    said, called = packages()
    assert said == ""
    first, second = called.splitlines()
    assert first.split()[-1] == "update" and second.split()[-3:] == ["install", "clang", "simavr"]


@pytest.mark.parametrize("given", [{"APT": "1"}, {"USER_ID": "1000"}])
def test_without_them_the_tests_skip(given, packages):
    said, called = packages(**given)
    assert said.startswith("Not installed") and "clang simavr" in said
    assert ("apt-get" in called) == ("APT" in given)


def test_nothing_happens_elsewhere(packages, tmp_path):
    (tmp_path / "apt-get").unlink()
    assert packages() == ("", "")


def test_an_arm_and_an_8_bit_part_are_emulated_in_ci():
    wanted = set(SCRIPT.read_text().split())
    for part in ("x86-64", "m4f", "m3", "m0", "avr"):
        assert set(TARGETS[part].packages) <= wanted
    assert os.access(SCRIPT, os.X_OK)
    assert ".ci/packages" in (ROOT / ".ci" / "run").read_text()
