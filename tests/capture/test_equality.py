"""A run with capture gives the same bits as one without, for every algorithm and option."""

import json

import pytest
from support import TESTS
from support.capture_runs import RUNS, differences
from support.processes import run

QUICK, LONG = 300, 3_000  # env steps
SCRIPT = TESTS / "support" / "capture_runs.py"
FLOAT64 = (  # one of each algorithm, and what has arrays of its own types
    "DQN double dueling", "PERDQN dueling", "SAC", "SAC discrete", "SACS", "DDPG", "TD3",
    "SoftQ u", "SoftQ discrete", "PPO discrete", "PPO box", "PPO multidiscrete", "PPOKL box",
    "A2C rmsprop", "QActorCritic box", "REINFORCE box",
)  # fmt: skip


@pytest.mark.parametrize("label", RUNS)
def test_a_captured_run_equals_an_eager_one(label):
    assert differences(label, QUICK) == []


def wrong(steps, *labels, **variables):
    done = run(SCRIPT, str(steps), *labels, **variables)
    assert done.returncode == 0, done.stderr
    return {label: found for label, found in json.loads(done.stdout).items() if found}


@pytest.mark.slow
def test_a_captured_run_in_float64_equals_an_eager_one():
    assert wrong(QUICK, *FLOAT64, NPR_DTYPE="float64") == {}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_captured_run_equals_an_eager_one(dtype):
    assert wrong(LONG, NPR_DTYPE=dtype) == {}
