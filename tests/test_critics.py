"""Critics: discrete actions are outputs of the network, others are its inputs."""

import numpy as np
import pytest

from npr.autodiff import gradcheck
from npr.critics import critic
from npr.envs.spaces import actions_from_spec
from npr.errors import ConfigError

N = 3  # numbers of a state
SPECS = {
    "discrete": {"kind": "discrete", "n": 4, "start": 0},
    "box": {"kind": "box", "shape": [2], "dtype": "float32", "low": [-1, 0], "high": [1, 2]},
    "multidiscrete": {"kind": "multidiscrete", "nvec": [3, 2], "start": [0, 0]},
    "multibinary": {"kind": "multibinary", "shape": [3]},
}
every_kind = pytest.mark.parametrize("kind", SPECS)


def example(kind, rows=None):
    """A critic of one hidden layer, theta, states and actions."""
    actions, rng = actions_from_spec(SPECS[kind]), np.random.default_rng(0)
    Q = critic(N, actions, [5], activation="tanh", rows=rows)
    theta = Q.init(rng).astype(np.float64)
    return Q, theta, rng.standard_normal((6, N)), actions.uniform(rng, 6)


@every_kind
def test_one_value_per_action_and_critic(kind):
    Q, theta, s, a = example(kind)
    assert Q(theta, s, a).shape == (6,)
    Q, theta, s, a = example(kind, rows=2)
    both = Q(theta, s, a)
    assert both.shape == (2, 6) and (both[0] != both[1]).all()


def test_a_discrete_action_picks_its_output():
    Q, theta, s, a = example("discrete", rows=2)
    every = Q(theta, s)
    assert every.shape == (2, 6, 4)
    np.testing.assert_array_equal(Q(theta, s, a), every[:, np.arange(6), a])


def test_actions_of_another_shape_or_out_of_range_are_refused():
    Q, theta, s, a = example("discrete", rows=2)
    with pytest.raises(ConfigError, match=r"need actions of shape \(2, 6\), got \(6, 1\)"):
        Q(theta, s, a[:, None])
    for wrong in (-1, 4):
        with pytest.raises(IndexError, match="out of range"):
            Q(theta, s, np.full(6, wrong))


def test_a_single_state_has_a_single_action():
    Q, theta, s, a = example("discrete")
    np.testing.assert_allclose(Q(theta, s[0], a[0]), Q(theta, s, a)[0], rtol=1e-12)


def test_a_multidiscrete_action_is_one_hot_at_the_input():
    Q, theta, s, a = example("multidiscrete")
    one_hot = np.zeros((6, 5))
    one_hot[np.arange(6), a[:, 0]] = one_hot[np.arange(6), 3 + a[:, 1]] = 1
    (W, b), (V, c) = Q.layers(theta)[0]
    expected = np.tanh(np.concatenate([s, one_hot], axis=1) @ W + b) @ V + c
    np.testing.assert_allclose(Q(theta, s, a), expected[:, 0], rtol=1e-12)


@every_kind
def test_gradients(kind):
    Q, theta, s, a = example(kind, rows=2)
    gradcheck(lambda theta: Q(theta, s, a), theta)
