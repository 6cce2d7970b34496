"""What users of Stable-Baselines3 write: accepted, or refused with what npr has instead."""

import inspect
import pickle

import pytest
from support.small_agents import small_agent

import npr
from npr import ConfigError, UnknownNameError
from npr.settings.sb3 import POLICY_KWARGS, SETTINGS, Methods


@pytest.mark.parametrize(
    "name, advice",
    [
        ("device", "NPR_BACKEND=cupy before Python starts"),
        ("tensorboard_log", r"learn\(log='tensorboard', log_dir='runs'\) writes the values"),
        ("create_eval_env", r"agent.evaluate\(\), or use npr.callbacks.EvalCallback"),
        ("use_sde", "no state-dependent exploration; leave it out"),
        ("replay_buffer_class", "own buffer; leave it out, or use PERDQN"),
        ("n_steps", "of an n-step return are n_step_return"),
        ("target_update_interval", "target networks move by tau after every update; leave it out"),
        ("policy", "a multi-layer perceptron: leave it out, and set net_arch"),
        ("_init_setup_model", "leave it out"),
    ],
)
def test_its_settings_are_refused_with_advice(name, advice):
    with pytest.raises(ConfigError, match=f"SAC has no setting '{name}'; .*{advice}"):
        npr.SAC("Pendulum-v1", **{name: None})


def test_a_name_that_an_algorithm_has_is_not_refused():
    assert "target_kl" in SETTINGS
    for case in ("PPO", "PPOKL"):
        assert small_agent(case, target_kl=0.5).target_kl == 0.5
    with pytest.raises(ConfigError, match="A2C has no setting 'target_kl'; .*use PPO or PPOKL"):
        small_agent("A2C", target_kl=0.5)


def test_settings_of_some_algorithms_name_them():
    with pytest.raises(ConfigError, match="DQN has no setting 'n_critics'; SAC, SACS, DDPG and"):
        small_agent("DQN", n_critics=2)


def test_an_algorithm_that_is_a_setting_here():
    with pytest.raises(AttributeError, match="'MaskablePPO'; pass action_masks=True to PPO"):
        npr.MaskablePPO  # noqa: B018
    with pytest.raises(AttributeError, match="'VecNormalize'; pass normalize_obs=True"):
        npr.VecNormalize  # noqa: B018
    with pytest.raises(ConfigError, match="no algorithm 'MaskablePPO'; pass action_masks=True"):
        npr.runs.RunConfig("MaskablePPO", "Taxi-v4").checked()


def test_an_agent_without_a_replay_buffer_says_so():
    with pytest.raises(UnknownNameError, match="A2C has no 'buffer': .*agent.steps has the steps"):
        small_agent("A2C").buffer  # noqa: B018
    assert len(small_agent("DQN").buffer) == 0


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


# ---- policy_kwargs


class Tanh:
    """As torch.nn.Tanh: a class that is known by its name."""


class LeakyReLU:
    pass


@pytest.mark.parametrize(
    "kwargs, net_arch, activation",
    [
        ({"net_arch": [16, 8]}, [16, 8], "tanh"),
        ({"net_arch": {"pi": [16], "vf": [8, 8]}}, {"pi": [16], "vf": [8, 8]}, "tanh"),
        ({"activation_fn": "elu"}, [64, 64], "elu"),
        ({"net_arch": [], "activation_fn": Tanh}, [], "tanh"),
        ({"activation_fn": type("ReLU", (), {})}, [64, 64], "relu"),
        ({"activation_fn": type("Identity", (), {})}, [64, 64], "identity"),
        ({}, [64, 64], "tanh"),
        (None, [64, 64], "tanh"),
    ],
)
def test_policy_kwargs_set_net_arch_and_activation(kwargs, net_arch, activation, tmp_path):
    agent = npr.PPO("MlpPolicy", "CartPole-v1", policy_kwargs=kwargs, verbose=0)
    assert (agent.net_arch, agent.activation) == (net_arch, activation)
    assert agent.actor.activation == activation
    params = agent.get_params()
    assert (params["net_arch"], params["activation"]) == (net_arch, activation)
    assert "policy_kwargs" not in params and not hasattr(agent, "policy_kwargs")
    agent.save(tmp_path / "a.npz")
    assert npr.load(tmp_path / "a.npz").get_params() == params


def test_policy_kwargs_have_the_other_settings_that_are_there_in_sb3():
    assert small("PPO", log_std_init=-1.0).log_std_init == -1.0
    assert small("TD3", n_critics=3).n_critics == 3


def small(algorithm, **policy_kwargs):
    env = "CartPole-v1" if algorithm in ("DQN", "PPO") else "Pendulum-v1"
    return getattr(npr, algorithm)(env, policy_kwargs=policy_kwargs, verbose=0)


@pytest.mark.parametrize("key", POLICY_KWARGS)
def test_what_policy_kwargs_cannot_have_in_npr_is_refused_with_advice(key):
    with pytest.raises(ConfigError, match=f"DQN does not take '{key}' in policy_kwargs: .*eave it"):
        small("DQN", **{"net_arch": [8], key: None})


@pytest.mark.parametrize(
    "algorithm, kwargs, match",
    [
        ("SAC", {"net_arch": {"pi": [8], "vf": [8]}}, "SAC: net_arch must be .* for pi and qf"),
        ("SAC", {"net_arch": [8.5]}, "SAC: net_arch must be a list of whole numbers"),
        ("SAC", {"activation": "tanh"}, "'activation' in policy_kwargs: it may have net_arch and "
         "activation_fn"),
        ("SAC", {"gamma": 0.9}, "SAC does not take 'gamma' in policy_kwargs"),
        ("DQN", {"activation_fn": LeakyReLU}, "DQN: activation_fn must be 'relu' or 'tanh' or "
         "'elu' or 'identity', or the class of that name in torch.nn, got <class .*LeakyReLU"),
        ("DQN", {"activation_fn": Tanh()}, "DQN: activation_fn must be .* got <.*Tanh object"),
        ("DQN", {"activation_fn": None}, "DQN: activation_fn must be .* got None"),
    ],
)  # fmt: skip
def test_policy_kwargs_that_are_not_valid_are_refused(algorithm, kwargs, match):
    with pytest.raises(ConfigError, match=match):
        small(algorithm, **kwargs)


def test_policy_kwargs_of_a_wrong_kind_or_place_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"PPO: policy_kwargs must be a dict, .* got \[8\]"):
        npr.PPO("CartPole-v1", policy_kwargs=[8])
    with pytest.raises(ConfigError, match="PPO: net_arch is given twice, by itself and in policy_"):
        npr.PPO("CartPole-v1", net_arch=[8], policy_kwargs={"net_arch": [8]})
    with pytest.raises(ConfigError, match="PPO: activation is given twice"):
        npr.PPO("CartPole-v1", activation="relu", policy_kwargs={"activation_fn": "relu"})
    with pytest.raises(ConfigError, match="QLearning does not take 'net_arch' .* has no networks"):
        npr.QLearning("CliffWalking-v1", policy_kwargs={"net_arch": [8]})
    small("DQN", net_arch=[8]).save(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="no setting 'policy_kwargs'; only the constructor takes"):
        npr.load(tmp_path / "a.npz", policy_kwargs={"net_arch": [8]})


# ---- methods and attributes


@pytest.mark.parametrize(
    "name, advice",
    [
        ("load", r"npr\.load\(path\)"),
        ("train", r"agent\.learn\(total_timesteps\)"),
        ("collect_rollouts", r"agent\.learn\(total_timesteps\)"),
        ("set_parameters", r"npr\.load"),
        ("get_parameters", r"agent\.policy\.theta .* get_params\(\) has the settings"),
        ("set_random_seed", r"give the constructor a seed, or npr\.clone\(agent, seed=1\)"),
        ("observation_space", r"agent\.observations describes it"),
        ("lr_schedule", r"agent\.now\(agent\.learning_rate\)"),
        ("log_ent_coef", r"agent\.alpha is the temperature"),
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
    shared = {"load", "observation_space", "action_space"}  # with environments
    assert named and not {*named} & {*npr.PPO.settings, *dir(small_agent("PPO").envs)} - shared
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
