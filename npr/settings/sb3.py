"""What users of Stable-Baselines3 write that npr does not have, and what to use instead."""

from collections.abc import Mapping
from typing import Any, NoReturn

from npr.errors import ConfigError, UnknownNameError
from npr.nn import ACTIVATIONS

_OWN_BUFFER = "each algorithm makes its own buffer; leave it out"
_NO_SDE = "npr has no state-dependent exploration; leave it out"
_NOT_NEEDED = "leave it out"

SETTINGS = {  # arguments of a constructor
    "policy": "its policy is a multi-layer perceptron: leave it out, and set net_arch and "
    "activation",
    "policy_kwargs": "only the constructor takes it; the settings are net_arch and activation",
    "activation_fn": "pass activation='tanh', 'relu', 'elu' or 'identity'",
    "device": "set the environment variable NPR_BACKEND=cupy before Python starts to use a GPU",
    "tensorboard_log": "learn(log='tensorboard', log_dir='runs') writes the values",
    "stats_window_size": "means are those of the last 100 episodes; leave it out",
    "monitor_wrapper": "returns are always recorded, in agent.logger; leave it out",
    "create_eval_env": "call agent.evaluate(), or use npr.callbacks.EvalCallback",
    "use_sde": _NO_SDE,
    "use_sde_at_warmup": _NO_SDE,
    "sde_sample_freq": _NO_SDE,
    "replay_buffer_class": f"{_OWN_BUFFER}, or use PERDQN for prioritized replay",
    "replay_buffer_kwargs": _OWN_BUFFER,
    "rollout_buffer_class": _OWN_BUFFER,
    "rollout_buffer_kwargs": _OWN_BUFFER,
    "prioritized_replay": "use PERDQN",
    "optimize_memory_usage": "lower buffer_size if memory is short",
    "clip_range_vf": "the loss of the critic is not clipped; leave it out",
    "n_steps": "the steps of an n-step return are n_step_return, and REINFORCE has n_episodes",
    "target_update_interval": "its target networks move by tau after every update; leave it out",
    "n_critics": "SAC, SACS, DDPG and TD3 have several critics; leave it out",
    "target_kl": "it does not stop its epochs early: use PPO or PPOKL, or lower n_epochs",
    "rms_prop_eps": "it is 1e-5; leave it out",
    "support_multi_env": _NOT_NEEDED,
    "supported_action_spaces": _NOT_NEEDED,
    "_init_setup_model": _NOT_NEEDED,
}

_VEC_ENV = "pass the environment itself, or its id, and n_envs=8 for eight of it"
CLASSES = {
    "MaskablePPO": "pass action_masks=True to PPO, or to another algorithm",
    "RecurrentPPO": "npr has no recurrent networks: stack observations with "
    "gymnasium.wrappers.FrameStackObservation",
    "QRDQN": "use DQN or PERDQN",
    "TQC": "use SAC or TD3",
    "CrossQ": "use SAC, with layer_norm=True if values diverge",
    "TRPO": "use PPO or PPOKL",
    "ARS": "use PPO",
    "HerReplayBuffer": "npr has no hindsight experience replay",
    "DummyVecEnv": _VEC_ENV,
    "SubprocVecEnv": f"{_VEC_ENV}; n_workers=2 steps them in two processes",
    "VecNormalize": "pass normalize_obs=True and normalize_reward=True to the algorithm",
    "VecFrameStack": "use gymnasium.wrappers.FrameStackObservation",
    "Monitor": SETTINGS["monitor_wrapper"],
}

_NO_EXTRACTOR = (
    "npr has no feature extractors. Leave it out, and compute features in a wrapper of the "
    "environment, e.g. gymnasium.wrappers.TransformObservation"
)
_OF_SDE = f"it belongs to state-dependent exploration, and {_NO_SDE}"
POLICY_KWARGS = {  # keys of policy_kwargs, where they are not settings of the algorithm
    "ortho_init": "algorithms with a policy gradient initialize orthogonally, others do not; leave "
    "it out",
    "log_std_init": "its standard deviation is an output of the network; leave it out",
    "n_critics": SETTINGS["n_critics"],
    "squash_output": "SAC and SACS squash their actions, policy gradients do not; leave it out",
    "full_std": _OF_SDE,
    "use_expln": _OF_SDE,
    "use_sde": _OF_SDE,
    "clip_mean": _OF_SDE,
    "features_extractor_class": _NO_EXTRACTOR,
    "features_extractor_kwargs": _NO_EXTRACTOR,
    "share_features_extractor": _NO_EXTRACTOR,
    "normalize_images": "leave it out: flatten_images=True divides images by 255",
    "optimizer_class": "the optimizer is Adam, and RMSprop in A2C with use_rms_prop=True; leave it "
    "out",
    "optimizer_kwargs": "learning rates are settings, and the optimizers have no others; leave it "
    "out",
}

_POLICIES = {  # the beginnings of names of policies
    "Cnn": "npr has no convolutional networks. Leave it out; for small images pass "
    "flatten_images=True, and a multi-layer perceptron gets them flattened and divided by 255",
    "MultiInput": "leave it out: the parts of Dict and Tuple observations are concatenated",
    "MlpLstm": "npr has no recurrent networks. Leave it out, and stack observations with "
    "gymnasium.wrappers.FrameStackObservation",
}


def without_policy(owner: str, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, ...]:
    """The positional arguments of a constructor without "MlpPolicy" in the first place.

    given  the keyword arguments, from which policy="MlpPolicy" is removed

    Raises ConfigError for another policy.
    """
    named = "policy" in given
    first = given["policy"] if named else args[0] if args else None
    name = first.__name__ if isinstance(first, type) else first if isinstance(first, str) else ""
    if not name.endswith("Policy"):
        return args
    if name != "MlpPolicy":
        fits = (text for start, text in _POLICIES.items() if name.startswith(start))
        raise ConfigError(f"{owner} has no policy {name!r}; {next(fits, SETTINGS['policy'])}.")
    if named:
        del given["policy"]
    return args if named else args[1:]


def expand_policy_kwargs(owner: str, given: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Replace policy_kwargs in the keyword arguments of a constructor by the settings that it sets.

    settings   name -> Setting of the algorithm

    Raises ConfigError for a key that npr does not have, or that is given as a setting too.
    """
    kwargs = given.pop("policy_kwargs", None)
    if kwargs is None:
        return
    if not isinstance(kwargs, dict):
        raise ConfigError(
            f"{owner}: policy_kwargs must be a dict, e.g. dict(net_arch=[64, 64], "
            f"activation_fn='tanh'), got {kwargs!r}."
        )
    for key, value in kwargs.items():
        name = "activation" if key == "activation_fn" else key
        if name not in settings or key not in ("net_arch", "activation_fn", *POLICY_KWARGS):
            named = ("net_arch", "activation_fn") if "net_arch" in settings else ()
            advice = f"it may have {' and '.join(named)}" if named else "it has no networks"
            advice = POLICY_KWARGS.get(key, advice)
            raise ConfigError(f"{owner} does not take {key!r} in policy_kwargs: {advice}.")
        if name in given:
            raise ConfigError(f"{owner}: {name} is given twice, by itself and in policy_kwargs.")
        given[name] = _activation(owner, value) if name == "activation" else value


def _activation(owner: str, function: Any) -> str:
    """The name of an activation that is given by its name, or as a class of torch.nn."""
    name = function if isinstance(function, str) else getattr(function, "__name__", "").lower()
    if name not in ACTIVATIONS:
        raise ConfigError(
            f"{owner}: activation_fn must be {' or '.join(map(repr, ACTIVATIONS))}, or the class "
            f"of that name in torch.nn, got {function!r}."
        )
    return name


class _Elsewhere:
    """An attribute that only says what to use instead."""

    def __init__(self, advice: str) -> None:
        self.advice, self.name = advice, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        raise UnknownNameError(f"{owner.__name__} has no {self.name!r}: {self.advice}.")


class Methods:
    """Methods and attributes of its algorithms. Each raises UnknownNameError, an AttributeError."""

    load = _Elsewhere("npr.load(path) loads an agent of any algorithm")
    train = _Elsewhere("agent.learn(total_timesteps) trains it, and agent.update is one update")
    collect_rollouts = _Elsewhere("agent.learn(total_timesteps) collects steps and learns")
    get_env = _Elsewhere("agent.env is the environment that was given")
    observation_space = _Elsewhere("agent.observations describes it")
    action_space = _Elsewhere("agent.actions describes it")
    dump_logs = _Elsewhere("agent.logger.dump(agent.num_timesteps) writes the logs")
    get_vec_normalize_env = _Elsewhere("agent.obs_norm and agent.reward_norm normalize")
    get_parameters = _Elsewhere(
        "agent.policy.theta holds the policy's, save() writes all; get_params() has the settings"
    )
    set_parameters = _Elsewhere("npr.load(path, env=...) restores an agent with its parameters")
    set_random_seed = _Elsewhere("give the constructor a seed, or npr.clone(agent, seed=1)")
    lr_schedule = _Elsewhere("agent.now(agent.learning_rate) is its current learning rate")
    log_ent_coef = _Elsewhere("agent.alpha is the temperature of SAC, SACS and SoftQ")
    replay_buffer = _Elsewhere("the replay buffer of an off-policy algorithm is agent.buffer")
    buffer: Any = _Elsewhere(  # of those that have none
        "it has no replay buffer; agent.steps has the steps that were not learned from yet"
    )
    rollout_buffer = _Elsewhere("agent.steps has the steps that were not learned from yet")
    ep_info_buffer = _Elsewhere("agent.logger.episodes has (return, length) of the last episodes")
    device = _Elsewhere("npr.backend.BACKEND is the module that computes, numpy or cupy")
