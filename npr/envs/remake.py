"""Makes another environment like a given one: for evaluation, and for an agent from a file.

What gymnasium.make has made can be made again, with wrappers that record their arguments. In a file
they are plain data: ids and wrappers are looked up in Gymnasium by name, and nothing is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.envs import envpool
from npr.envs.gymnasium_internals import constructor_arguments, env_functions, single_envs
from npr.errors import ConfigError, ConfigWarning

if TYPE_CHECKING:
    import gymnasium

    SingleEnv = gymnasium.Env[Any, Any]
    VectorEnv = gymnasium.vector.VectorEnv[Any, Any, Any]

Description = dict[str, Any]

# wrappers of Gymnasium that change nothing for an agent; those that record a training stay with it
_DROPPED = ("PassiveEnvChecker", "RecordVideo", "RenderCollection", "HumanRendering")
_NORMALIZING = ("NormalizeObservation", "NormalizeReward")
# wrappers of Gymnasium that a file may name
_WRAPPERS = (
    "AddRenderObservation", "AddWhiteNoise", "AtariPreprocessing", "ClipAction", "ClipReward",
    "DelayObservation", "DiscretizeAction", "DiscretizeObservation", "DtypeObservation",
    "FilterObservation", "FlattenObservation", "FrameStackObservation", "GrayscaleObservation",
    "MaxAndSkipObservation", "OrderEnforcing", "RecordEpisodeStatistics", "RepeatAction",
    "RescaleAction", "RescaleObservation", "ReshapeObservation", "ResizeObservation",
    "StickyAction", "TimeAwareObservation", "TimeLimit",
)  # fmt: skip
# wrappers of Gymnasium that leave observations and actions as they are
_NEUTRAL = (
    *_DROPPED, "Autoreset", "ClipReward", "NormalizeReward", "OrderEnforcing",
    "RecordEpisodeStatistics", "TimeLimit", "TransformReward",
)  # fmt: skip
_VECTOR_ARGUMENTS = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers")
_KEYS = {"id", "kwargs", "wrappers", "vector"}


class _Unknown(Exception):
    """Why an environment cannot be made again; the text completes "it cannot be made again: "."""


# ---- in this process


def remade(env: SingleEnv, render_mode: str | None = None) -> SingleEnv:
    """A new environment like `env`, which shares the statistics of its normalizing wrappers.

    render_mode   None: the one that `env` has, but no window

    Raises ConfigError if that is not possible.
    """
    try:
        base, wrappers = _layers(env)
        made = _bare(base, render_mode)
        for wrapper in wrappers[_height(made) :]:
            arguments = _arguments(wrapper)
            if arguments is not None:
                made = type(wrapper)(made, **arguments)
    except _Unknown as reason:
        raise ConfigError(str(reason)) from None
    share_statistics(made, env)
    return made


def share_statistics(made: SingleEnv, trained: SingleEnv | None) -> None:
    """Let the normalizing wrappers of a new environment use the statistics of the one that the
    agent is trained in, without updating them.

    trained   None: the statistics are not known, or there are several

    Raises ConfigError if there are such wrappers and no statistics for them.
    """
    mine, other = _normalizing(made), [] if trained is None else _normalizing(trained)
    if [*map(type, mine)] != [*map(type, other)]:
        raise ConfigError(normalizing_advice(type(mine[0] if mine else other[0]).__name__))
    for wrapper, theirs in zip(mine, other):
        name = "obs_rms" if hasattr(theirs, "obs_rms") else "return_rms"
        setattr(wrapper, name, getattr(theirs, name))
        wrapper.update_running_mean = False


@contextlib.contextmanager
def fixed_statistics(envs: Iterable[Any]) -> Iterator[None]:
    """Within it, the normalizing wrappers of environments do not update their statistics.

    Gives a ConfigWarning for a wrapper without statistics.
    """
    wrappers = [w for env in envs for w in _normalizing(env) if w.update_running_mean]
    for wrapper in wrappers:
        wrapper.update_running_mean = False
        if _statistics(wrapper).count < 1:
            warnings.warn(
                f"The environment's {type(wrapper).__name__} has seen nothing yet, so that it does "
                "not normalize. Give it the statistics of the training's wrapper (obs_rms or "
                "return_rms), or use normalize_obs=True instead of the wrapper.",
                ConfigWarning,
                stacklevel=6,
            )
    try:
        yield
    finally:
        for wrapper in wrappers:
            wrapper.update_running_mean = True


def changing_wrappers(described: Description, env: Any = None) -> list[str]:
    """The names of wrappers that may change observations or actions, the innermost first.

    described   of the environments, see `description`
    env         one of them, for those that a file cannot hold
    """
    if "unknown" not in described:
        names = [name for name, _ in described["wrappers"] or ()]
    else:
        names = [type(wrapper).__name__ for wrapper in _stack(env)]
    return [name for name in names if name not in _NEUTRAL]


def is_normalizing(env: SingleEnv) -> bool:
    """Whether an environment has wrappers with running statistics."""
    return bool(_normalizing(env))


def _normalizing(env: Any) -> list[Any]:
    """The normalizing wrappers of an environment, the innermost first."""
    import gymnasium.wrappers as gw

    kinds = tuple(getattr(gw, name) for name in _NORMALIZING)
    return [wrapper for wrapper in _stack(env) if isinstance(wrapper, kinds)]


def _statistics(wrapper: Any) -> Any:
    return wrapper.obs_rms if hasattr(wrapper, "obs_rms") else wrapper.return_rms


def without_recording(env: SingleEnv) -> SingleEnv:
    """A new environment without wrappers that record or show it: they belong to the training."""
    import gymnasium
    import gymnasium.wrappers as gw

    recording = gw.RecordVideo, gw.RenderCollection, gw.HumanRendering
    while isinstance(env, recording):
        env = env.env
    outer = env
    while isinstance(outer, gymnasium.Wrapper):
        while isinstance(outer.env, recording):
            outer.env = outer.env.env
        outer = outer.env
    return env


def normalizing_advice(wrapper: str) -> str:
    """Why an environment with a normalizing wrapper cannot be made again."""
    setting = "normalize_reward" if "Reward" in wrapper else "normalize_obs"
    return (
        f"the statistics of its wrapper {wrapper} are in the environments of the training only. "
        f"Use {setting}=True instead of the wrapper: then they are part of the agent"
    )


def single_of(env: VectorEnv) -> SingleEnv:
    """A new single environment like those of a VectorEnv. Raises ConfigError if there is none."""
    import gymnasium

    _check_vector_wrappers(env)
    base = env.unwrapped
    if envpool.is_pool(base) and (id := envpool.task_id(base)):
        return envpool.single(id, kwargs=envpool.arguments(base))
    functions = env_functions(base)
    if functions:
        made: SingleEnv = functions[0]()
        held = single_envs(base)
        if any(made is one for one in held):
            raise ConfigError("its function returns the same environment again")
        share_statistics(made, held[0] if len(held) == 1 else None)
        return without_recording(made)
    spec = _spec(base)
    if spec is None:
        raise ConfigError(f"{type(base).__name__} was not made by gymnasium.make_vec")
    return gymnasium.make(spec.id, disable_env_checker=True, **_single_arguments(spec))


def _spec(env: Any) -> gymnasium.envs.registration.EnvSpec | None:
    """How Gymnasium made an environment; None: others did, and may keep a spec of their own."""
    from gymnasium.envs.registration import EnvSpec

    spec = env.spec
    return spec if isinstance(spec, EnvSpec) else None


def _check_vector_wrappers(env: Any) -> None:
    """Raise ConfigError for a wrapper around a VectorEnv that a single environment would lack."""
    import gymnasium.wrappers.vector as gv

    while env is not env.unwrapped:
        name = type(env).__name__
        if not isinstance(env, (gv.RecordEpisodeStatistics, gv.RecordVideo, gv.HumanRendering)):
            if isinstance(env, (gv.NormalizeObservation, gv.NormalizeReward)):
                raise ConfigError(normalizing_advice(name))
            raise ConfigError(f"its wrapper {name} is for vector environments")
        env = env.env


def _single_arguments(spec: gymnasium.envs.registration.EnvSpec) -> dict[str, Any]:
    return {k: v for k, v in spec.kwargs.items() if k not in _VECTOR_ARGUMENTS}


def _stack(env: SingleEnv) -> list[gymnasium.Wrapper[Any, Any, Any, Any]]:
    """The wrappers of an environment, the innermost first."""
    import gymnasium

    wrappers = []
    while isinstance(env, gymnasium.Wrapper):
        wrappers.append(env)
        env = env.env
    return wrappers[::-1]


def _layers(
    env: SingleEnv,
) -> tuple[gymnasium.envs.registration.EnvSpec, list[gymnasium.Wrapper[Any, Any, Any, Any]]]:
    """The spec of the environment inside, and its wrappers, the innermost first."""
    spec = _spec(env.unwrapped)
    if spec is None:
        raise _Unknown(f"{type(env.unwrapped).__name__} was not made by gymnasium.make")
    return spec, _stack(env)


def _bare(spec: gymnasium.envs.registration.EnvSpec, render_mode: str | None = None) -> SingleEnv:
    """An environment without the wrappers that gymnasium.make adds, except for those that
    `render_mode` needs."""
    import gymnasium

    kwargs = {k: v for k, v in spec.kwargs.items() if (k, v) != ("render_mode", "human")}
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    bare = dataclasses.replace(
        spec, kwargs=kwargs, max_episode_steps=None, order_enforce=False, additional_wrappers=()
    )
    return gymnasium.make(bare, disable_env_checker=True)


def _height(env: SingleEnv) -> int:
    """The number of wrappers of an environment, without those that show or record it."""
    return sum(type(wrapper).__name__ not in _DROPPED for wrapper in _stack(env))


def _arguments(wrapper: Any) -> dict[str, Any] | None:
    """The arguments that a wrapper was made with; None for one that is dropped."""
    import gymnasium.wrappers as gw

    if isinstance(wrapper, tuple(getattr(gw, name) for name in _DROPPED)):
        return None
    arguments = constructor_arguments(wrapper)
    if arguments is None:
        raise _Unknown(
            f"its wrapper {type(wrapper).__name__} does not record its arguments "
            "(gymnasium.utils.RecordConstructorArgs)"
        )
    return arguments


# ---- in a file


def description(source: Any, opened: Sequence[SingleEnv] = (), **kwargs: Any) -> Description:
    """How an agent's environments are made, as plain data for its file.

    source   id, Env, VectorEnv or function, as given to the agent
    opened   the environments that an id or a function has made, if they are in this process
    kwargs   arguments of gymnasium.make

    {"id", "kwargs", "wrappers", "vector"}; wrappers is None for those that gymnasium.make adds.
    {"unknown": reason} if they cannot be made from plain data.
    """
    import gymnasium

    try:
        if isinstance(source, str):
            return _described(source.rpartition(":")[2], kwargs, None)
        if isinstance(source, gymnasium.vector.VectorEnv):
            return _of_vector(source)
        return _common([source] if isinstance(source, gymnasium.Env) else opened)
    except _Unknown as reason:
        return {"unknown": str(reason)}


def _described(
    id: str, kwargs: Mapping[str, Any], wrappers: list[Any] | None, vector: Any = None
) -> Description:
    kwargs = {k: v for k, v in kwargs.items() if (k, v) != ("render_mode", "human")}
    return {"id": id, "kwargs": _plain(kwargs, id), "wrappers": wrappers, "vector": vector}


def _common(envs: Sequence[SingleEnv]) -> Description:
    """The description that all of these environments have."""
    if not envs:
        raise _Unknown("it is made by a function, and was not made in this process")
    first, *others = map(_of_single, envs)
    if any(other != first for other in others):
        raise _Unknown("its environments differ from each other")
    return first


def _of_single(env: SingleEnv) -> Description:
    import gymnasium.wrappers as gw

    spec, stack = _layers(env)
    wrappers = []
    for wrapper in stack:
        kind = type(wrapper)
        if kind.__name__ in _NORMALIZING:
            raise _Unknown(normalizing_advice(kind.__name__))
        arguments = _arguments(wrapper)
        if arguments is None:
            continue
        name = kind.__name__
        if name not in _WRAPPERS or kind is not getattr(gw, name):
            raise _Unknown(f"its wrapper {name} is not one that npr makes from a file")
        wrappers.append([name, _plain(arguments, name)])
    return _described(spec.id, spec.kwargs, wrappers)


def _of_vector(env: VectorEnv) -> Description:
    try:
        _check_vector_wrappers(env)
    except ConfigError as error:
        raise _Unknown(str(error)) from None
    base = env.unwrapped
    mode = env.metadata.get("autoreset_mode")
    vector = {"autoreset_mode": getattr(mode, "name", None), "mode": "vector_entry_point"}
    held = single_envs(base)
    if held:
        return {**_common(held), "vector": {**vector, "mode": "sync"}}
    if envpool.is_pool(base) and (id := envpool.task_id(base)):
        return _described(id, envpool.arguments(base), None, {**vector, "mode": "envpool"})
    spec = _spec(base)
    if spec is None and base.spec is not None:
        raise _Unknown(f"{type(base).__name__} was not made by gymnasium.make_vec")
    if spec is None or spec.kwargs.get("wrappers"):
        raise _Unknown("it is made by functions in other processes")
    kwargs = _single_arguments(spec)
    if env_functions(base):
        vector["mode"] = "async"
    return _described(spec.id, kwargs, None, vector)


class EnvOfFile:
    """The environments that a file describes; they are made when they are needed.

    It is a function that makes a single one. Raises ConfigError if the description is not valid.
    """

    def __init__(self, described: Description):
        if set(described) != _KEYS or not isinstance(described["id"], str):
            raise ConfigError(f"An environment in a file has {sorted(_KEYS)}, got {described!r}.")
        self.description = described
        self.id = self.__name__ = described["id"]
        if ":" in self.id:
            raise ConfigError(f"The id {self.id!r} in a file would import a package.")
        self.kwargs = _value(described["kwargs"])
        self.wrappers = None
        if described["wrappers"] is not None:
            self.wrappers = [(name, _value(kwargs)) for name, kwargs in described["wrappers"]]
        self.vector = described["vector"]
        wrappers = [] if self.wrappers is None else self.wrappers
        for name, kwargs in [("make", self.kwargs), *wrappers]:
            if name not in ("make", *_WRAPPERS) or type(kwargs) is not dict:
                raise ConfigError(f"A file cannot have a wrapper {name!r} with {kwargs!r}.")
        if self.kwargs.get("render_mode") == "human" or "disable_env_checker" in self.kwargs:
            raise ConfigError(f"An environment in a file cannot have the arguments {self.kwargs}.")
        if self.vector is not None:
            modes = ("sync", "async", "vector_entry_point", "envpool")
            resets = ("NEXT_STEP", "SAME_STEP", "DISABLED")
            if (
                set(self.vector) != {"mode", "autoreset_mode"}
                or self.vector["mode"] not in modes
                or self.vector["autoreset_mode"] not in resets
            ):
                raise ConfigError(f"A file cannot have the vector environment {self.vector!r}.")

    def __repr__(self) -> str:
        return f"EnvOfFile({self.id!r}, {self.kwargs}, {self.wrappers}, {self.vector})"

    @property
    def source(self) -> str | EnvOfFile:
        """What an agent takes as its environment: the id alone, if it is all that there is."""
        return self.id if self.wrappers is None and self.vector is None else self

    def __call__(self) -> SingleEnv:
        import gymnasium
        import gymnasium.wrappers as gw

        if self.vector is not None and self.vector["mode"] == "envpool":
            return envpool.single(self.id, kwargs=self.kwargs)
        spec = registered(self.id)
        if self.wrappers is None:
            return gymnasium.make(spec, disable_env_checker=True, **self.kwargs)
        env = _bare(dataclasses.replace(spec, kwargs=self.kwargs))
        for name, kwargs in self.wrappers[len(_stack(env)) :]:
            env = getattr(gw, name)(env, **kwargs)
        return env

    def open_vector(self, n: int, seeds: np.random.SeedSequence) -> VectorEnv:
        """A VectorEnv of n environments, like the one that the agent was trained with.

        seeds   for those that get them when they are made
        """
        import gymnasium
        from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

        mode, autoreset = self.vector["mode"], self.vector["autoreset_mode"]
        if mode == "envpool":
            limit = self.kwargs.get("max_episode_steps")
            others = {k: v for k, v in self.kwargs.items() if k != "max_episode_steps"}
            return envpool.open_pool(self.id, n, seeds, limit, others)
        if mode == "vector_entry_point":
            spec = registered(self.id)
            return gymnasium.make_vec(spec, n, vectorization_mode=mode, **self.kwargs)
        kind: Callable[..., VectorEnv] = SyncVectorEnv if mode == "sync" else AsyncVectorEnv
        return kind([self] * n, autoreset_mode=AutoresetMode[autoreset])


def registered(id: str) -> gymnasium.envs.registration.EnvSpec:
    """The spec that is registered under an id from a file. Raises ConfigError if there is none.

    gymnasium.make would import the package of an id "package:name".
    """
    import gymnasium

    if id not in gymnasium.registry:
        raise ConfigError(
            f"The agent's file names the environment {id!r}, which is not registered here. Import "
            "the package that registers it, or pass env=."
        )
    return gymnasium.spec(id)


# ---- arguments as plain data

_WORD = re.compile(r"[\w.+ -]{0,64}", re.ASCII)  # cannot be a path, or name code in a module


def _is_key(key: object) -> bool:
    return isinstance(key, str) and bool(_WORD.fullmatch(key)) and not key.startswith("__")


def _plain(value: Any, where: str) -> Any:
    """An argument as plain data, {"__array__": ...} etc. for what JSON does not have."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else {"__float__": str(float(value))}
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    if type(value) is list:
        return [_plain(one, where) for one in value]
    if type(value) is tuple:
        return {"__tuple__": [_plain(one, where) for one in value]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return {"__array__": _plain(value.tolist(), where), "dtype": value.dtype.name}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return {"__dtype__": np.dtype(value).name}
    if type(value) is dict and all(map(_is_key, value)):
        return {k: _plain(v, where) for k, v in value.items()}
    raise _Unknown(f"{where} has the argument {value!r:.80}, which npr does not make from a file")


def _value(plain: Any) -> Any:
    """The argument that plain data stands for."""
    if isinstance(plain, list):
        return [_value(one) for one in plain]
    if isinstance(plain, str) and not _WORD.fullmatch(plain):
        raise ConfigError(f"An environment's argument in a file cannot be {plain!r:.80}.")
    if not isinstance(plain, dict):
        return plain
    if set(plain) == {"__float__"}:
        return float(plain["__float__"])
    if set(plain) == {"__tuple__"}:
        return tuple(map(_value, plain["__tuple__"]))
    if set(plain) == {"__dtype__"}:
        return _dtype(plain["__dtype__"]).type
    if set(plain) == {"__array__", "dtype"}:
        return np.array(_value(plain["__array__"]), _dtype(plain["dtype"]))
    if not all(map(_is_key, plain)):
        raise ConfigError(f"An environment's argument in a file cannot be {plain!r:.80}.")
    return {key: _value(one) for key, one in plain.items()}


def _dtype(name: Any) -> Any:
    if not re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", str(name)):
        raise ConfigError(f"An array in a file cannot have the dtype {name!r}.")
    return np.dtype(name)
