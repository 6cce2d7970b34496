"""Policies of one- or two-dimensional Box actions beside the values of their critics."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.backend import FLOAT, to_device, to_host
from npr.errors import ConfigError
from npr.plot.drawing import check_path, color, finish, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FINE = {1: 401, 2: 81}  # points per dimension at which critics are computed
_BINS = {1: 80, 2: 50}
_SHOWN = 400  # sampled actions in a picture of two dimensions


@dataclass
class Landscape:
    """The policy and the critic of an agent at one observation, in units of the environment.

    axes     one array of action values per dimension
    samples  (n, D), actions that the policy draws; one point if it is deterministic
    Q        over the axes, (points,) or (points of 0, points of 1): the smallest of the critics;
             None: the agent has no critic of actions
    target   exp(Q / alpha), normalized to a density over the axes; None: without a temperature
    """

    axes: list[np.ndarray]
    samples: np.ndarray
    Q: np.ndarray | None
    target: np.ndarray | None

    @property
    def ranges(self) -> list[tuple[float, float]]:
        return [(float(x[0]), float(x[-1])) for x in self.axes]

    @property
    def deterministic(self) -> bool:
        return bool((self.samples == self.samples[0]).all())


def landscape(agent: Any, observation: Any, samples: int = 20_000, seed: int = 0) -> Landscape:
    """What `policy` draws for one agent and observation.

    Raises ConfigError if the actions are not one or two numbers.
    """
    actions, held = agent.actions, agent.policy
    if actions.kind != "box" or actions.size not in _FINE:
        raise ConfigError(
            f"policy() draws Box actions of one or two dimensions; {type(agent).__name__} has "
            f"{actions}."
        )
    x = held.encode(observation)
    if len(x) != 1:
        raise ConfigError(
            f"policy() draws one observation, got a batch of {len(x)}. Pass a list of them."
        )
    rng = np.random.default_rng(seed)
    drawn = held.choose(np.repeat(x, samples, axis=0), deterministic=False, rng=rng)
    units = [np.linspace(-1, 1, _FINE[actions.size])] * actions.size
    if not actions.bounded:
        units = [_range(column, len(units[0])) for column in drawn.T]
    points = np.stack(np.meshgrid(*units, indexing="ij"), axis=-1).reshape(-1, actions.size)
    shape = [len(one) for one in units]
    in_env = actions.to_env_batch(points.astype(FLOAT)).reshape(-1, actions.size)
    axes = [np.unique(column.astype(np.float64)) for column in in_env.T]
    Q = _values(agent, x, points)
    target = None
    alpha = getattr(agent, "alpha", None)  # of an algorithm that maximizes entropy
    if Q is not None:
        Q = Q.reshape(shape)
        if alpha:
            target = np.exp((Q - Q.max()) / alpha)
            volume = np.prod([one[1] - one[0] for one in axes])
            target /= target.sum() * volume
    taken = actions.to_env_batch(drawn).reshape(samples, -1).astype(np.float64)
    return Landscape(axes, taken, Q, target)


def _range(drawn: np.ndarray, n: int) -> np.ndarray:
    low, high = np.quantile(drawn, [0.001, 0.999])
    margin = 0.1 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, n)


def _values(agent: Any, x: np.ndarray, a: np.ndarray) -> np.ndarray | None:
    """The smallest of the critics' values (n,) of actions a (n, D) in [-1, 1]."""
    found = agent.values_by()
    if found is None:
        return None
    critic, theta = found
    s = to_device(np.repeat(x, len(a), axis=0))
    q = np.asarray(to_host(critic(theta, s, to_device(a.astype(FLOAT)))), np.float64)
    smallest: np.ndarray = q.min(axis=0) if q.ndim == 2 else q
    return smallest


def policy(
    agents: Any,
    observation: Any,
    *,
    samples: int = 20_000,
    labels: Iterable[str] | None = None,
    title: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the density of a policy's actions beside its critic's values Q(s, a) at an observation.

    The density is a histogram of sampled actions. For algorithms with a temperature alpha (SAC,
    SACS, SoftQ) the density exp(Q / alpha) that they aim at is drawn too: SoftQ's sampler can
    follow several modes of it, a Gaussian follows one. In two dimensions, sampled actions are
    points on the landscape of the critic.

    agents       an agent with Box actions of one or two dimensions, a list of them, or
                 {label: agent}; each has a row
    observation  one observation, or a list of them: a row for each, of each agent
    samples      actions that are drawn, with a generator of their own: the agent's is not used
    labels       names of the actions' dimensions
    path         file to write: .png, .svg or .pdf

    Returns the matplotlib Figure.
    """
    check_path(path)
    if isinstance(agents, Mapping):
        named = [(str(name), one) for name, one in agents.items()]
    else:
        several = agents if isinstance(agents, list | tuple) else [agents]
        named = [(type(one).__name__, one) for one in several]
    observed = observation if _several(observation) else [observation]
    if not named:
        raise ConfigError("policy() needs an agent or more, got none.")
    rows = [
        (name if len(observed) == 1 else f"{name}, observation {i + 1}", landscape(one, s, samples))
        for name, one in named
        for i, s in enumerate(observed)
    ]
    D = len(rows[0][1].axes)
    if any(len(one.axes) != D for _, one in rows):
        raise ConfigError("The agents have actions of different dimensions; draw them apart.")
    names = list(labels or ([f"action {i}" for i in range(D)] if D > 1 else ["action"]))
    if len(names) != D:
        raise ConfigError(f"labels must name {D} dimensions of the action, got {names}.")
    figure = new_figure(9.0, (2.6 if D == 1 else 3.7) * len(rows) + 0.3)
    axes = figure.subplots(len(rows), 2, squeeze=False, sharex=D == 1)
    for (name, found), (left, right) in zip(rows, axes):
        draw = _draw_line if D == 1 else _draw_plane
        draw(left, right, found, name, names)
    if title:
        figure.suptitle(title, fontsize=12)
    return finish(figure, path)


def _several(observation: Any) -> bool:
    """Whether these are several observations, and not the numbers of one."""
    numbers = (int, float, np.number)
    return isinstance(observation, list) and not all(isinstance(x, numbers) for x in observation)


# ---- one dimension


def _draw_line(left: Axes, right: Axes, found: Landscape, name: str, names: list[str]) -> None:
    (x,), ((low, high),) = found.axes, found.ranges
    if found.deterministic:
        left.axvline(found.samples[0, 0], color=color(0), linewidth=2, label="the action")
    else:
        left.hist(
            found.samples[:, 0], bins=_BINS[1], range=(low, high), density=True, color=color(0),
            alpha=0.45, label="sampled actions",
        )  # fmt: skip
    if found.target is not None:
        left.plot(x, found.target, color=color(1), linewidth=1.8, label="exp(Q / alpha)")
    left.set_title(f"{name}: density of actions", fontsize=11)
    left.set_ylabel("probability density")
    right.set_title(f"{name}: critic", fontsize=11)
    if found.Q is None:
        _no_critic(right, name)
    else:
        right.plot(x, found.Q, color=color(1), linewidth=1.8)
        right.set_ylabel("value Q(s, a)")
    for ax in (left, right):
        ax.set_xlim(low, high)
        ax.set_xlabel(names[0])
        ax.tick_params(labelbottom=True)
        style(ax)
    left.set_ylim(0, None)
    left.legend(frameon=False, fontsize=9)


def _no_critic(ax: Axes, name: str) -> None:
    ax.text(
        0.5, 0.5, f"{name} has no critic of actions", ha="center", va="center", color="0.4",
        transform=ax.transAxes,
    )  # fmt: skip


# ---- two dimensions


def _draw_plane(left: Axes, right: Axes, found: Landscape, name: str, names: list[str]) -> None:
    figure: Any = left.figure
    x, y = found.axes
    points = found.samples[: 1 if found.deterministic else _SHOWN]
    *_, image = left.hist2d(
        found.samples[:, 0], found.samples[:, 1], bins=_BINS[2], range=found.ranges, density=True,
        cmap="cividis",
    )  # fmt: skip
    figure.colorbar(image, ax=left, label="probability density")
    left.set_title(f"{name}: density of actions", fontsize=11)
    right.set_title(f"{name}: critic and sampled actions", fontsize=11)
    if found.Q is None:
        _no_critic(right, name)
    else:
        filled = right.contourf(x, y, found.Q.T, levels=24, cmap="cividis")
        figure.colorbar(filled, ax=right, label="value Q(s, a)")
        right.plot(
            *points.T, "o", color="white", markersize=2.5, markeredgecolor="black",
            markeredgewidth=0.4, alpha=0.8,
        )  # fmt: skip
    for ax in (left, right):
        ax.set(xlim=found.ranges[0], ylim=found.ranges[1], xlabel=names[0], ylabel=names[1])
