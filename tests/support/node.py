"""Programs in Node, and packages of npm in a folder that is kept."""

import json
import os
import shutil
import subprocess

import pytest

from support import ROOT

NODE, NPM = shutil.which("node"), shutil.which("npm")
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed: apt install nodejs")


def run(folder, script, seconds=300):
    """What an ES module that is in a folder prints, as JSON."""
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run.js").write_text(script)
    done = subprocess.run(
        [NODE, "run.js"], cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def package(name, version):
    """The folder of a package of npm, installed at the first call; skips the test without one."""
    folder = ROOT / "build" / "npm"
    found = folder / "node_modules" / name
    if not found.exists():
        if NPM is None:
            pytest.skip("npm is not installed: apt install npm")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [NPM, "install", "--no-audit", "--no-fund", "--prefix", folder, f"{name}@{version}"],
            capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "npm_config_fetch_retries": "0"},
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"npm could not install {name}: {done.stderr.strip()[:200]}")
    return found
