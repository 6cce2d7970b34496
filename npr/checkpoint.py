"""Saving and loading of whole agents: parameters, optimisers, replay, counters, generators.

What an agent holds is found by its type, so that no algorithm can forget to save a part: arrays
of the backend are parameters, optimisers and buffers know their own state.
"""

import numpy as np

from npr.archive import read_archive, write_archive
from npr.backend import to_device, to_host, xp
from npr.buffers import ReplayBuffer
from npr.errors import CheckpointError, NumericsError
from npr.optim import SGD, Adam, RMSprop
from npr.policy import Policy
from npr.spaces import Observations

_OPTIMISERS = (Adam, RMSprop, SGD)


def save(agent, path) -> None:
    """Write an agent to one file without pickle."""
    arrays, counters = {}, {}
    for name, part in sorted(vars(agent).items()):
        for key, array in _arrays(name, part).items():
            arrays[key] = to_host(array)
        if isinstance(part, Adam):
            counters[name] = part.t
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
        },
        "rng": {name: _rng_state(rng) for name, rng in agent.rng.items()},
        "numpy": np.__version__,
    }
    write_archive(path, manifest, arrays)


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


def _arrays(name, part):
    """The arrays of one attribute of an agent, by their name in the file."""
    if isinstance(part, (np.ndarray, xp.ndarray)):
        return {f"params/{name}": part}
    if isinstance(part, _OPTIMISERS):
        held = {key: value for key, value in vars(part).items() if isinstance(value, xp.ndarray)}
        return {f"optim/{name}.{key}": value for key, value in held.items()}
    if isinstance(part, ReplayBuffer):
        return {f"buffer/{name}.{key}": value for key, value in part.state().items()}
    return {}


def load(path, env, registry):
    """The agent in a file. env: what it goes on learning in; None: the id in the file, if any.

    registry maps the name of an algorithm to its class: names from a file are looked up there
    and nowhere else. Everything is checked before anything is changed.
    """
    manifest, arrays = read_archive(path)
    try:
        return _rebuild(path, manifest, arrays, env, registry)
    except CheckpointError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, MemoryError,
            RecursionError) as error:  # fmt: skip
        raise CheckpointError(f"{path} does not describe a whole agent: {error}.") from error


def _rebuild(path, manifest, arrays, env, registry):
    name = manifest["algorithm"]
    if name not in registry:
        raise CheckpointError(
            f"{path} holds an agent of {name!r}; this npr has {', '.join(sorted(registry))}."
        )
    if not isinstance(manifest["env"], str | None):
        raise CheckpointError(f"{path}: the environment is {manifest['env']!r}, not an id.")
    Policy(manifest["policy"], arrays[manifest["policy_parameters"]])
    _check_widths(path, manifest, arrays)
    agent = registry[name].restore(manifest, env)
    if (manifest["policy"], manifest["policy_parameters"]) != _policy(agent):
        raise CheckpointError(f"{path}: the policy is not that of the agent's settings.")
    counters = manifest["counters"]
    used = set()
    for attribute, part in vars(agent).items():
        for key, present in _arrays(attribute, part).items():
            if key not in arrays:
                raise CheckpointError(f"{path}: {key} is missing.")
            used.add(key)
            if key.startswith("buffer/"):
                continue
            if arrays[key].shape != present.shape or arrays[key].dtype != present.dtype:
                raise CheckpointError(
                    f"{path}: {key} is {arrays[key].dtype}{arrays[key].shape}, the agent needs "
                    f"{present.dtype}{present.shape}."
                )
            if key.startswith("params/") and not np.isfinite(arrays[key]).all():
                raise CheckpointError(f"{path}: {key} holds numbers that are not finite.")
            on_host = type(present) is np.ndarray
            present[...] = arrays[key] if on_host else to_device(arrays[key])
        if isinstance(part, Adam):
            part.t = _count(counters["optimisers"][attribute])
        if isinstance(part, ReplayBuffer):
            prefix = f"buffer/{attribute}."
            part.load(
                {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            )
    if set(arrays) != used:
        raise CheckpointError(f"{path}: nothing of the agent is called {set(arrays) - used}.")
    agent.num_timesteps, agent.end = _count(counters["num_timesteps"]), _count(counters["end"])
    agent.n_updates = _count(counters["n_updates"])
    agent.logger.episode_count = _count(counters["episodes"])
    for purpose, rng in agent.rng.items():
        _set_rng_state(rng, manifest["rng"][purpose])
    return agent


def _rng_state(rng):
    """PCG64's state: its integers exceed what JSON readers agree on, hence as text."""
    state = rng.bit_generator.state
    return {
        "state": hex(state["state"]["state"]),
        "inc": hex(state["state"]["inc"]),
        "has_uint32": state["has_uint32"],
        "uinteger": state["uinteger"],
    }


def _set_rng_state(rng, held):
    state, inc = int(held["state"], 16), int(held["inc"], 16)
    if not (0 <= state < 1 << 128 and 0 <= inc < 1 << 128):
        raise CheckpointError("The state of a generator must have 128 bits.")
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": inc},
        "has_uint32": int(held["has_uint32"]),
        "uinteger": int(held["uinteger"]),
    }
