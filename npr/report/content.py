"""What a page says about an agent, as plain data: curves, evaluation, settings, origin."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from npr.algorithms.base import REGISTRY, Algorithm
from npr.errors import ConfigError, NprError, is_of_gymnasium
from npr.files import run_folder
from npr.loading import load
from npr.plot.groups import OneRun, resolve
from npr.report.live import live
from npr.runs.folder import WHICH, agent_file
from npr.training.evaluation import EPISODE_LIMIT

Array = np.ndarray[Any, Any]

_POINTS = 120  # of a curve, at most
_EVALUATIONS = 60  # at most
_DIGITS = 5  # of numbers in the page
_SHARE = (10, 90)  # percentiles between which the band of a curve is
_LONGEST = 300  # characters of a value
_LARGEST = 1e150  # number that is shown


def content(
    run: Any, which: str | None, env: Any, episodes: int, seed: int | None
) -> tuple[dict[str, Any], Any]:
    """What a page says about a run, and the agent that acts in it; None if it has no agent.

    run        run folder, file of an agent, or agent
    which      a key of npr.runs.folder.WHICH, None: the first that exists
    env        of the evaluation; None: one like the agent's
    episodes   of the evaluation; 0: none
    seed       of the evaluation
    """
    agent, data, file = _opened(run, which)
    config = {} if data is None else data.config
    history = OneRun("", None, None, None, {}, np.empty((0, 4)))
    if data is not None or not isinstance(run, (str, os.PathLike)):
        ((history,),) = [group.runs for group in resolve(run if data is None else data)]
    algorithm = type(agent).__name__ if agent is not None else str(history.algorithm)
    name = (history.env if agent is None else _env_name(agent)) or ""
    evaluation, reason = _evaluation(agent, env, episodes, seed)
    acts = "The run has no agent yet." if agent is None else _live(agent)
    return {
        "title": f"{algorithm} on {name or 'an unnamed environment'}",
        "algorithm": algorithm,
        "env": name,
        "trained": _trained(agent, history),
        "curve": curve(history.history),
        "evaluations": _evaluations(history.evaluations),
        "evaluation": evaluation,
        "not_evaluated": reason,
        "settings": _settings(algorithm, agent, config),
        "facts": _facts(agent, config, data, file),
        "live": acts if isinstance(acts, dict) else None,
        "not_live": "" if isinstance(acts, dict) else acts,
    }, agent


def _opened(
    run: Any, which: str | None
) -> tuple[Algorithm | None, run_folder.RunData | None, Path | None]:
    """The agent of a run, what its folder holds, and the file of the agent."""
    if isinstance(run, Algorithm):
        if which is not None:
            raise ConfigError(f"which={which!r} needs a run folder, {run!r} is not a folder.")
        return run, None, None
    if not isinstance(run, (str, os.PathLike)):
        raise ConfigError(
            f"A report is of a run folder, the file of an agent, or an agent; got {run!r}."
        )
    path = Path(run)
    if not path.is_dir():
        file = agent_file(path, which)
        return load(file), None, file
    data = run_folder.read(path)
    if which is None and not any((path / name).is_file() for name in WHICH.values()):
        return None, data, None
    file = agent_file(path, which)
    return load(file), data, file


def _env_name(agent: Algorithm) -> str | None:
    return None if agent.env is None and agent.env_id is None else agent.env_name


def _live(agent: Algorithm) -> dict[str, Any] | str:
    return live(agent.env_description, agent.max_episode_steps)


# ---- results


def curve(history: Array) -> dict[str, list[float]]:
    """A learning curve from rows (n, 4) of a history: env step at an episode's end, return, ...

    Returns x (m,), and mean, low and high of the returns near it, where 80 % of them are; m <= 120.
    """
    history = history[_usable(history[:, :2]).all(axis=1)]
    steps, returns = history[:, 0], history[:, 1]
    if not len(steps):
        return {"x": [], "mean": [], "low": [], "high": []}
    n = min(_POINTS, len(steps))
    part = np.minimum((steps * n / max(steps[-1], 1)).astype(np.int64), n - 1)
    parts = [part == i for i in np.unique(part)]
    return {
        "x": _short([steps[one].mean() for one in parts]),
        **_spread([returns[one] for one in parts]),
    }


def _spread(groups: list[Array]) -> dict[str, list[float]]:
    """The mean of each group, and the bounds between which 80 % of it are."""
    return {
        "mean": _short([one.mean() for one in groups]),
        "low": _short([np.percentile(one, _SHARE[0]) for one in groups]),
        "high": _short([np.percentile(one, _SHARE[1]) for one in groups]),
    }


def _evaluations(held: Mapping[str, Array]) -> dict[str, list[float]]:
    """Those during a run, like a curve."""
    if not held or not len(held["timesteps"]):
        return {"x": [], "mean": [], "low": [], "high": []}
    steps, results = held["timesteps"], held["results"]
    kept = np.flatnonzero(_usable(results).all(axis=1))
    if not len(kept):
        return _evaluations({})
    chosen = kept[np.unique(np.linspace(0, len(kept) - 1, _EVALUATIONS).astype(np.int64))]
    return {"x": _short(steps[chosen]), **_spread([*results[chosen]])}


def _evaluation(
    agent: Algorithm | None, env: Any, episodes: int, seed: int | None
) -> tuple[dict[str, Any] | None, str]:
    """The evaluation of an agent, or None and why there is none."""
    if agent is None:
        return None, "The run has no agent yet."
    if not episodes:
        return None, "The agent was not evaluated for this page."
    try:
        result = agent.evaluate(env, episodes, seed, True, EPISODE_LIMIT)
    except Exception as error:
        if env is not None or not (isinstance(error, NprError) or is_of_gymnasium(error)):
            raise
        return None, f"The agent could not be evaluated: {error}"
    if not _usable(result.returns).all():
        return None, "The agent was evaluated, and returns were not finite."
    return {
        "returns": _short(result.returns),
        "mean": result.mean, "std": result.std,
        "min": float(result.returns.min()), "max": float(result.returns.max()),
        "length": float(result.lengths.mean()),
        "success": result.success_rate,
    }, ""  # fmt: skip


def _usable(numbers: Array) -> Array:
    """Which numbers are finite, and so are sums of their squares."""
    return np.isfinite(numbers) & (abs(numbers) < _LARGEST)


def _short(numbers: Any) -> list[float]:
    """Numbers with few digits: they are text in the page."""
    return [float(f"{x:.{_DIGITS}g}") for x in numbers]


# ---- what is known about it


def _trained(agent: Algorithm | None, history: OneRun) -> str:
    steps = int(history.history[-1, 0]) if len(history.history) else 0
    seed = history.seed
    if agent is not None:
        steps, seed = agent.num_timesteps, agent.seed
    return f"{steps:,} env steps" + ("" if seed is None else f", seed {seed}")


def _settings(
    algorithm: str, agent: Algorithm | None, config: Mapping[str, Any]
) -> list[tuple[str, str, bool]]:
    """(name, value, whether it is not the default) of each setting."""
    kind = REGISTRY.get(algorithm)
    usual = {} if kind is None else kind.defaults()
    held = config.get("settings", {})
    values = dict(held) if isinstance(held, Mapping) else {}
    if agent is not None:
        values = agent.setting_values()
    return [
        (name, _text(value), name not in usual or usual[name] != value)
        for name, value in values.items()
        if name != "verbose"
    ]


def _facts(
    agent: Algorithm | None,
    config: Mapping[str, Any],
    data: run_folder.RunData | None,
    file: Path | None,
) -> list[tuple[str, str]]:
    """(name, value) of where the agent comes from."""
    found: dict[str, Any] = {}
    if data is not None:
        found["run folder"] = Path(data.folder).name
    if file is not None:
        found["file"] = file.name
    if agent is not None:
        theta = agent.policy.theta
        found |= {
            "environment": agent.env_description.get("id", _env_name(agent)),
            "seed": agent.seed,
            "env steps": f"{agent.num_timesteps:,}",
            "updates": f"{agent.n_updates:,}",
            "policy": str(agent.policy).replace("->", "→"),
            "parameters of the policy": f"{theta.size:,}",
            "made with": ", ".join(f"{name} {text}" for name, text in agent.made_with.items()),
        }
    command = config.get("command")
    if isinstance(command, list):
        found["command"] = " ".join(map(str, command))
    found |= {name: config[name] for name in ("started", "git") if config.get(name)}
    return [(name, _text(value)) for name, value in found.items() if value is not None]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
