"""repr() of what users meet: short, and without addresses, functions or None."""

import functools

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from support.gym_spaces import ACTIONS, OBSERVATIONS
from support.small_agents import CASES, RandomEnv, run_of, small_agent, trained

import npr
from npr import noise, optim
from npr.envs.contract import action_spec, observation_spec
from npr.envs.spaces import actions_from_spec, observations_from_spec
from npr.kernels import SumTree
from npr.nn import MLP
from npr.training.evaluation import Evaluation


class Corridor(RandomEnv):
    def __init__(self):
        super().__init__(OBSERVATIONS["Box"], ACTIONS["Discrete"])


def corridor(length=3):
    return Corridor()


def plain(text, limit=200):
    return len(text) < limit and not any(part in text for part in (" at 0x", "<", "None"))


@pytest.mark.parametrize("case", CASES)
def test_an_agent_and_its_parts_are_short_text(case):
    agent = trained(case)
    assert repr(agent).startswith(f"{type(agent).__name__}('{agent.env_id}', ")
    assert plain(repr(agent), 500)
    for name, part in vars(agent).items():
        if type(part).__module__.startswith("npr.") and name not in ("snapshot", "counters"):
            assert plain(repr(part)), f"{name}: {part!r}"


@pytest.mark.parametrize(
    "env, name",
    [
        (Corridor, "Corridor"),
        (Corridor(), "Corridor"),
        (gymnasium.wrappers.TimeLimit(Corridor(), 9), "Corridor"),
        (corridor, "corridor"),
        (functools.partial(corridor, length=4), "corridor"),
        (lambda: Corridor(), "Corridor"),
        (lambda: gymnasium.make("CartPole-v1"), "CartPole-v1"),
        (gymnasium.make("CartPole-v1"), "'CartPole-v1'"),
        ("CartPole-v1", "'CartPole-v1'"),
        (gymnasium.vector.SyncVectorEnv([Corridor] * 2), "SyncVectorEnv"),
    ],
)
def test_an_agent_names_its_environment(env, name, capsys, tmp_path):
    agent = small_agent("DQN", env=env, verbose=1, max_episode_steps=None).learn(3)
    assert repr(agent).startswith(f"DQN({name}, ")
    assert capsys.readouterr().out.startswith(f"DQN on {name.strip(chr(39))}, 3 steps: ")
    if "CartPole" not in name:
        agent.save(tmp_path / "a.npz")
        assert repr(npr.load(tmp_path / "a.npz")).startswith("DQN(no environment, ")
    agent.close()
    assert plain(repr(agent), 500)


def test_a_policy_shows_its_layers(tmp_path):
    agent = small_agent("PPO", net_arch=[8, 5])
    text = "Policy(Box(4) -> 8 -> 5 -> Discrete(2), tanh, head 'categorical')"
    assert repr(agent.policy) == text
    agent.save(tmp_path / "a.npz")
    assert repr(npr.infer.load(tmp_path / "a.npz")) == text
    table = small_agent("QLearning").policy
    assert repr(table) == f"Policy(Discrete({table.observations.size}) -> Discrete(4), table, " \
                          "head 'table')"  # fmt: skip
    normalized = small_agent("DQN", normalize_obs=True).policy
    assert repr(normalized).endswith(", normalized observations)")


@pytest.mark.parametrize(
    "space, text",
    [
        (spaces.Box(-1, 1, (2, 3)), "Box(2, 3)"),
        (spaces.MultiBinary(4), "MultiBinary(4)"),
        (spaces.Discrete(3), "Discrete(3)"),
        (spaces.Discrete(3, start=-1), "Discrete(3, start=-1)"),
        (spaces.MultiDiscrete([2, 3]), "MultiDiscrete([2, 3])"),
    ],
)
def test_spaces_are_shown_as_in_gymnasium(space, text):
    assert repr(observations_from_spec(observation_spec(space))) == text
    assert repr(actions_from_spec(action_spec(space))) == text


def test_nested_spaces_show_their_parts():
    inner = spaces.Dict(far=spaces.Discrete(2), near=spaces.Box(-1, 1, (2,)))
    space = spaces.Tuple([spaces.Discrete(3), inner])
    text = "Tuple(Discrete(3), Dict(far=Discrete(2), near=Box(2)))"
    assert repr(observations_from_spec(observation_spec(space))) == text


def test_networks_optimizers_and_buffers_show_their_sizes():
    assert repr(MLP(3, [64, 32], 2, "tanh")) == "MLP(3-64-32-2, tanh)"
    assert repr(MLP([3, 1], [8], None, rows=2)) == "MLP(2 x 4-8-1, relu)"
    theta = np.zeros(1234, np.float32)
    for kind in (optim.Adam, optim.RMSprop, optim.SGD):
        text = f"{kind.__name__}(1,234 parameters, learning_rate=0.5)"
        assert repr(kind(theta, learning_rate=0.5)) == text
    agent = small_agent("PERDQN", n_envs=2).learn(20)
    size = agent.buffer_size
    assert repr(agent.buffer) == f"PrioritizedReplayBuffer(20 of {size:,} transitions)"
    assert repr(SumTree(1000)) == "SumTree(1,000 priorities, total 0)"
    assert repr(agent.envs) == "EnvList(2 environments, observations Box(4), actions Discrete(2))"
    agent = small_agent("PPO", n_steps=8, n_envs=2)
    for rollout in run_of(agent).rollouts(4, agent.explore):
        assert repr(rollout) == "Rollout(4 steps of 2 environments)"
        break


def test_noise_shows_its_parameters():
    assert repr(noise.Normal(3, 0.2)) == "Normal(3, sigma=0.2)"
    text = "OrnsteinUhlenbeck(2, sigma=0.5, theta=0.15, dt=0.01)"
    assert repr(noise.OrnsteinUhlenbeck(2)) == text


def test_an_evaluation_shows_its_statistics():
    result = Evaluation(np.array([1.0, 3.0]), np.array([10, 20]))
    assert repr(result) == "Evaluation(mean=2.00, std=1.00, min=1.00, max=3.00, episodes=2)"
