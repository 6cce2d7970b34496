"""Files of a replay buffer alone: its transitions, and the running moments that normalize them.

The manifest says what the transitions are; the arrays are

    buffer/buffer.KEY      the state of the buffer
    state/obs_norm.KEY     the moments of observations, if there are any
    state/reward_norm.KEY  those of rewards

The rows do not say which of them the episodes that go on ended with: an agent that loads them is in
other episodes.
"""

import copy
import os
from typing import Any

import numpy as np

from npr.backend import to_host
from npr.errors import CheckpointError
from npr.files import migrations
from npr.files.archive import Arrays, Path, read_archive, write_archive
from npr.files.checkpoint import load_state
from npr.files.parts import Part, arrays_of

_KEYS = {"format", "npr", "replay", "n_step_return", "observations", "actions", "action_masks"}
_NORMS = ("obs_norm", "reward_norm")
_NO_COLUMNS = ("position", "newest", "largest")
_EPISODES = np.empty((0, 2), np.int64)  # the newest row of each: none


def save(agent: Any, path: Path) -> None:
    """Write the replay buffer of an agent. Raises OSError if the file cannot be written."""
    arrays = {key: to_host(x) for key, x in arrays_of("buffer", agent.buffer).items()}
    if "buffer/buffer.newest" in arrays:
        arrays["buffer/buffer.newest"] = _EPISODES
    for name in _NORMS:
        if (norm := getattr(agent, name)) is not None:
            arrays |= arrays_of(name, norm)
    write_archive(path, _about(agent), arrays)


def _about(agent: Any) -> dict[str, Any]:
    """What an agent must have to use the transitions of another one, as plain data."""
    return {
        "replay": type(agent.buffer).__name__,
        "n_step_return": agent.buffer.n_step,
        "observations": agent.observations.spec,
        "actions": agent.actions.spec,
        "action_masks": agent.action_masks,
    }


def load(agent: Any, path: Path) -> None:
    """Replace the transitions of an agent's buffer by those of a file.

    Raises FileNotFoundError if there is no file, and CheckpointError, which changes nothing, if it
    is not valid or does not fit the agent.
    """
    file = os.fsdecode(path)
    manifest, arrays = migrations.migrate(file, *read_archive(path))
    if set(manifest) != _KEYS:
        raise CheckpointError(
            f"{file} is not one of a replay buffer, which agent.save_replay_buffer(path) writes; "
            "npr.load(path) reads that of an agent."
        )
    try:
        _load(agent, manifest, arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{file} does not hold a valid replay buffer: {error}.") from error


def _load(agent: Any, manifest: dict[str, Any], arrays: Arrays) -> None:
    for name, mine in _about(agent).items():
        if manifest[name] != mine:
            raise CheckpointError(
                f"its {name} is {manifest[name]!r:.200}, the agent's {mine!r:.200}. Transitions "
                "can only be used with the same."
            )
    groups: dict[str, Arrays] = {}
    for key, array in arrays.items():
        group, _, rest = key.partition(".")
        groups.setdefault(group, {})[rest] = array
    state = _fitted(groups.pop("buffer/buffer"), agent.buffer.capacity)
    norms = {name: groups.pop(f"state/{name}", None) for name in _NORMS}
    if groups:
        raise CheckpointError(f"nothing is known of {sorted(groups)[:5]}.")
    if not agent.actions.contains(state["a"]):
        raise CheckpointError("it contains actions outside of the action space.")
    missing = {
        name: held
        for name, held in norms.items()
        if held and getattr(agent, name) is not None and not getattr(agent, name).moments.count
    }
    for name, held in missing.items():
        _load_moments(copy.deepcopy(getattr(agent, name)), name, held)  # raises before any change
    load_state(agent.buffer, "buffer", state)
    for name, held in missing.items():
        _load_moments(getattr(agent, name), name, held)


def _fitted(state: Arrays, capacity: int) -> Arrays:
    """The state of a buffer that can continue in one of another capacity: oldest row first, if it
    is a ring that cannot go on where it was."""
    size, position = len(state["r"]), int(state["position"])
    if not 0 <= position <= size:
        raise CheckpointError(f"{size} transitions cannot continue at row {position}.")
    if size > capacity:
        raise CheckpointError(
            f"it holds {size:,} transitions, more than buffer_size={capacity:,}. Build the agent "
            f"with buffer_size={size:_} or more."
        )
    if "newest" in state:
        state = {**state, "newest": _EPISODES}
    if position < size < capacity:
        state = {
            name: x if name in _NO_COLUMNS else np.roll(x, -position, axis=0)
            for name, x in state.items()
        }
        if "next" in state:
            links = state["next"]
            state["next"] = np.where(links < 0, links, (links - position) % size)
        position = size
    return {**state, "position": np.array(position % capacity, np.int64)}


def _load_moments(norm: Part, name: str, held: Arrays) -> None:
    """Take over running moments. The returns of open episodes stay those of the agent."""
    open_ones = {key: x for key, x in norm.state().items() if key == "returns"}
    load_state(norm, name, {**held, **open_ones})
