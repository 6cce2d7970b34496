"""Transitions do not depend on the autoreset mode, the kind of vector env or the consumer."""

import numpy as np
import pytest
from support.proof_size import half
from support.recorders import GAMMA, KINDS, LAMBDA, ConsumerRecorder, record, rows_by_env
from support.toy_envs import (
    SHAPES,
    CountingEnv,
    counting_action,
    single_env_rows,
)

from npr.algorithms.base import REGISTRY
from npr.kernels import gae


def shape_envs():
    return [lambda i=i: CountingEnv(i, SHAPES[i]) for i in range(len(SHAPES))]


def by_start(steps):
    """The transitions of single environments, by their first observation."""
    transitions = [
        single_env_rows(CountingEnv(i, SHAPES[i]), counting_action, steps)
        for i in range(len(SHAPES))
    ]
    return {row[0]: row for rows in transitions for row in rows}


def rows_of(columns):
    s, a, r, s2, terminated, *_ = columns
    return [
        (tuple(s[k]), int(a[k]), float(r[k]), tuple(s2[k]), bool(terminated[k]))
        for k in range(len(r))
    ]


def successors(rows, reference):
    """For every row the index of the next row of its episode, or None."""
    where = {row[0]: k for k, row in enumerate(rows)}
    ends = [any(reference[row[0]][4:]) for row in rows]
    return [None if over else where.get(row[3]) for row, over in zip(rows, ends)]


CONSUMERS = ["replay", "n-step", "prioritized", "rollouts", "episodes"]


@pytest.mark.parametrize("kind, consumer", half(KINDS, CONSUMERS))
def test_the_training_data_are_transitions_of_single_environments(kind, consumer):
    agent = record(kind, shape_envs(), 150, type("K", (ConsumerRecorder,), {"consumer": consumer}))
    REGISTRY.pop("K")
    reference = by_start(200)
    if consumer in ("replay", "n-step", "prioritized"):
        D = agent.buffer
        rows = rows_of([D.s, D.a, D.r, D.s2, D.terminated])[: D.size]
    else:
        rows = [
            row
            for D in agent.rows
            for row in rows_of([x[D.valid] for x in (D.s, D.a, D.r, D.s2, D.terminated)])
        ]
    assert all(row == reference[row[0]][:5] for row in rows)
    assert len({row[0] for row in rows}) == len(rows), "no step twice"
    for number, mine in rows_by_env(rows).items():
        if consumer == "episodes":
            for episode in {row[0][1] for row in mine}:
                length, _ = SHAPES[number][int(episode) % len(SHAPES[number])]
                times = [row[0][2] for row in mine if row[0][1] == episode]
                assert sorted(times) == [*range(length)], "whole episodes only"
        else:
            first = single_env_rows(CountingEnv(number, SHAPES[number]), counting_action, len(mine))
            assert {row[0] for row in mine} == {row[0] for row in first}, "no step left out"
    assert set(rows_by_env(rows)) == {*range(len(SHAPES))} and len(rows) >= 40
    if consumer == "n-step":
        following = successors(rows, reference)
        _, _, R, s2, terminated, power = agent.buffer.gather(np.arange(len(rows)))
        for k in range(len(rows)):
            total, weight, last = 0.0, 1.0, k
            for _ in range(3):
                total, weight, end = total + weight * rows[last][2], weight * GAMMA, last
                last = following[last]
                if last is None:
                    break
            assert R[k] == pytest.approx(total, rel=1e-5)
            assert power[k] == pytest.approx(weight, rel=1e-6)
            assert (tuple(s2[k]), bool(terminated[k])) == rows[end][3:]
    if consumer == "prioritized":
        assert agent.buffer.tree.total == len(rows)
    if consumer in ("rollouts", "episodes"):
        for D in agent.rows:
            v = np.sin(D.s @ [1.0, 2.0, 3.0])
            v2 = np.sin(D.s2 @ [1.0, 2.0, 3.0])
            A = gae(D.r.astype(float), v, v2, D.terminated.astype(float), D.done.astype(float),
                    GAMMA, LAMBDA)  # fmt: skip
            at = [tuple(x) for x in np.argwhere(D.valid)]
            mine = rows_of([x[D.valid] for x in (D.s, D.a, D.r, D.s2, D.terminated)])
            following = successors(mine, reference)
            for k, where in enumerate(at):
                expected, weight, u = 0.0, 1.0, k
                while u is not None:
                    s, _, r, s2, end = mine[u]
                    value, after = np.sin(np.dot([s, s2], [1.0, 2.0, 3.0]))
                    expected += weight * (r + GAMMA * after * (1 - end) - value)
                    u, weight = following[u], weight * GAMMA * LAMBDA
                assert A[where] == pytest.approx(expected, abs=1e-5)
