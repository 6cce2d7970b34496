"""The textbook's figures: the command makes each of them, and the environments are the book's."""

import importlib.util
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from support import ROOT

FOLDER = ROOT / "examples" / "textbook"


@pytest.fixture(scope="module")
def environments():
    spec = importlib.util.spec_from_file_location("environments", FOLDER / "environments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    command = [sys.executable, str(FOLDER / "figures.py"), "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pictures = {path.stem.removeprefix("textbook_") for path in tmp_path.iterdir()}
    assert pictures == {"cliff", "expected", "windy", "n_step", "trace", "bias"}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in tmp_path.iterdir())
    wrong = subprocess.run([*command, "clif"], capture_output=True, text=True, env=os.environ)
    assert wrong.returncode == 2 and "no figure is named clif" in wrong.stderr


@pytest.mark.parametrize(("kings", "length"), [(False, 15), (True, 7)])
def test_the_shortest_paths_through_the_wind(environments, kings, length):
    """Those that the book names."""
    env = environments.WindyGrid(kings)
    env.reset()
    seen, front = {env.at}, [env.at]
    for steps in itertools.count(1):
        reached = []
        for at, a in itertools.product(front, range(env.action_space.n)):
            env.at = at
            s, reward, terminated, *_ = env.step(a)
            assert reward == -1 and env.observation_space.contains(s)
            if terminated:
                assert steps == length
                return
            reached += [env.at] * (env.at not in seen)
            seen.add(env.at)
        front = reached


def test_the_values_of_the_random_walk(environments):
    """By the equations of Bellman."""
    env = environments.RandomWalk()
    n, env.np_random = env.STATES, np.random.default_rng(0)
    P, r = np.zeros((n, n)), np.zeros(n)
    P[np.arange(n - 1), np.arange(1, n)] = P[np.arange(1, n), np.arange(n - 1)] = 0.5
    for s in (0, n - 1):
        for _ in range(50):
            env.at = s
            _, reward, terminated, *_ = env.step(0)
            assert terminated == (reward != 0) and reward in (0, -1 if s == 0 else 1)
        r[s] = -0.5 if s == 0 else 0.5
    assert np.linalg.solve(np.eye(n) - P, r) == pytest.approx(env.VALUES)


def test_the_state_with_two_actions(environments):
    env = environments.MaximizationBias()
    assert env.reset(seed=0)[0] == 0 and env.action_masks().sum() == 2
    assert env.step(env.RIGHT)[1:3] == (0.0, True)
    env.reset()
    assert env.step(env.LEFT)[:3] == (1, 0.0, False) and env.action_masks().all()
    rewards = []
    for _ in range(2_000):
        env.at = 1
        _, reward, terminated, *_ = env.step(3)
        assert terminated
        rewards.append(reward)
    assert np.mean(rewards) == pytest.approx(-0.1, abs=0.1) and 0.9 < np.std(rewards) < 1.1
