"""`rollouts`: the same steps as `interact`, cut where episodes end."""

import numpy as np
import pytest
from support.recorders import GAMMA, LAMBDA, SYNC_KINDS, RolloutRecorder, record, rows_by_env
from support.toy_envs import (
    PLANS,
    ConstantReward,
    CountingEnv,
    counting_action,
    counting_envs,
    single_env_rows,
)

from npr.kernels import gae


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_rollouts_have_the_same_steps_as_interact(kind):
    rollouts = record(kind, counting_envs(), 60, RolloutRecorder).rows
    rows = []
    for D in rollouts:
        for t, i in np.argwhere(D.valid):
            row = tuple(D.s[t, i]), int(D.a[t, i]), float(D.r[t, i]), tuple(D.s2[t, i])
            rows.append((*row, bool(D.terminated[t, i]), bool(D.done[t, i])))
    for number, mine in rows_by_env(rows).items():
        assert len(mine) >= 12
        reference = single_env_rows(CountingEnv(number, PLANS[number]), counting_action, len(mine))
        assert mine == [(*row[:5], row[4] or row[5]) for row in reference]
    assert all(D.s.shape == (8, 3, 3) for D in rollouts[:-1])
    invalid = sum(int((~D.valid).sum()) for D in rollouts)
    assert (invalid > 0) == (kind == "sync-next"), "only NEXT_STEP has autoreset steps"


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_advantages_do_not_cross_episodes(kind):
    """GAE on the rollout equals the sums of discounted TD errors of each single episode."""

    def V(s):
        return np.sin(s @ [1.0, 2.0, 3.0])

    for D in record(kind, counting_envs(), 60, RolloutRecorder).rows:
        v, v2 = V(D.s), V(D.s2)
        A = gae(D.r.astype(float), v, v2, D.terminated.astype(float), D.done.astype(float),
                GAMMA, LAMBDA)  # fmt: skip
        for i in range(3):
            steps = np.flatnonzero(D.valid[:, i])
            for k, t in enumerate(steps):
                expected, weight = 0.0, 1.0
                for u in steps[k:]:
                    if D.s[u, i, 1] != D.s[t, i, 1]:  # another episode
                        break
                    ends = D.terminated[u, i]
                    delta = D.r[u, i] + GAMMA * v2[u, i] * (1 - ends) - v[u, i]
                    expected, weight = expected + weight * delta, weight * GAMMA * LAMBDA
                assert A[t, i] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", SYNC_KINDS)
def test_truncation_bootstraps_and_termination_does_not(kind):
    """The value of reward 1 in every step is 10 at gamma = .9: all advantages are zero, also at a
    truncation; at a termination the last step lacks .9 * 10."""
    for both, last in ((False, 0.0), (True, -9.0)):
        makers = [lambda both=both: ConstantReward(4, both)] * 2
        D = record(kind, makers, 40, RolloutRecorder).rows[0]
        ten = np.full(D.r.shape, 10.0)
        A = gae(D.r.astype(float), ten, ten, D.terminated.astype(float), D.done.astype(float),
                GAMMA, 0.0)  # fmt: skip
        ends = D.valid & (D.done == 1)
        assert ends.sum() >= 2
        assert A[ends] == pytest.approx(last)
        assert A[D.valid & ~ends] == pytest.approx(0.0)


def test_steps_that_do_not_fill_a_rollout_are_kept_for_the_next_run():
    agent = record("list", counting_envs(), 30, RolloutRecorder)  # 10 steps of 3
    assert [D.s.shape[:2] for D in agent.rows] == [(8, 3)]
    assert (agent.num_timesteps, len(agent.steps)) == (30, 2)
    kept = agent.steps.columns()["s"]
    agent.learn(18, reset_num_timesteps=False)
    (D,) = agent.rows
    np.testing.assert_array_equal(D.s[:2], kept)
