"""Saving and loading of whole agents: parameters, optimisers, replay, counters, generators, and
where the run stands in its episodes.

What an agent holds is found by its type, so that no algorithm can forget to save a part: arrays
of the backend are parameters; optimisers, buffers and others know their own state.
"""

import os
import platform
import re
import warnings

import numpy as np

from npr.backend import BACKEND, installed, to_device, to_host, xp
from npr.buffers import IntegerMap, ReplayBuffer, Steps
from npr.envs.batched import check_position
from npr.envs.spaces import Observations
from npr.errors import CheckpointError, CheckpointWarning, ConfigError, NumericsError
from npr.files.archive import read_archive, write_archive
from npr.files.generators import generator_state, set_generator_state
from npr.noise import OrnsteinUhlenbeck
from npr.normalize import ObservationNorm, RewardNorm
from npr.optim import Adam, Optimizer
from npr.policy import Policy
from npr.settings import is_whole
from npr.system.blas import blas_name, threads_set_by_user
from npr.training.logger import Logger

_STATEFUL = (Steps, IntegerMap, OrnsteinUhlenbeck, ObservationNorm, RewardNorm, Logger)


def save(agent, path) -> None:
    """Write an agent to one file without pickle."""
    arrays, counters = {}, {}
    for name, part in sorted(vars(agent).items()):
        for key, array in _arrays(name, part).items():
            arrays[key] = to_host(array)
        if isinstance(part, Adam):
            counters[name] = part.t
    for key, array in agent.position().items():
        arrays[f"state/envs.{key}"] = array
    for purpose, rng in agent.rng.items():
        arrays[f"rng/{purpose}"] = generator_state(rng)
    for key, array in arrays.items():
        floats = key.startswith("params/") and array.dtype.kind == "f"
        if floats and not np.isfinite(array).all():
            raise NumericsError(
                f"{key} holds numbers that are not finite: training has diverged. Nothing was "
                "written, so that a good file is not lost; lower learning_rate and train again."
            )
    policy, parameters = _policy(agent)
    manifest = {
        "algorithm": type(agent).__name__,
        "env": agent.env_id,
        "settings": {name: getattr(agent, name) for name in agent.settings},
        "seed": agent.seed,
        "policy": policy,
        "policy_parameters": parameters,
        "counters": {
            "num_timesteps": agent.num_timesteps,
            "end": agent.end,
            "n_updates": agent.n_updates,
            "episodes": agent.logger.episode_count,
            "optimisers": counters,
            "skipped": {
                name: part.skip_counts()
                for name, part in sorted(vars(agent).items())
                if isinstance(part, Optimizer)
            },
        },
        "made_with": made_with(),
    }
    write_archive(path, manifest, arrays)


def made_with() -> dict:
    """What bits depend on besides settings and seeds: another of these, and they may differ."""
    return {
        "numpy": np.__version__,
        "BLAS": blas_name(),
        "numba": "switched off" if os.environ.get("NPR_NUMBA") == "0" else installed("numba"),
        "machine": f"{platform.system()} {platform.machine()}",
        "backend": BACKEND,
        "threads of BLAS": threads_set_by_user() or "npr's choice",
    }


def check_target(path, interval) -> None:
    """Refuse a path that no file can be written to, and a number of env steps that is none."""
    if interval is not None and not (is_whole(interval) and interval >= 1 and path is not None):
        raise ConfigError(
            "save_freq must be a whole number of env steps, with a save_path to write to; got "
            f"save_freq={interval!r}, save_path={path!r}."
        )
    if path is None:
        return
    if not isinstance(path, (str, os.PathLike)) or os.path.isdir(path):
        raise ConfigError(f"save_path must be the path of a file, got {path!r}.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ConfigError(f"save_path={path!r}: there is no folder {folder!r}; make it first.")


def save_or_warn(agent, path) -> None:
    """Save in the middle of a run, which goes on where the disk is full or gone."""
    try:
        save(agent, path)
    except OSError as error:
        warnings.warn(
            f"The agent could not be saved to {path} at step {agent.num_timesteps:,} ({error}). "
            "What the file held before is untouched, and training goes on.",
            CheckpointWarning,
            stacklevel=2,
        )


def rescue(agent, why: str, path=None) -> str:
    """Save an agent whose run breaks off; returns a sentence about it, and raises nothing.

    path   None: a name of its own in the working folder
    """
    where = f"step {agent.num_timesteps:,} of {agent.end:,}"
    if agent.position()["steps"] <= 1:
        return f"Nothing was learnt yet, and so nothing saved ({where})."
    path = path or _free_name(agent, why)
    try:
        save(agent, path)
    except Exception as error:  # what the run broke off for is what the user is to see
        return f"At {where} the agent could not be saved to {path}: {error}"
    goes_on = ".learn() goes on from there" if agent.num_timesteps < agent.end else " is at the end"
    return f"At {where} the agent was saved: npr.load({str(path)!r}){goes_on}."


def _free_name(agent, why):
    """A file in the working folder that is not there yet, and that no other process will take."""
    parts = (type(agent).__name__, agent.env_id, why, os.getpid())
    stem = re.sub(r"[^\w-]+", "-", "-".join(str(part) for part in parts if part))
    names = (f"{stem}{end}.npz" for end in ("", *(f"-{i}" for i in range(2, 1_000))))
    return next(name for name in names if not os.path.exists(name))


def _policy(agent):
    """The spec of an agent's policy, and where its parameters are."""
    return agent.policy.spec, f"params/{agent.policy_parts[2]}"


def _check_widths(path, manifest, arrays):
    """Every matrix that the settings ask for must be among the arrays of the file: so a small
    file cannot make a large network."""
    held = sum(array.size for array in arrays.values())
    arch = manifest["settings"].get("net_arch", [])
    for widths in arch.values() if isinstance(arch, dict) else [arch]:
        for n, m in zip([Observations(manifest["policy"]["observations"]).size, *widths], widths):
            if _count(n) * _count(m) > held:
                raise CheckpointError(f"{path}: a layer of {n} x {m} is more than the file holds.")


def _count(n):
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 1 << 62:
        raise CheckpointError(f"A counter must be a whole number of at least 0, got {n!r}.")
    return n


def _group(part) -> str | None:
    """Where in a file an attribute of an agent belongs; None where it does not."""
    if isinstance(part, (np.ndarray, xp.ndarray)):
        return "params"
    if isinstance(part, Optimizer):
        return "optim"
    if isinstance(part, ReplayBuffer):
        return "buffer"
    return "state" if isinstance(part, _STATEFUL) else None


def _arrays(name, part):
    """The arrays of one attribute of an agent, by their name in the file."""
    group = _group(part)
    if group == "params":
        return {f"params/{name}": part}
    if group == "optim":
        held = {key: value for key, value in vars(part).items() if isinstance(value, xp.ndarray)}
        return {f"optim/{name}.{key}": value for key, value in held.items()}
    if group is None:
        return {}
    return {f"{group}/{name}.{key}": value for key, value in part.state().items()}


def load(path, env, registry):
    """The agent in a file. env: what it goes on learning in; None: the id in the file, if any.

    registry maps the name of an algorithm to its class: names from a file are looked up there
    and nowhere else. Everything is checked before anything is changed.
    """
    manifest, arrays = read_archive(path)
    try:
        return _rebuild(path, manifest, arrays, env, registry)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, MemoryError,
            RecursionError) as error:  # fmt: skip
        if isinstance(error, CheckpointError) and str(path) in str(error):
            raise
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"{path} does not describe a whole agent: {what}. Take another file, or train anew."
        ) from error


_MANIFEST = {
    "format", "npr", "algorithm", "env", "settings", "seed", "policy", "policy_parameters",
    "counters", "made_with", "without_episode",
}  # fmt: skip


def _rebuild(path, manifest, arrays, env, registry):
    if strange := set(manifest) - _MANIFEST:
        raise CheckpointError(f"{path}: no manifest of an agent says {sorted(strange)[:5]}.")
    name = manifest["algorithm"]
    if name not in registry:
        raise CheckpointError(
            f"{path} holds an agent of {name!r}; this npr has {', '.join(sorted(registry))}."
        )
    if not isinstance(manifest["env"], str | None):
        raise CheckpointError(f"{path}: the environment is {manifest['env']!r}, not an id.")
    Policy.of_file(manifest, arrays)
    _check_widths(path, manifest, arrays)
    agent = registry[name].restore(manifest, env)
    if (manifest["policy"], manifest["policy_parameters"]) != _policy(agent):
        raise CheckpointError(f"{path}: the policy is not that of the agent's settings.")
    counters = manifest["counters"]
    unused = dict(arrays)
    for attribute, part in vars(agent).items():
        group = _group(part)
        if group in ("params", "optim"):
            for key, present in _arrays(attribute, part).items():
                _fill(path, key, present, unused.pop(key, None))
        elif group:
            held = _take(unused, f"{group}/{attribute}.")
            if held or not manifest.get("without_episode"):
                part.load(held)
        if isinstance(part, Adam):
            part.t = _count(counters["optimisers"][attribute])
        if isinstance(part, Optimizer):
            part.skipped, part.consecutive_skipped = map(_count, counters["skipped"][attribute])
    for purpose, rng in agent.rng.items():
        set_generator_state(rng, unused.pop(f"rng/{purpose}"))
    for key in ("buffer/buffer.a", "state/steps.a"):
        if key in arrays and not agent.actions.holds(arrays[key]):
            raise CheckpointError(f"{path}: {key} holds actions that the action space has not.")
    position = _take(unused, "state/envs.")
    if position:
        check_position(position)
    agent.made_with = {str(name): str(what) for name, what in manifest["made_with"].items()}
    agent.resume(_count(counters["num_timesteps"]), _count(counters["end"]), position)
    agent.n_updates = _count(counters["n_updates"])
    agent.logger.episode_count = _count(counters["episodes"])
    if unused:
        raise CheckpointError(f"{path}: nothing of the agent is called {set(unused)}.")
    return agent


def _take(arrays, prefix):
    """The arrays whose names begin so, by the rest of their names; they are taken out."""
    keys = [key for key in arrays if key.startswith(prefix)]
    return {key.removeprefix(prefix): arrays.pop(key) for key in keys}


def _fill(path, key, present, held):
    """Put an array of a file into its place."""
    if held is None:
        raise CheckpointError(f"{path}: {key} is missing.")
    if held.shape != present.shape or held.dtype != present.dtype:
        raise CheckpointError(
            f"{path}: {key} is {held.dtype}{held.shape}, the agent needs "
            f"{present.dtype}{present.shape}."
        )
    if not np.isfinite(held).all():
        raise CheckpointError(f"{path}: {key} holds numbers that are not finite.")
    present[...] = held if type(present) is np.ndarray else to_device(held)
