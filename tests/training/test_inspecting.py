"""`agent.inspect`: its action is that of `predict`, its numbers are those of the agent."""

import copy
import functools

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from support.gym_spaces import ACTIONS, OBSERVATIONS
from support.masked_envs import Hand
from support.on_the_double import on_the_double
from support.small_agents import CASES, RandomEnv, observations, small_agent
from support.toy_envs import Aim

import npr
from npr.errors import ConfigError, ConfigWarning, EnvContractError
from npr.heads import Gaussian, GaussianHead, Head, TanhGaussian


def state_of(agent):
    """What an agent is: its arrays and random generators, without copies for acting."""
    held = {name: value for name, value in vars(agent).items() if isinstance(value, np.ndarray)}
    norm = agent.obs_norm.state() if agent.obs_norm else {}
    rngs = {name: rng.bit_generator.state for name, rng in agent.rng.items()}
    return copy.deepcopy((held, norm, rngs, (agent.num_timesteps, agent.n_updates)))


def inspected(agent, observation, **given):
    """An Inspection of which the action is tested, and that the agent has not changed."""
    agent.policy  # noqa: B018 made at its first use, by `predict` too
    before = state_of(agent)
    found = agent.inspect(observation, **given)
    assert data_equivalence(state_of(agent), before, exact=True)
    masks = given.get("action_masks")
    action, _ = agent.predict(observation, deterministic=True, action_masks=masks)
    assert data_equivalence(found.action, action, exact=True)
    assert str(found).startswith(f"{type(agent).__name__} on ")
    assert max(map(len, str(found).splitlines())) < 120
    return found


def varied(case, **settings):
    """An agent with other parameters than the initial ones, and moments of observations."""
    agent, rng = small_agent(case, **settings), np.random.default_rng(1)
    for x in vars(agent).values():
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            x += 0.3 * rng.standard_normal(x.shape)
    if agent.obs_norm:
        agent.obs_norm.add(2 * observations(agent, 20, seed=2) + 1)
    return agent


@pytest.mark.parametrize("case", CASES)
def test_the_action_is_that_of_predict_and_the_agent_does_not_change(case):
    normalize_obs = not getattr(npr, CASES[case][0]).table
    agent = varied(case, normalize_obs=normalize_obs)
    for observation in observations(agent, 2):
        found = inspected(agent, observation)
        s = agent.policy.encode(observation)
        np.testing.assert_array_equal(found.inputs, s[0])
        assert found.normalized == normalize_obs
        assert found.observation is observation
        np.testing.assert_array_equal(found.choice, agent.policy.choose(s)[0])
        check_numbers(agent, found, s)


def test_without_normalization_the_network_gets_the_observation():
    observation = np.array([1, 2, 3], np.float32)
    found = inspected(varied("SAC"), observation)
    np.testing.assert_array_equal(found.inputs, observation)
    assert not found.normalized and "network input" not in str(found)


def check_numbers(agent, found, s):
    """The numbers of an Inspection, by the functions that the agent learns with."""
    name, close = type(agent).__name__, functools.partial(np.testing.assert_allclose, rtol=1e-5)
    numbers = found.distribution
    if agent.table:
        np.testing.assert_array_equal(numbers["q_values"], agent.Q[s[0]])
        assert found.critic is found.value is None
        return
    if name in ("DQN", "PERDQN"):
        close(numbers["q_values"], agent.Q(agent.theta, s)[0], atol=1e-6)
        assert found.choice == numbers["q_values"].argmax()
        if agent.dueling:
            V, A = numbers["state_value"], numbers["advantages"]
            close(V + A, numbers["q_values"], atol=1e-6)
            assert A.mean() == pytest.approx(0, abs=1e-6)
        return
    if hasattr(agent, "pi"):
        pi = agent.pi(getattr(agent, agent.policy_parameters), s)
        if agent.actions.enumerable:
            close(numbers["probabilities"], np.exp(pi.logp)[0])
        else:
            squashed = isinstance(pi, TanhGaussian)
            pi, before = (pi._base(), "_before_tanh") if squashed else (pi, "")
            assert isinstance(pi, Gaussian)
            close(numbers[f"mean{before}"], pi.mean[0], atol=1e-6)
            close(numbers[f"std{before}"], np.exp(pi.log_std)[0])
    if values := agent.values_by():
        Q, theta = values
        a = np.arange(agent.actions.size)[:, None] if agent.actions.enumerable else None
        if a is None:
            close(found.critic, Q(theta, s, found.choice[None])[..., 0], atol=1e-6)
        else:
            each = [Q(theta, s, one)[..., 0] for one in a]
            close(found.critic, np.stack(each, axis=-1), atol=1e-6)
    else:
        close(found.value, agent.V(agent.phi, s)[0])
    if name == "SACS":
        close(found.value, agent.V(agent.psi, s)[0])
    if name in ("DDPG", "TD3"):
        close(np.tanh(numbers["before_tanh"]), found.choice)
        close(found.choice, agent.mu(agent.phi, s)[0], atol=1e-6)
    if name == "SoftQ" and agent.sampled:
        particles = numbers["particles"]
        assert particles.shape == (agent.n_particles, 1) and (np.diff(particles[:, 0]) > 0).all()
        again = agent.inspect(found.observation)
        np.testing.assert_array_equal(particles, again.distribution["particles"])
    elif name == "SoftQ":
        p = np.exp((found.critic - found.value) / agent.ent_coef)
        close(p, numbers["probabilities"])  # softmax(Q / alpha), and V is its normalization


PAIRS = [
    *(("PPO", seen, "Discrete from -1") for seen in OBSERVATIONS),
    *((case, "Box", done) for case in ("PPO", "QActorCritic", "SAC") for done in ACTIONS),
]


@pytest.mark.parametrize("case, seen, done", PAIRS)
def test_every_pair_of_spaces_that_is_learned_is_inspected(case, seen, done):
    env = RandomEnv(OBSERVATIONS[seen], ACTIONS[done])
    try:
        agent = small_agent(case, env=env, flatten_images=True)
    except npr.SpaceError:
        return
    observation, _ = env.reset(seed=0)
    found = inspected(agent, observation)
    assert ACTIONS[done].contains(found.action)
    if done == "Discrete from -1":
        assert found.names == ["-1", "0", "1"]


@pytest.mark.parametrize("kind", ["discrete", "multidiscrete", "multibinary"])
@pytest.mark.parametrize("case", ["DQN", "SAC-Discrete", "SoftQ-n", "PPO"])
def test_masks_forbid(case, kind):
    if case != "PPO" and kind != "discrete":
        return
    agent = small_agent(case, functools.partial(Hand, kind), action_masks=True)
    hand = np.array([1, 0, 1, 0])
    mask = {
        "discrete": hand,
        "multidiscrete": np.concatenate([hand, [0, 0, 1]]),
        "multibinary": np.stack([[1, 1, 0, 1], hand], axis=-1).ravel(),
    }[kind]
    found = inspected(agent, hand.astype(np.float32), action_masks=mask)
    np.testing.assert_array_equal(found.mask, mask)
    if kind == "multibinary":
        p = found.distribution["probabilities_of_1"]
        assert (p[[1, 3]] == 0).all() and p[2] == 1 and 0 < p[0] < 1
        return
    [(name, scores)] = found.distribution.items()
    if kind == "multidiscrete":
        scores, second = scores
        assert second.tolist() == [0, 0, 1]
    forbidden = -np.inf if name == "q_values" else 0
    assert (scores[[1, 3]] == forbidden).all() and (scores[[0, 2]] > forbidden).all()
    if case == "DQN":
        assert str(found).count("forbidden") == 2
    with pytest.warns(ConfigWarning, match="pass action_masks"):
        agent.inspect(hand.astype(np.float32))


def test_a_dict_of_actions_has_a_distribution_for_each_part():
    agent = small_agent("PPO", env=Aim, max_episode_steps=None)
    found = inspected(agent, np.zeros(2, np.float32))
    parts = found.distribution
    assert parts["lever"]["probabilities"].sum() == pytest.approx(1)
    assert parts["place"]["mean"].shape == parts["place"]["std"].shape
    assert "lever probabilities" in str(found) and "place mean" in str(found)


def test_a_mean_beyond_the_bounds_is_said_to_be_clipped():
    agent = small_agent("PPO-Box")
    assert not inspected(agent, np.zeros(3, np.float32)).clipped
    agent.theta[-2] = 5  # the bias of the mean
    found = inspected(agent, np.zeros(3, np.float32))
    assert found.clipped and found.choice > 1 and found.action == 2
    assert str(found).endswith("clipped to the bounds")


class WithMeanings(RandomEnv):
    def get_action_meanings(self):
        return ["NOOP", "<FIRE>"]


def test_actions_have_the_names_of_the_environment_or_those_given():
    env = WithMeanings(spaces.Box(-1, 1, (3,)), spaces.Discrete(2))
    agent, observation = small_agent("DQN", env=env), np.zeros(3, np.float32)
    assert inspected(agent, observation).names == ["NOOP", "<FIRE>"]
    found = inspected(agent, observation, names=["left", "right"])
    assert found.names[found.choice] in str(found).splitlines()[-1]
    with pytest.raises(ConfigError, match="There are 2 actions, got 1 names"):
        agent.inspect(observation, names=["left"])
    with pytest.raises(ConfigError, match="names are those of Discrete actions"):
        small_agent("SAC").inspect(observation, names=["left"])


def test_of_many_actions_the_best_are_written():
    agent = small_agent("DQN", env=RandomEnv(spaces.Box(-1, 1, (3,)), spaces.Discrete(40)))
    words = str(inspected(agent, np.ones(3, np.float32)))
    assert "28 other actions are left out" in words and "<- chosen" in words
    assert len(words.splitlines()) == 17


def test_the_text():
    agent = small_agent("DQN")
    agent.theta[:] = 0
    agent.theta[-2:] = 1.5, -2  # the biases of the two values
    assert str(agent.inspect(np.array([0, 0.5, -1, 2], np.float32))).splitlines() == [
        "DQN on CartPole-v1",
        "observation  [0, 0.5, -1, 2]",
        "policy       action    Q",
        "                  0  1.5  <- chosen",
        "                  1   -2",
        "action       0",
    ]


def test_a_loaded_agent_and_a_copy_are_inspected(tmp_path):
    agent = varied("SAC")
    agent.save(tmp_path / "a.npz")
    observation = np.array([0.5, -0.5, 1], np.float32)
    words = str(agent.inspect(observation))
    assert str(npr.load(tmp_path / "a.npz").inspect(observation)) == words
    assert str(copy.deepcopy(agent).inspect(observation)) == words


@pytest.mark.parametrize(
    "observation, error, match",
    [
        (np.zeros(2), EnvContractError, r"shape \(2,\), the space says \(3,\)"),
        (np.array([0, np.nan, 0]), EnvContractError, "not finite: number 1 of 3"),
        (np.zeros((4, 3)), ConfigError, "takes one observation, got a batch"),
        ((np.zeros(3), {}), ConfigError, r"what reset\(\) returns"),
    ],
)
def test_observations_that_do_not_fit_are_refused_as_by_predict(observation, error, match):
    agent = small_agent("SAC")
    with pytest.raises(error, match=match):
        agent.inspect(observation)
    if "batch" not in match:
        with pytest.raises(error, match=match):
            agent.predict(observation)


def test_boxes_take_no_masks():
    with pytest.raises(ConfigError, match="action_masks have no meaning"):
        small_agent("SAC").inspect(np.zeros(3), action_masks=[1])


class Bilinear:
    """An own network."""

    size = 3 * 2 + 2

    def init(self, rng):
        return rng.standard_normal(self.size).astype(np.float32)

    def __call__(self, theta, s):
        return s @ theta[:6].reshape(3, 2) + theta[6:]


def test_an_own_network_is_inspected():
    env = RandomEnv(spaces.Box(-1, 1, (3,)), spaces.Discrete(2))
    agent = small_agent("DQN", env=env, net_arch={"qf": Bilinear()})
    s = np.array([1, 2, 3], np.float32)
    found = inspected(agent, s)
    q = found.distribution["q_values"]
    np.testing.assert_allclose(q, Bilinear()(agent.theta, s), rtol=1e-5)


class WithoutNames(GaussianHead):
    """A head that does not describe its outputs."""

    describe = Head.describe


class WithNames(GaussianHead):
    def describe(self, y, mask=None):
        return {"middle": y[:1], "log_width": y[1:]}


@pytest.mark.parametrize(
    "head, labels", [(WithoutNames, ["outputs"]), (WithNames, ["middle", "log width"])]
)
def test_an_own_head_says_what_its_outputs_are(head, labels):
    agent = small_agent("PPO-Box")
    agent.head = head(agent.actions)
    lines = str(inspected(agent, np.zeros(3, np.float32))).splitlines()
    assert [line.split("  ")[0] for line in lines][2:-3] == labels


def test_the_environment_may_be_gone():
    agent = small_agent("A2C", env=gymnasium.make("CartPole-v1"))
    agent.close()
    assert inspected(agent, np.zeros(4, np.float32)).names == ["0", "1"]


@on_the_double
def test_on_a_device_it_returns_numbers_of_the_host():
    for case in ("DQN", "SAC-Discrete", "SoftQ", "SACS"):
        agent = small_agent(case)
        s = observations(agent, 1)[0]
        found = agent.inspect(s)
        np.testing.assert_array_equal(found.action, agent.act(s))
        held = [found.critic, *found.distribution.values()]
        assert {type(x) for x in held if x is not None} == {np.ndarray}, case
        assert str(found)
