"""On-policy algorithms with actions that are a Dict or Tuple."""

import warnings

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate
from support.agent_files import without_workers
from support.export_cases import flat
from support.local_actors import LocalEngine
from support.small_agents import (
    RandomEnv,
    assert_same_parameters,
    parameters,
    run_of,
    small_agent,
)
from support.toy_envs import Aim

import npr
from npr.distributed import actors
from npr.errors import ConfigError, EnvContractError, SpaceError
from npr.policy import Policy

ON_POLICY = ("REINFORCE", "QActorCritic", "A2C", "PPO", "PPOKL")
every_algorithm = pytest.mark.parametrize("case", ON_POLICY)


def agent_of(case, env=Aim, **settings):
    return small_agent(case, env=env, **{"max_episode_steps": None, **settings})


def test_a_game_that_needs_both_parts_is_learned():
    """With the right lever alone the return is about 1.6, with the right place alone 2.5, of 5."""
    given = {"n_envs": 8, "n_steps": 32, "learning_rate": 3e-3, "net_arch": [32]}
    agent = npr.PPO(Aim, seed=0, verbose=0, **given).learn(4_096)
    assert agent.evaluate(episodes=40, seed=1).mean > 4


@every_algorithm
def test_it_learns_and_its_file_has_the_same_policy(case, tmp_path):
    agent = agent_of(case, n_envs=2)
    before = parameters(agent)
    agent.learn(100)
    for name in ("theta", "w" if case == "QActorCritic" else "phi"):
        assert (parameters(agent)[name] != before[name]).any(), name
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    agent.save(tmp_path / "a.npz")
    s = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    batch, _ = agent.predict(s, deterministic=True)
    policy, loaded = npr.infer.load(tmp_path / "a.npz"), npr.load(tmp_path / "a.npz", env=Aim)
    space = Aim().action_space
    for one, expected in zip(s, iterate(batch_space(space, 5), batch), strict=True):
        a = agent.act(one)
        assert space.contains(a)
        assert str(a) == str(policy(one)) == str(loaded.act(one))
        assert a["lever"] == expected["lever"]
        np.testing.assert_allclose(a["place"], expected["place"], atol=1e-5)  # products of rows
    assert agent.evaluate(episodes=3, seed=0).lengths.tolist() == [5, 5, 5]
    assert isinstance(policy, Policy) and "head 'product'" in repr(policy)


@every_algorithm
def test_a_run_is_resumed_to_the_bit_within_an_episode(case, tmp_path):
    def save_once(agent):
        if agent.num_timesteps == 58:
            assert max(agent.envs.lengths) > 0
            agent.save(tmp_path / "a.npz")

    agent = agent_of(case, n_envs=2).learn(130, callback=save_once)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = npr.load(tmp_path / "a.npz", env=Aim).learn()
    assert loaded.num_timesteps == agent.num_timesteps and agent.n_updates
    assert_same_parameters(agent, loaded)


def test_a_vector_environment_gives_the_same_parameters():
    agent, other = (
        agent_of("PPO", n_envs=2, vectorization=how).learn(96) for how in (None, "sync")
    )
    assert agent.n_updates
    assert_same_parameters(agent, other)


def test_actors_give_the_same_file_within_an_episode(monkeypatch, tmp_path):
    monkeypatch.setattr(actors, "_new_engine", lambda name, *args: LocalEngine(*args))
    files = []
    for n_workers in (0, 2):
        agent = agent_of("PPO", n_envs=2, n_workers=n_workers)
        agent.learn(100, callback=lambda agent: agent.num_timesteps < 58)
        files.append(without_workers(agent, tmp_path / "a.npz"))
    assert files[0] == files[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        npr.load(tmp_path / "a.npz", env=Aim, n_workers=0).learn()


def test_an_ensemble_is_of_single_agents_to_the_bit():
    given = {"verbose": 0, "n_envs": 2, "n_steps": 16, "batch_size": 8, "net_arch": [8]}
    together = npr.ensemble(npr.PPO, Aim, seeds=[0, 3], **given).learn(96)
    for agent in together:
        assert_same_parameters(agent, npr.PPO(Aim, seed=agent.seed, **given).learn(96))


def test_a_copy_and_a_tuple_of_actions():
    env = RandomEnv(
        spaces.Box(-1, 1, (3,)), spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))])
    )
    agent = agent_of("A2C", env=env).learn(40)
    s = np.zeros(3, np.float32)
    a = npr.clone(agent).act(s)
    assert type(a) is tuple and env.action_space.contains(a)
    assert type(agent.act(s[None])) is tuple and agent.act(s[None])[0].shape == (1,)
    assert agent.policy.head.metrics(agent.theta)["std"].shape == (2,)
    only = RandomEnv(spaces.Box(-1, 1, (3,)), spaces.Tuple([spaces.Discrete(2)]))
    agent = agent_of("PPO", env=only)
    agent.learn(64)
    assert agent.policy.free == 0 and agent.policy.head.metrics(agent.theta) == {}


def test_an_action_of_nan_is_refused():
    agent = agent_of("PPO")
    agent.theta[...] = np.nan
    with pytest.raises(npr.NprError, match="not finite"):
        run_of(agent).execute()


# ---- masks


class OneLever(Aim):
    """Only the right lever may be pulled: another one is an error."""

    def _info(self):
        return {"action_mask": np.array([self.lever == 1, self.lever == 2] + [True] * 9)}

    def reset(self, **given):
        observation, _ = super().reset(**given)
        return observation, self._info()

    def step(self, action):
        if action["lever"] != self.lever:
            raise RuntimeError("the lever is locked")
        *rest, _ = super().step(action)
        return *rest, self._info()


@every_algorithm
def test_forbidden_parts_are_never_chosen(case, tmp_path):
    agent = agent_of(case, env=OneLever, n_envs=2, action_masks=True).learn(100)
    assert agent.envs.s.shape == (2, 13) and agent.n_updates
    assert all(np.isfinite(array).all() for array in parameters(agent).values())
    agent.evaluate(episodes=4, seed=0, deterministic=False)
    agent.save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz", env=OneLever)
    for one in (agent, loaded):
        one.learn(50, reset_num_timesteps=False)
    assert_same_parameters(agent, loaded)
    policy, s = npr.infer.load(tmp_path / "a.npz"), np.zeros((20, 2), np.float32)
    for lever in (1, 2):
        mask = np.array([[lever == 1, lever == 2] + [True] * 9] * 20)
        assert (policy(s, False, action_masks=mask)["lever"] == lever).all()
        assert policy(s[0], action_masks=mask[0])["lever"] == lever
    with pytest.raises(EnvContractError, match="must be"):
        policy(s, action_masks=mask[:, :5])


def test_the_divergence_of_ppo_kl_is_that_of_masked_policies():
    agent = agent_of("PPOKL", env=OneLever, n_envs=2, action_masks=True).learn(64)
    s = agent.envs.s
    out_old = agent.actor(agent.theta, s)
    assert agent.divergence(s, out_old) == 0
    changed = agent.divergence(s, 1.1 * out_old)
    assert 0 < changed < 0.1, "inf, if the old policy may do what the new one may not"
    assert agent.n_updates == 2 * 2 * 4, "no rollout stopped for its divergence"


def test_without_masks_the_game_with_locked_levers_fails():
    with pytest.raises(npr.NprError, match="the lever is locked"):
        agent_of("PPO", env=OneLever).learn(100)


# ---- what is refused


@pytest.mark.parametrize(
    "case", ["QLearning", "Sarsa", "DQN", "PERDQN", "DDPG", "SoftQ", "SACS", "SAC"]
)
def test_other_algorithms_name_those_that_take_them(case):
    with pytest.raises(SpaceError) as error:
        small_agent(case, env=Aim)
    assert "for Dict and Tuple actions use A2C, PPO, PPOKL, QActorCritic, REINFORCE" in str(
        error.value
    )


@pytest.mark.parametrize(
    "space", [spaces.Dict(a=spaces.Text(3)), spaces.Dict([(1, spaces.Discrete(2))]),
              spaces.Tuple([spaces.Box(0, 9, (2,), np.int32)]), spaces.Tuple([])], ids=str,
)  # fmt: skip
def test_parts_of_other_kinds_are_refused(space):
    match = r"PPO needs a .*MultiBinary or Dict or Tuple action space.*needs parts that are Discr"
    with pytest.raises(SpaceError, match=match):
        agent_of("PPO", env=RandomEnv(spaces.Box(-1, 1, (3,)), space))


def test_an_exported_policy_plays_the_game(tmp_path):
    agent = agent_of("PPO").learn(64)
    written = agent.export(tmp_path / "policy.py", episodes=4)
    assert written.model.card.mean == pytest.approx(agent.evaluate(episodes=4, seed=0).mean)
    scope = {}
    exec((tmp_path / "policy.py").read_text(), scope)
    s = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    batch, _ = agent.predict(s, deterministic=True)
    got = [scope["act"](one) for one in s]
    np.testing.assert_allclose(got, flat(batch), atol=1e-5)
    assert scope["META"]["action"]["parts"][0] == {
        "name": "lever", "kind": "discrete", "numbers": 1, "choices": (2,), "start": (1,),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'int8' cannot hold Dict and Tuple actions"):
        agent.export(tmp_path / "policy.h", dtype="int8", episodes=1)


def test_a_file_with_other_actions_is_refused(tmp_path):
    agent = agent_of("PPO")
    agent.learn(24)
    agent.steps[0][1][:, 0] = 0.5  # of the lever
    agent.save(tmp_path / "a.npz")
    with pytest.raises(npr.CheckpointError, match="actions outside of the action space"):
        npr.load(tmp_path / "a.npz", env=Aim)
