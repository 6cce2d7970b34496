"""benchmarks/ppo_early.py: its statistic and its test."""

import itertools
import sys

import numpy as np
import pytest
from support import ROOT

import npr

sys.path.insert(0, str(ROOT / "benchmarks"))
import ppo_early


def test_the_permutation_test_is_that_over_all_permutations():
    x, y = np.array([1.0, 4, 7, 2]), np.array([3.0, 8, 9, 11])
    both, gap = [*x, *y], abs(x.mean() - y.mean())
    gaps = [
        abs(sum(chosen) / 4 - (sum(both) - sum(chosen)) / 4)
        for chosen in itertools.combinations(both, 4)
    ]
    exact = np.mean([g >= gap - 1e-9 for g in gaps])
    assert ppo_early.permutation_test(x, y) == pytest.approx(exact, abs=0.005)
    assert ppo_early.permutation_test(y, x) == pytest.approx(exact, abs=0.005)


def test_the_statistic_is_a_mean_over_checkpoints_by_seed():
    runs = {"10100": {"curve": [1.0, 3.0]}, "9000": {"curve": [10.0, 20.0]}}
    assert ppo_early.statistics(runs).tolist() == [15, 2]


def test_both_libraries_get_the_same_settings():
    agent = ppo_early.npr_agent(0, {"joint_clip": True})
    assert {name: getattr(agent, name) for name in ppo_early.SETTINGS} == ppo_early.SETTINGS
    assert agent.joint_clip and agent.n_envs == ppo_early.N_ENVS
    assert set(ppo_early.SETTINGS) <= set(npr.PPO.settings)
    budget = agent.n_envs * agent.n_steps
    assert ppo_early.EVERY % budget == 0  # a checkpoint follows an update


def test_results_are_shown():
    runs = {str(seed): {"curve": [seed, 2.0 * seed]} for seed in (10, 20, 30)}
    more = {seed: {"curve": [x + 1 for x in run["curve"]]} for seed, run in runs.items()}
    row = {"return": 500.0, "updates": 7, "seconds": 1.5}
    held = {"early": {"npr": runs, "sb3": more}, "target_kl": {"target_kl None": {"1": row}}}
    lines = ppo_early.shown(held)
    assert lines[0].startswith("npr: 30.0 +- 8.7 (standard error, 3 seeds); by checkpoint 20, 40")
    assert lines[2].startswith("npr - sb3: -1.0, p = ") and len(lines) == 4
    assert lines[3] == "target_kl None: return 500.0, 7 updates, 1.5 s (1 seeds)"
