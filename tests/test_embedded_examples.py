"""The examples for microcontrollers compile, and drive their motors as the policy says.

Hardware and frameworks are stubs in tests/support/example_stubs: sensors turn by a script.
"""

import re
import subprocess
import sys

import numpy as np
import pytest
from support import ROOT, TESTS, processes
from support.emulators.processes import run
from support.emulators.targets import TARGETS

from npr import infer

EXAMPLES = ROOT / "examples" / "embedded"
STUBS = TESTS / "support" / "example_stubs"
STEPS = 40
WARNINGS = "-Wall", "-Wextra", "-Werror"
# examples/embedded/make_policy.py with a budget of a few steps
SHORT = (
    "import runpy, sys\n"
    "from npr.training.counters import Counters\n"
    "begin = Counters.next_run\n"
    "Counters.next_run = lambda self, total, default, reset: begin(self, 600, default, reset)\n"
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder with policy.h and policy.npz."""
    folder = tmp_path_factory.mktemp("made")
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(EXAMPLES / "make_policy.py")], cwd=folder,
        capture_output=True, text=True, env=processes.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "policy.h: SAC on Pendulum-v1" in done.stdout
    return folder


def torques(made, angles, speeds):
    policy = infer.load(made / "policy.npz")
    obs = np.stack([np.cos(angles), np.sin(angles), np.clip(speeds, -8, 8)], axis=-1)
    return np.array([policy(row.astype(np.float32))[0] for row in obs])


def turned(made, raw, center, turn):
    """The torques for a sensor that reads these numbers, `turn` in a turn."""
    angles = (np.asarray(raw) - center) * 2 * np.pi / turn
    moved = (np.diff(angles) + np.pi) % (2 * np.pi) - np.pi
    return torques(made, angles[1:], moved / 0.05)


def driven(printed, word="drive"):
    found = re.findall(rf"{word} (\S+)", printed)
    assert len(found) == STEPS, printed
    return np.array([float(x.rstrip(".")) for x in found])


def scripted(levels):
    """What the stubs of sensors with so many levels read, one for each step and the first."""
    return [i * 37 % 101 * levels // 101 for i in range(STEPS + 1)]


@pytest.mark.parametrize("part", ["x86-64", "avr"])
def test_the_arduino_sketch(part, made, tmp_path):
    target, stubs = TARGETS[part], STUBS / "arduino"
    if target.missing:
        pytest.skip(target.missing)
    program = str(tmp_path / "sketch.elf")
    run(
        f"{target.prefix}g++", *target.flags, "-std=gnu++11", "-Os", *WARNINGS, f"-I{stubs}",
        f"-I{made}", f"-I{EXAMPLES}/arduino/pendulum", f"-DSTEPS={STEPS}",
        str(stubs / "main.cpp"), "-o", program, *target.link,
    )  # fmt: skip
    values = driven(run(*target.emulator, program))
    want = turned(made, scripted(1024), 512, 1024) * 255 / 2
    assert np.ptp(want) > 20
    assert abs(values - want).max() < 1.01  # the sketch truncates


def on_host(folder, stubs, made, *sources, include=()):
    """What a program of an example prints, built for this machine."""
    if TARGETS["x86-64"].missing:
        pytest.skip(TARGETS["x86-64"].missing)
    program = str(folder / "program")
    run(
        "gcc", "-std=gnu99", "-O1", *WARNINGS, *(f"-I{one}" for one in (stubs, made, *include)),
        f"-DSTEPS={STEPS}", *map(str, sources), str(stubs / "stub.c"), "-o", program, "-lm",
    )  # fmt: skip
    return run(program)


def test_the_component_for_esp_idf(made, tmp_path):
    project = EXAMPLES / "esp-idf"
    for name in ("main", "components/policy"):  # CMake registers the sources that are there
        text = (project / name / "CMakeLists.txt").read_text()
        registered = re.search(r'idf_component_register\(SRCS "(\S+)"', text)[1]
        assert (project / name / registered).exists()
    sources = [project / "main/main.c", project / "components/policy/policy.c"]
    printed = on_host(tmp_path, STUBS / "esp-idf", made, *sources)
    assert re.search(r"I pendulum: policy: \d+ bytes of tables", printed)
    want = turned(made, scripted(4096), 2048, 4096) * 1023 / 2
    assert abs(driven(printed) - want).max() < 1.1


def test_the_micro_ros_node(made, tmp_path):
    source = EXAMPLES / "micro-ros" / "pendulum_node.c"
    printed = on_host(tmp_path, STUBS / "micro-ros", made, source)
    i = np.arange(1, STEPS + 1)
    want = torques(made, i * 37 % 101 / 16 - 3, i * 53 % 101 / 5 - 10)
    np.testing.assert_allclose(driven(printed, "torque"), want, atol=1e-5)


def test_a_policy_that_computes_something_else_drives_no_motor(made, tmp_path):
    header = (made / "policy.h").read_text()
    changed = re.sub(r"(policy_w0\[.*?\{\s*)[^,]+", r"\g<1>3.0f", header, count=1)
    assert changed != header
    (tmp_path / "policy.h").write_text(changed)
    source = EXAMPLES / "micro-ros" / "pendulum_node.c"
    with pytest.raises(RuntimeError, match="ended with 1:\n$"):
        on_host(tmp_path, STUBS / "micro-ros", tmp_path, source)


def test_the_script_for_a_raspberry_pi(made, monkeypatch):
    monkeypatch.chdir(made)
    code = "import runpy, sys, time; time.sleep = lambda s: None; "
    code += "runpy.run_path(sys.argv[1], run_name='__main__')"
    script = EXAMPLES / "raspberry_pi" / "pendulum.py"
    done = processes.run("-c", code, str(script), path=[STUBS / "raspberry_pi"])
    assert done.stderr.rstrip().endswith("KeyboardInterrupt"), done.stderr
    assert done.stdout.rstrip().endswith("stopped")  # whatever ends it, the motor stops
    raw = [i * 37 % 101 / 101 for i in range(STEPS + 1)]
    np.testing.assert_allclose(driven(done.stdout), turned(made, raw, 0.5, 1) / 2, atol=1e-5)
