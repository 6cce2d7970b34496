"""Gymnasium's API: spaces as plain data, and checks of what reset() and step() return.

Errors state what is wrong and how to fix it; npr.envs.batched adds the environment and the step.
"""

from __future__ import annotations

import math
import numbers
import re
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.envs.spaces import ACTION_KINDS
from npr.errors import EnvContractError, SpaceError

if TYPE_CHECKING:
    import gymnasium

_HOST_DEVICES = (1, 3)  # of DLPack: memory of the CPU, and that which is pinned for CUDA


def is_image(space: gymnasium.Space[Any]) -> bool:
    """Whether a space is a Box of uint8 with three axes."""
    import gymnasium.spaces as gs

    return isinstance(space, gs.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def observation_spec(space: gymnasium.Space[Any], scale_images: bool = False) -> dict[str, Any]:
    """A Gymnasium observation space as the plain data that `Observations` takes.

    scale_images   images, also within a Dict or Tuple, are divided by 255
    """
    import gymnasium.spaces as gs

    if isinstance(space, gs.Box):
        kind = "image" if scale_images and is_image(space) else "box"
        return {"kind": kind, "shape": list(space.shape)}
    if isinstance(space, gs.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, gs.MultiDiscrete):
        return {"kind": "multidiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, gs.MultiBinary):
        return {"kind": "multibinary", "shape": list(space.shape)}
    members = parts_of(space)
    if members is None:
        raise SpaceError(
            f"npr's networks need observations of fixed size, got {space}; wrap the environment "
            "with gymnasium.wrappers.TransformObservation to make them a Box."
        )
    parts = [observation_spec(part, scale_images) for part in members.values()]
    return {"kind": "group", "keys": list(members), "parts": parts}


def parts_of(space: gymnasium.Space[Any]) -> dict[Any, gymnasium.Space[Any]] | None:
    """The parts of a Dict or Tuple by key; None for other spaces."""
    import gymnasium.spaces as gs

    if isinstance(space, gs.Dict):
        return dict(space.spaces)
    return dict(enumerate(space.spaces)) if isinstance(space, gs.Tuple) else None


def action_spec(space: gymnasium.Space[Any]) -> dict[str, Any]:
    """A Gymnasium action space as the plain data that `Actions` takes; of a kind that is none of
    ACTION_KINDS if npr does not support it, or one of its parts."""
    import gymnasium.spaces as gs

    if isinstance(space, gs.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, gs.Box) and space.dtype.kind == "f" and space.low.size:
        bounds = {
            name: [x if math.isfinite(x) else None for x in bound.ravel().tolist()]
            for name, bound in (("low", space.low), ("high", space.high))
        }
        return {"kind": "box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, gs.MultiDiscrete):
        return {"kind": "multidiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, gs.MultiBinary):
        return {"kind": "multibinary", "shape": list(space.shape)}
    members = parts_of(space)
    if members and (isinstance(space, gs.Tuple) or all(isinstance(key, str) for key in members)):
        parts = [action_spec(part) for part in members.values()]
        unknown = [part for part in parts if part["kind"] not in ACTION_KINDS]
        return unknown[0] if unknown else {"kind": "group", "keys": list(members), "parts": parts}
    dtype = f" of {space.dtype}" if isinstance(space, gs.Box) else ""
    return {"kind": type(space).__name__.lower() + dtype}


def all_finite(x: np.ndarray) -> bool:
    """Whether all numbers of a host array are finite."""
    return 0 not in np.isfinite(x).tobytes()  # five times faster than .all() for a few numbers


def checked_reset(result: Any) -> Any:
    """The observation in what reset() returned. Raises EnvContractError."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise EnvContractError(
            f"reset() must return (observation, info), got {type(result).__name__}. This is the "
            "API of old Gym; wrap the environment, or return the pair."
        )
    _check_info("reset", result[1])
    return result[0]


def unpacked_step(error: Exception) -> EnvContractError | None:
    """The error of what step() returned, if a wrapper or vector environment of Gymnasium could not
    unpack it: a TimeLimit does so before npr sees it. None for any other error."""
    found = re.fullmatch(r"not enough values to unpack \(expected 5, got (\d)\)", str(error))
    trace = error.__traceback__
    if found is None or trace is None or not isinstance(error, ValueError):
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    module = str(frame.f_globals.get("__name__"))
    if not module.startswith("gymnasium.") or frame.f_code.co_name != "step":
        return None
    return _not_five(f"{found[1]} values")


def _not_five(got: str) -> EnvContractError:
    return EnvContractError(
        "step() must return (observation, reward, terminated, truncated, info), got "
        f"{got}. Four values are the API of old Gym: return both flags."
    )


def checked_step(result: Any) -> tuple[Any, float, bool, bool]:
    """(observation, reward, terminated, truncated) of what step() returned.

    Raises EnvContractError. The reward is converted to float; the observation is not checked.
    """
    if not isinstance(result, tuple) or len(result) != 5:
        got = type(result).__name__
        if isinstance(result, tuple):
            got += f" of {len(result)}"
        raise _not_five(got)
    observation, reward, terminated, truncated, info = result
    if reward.__class__ is not float:
        reward = _reward(reward)
    if terminated.__class__ is not bool or truncated.__class__ is not bool:
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, (bool, np.bool_)):
                raise EnvContractError(
                    f"step() returned {reprlib.repr(flag)} ({type(flag).__name__}) as {name}, "
                    f"which must be a bool. Return bool({name})."
                )
    if info.__class__ is not dict:
        _check_info("step", info)
    return observation, reward, terminated, truncated


def on_host(x: Any, call: str, name: str) -> Any:
    """x, or arrays of another library in it as NumPy's, if they are in the memory of the host.

    call, name   what has returned x, and as what

    Raises EnvContractError for arrays on a device.
    """
    if x.__class__ is np.ndarray:
        return x
    if isinstance(x, dict):
        return {key: on_host(part, call, name) for key, part in x.items()}
    if isinstance(x, tuple):
        return tuple(on_host(part, call, name) for part in x)
    check_on_host(x, call, name)
    return np.asarray(x) if hasattr(x, "__dlpack__") else x


def check_on_host(x: Any, call: str, name: str) -> None:
    """Raise EnvContractError for an array on a device, such as those of Isaac Lab."""
    device = getattr(x, "__dlpack_device__", None)
    away = hasattr(x, "__cuda_array_interface__")
    if not away and device is not None:
        away = int(device()[0]) not in _HOST_DEVICES
    if away:
        kind = f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}"
        raise EnvContractError(
            f"{call} returned {name} in a {kind} on the device "
            f"{getattr(x, 'device', 'of a GPU')}, but npr steps environments with NumPy arrays on "
            "the host. Wrap the environment and convert what reset() and step() return "
            "(x.cpu().numpy() in PyTorch), or simulate on the CPU."
        )


def success(info: Any) -> bool | None:
    """Whether an episode was a success, by info["is_success"] of its last step; None: unknown."""
    value = info.get("is_success")
    return None if value is None else bool(np.all(value))


def action_mask(env: Any, info: Any) -> Any:
    """The mask of the actions that an environment allows next: info["action_mask"], or what its
    method action_masks() returns, or its attribute of this name is; None: it has none.
    """
    mask = info.get("action_mask")
    if mask is None and env.has_wrapper_attr("action_masks"):
        mask = env.get_wrapper_attr("action_masks")
        if callable(mask):
            mask = mask()
    return mask


def has_action_mask(env: Any, info: Any) -> bool:
    """Whether `action_mask` has one, without a call of the environment's method."""
    return info.get("action_mask") is not None or env.has_wrapper_attr("action_masks")


NO_MASK = (
    "action_masks=True needs the actions that are allowed next: reset() and step() must return "
    'them as info["action_mask"], or the environment must have a method action_masks(). Leave '
    "action_masks out if all actions are always allowed."
)


def _reward(reward: Any) -> float:
    """A reward that is no Python float: any real number is accepted, also in an array of size 1."""
    if isinstance(reward, (np.ndarray, np.bool_)) and reward.size == 1:
        number = reward.item()
    else:
        number = reward
    if isinstance(number, (float, int, numbers.Real)):  # the last one alone takes far longer
        try:
            return float(number)
        except OverflowError:
            pass
    check_on_host(reward, "step()", "the reward")
    raise EnvContractError(
        f"step() returned {reprlib.repr(reward)} ({type(reward).__name__}) as the reward, which "
        "must be one number. Return float(reward)."
    )


def _check_info(call: str, info: Any) -> None:
    if not isinstance(info, dict):
        raise EnvContractError(
            f"{call}() must return a dict as info, got {reprlib.repr(info)} "
            f"({type(info).__name__}). Return {{}} if there is no information."
        )
