"""Densities of policies and landscapes of critics."""

import numpy as np
import pytest
from gymnasium import spaces
from support.small_agents import RandomEnv, small_agent

from npr.errors import ConfigError
from npr.plot import landscape, policy

HERE = np.array([0.5, -0.2, 1.0], np.float32)
PLANE = spaces.Box(np.array([-1, 0], np.float32), np.array([1, 4], np.float32))


def agent_of(case, actions=None, **settings):
    """A new agent; `actions` a Box, in an environment with observations like Pendulum's."""
    if actions is None:
        return small_agent(case, **settings)
    space = spaces.Box(-1, 1, (3,), np.float32)
    return small_agent(case, lambda: RandomEnv(space, actions), **settings)


@pytest.fixture(scope="module")
def sac():
    return agent_of("SAC")


# ---- numbers


def test_the_landscape_is_the_smaller_critic_over_the_actions_of_the_environment(sac):
    found = landscape(sac, HERE, samples=10)
    (x,) = found.axes
    assert (x[0], x[-1], len(x)) == (-2, 2, 401)
    for i in (0, 137, 400):
        q = sac.Q(sac.theta, HERE[None], np.array([[x[i] / 2]], np.float32))
        assert found.Q[i] == pytest.approx(float(q.min()), abs=1e-6)


def test_the_landscape_of_two_actions_has_the_first_along_its_rows():
    agent = agent_of("SoftQ", PLANE)
    found = landscape(agent, HERE, samples=10)
    x, y = found.axes
    assert found.Q.shape == (81, 81) and (x[0], x[-1], y[0], y[-1]) == (-1, 1, 0, 4)
    a = np.array([[x[20], y[60] / 2 - 1]], np.float32)
    assert found.Q[20, 60] == pytest.approx(float(agent.Q(agent.theta, HERE[None], a)[0]), abs=1e-6)


def test_the_critic_of_a_stochastic_policy_gradient_is_that_of_w():
    agent = agent_of("QActorCritic", PLANE)
    found = landscape(agent, HERE, samples=10)
    a = np.array([[found.axes[0][20], found.axes[1][60] / 2 - 1]], np.float32)
    assert found.Q[20, 60] == pytest.approx(float(agent.Q(agent.w, HERE[None], a)[0]), abs=1e-6)
    assert found.target is None, "its ent_coef is no temperature of Q"


@pytest.mark.parametrize(
    "case, settings, alpha",
    [
        ("SAC", {}, None), ("SAC", {"ent_coef": 0.3}, 0.3), ("SACS", {}, 0.2), ("SoftQ", {}, 0.2),
    ],
)  # fmt: skip
def test_the_target_is_proportional_to_exp_q_over_alpha_and_integrates_to_one(
    case, settings, alpha
):
    agent = agent_of(case, **settings)
    alpha = np.exp(agent.log_alpha)[0] if alpha is None else alpha
    found = landscape(agent, HERE, samples=10)
    assert found.target.sum() * (found.axes[0][1] - found.axes[0][0]) == pytest.approx(1)
    ratio = np.log(found.target / found.target[0]) - (found.Q - found.Q[0]) / alpha
    np.testing.assert_allclose(ratio, 0, atol=1e-6)


def test_samples_have_the_density_of_the_policy(sac):
    """Shares of sampled actions per interval, against the integral of the exact density."""
    found = landscape(sac, HERE, samples=40_000)
    dist = sac.pi(sac.phi, HERE[None])
    a = np.linspace(-1, 1, 8_001)
    density = np.exp([float(dist.log_prob(np.array([[x]]))[0]) for x in a])
    edges = np.linspace(-1, 1, 9)
    exact = [np.trapezoid(density[(a >= lo) & (a <= hi)], a[(a >= lo) & (a <= hi)])
             for lo, hi in zip(edges, edges[1:])]  # fmt: skip
    counts, _ = np.histogram(found.samples[:, 0] / 2, edges)
    np.testing.assert_allclose(counts / 40_000, exact, atol=0.01)


def test_drawing_leaves_the_agents_generators_alone_and_is_the_same_each_time(sac):
    before = sac.rng["act"].bit_generator.state
    one, other = landscape(sac, HERE, samples=50), landscape(sac, HERE, samples=50)
    assert sac.rng["act"].bit_generator.state == before
    np.testing.assert_array_equal(one.samples, other.samples)


def test_a_deterministic_policy_is_one_action():
    agent = agent_of("DDPG")
    found = landscape(agent, HERE, samples=20)
    assert found.deterministic and found.target is None
    assert found.samples[0] == pytest.approx(agent.act(HERE), abs=1e-6)
    ax = policy(agent, HERE, samples=20).axes[0]
    assert ax.lines[0].get_xdata()[0] == found.samples[0, 0]


def test_an_unbounded_action_is_shown_where_it_is_sampled():
    agent = agent_of("PPO-Box", spaces.Box(-np.inf, np.inf, (1,), np.float32))
    found = landscape(agent, HERE, samples=2_000)
    low, high = found.ranges[0]
    inside = (found.samples > low) & (found.samples < high)
    assert found.Q is None and inside.mean() > 0.99


# ---- pictures


def test_density_and_critic_stand_side_by_side_in_one_dimension(sac):
    figure = policy({"SAC": sac, "SoftQ": agent_of("SoftQ")}, HERE, samples=500, labels=["torque"])
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "SAC: density of actions", "SAC: critic", "SoftQ: density of actions", "SoftQ: critic",
    ]  # fmt: skip
    left, right = figure.axes[:2]
    found = landscape(sac, HERE, samples=500)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), found.Q)
    np.testing.assert_array_equal(left.lines[0].get_ydata(), found.target)
    heights = np.array([bar.get_height() for bar in left.patches])
    assert heights.sum() * 4 / len(heights) == pytest.approx(1)
    assert (left.get_xlabel(), left.get_ylabel()) == ("torque", "probability density")
    assert (right.get_xlabel(), right.get_ylabel()) == ("torque", "value Q(s, a)")
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "sampled actions", "exp(Q / alpha)",
    ]  # fmt: skip


def test_two_dimensions_are_maps_with_sampled_actions(tmp_path):
    figure = policy(agent_of("SoftQ", PLANE), HERE, samples=900, title="t", path=tmp_path / "p.png")
    left, right = figure.axes[:2]
    assert [ax.get_ylabel() for ax in figure.axes[2:]] == ["probability density", "value Q(s, a)"]
    assert len(right.lines[0].get_xdata()) == 400
    assert (right.get_xlim(), right.get_ylim()) == ((-1, 1), (0, 4))
    assert (left.get_xlabel(), left.get_ylabel()) == ("action 0", "action 1")
    assert figure.get_suptitle() == "t" and (tmp_path / "p.png").stat().st_size > 10_000


def test_several_observations_have_rows(sac):
    figure = policy(sac, [HERE, -HERE], samples=50)
    assert [ax.get_title() for ax in figure.axes[::2]] == [
        "SAC, observation 1: density of actions", "SAC, observation 2: density of actions",
    ]  # fmt: skip


def test_a_list_of_numbers_is_one_observation(sac):
    figure = policy(sac, HERE.tolist(), samples=50)
    assert [ax.get_title() for ax in figure.axes] == ["SAC: density of actions", "SAC: critic"]


@pytest.mark.parametrize("actions", [None, PLANE])
def test_an_agent_without_a_critic_of_actions_says_so(actions):
    figure = policy(agent_of("PPO-Box", actions), HERE, samples=50)
    assert figure.axes[1].texts[0].get_text() == "PPO has no critic of actions"


# ---- what cannot be drawn


def test_other_actions_are_refused(sac):
    with pytest.raises(ConfigError, match="one or two dimensions; DQN has"):
        policy(small_agent("DQN"), np.zeros(4, np.float32))
    with pytest.raises(ConfigError, match="one or two dimensions; SAC has"):
        policy(agent_of("SAC", spaces.Box(-1, 1, (3,), np.float32)), HERE)
    with pytest.raises(ConfigError, match="actions of different dimensions"):
        policy([sac, agent_of("SAC", PLANE)], HERE, samples=10)


def test_other_arguments_are_refused(sac):
    with pytest.raises(ConfigError, match="one observation, got a batch of 2. Pass a list"):
        policy(sac, np.stack([HERE, HERE]))
    with pytest.raises(ConfigError, match="needs an agent or more, got none"):
        policy([], HERE)
    with pytest.raises(ConfigError, match="labels must name 1 dimensions of the action"):
        policy(sac, HERE, labels=["a", "b"], samples=10)
