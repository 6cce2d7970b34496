"""Environments that the page has as JavaScript, and how they are made there."""

from collections.abc import Mapping
from typing import Any

from npr.training.evaluation import EPISODE_LIMIT

# id -> arguments of gymnasium.make that envs.mjs knows, and their types
_NUMBER, _LAKE = (int, float), {
    "desc": list, "map_name": str, "is_slippery": bool, "success_rate": (int, float),
    "reward_schedule": (list, tuple),
}  # fmt: skip
_KNOWN: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"sutton_barto_reward": bool},
    "MountainCar-v0": {"goal_velocity": _NUMBER},
    "MountainCarContinuous-v0": {"goal_velocity": _NUMBER},
    "Acrobot-v1": {},
    "Pendulum-v1": {"g": _NUMBER},
    "FrozenLake-v1": _LAKE,
    "FrozenLake8x8-v1": _LAKE,
    "CliffWalking-v1": {"is_slippery": bool},
    "CliffWalkingSlippery-v1": {"is_slippery": bool},
    "Taxi-v4": {"is_rainy": bool, "rainy_probability": _NUMBER},
}
_LIMITING = "TimeLimit"
_HARMLESS = ("OrderEnforcing", "RecordEpisodeStatistics", _LIMITING)


def live(described: Mapping[str, Any], max_episode_steps: int | None) -> dict[str, Any] | str:
    """How the page makes an agent's environment, or why it cannot, as a sentence.

    described           {"id", "kwargs", "wrappers", ...} or {"unknown": reason}, npr.envs.remake
    max_episode_steps   the agent's setting

    Returns {"env": id, "kwargs": arguments, "limit": steps of an episode, None: the registered
    limit}.
    """
    if "unknown" in described:
        return f"The environment is not known here: {described['unknown']}."
    name = described["id"]
    if name not in tuple(_KNOWN):
        return f"There is no JavaScript version of {name}, so the agent does not act on this page."
    kwargs = {k: v for k, v in described["kwargs"].items() if k != "render_mode"}
    limits = [max_episode_steps, kwargs.pop("max_episode_steps", None)]
    wrappers = described["wrappers"]
    for wrapper, arguments in wrappers or ():
        if wrapper not in _HARMLESS:
            return f"There is no JavaScript version of {name} in the wrapper {wrapper}."
        if wrapper == _LIMITING:
            limits.append(arguments["max_episode_steps"])
    for key, value in kwargs.items():
        if key not in _KNOWN[name] or not isinstance(value, _KNOWN[name][key]):
            return f"There is no JavaScript version of {name} with {key}={value!r:.100}."
    given = [limit for limit in limits if limit is not None]
    if wrappers is not None and not given:  # made without Gymnasium's limit
        given = [EPISODE_LIMIT]
    return {"env": name, "kwargs": kwargs, "limit": min(given, default=None)}
