"""Undocumented attributes of Gymnasium's environments that npr uses.

Checked against Gymnasium 1.3.0 and 1.4.0. Everything else in npr uses public names only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Any, Literal, Protocol


class AsyncInternals(Protocol):
    """The attributes of an AsyncVectorEnv that `workers` needs.

    parent_pipes   one per worker: a command and its data are sent, (answer, success) is received
    error_queue    (index, type, exception, traceback) of each worker whose success was False
    closed         True once no call is possible any more
    _state         the call whose answers are pending; its value is "default" if there is none
    """

    parent_pipes: list[Connection]
    processes: Sequence[BaseProcess]
    error_queue: Queue[Any]
    closed: bool
    _state: Enum


def is_call_pending(env: AsyncInternals) -> bool:
    """Whether a command was sent to the workers whose answers were not received."""
    return bool(env._state.value != "default")


def clear_pending_call(env: AsyncInternals) -> None:
    """Let the environment accept a new call although the last one has not returned."""
    env._state = type(env._state)("default")


def constructor_arguments(wrapper: Any) -> dict[str, Any] | None:
    """The arguments besides `env` that a wrapper was made with; None if it does not record them."""
    import gymnasium

    if not isinstance(wrapper, gymnasium.utils.RecordConstructorArgs):
        return None
    arguments = {name: value for name, value in wrapper._saved_kwargs.items() if name != "env"}
    try:  # a subclass may take others than the class that has recorded them
        inspect.signature(type(wrapper)).bind(None, **arguments)
    except TypeError:
        return None
    return arguments


def env_functions(env: Any) -> Sequence[Callable[[], Any]]:
    """The functions that make the environments of a SyncVectorEnv or AsyncVectorEnv."""
    functions = getattr(env, "env_fns", ())
    return functions if isinstance(functions, Sequence) else ()  # an iterator is used up


def single_envs(env: Any) -> Sequence[Any]:
    """The environments of a SyncVectorEnv; of another vector environment ()."""
    import gymnasium

    return env.envs if isinstance(env, gymnasium.vector.SyncVectorEnv) else ()


def takes_seed_list(env: Any) -> bool:
    """Whether reset() takes one seed per environment: SyncVectorEnv and AsyncVectorEnv only."""
    return hasattr(env, "env_fns")


def spec_of(id: str) -> Any:
    """The EnvSpec of an id; imports the module of "module:id", as gymnasium.make does."""
    from gymnasium.envs.registration import _find_spec

    return _find_spec(id)


def stalls_while_resetting(env: Any) -> bool:
    """Whether a vector environment does not step the others in a step that resets one of them.

    Those of Gymnasium in JAX (phys2d, tabular) restore the state of all from before the step.
    """
    names = (f"{kind.__module__}.{kind.__name__}" for kind in type(env.unwrapped).__mro__)
    return "gymnasium.envs.functional_jax_env.FunctionalJaxVectorEnv" in names


def retains_autoreset(env: Any) -> bool:
    """Whether workers in NEXT_STEP mode still reset in the next step after an explicit reset().

    So do those of an AsyncVectorEnv without shared memory.
    """
    return not getattr(env, "shared_memory", True)


Origin = Literal["env", "result", "batch", "unknown"]


def error_origin(error: BaseException, env: Any) -> tuple[int | None, Origin]:
    """Which environment of a SyncVectorEnv an error came from, and from which part of its loop.

    The exception does not say, but the local variables of the loop's frame do. Returns the index
    and "env" if the environment raised, the index and "result" if what it returned could not be
    used, (None, "batch") if the results could not be batched, else (None, "unknown").
    """
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_locals.get("self") is env and "_env_obs" in vars(env):
            called = trace.tb_frame.f_code.co_name if trace else None
            if called in ("step", "reset"):
                return frame.f_locals.get("i"), "env"
            if called in (None, "_add_info"):
                return frame.f_locals.get("i"), "result"
            return None, "batch"
    return None, "unknown"


def last_observations(env: Any) -> Sequence[Any]:
    """What each environment of a SyncVectorEnv returned last, before it was batched."""
    observations: Sequence[Any] = env._env_obs
    return observations
