"""Exploration noise: its distribution, in SAC, and unknown kinds."""

import numpy as np
import pytest
from support.agent_factories import ddpg, sac
from support.oracles import F

import npr
from npr.noise import OrnsteinUhlenbeck


@pytest.mark.parametrize(
    ("sigma", "dt", "deviation"),
    [(0.2, 1.0, 0.379663), (0.2, 0.01, 0.365285), (0.5, 0.01, 0.913213)],
)
def test_ornstein_uhlenbeck_noise_has_its_stationary_standard_deviation(sigma, dt, deviation):
    assert sigma * np.sqrt(dt / (1 - (1 - 0.15 * dt) ** 2)) == pytest.approx(deviation, abs=1e-6)
    noise, rng = OrnsteinUhlenbeck(1, sigma, 0.15, dt), np.random.default_rng(0)
    episodes = np.arange(4_000)
    noise(rng, episodes)
    noise.x[:] = deviation * rng.standard_normal((4_000, 1))
    for _ in range(50):
        x = noise(rng, episodes)
    assert x.std() == pytest.approx(deviation, rel=0.05)
    before = x.copy()
    x = noise(rng, np.where(episodes < 1_000, 4_000 + episodes, episodes))
    step = sigma * np.sqrt(dt)
    assert x[:1_000].std() == pytest.approx(step, rel=0.1)  # one step from zero
    assert (x - (1 - 0.15 * dt) * before)[1_000:].std() == pytest.approx(step, rel=0.1)
    assert noise(rng, episodes[:2]).shape == (2, 1)


@pytest.mark.parametrize(("kind", "sigma"), [(None, 0.0), ("normal", 0.3), ("ou", 0.3)])
def test_sac_adds_action_noise_to_its_policy(kind, sigma):
    agent = sac(action_noise=kind, exploration_noise=0.3, learning_starts=0, n_envs=500)
    agent.phi[:], agent.phi[-1] = 0, -20.0  # the policy outputs zero
    agent.envs.reset()
    for _ in range(50):
        a = agent.explore(np.zeros((500, 3), F))
    assert np.abs(a).max() <= 1
    expected = 0.1 * sigma * np.sqrt(50) if kind == "ou" else sigma
    assert a.std() == pytest.approx(expected, rel=0.2, abs=1e-3)


def test_an_unknown_noise_is_refused():
    with pytest.raises(npr.ConfigError, match="DDPG: action_noise must be 'normal' or 'ou'"):
        ddpg(action_noise="pink")
