"""Seeds: equal seeds give equal parameters, and the global generator is not used."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import TESTS
from support.small_agents import (
    BUDGET,
    CASES,
    assert_same_parameters,
    digest,
    observations,
    small_agent,
    trained,
)

from npr import ConfigError

every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_equal_seeds_give_equal_parameters(case):
    assert_same_parameters(trained(case, seed=3), trained(case, seed=3))
    assert digest(trained(case, seed=3)) != digest(trained(case, seed=4))
    assert digest(trained(case, seed=None)) != digest(trained(case, seed=None))


def test_equal_seeds_give_equal_parameters_in_another_process(tmp_path):
    script = (
        "from support.small_agents import CASES, digest, trained\n"
        "for case in reversed(CASES): print(case, digest(trained(case)))\n"
    )
    env = {**os.environ, "PYTHONHASHSEED": "4711"}
    env["PYTHONPATH"] = os.pathsep.join([str(TESTS), env.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"{c} {digest(trained(c))}" for c in reversed(CASES)]


@every_case
def test_the_global_generator_is_not_used(case):
    np.random.seed(1)
    before = np.random.get_state()
    agent = trained(case)
    agent.evaluate(episodes=1, deterministic=False)
    agent.predict(observations(agent, 3))
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    np.random.seed(2)
    assert_same_parameters(agent, trained(case))


@every_case
def test_evaluation_and_logging_do_not_affect_learning(case):
    def look(agent):
        if agent.num_timesteps % 20 == 0:
            agent.evaluate(episodes=1, deterministic=False)
            agent.predict(observations(agent, 3))
            agent.logger.snapshot()
            repr(agent)

    assert_same_parameters(trained(case), small_agent(case).learn(BUDGET, look))


def test_numpy_integers_are_seeds():
    assert_same_parameters(small_agent("SAC", seed=np.int64(5)), small_agent("SAC", seed=5))
    assert digest(small_agent("SAC", seed=2**100)) != digest(small_agent("SAC", seed=2**100 + 1))


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True, [1]])
def test_an_invalid_seed_is_refused(seed):
    with pytest.raises(ConfigError, match=r"seed must be a whole number >= 0 or None, got "):
        small_agent("SAC", seed=seed)
