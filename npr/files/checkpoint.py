"""Saving and loading of agents: parameters, optimizers, replay buffers, counters, generators and
the position of the environments in their episodes.

A file has these arrays, and a manifest with the settings, the policy and the counters:

    params/NAME                 an attribute of the agent that is an array
    optim|buffer|state/NAME.KEY an array in the state of an attribute (see npr.files.parts)
    state/envs.KEY              the position of the environments
    state/acting.theta          the policy's parameters that choose the next action, where they are
                                not the current ones: see npr.training.acting
    rng/PURPOSE                 a generator
"""

import os
import platform
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, Self, TypeGuard, TypeVar

import numpy as np

from npr.backend import (
    BACKEND,
    NUMBA,
    Array,
    installed,
    is_finite,
    to_device,
    to_host,
)
from npr.errors import CheckpointError, CheckpointWarning, ConfigError, NumericsError
from npr.files import migrations
from npr.files.archive import Arrays, Manifest, Path, read_archive, write_archive
from npr.files.generators import generator_state, set_generator_state
from npr.files.parts import CountingPart, Part, Snapshot, arrays_of, is_array, parts
from npr.files.policy_file import is_policy
from npr.system import memory
from npr.system.blas import blas_name, threads_set_by_user

_MANIFEST = {
    "format", "npr", "algorithm", "env", "env_description", "settings", "seed", "policy",
    "policy_parameters", "counters", "made_with", "without_episode",
}  # fmt: skip
_POSITION = "state/envs."
_ACTING = "state/acting.theta"


class Agent(Protocol):
    """The interface of an agent for saving and loading, besides its parts."""

    env_id: str | None
    env_description: dict[str, Any]
    seed: int | None
    rng: dict[str, np.random.Generator]
    snapshot: Snapshot

    @property
    def num_timesteps(self) -> int:
        """Env steps so far."""

    @property
    def end(self) -> int:
        """Env steps at which the run ends."""

    @property
    def n_updates(self) -> int:
        """Updates so far."""

    def setting_values(self) -> dict[str, Any]:
        """The settings by name, plain data."""

    @property
    def logger(self) -> Any:
        """Its `episode_count` is the number of episodes so far."""

    @property
    def policy(self) -> Any:
        """Its `spec` is plain data."""

    @property
    def policy_parameters(self) -> str:
        """The name of the attribute with the policy's parameters."""

    @property
    def masked_tables(self) -> tuple[str, ...]:
        """The names of attributes that may have -inf, see npr.backend.is_finite."""

    def position(self) -> dict[str, Any]:
        """The position of the environments in their episodes, as arrays."""

    def acting_parameters(self) -> np.ndarray | None:
        """The parameters that the next action is chosen by; None: the current ones."""

    @classmethod
    def restore(cls, manifest: Manifest, arrays: Arrays, env: object) -> Self:
        """A new agent with the settings in a manifest.

        Raises an exception if the policy or an array in the file does not match the agent.
        """

    def resume(
        self, *, num_timesteps: int, end: int, n_updates: int, episodes: int,
        made_with: dict[str, str], position: Arrays, acting: np.ndarray | None,
    ) -> None:  # fmt: skip
        """Restore the counters, the position for when the environments are opened, and the
        parameters to act by until the next updates, if they are not the current ones.

        Raises an exception if one of them is not valid.
        """


A = TypeVar("A", bound=Agent)


# ---- saving


def save(agent: Agent, path: Path, without: Collection[str] = ()) -> None:
    """Write an agent to one file.

    without   names of changed attributes that are not saved

    Raises CheckpointError if the file would not restore all of the agent's state, NumericsError if
    parameters are not finite, and OSError if the file cannot be written. An existing file is then
    unchanged.
    """
    _check_complete(agent, without)
    added = [name for name in agent.snapshot.added(agent) if name not in without]
    if added:
        warnings.warn(
            f"The file does not hold {', '.join(added)}, which the {type(agent).__name__} did not "
            "have when it was built. Make state of an algorithm in build(); begin other names with "
            "an underscore.",
            CheckpointWarning,
            stacklevel=3,
        )
    arrays, skipped = {}, {*without, *added}
    for name, part in parts(agent).items():
        if name not in skipped:
            arrays.update({key: to_host(array) for key, array in arrays_of(name, part).items()})
    arrays |= {_POSITION + key: array for key, array in agent.position().items()}
    acting = agent.acting_parameters()
    if acting is not None:
        current = arrays[f"params/{agent.policy_parameters}"]
        arrays |= {} if acting.tobytes() == current.tobytes() else {_ACTING: acting}
    arrays |= {
        f"rng/{purpose}": np.asarray(generator_state(rng)) for purpose, rng in agent.rng.items()
    }
    _check_finite(arrays, {f"params/{name}" for name in agent.masked_tables})
    write_archive(path, _manifest(agent), arrays)


def _check_complete(agent: Agent, without: Collection[str]) -> None:
    lost = [name for name in agent.snapshot.changed(agent) if name not in without]
    if lost:
        names = ", ".join(f"{type(agent).__name__}.{name}" for name in lost)
        raise CheckpointError(
            f"A file would not restore {names}, which changed since build(). Make it an array in "
            "build(), or give its class a group, state() and load() (see npr.files.parts), or "
            "begin its name with an underscore if it can be derived from other attributes. "
            "Nothing was written."
        )


def _check_finite(arrays: Arrays, masked: Collection[str]) -> None:
    for key, array in arrays.items():
        floats = key.startswith("params/") and array.dtype.kind == "f"
        if floats and not is_finite(array, key in masked):
            raise NumericsError(
                f"{key} contains NaN or infinite values: training has diverged. Nothing was "
                "written, so that an earlier file is kept; lower learning_rate and train again."
            )


def _manifest(agent: Agent) -> Manifest:
    counters = {name: part.counters() for name, part in parts(agent).items() if _counts(part)}
    return {
        "algorithm": type(agent).__name__,
        "env": agent.env_id,
        "env_description": agent.env_description,
        "settings": agent.setting_values(),
        "seed": agent.seed,
        "policy": agent.policy.spec,
        "policy_parameters": f"params/{agent.policy_parameters}",
        "counters": {
            "num_timesteps": agent.num_timesteps,
            "end": agent.end,
            "n_updates": agent.n_updates,
            "episodes": agent.logger.episode_count,
            "optimisers": {name: held["t"] for name, held in counters.items() if "t" in held},
            "skipped": {
                name: [held["skipped"], held["consecutive"]] for name, held in counters.items()
            },
        },
        "made_with": made_with(),
    }


def _counts(part: Array | Part) -> TypeGuard[CountingPart]:
    return hasattr(part, "counters")


def made_with() -> dict[str, str]:
    """Versions and hardware: what the last bits of results depend on besides settings and seeds."""
    return {
        "numpy": np.__version__,
        "BLAS": blas_name(),
        "numba": installed("numba") if NUMBA else "switched off",
        "machine": f"{platform.system()} {platform.machine()}",
        "backend": BACKEND,
        "threads of BLAS": threads_set_by_user() or "npr's choice",
    }


def changes(earlier: Mapping[str, str]) -> str:
    """The differences of `made_with()` in this process from `earlier`; "" if there are none."""
    return "; ".join(
        f"{name} was {earlier.get(name)}, here it is {here}"
        for name, here in made_with().items()
        if earlier.get(name) != here
    )


# ---- loading


def check_no_replay(path: Path, manifest: Manifest) -> None:
    """Raise CheckpointError for the manifest of npr.files.replay_file."""
    if "replay" in manifest:
        file = os.fsdecode(path)
        raise CheckpointError(
            f"{file} holds a replay buffer alone: use agent.load_replay_buffer({file!r})."
        )


def read(path: Path) -> tuple[Manifest, Arrays]:
    """The manifest and the arrays of a file, in the current format.

    Raises FileNotFoundError if there is no file, and CheckpointError if it is corrupted,
    truncated or not an npr file.
    """
    manifest, arrays = read_archive(path)
    check_no_replay(path, manifest)
    return migrations.migrate(os.fsdecode(path), manifest, arrays)


def load(
    path: Path,
    env: object,
    registry: Mapping[str, type[A]],
    prepare: Callable[[Any], Any] | None = None,
) -> A:
    """Load the agent in a file.

    env         environment to continue in; None: the environment id in the file, if any
    registry    class of each algorithm by name: a name in a file is looked up here only
    prepare     makes the settings of the agent from those in the file

    Raises FileNotFoundError if there is no file, and CheckpointError if anything in it is invalid.
    """
    manifest, arrays = read(path)
    file = os.fsdecode(path)
    if is_policy(manifest):
        raise CheckpointError(
            f"{file} holds the policy alone, which acts but cannot learn on: use "
            f"npr.infer.load({file!r}), or load the file that agent.save(path) wrote."
        )
    try:
        if prepare is not None:
            manifest["settings"] = prepare(manifest["settings"])
        with memory.explain_full_device(manifest["settings"]):
            return _rebuild(manifest, arrays, env, registry)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, MemoryError,
            RecursionError) as error:  # fmt: skip
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise CheckpointError(
            f"{file} does not describe a valid agent: {reason}. Use another file, or train again."
        ) from error


def _rebuild(manifest: Manifest, arrays: Arrays, env: object, registry: Mapping[str, type[A]]) -> A:
    agent = _class(manifest, registry).restore(manifest, arrays, env)
    rest = dict(arrays)
    _load_parts(agent, manifest, rest)
    for purpose, rng in agent.rng.items():
        set_generator_state(rng, _take(rest, f"rng/{purpose}"))
    counters = manifest["counters"]
    agent.resume(
        num_timesteps=count(counters["num_timesteps"]),
        end=count(counters["end"]),
        n_updates=count(counters["n_updates"]),
        episodes=count(counters["episodes"]),
        made_with={str(name): str(what) for name, what in manifest["made_with"].items()},
        position=_take_all(rest, _POSITION),
        acting=rest.pop(_ACTING, None),
    )
    if rest:
        raise CheckpointError(f"the agent has nothing for the arrays {sorted(rest)[:5]}.")
    return agent


def _class(manifest: Manifest, registry: Mapping[str, type[A]]) -> type[A]:
    if unknown := set(manifest) - _MANIFEST:
        raise CheckpointError(f"unknown manifest keys {sorted(unknown)[:5]}.")
    if not isinstance(manifest["env"], str | None):
        raise CheckpointError(f"the environment must be an id or null, got {manifest['env']!r}.")
    name = manifest["algorithm"]
    if name not in registry:
        raise CheckpointError(
            f"the file contains an agent of {name!r}; this npr has {', '.join(sorted(registry))}. "
            "An algorithm of your own is known once its module is imported (--import MODULE)."
        )
    return registry[name]


def _load_parts(agent: Agent, manifest: Manifest, rest: Arrays) -> None:
    """Load the state of all parts of an agent, and remove their arrays from `rest`."""
    counters = manifest["counters"]
    for name, part in parts(agent).items():
        if is_array(part):
            held = _take(rest, f"params/{name}")
            _fill(part, f"params/{name}", held, name in agent.masked_tables)
            continue
        state = _take_all(rest, f"{part.group}/{name}.")
        if state or part.group == "optim" or not manifest.get("without_episode"):
            load_state(part, name, state)
        if _counts(part):
            part.load_counters(_counters_of(part, name, counters))


def load_state(part: Part, name: str, state: Arrays) -> None:
    """Load the state of one part. Raises CheckpointError, and changes nothing, if it is not valid.

    name   of the part, for errors
    """
    key, expected = f"{part.group}/{name}", part.state().keys()
    if missing := sorted(expected - state.keys()):
        raise CheckpointError(f"{key}.{missing[0]} is missing.")
    if unknown := sorted(state.keys() - expected):
        raise CheckpointError(f"the agent's {name} has no array for {key}.{unknown[0]}.")
    try:
        part.load(state)
    except ConfigError as error:
        raise CheckpointError(f"{key}: {error}") from error


def _counters_of(part: CountingPart, name: str, counters: Mapping[str, Any]) -> dict[str, int]:
    """The counters of one optimizer, from the counters in a manifest."""
    skipped, consecutive = map(count, counters["skipped"][name])
    held = {"skipped": skipped, "consecutive": consecutive}
    return held | {"t": count(counters["optimisers"][name])} if "t" in part.counters() else held


def _take(arrays: Arrays, key: str) -> Any:
    """Remove an array and return it."""
    if key not in arrays:
        raise CheckpointError(f"{key} is missing.")
    return arrays.pop(key)


def _take_all(arrays: Arrays, prefix: str) -> Arrays:
    """Remove the arrays whose names begin with a prefix, and return them without it."""
    keys = [key for key in arrays if key.startswith(prefix)]
    return {key.removeprefix(prefix): arrays.pop(key) for key in keys}


def _fill(array: Array, key: str, held: Any, masked: bool) -> None:
    """Copy an array of a file to an array of the agent."""
    if held.shape != array.shape or held.dtype != array.dtype:
        raise CheckpointError(
            f"{key} is {held.dtype}{held.shape}, the agent needs {array.dtype}{array.shape}."
        )
    if not is_finite(held, masked):
        raise CheckpointError(f"{key} contains NaN or infinite values.")
    array[...] = held if type(array) is np.ndarray else to_device(held)


def count(value: object) -> int:
    """A counter in a file. Raises CheckpointError unless it is a whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise CheckpointError(f"a counter must be a whole number of at least 0, got {value!r}.")
    return value
