"""What users of Stable-Baselines3 write: accepted, or refused with what npr has instead."""

import inspect
import pickle

import pytest
from support.small_agents import small_agent

import npr
from npr import ConfigError, UnknownNameError
from npr.settings.sb3 import SETTINGS, Methods


@pytest.mark.parametrize(
    "name, advice",
    [
        ("policy_kwargs", r"pass net_arch=.* and activation="),
        ("device", "NPR_BACKEND=cupy before Python starts"),
        ("tensorboard_log", "log_interval=10.* agent.logger.snapshot"),
        ("use_sde", "no state-dependent exploration; leave it out"),
        ("replay_buffer_class", "own buffer; leave it out, or use PERDQN"),
        ("policy", "a multi-layer perceptron: leave it out, and set net_arch"),
        ("_init_setup_model", "leave it out"),
    ],
)
def test_its_settings_are_refused_with_advice(name, advice):
    with pytest.raises(ConfigError, match=f"SAC has no setting '{name}'; .*{advice}"):
        npr.SAC("Pendulum-v1", **{name: None})


def test_a_name_that_an_algorithm_has_is_not_refused():
    assert "target_kl" in SETTINGS
    assert small_agent("PPOKL", target_kl=0.5).target_kl == 0.5
    with pytest.raises(ConfigError, match="PPO has no setting 'target_kl'; .*use PPOKL"):
        small_agent("PPO", target_kl=0.5)


def test_mlp_policy_is_accepted_first_or_by_name():
    assert npr.DQN("MlpPolicy", "CartPole-v1").env_id == "CartPole-v1"
    assert npr.DQN(policy="MlpPolicy", env="CartPole-v1").env_id == "CartPole-v1"
    assert npr.DQN("CartPole-v1", policy="MlpPolicy").env_id == "CartPole-v1"


class ActorCriticPolicy:
    pass


@pytest.mark.parametrize(
    "policy, advice",
    [
        ("CnnPolicy", "'CnnPolicy'; npr has no convolutional networks"),
        ("MultiInputPolicy", "'MultiInputPolicy'; leave it out: the parts of Dict and Tuple"),
        ("MlpLstmPolicy", "'MlpLstmPolicy'; npr has no recurrent networks.*FrameStackObs"),
        ("LnMlpPolicy", "'LnMlpPolicy'; its policy is a multi-layer perceptron: leave it out"),
        (ActorCriticPolicy, "'ActorCriticPolicy'; its policy is a multi-layer perceptron"),
    ],
)
def test_other_policies_are_refused_with_advice(policy, advice):
    for args, given in (
        ((policy, "CartPole-v1"), {}),
        ((policy,), {"env": "CartPole-v1"}),
        ((), {"policy": policy, "env": "CartPole-v1"}),
    ):
        with pytest.raises(ConfigError, match=f"PPO has no policy {advice}"):
            npr.PPO(*args, **given)


@pytest.mark.parametrize(
    "name, advice",
    [
        ("load", r"npr\.load\(path\)"),
        ("train", r"agent\.learn\(total_timesteps\)"),
        ("collect_rollouts", r"agent\.learn\(total_timesteps\)"),
        ("set_parameters", r"npr\.load"),
        ("save_replay_buffer", r"agent\.save\(path\) writes the replay buffer"),
    ],
)
def test_its_methods_say_what_to_call(name, advice):
    agent = small_agent("DQN")
    for owner in (agent, npr.DQN):
        with pytest.raises(UnknownNameError, match=f"DQN has no '{name}': {advice}"):
            getattr(owner, name)()
        assert not hasattr(owner, name), "it is an AttributeError"


def test_the_methods_are_in_nobodys_way():
    named = [name for name in vars(Methods) if not name.startswith("_")]
    assert named and not {*named} & {*npr.PPO.settings, *dir(small_agent("PPO").envs)} - {"load"}
    agent = small_agent("DQN").learn(40)
    assert pickle.loads(pickle.dumps(agent)).num_timesteps == 40
    assert inspect.getmembers(npr.DQN) and inspect.getdoc(npr.DQN)

    class Own(npr.DQN):
        def train(self):
            return 3

    assert Own.train(None) == 3
    agent.device = "mine"
    assert agent.device == "mine"


@pytest.mark.parametrize("case, setting", [("PPO", "learning_rate"), ("PPO", "clip_range"),
                                           ("DQN", "learning_rate")])  # fmt: skip
def test_a_schedule_that_is_a_function_is_refused_with_the_text_to_use(case, setting):
    with pytest.raises(
        ConfigError,
        match=rf"{case}: {setting} must be .* got <function .*lambda.*"
        r"a file cannot hold a function\. Use 'linear:first'",
    ):
        small_agent(case, **{setting: lambda progress: 3e-4 * progress})
