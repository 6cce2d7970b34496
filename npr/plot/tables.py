"""Value maps of tables: FrozenLake, CliffWalking, Taxi and other grids."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.errors import ConfigError
from npr.files import checkpoint
from npr.infer import load
from npr.plot.drawing import check_path, finish, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LAKES = {
    "4x4": ("SFFF", "FHFH", "FFFH", "HFFG"),
    "8x8": (
        "SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF",
        "FFFHFFFG",
    ),
}  # fmt: skip
_CLIFF = ("F" * 12, "F" * 12, "F" * 12, "S" + "C" * 10 + "G")
# rows of cells with the walls between them, as in gymnasium's taxi.py
_TAXI = ("R: | : :G", " : | : : ", " : : : : ", " | : | : ", "Y| : |B: ")
_STOPS = ("R", "G", "Y", "B")
# direction (row, column) of each action
_LEFT, _DOWN, _RIGHT, _UP = (0, -1), (1, 0), (0, 1), (-1, 0)
_LAKE_ACTIONS = (_LEFT, _DOWN, _RIGHT, _UP)
_CLIFF_ACTIONS = (_UP, _RIGHT, _DOWN, _LEFT)
_TAXI_ACTIONS = (_DOWN, _UP, _RIGHT, _LEFT)  # then: pick up, drop off
_WORDS = ("pick up", "drop off")
_DIRECTIONS = {"left": _LEFT, "down": _DOWN, "right": _RIGHT, "up": _UP}
_MEANING = {"S": "start", "G": "goal", "H": "hole", "C": "cliff", "#": "wall"}
_TERMINAL = "GHC#"  # cells in which no action is chosen


@dataclass
class Panel:
    """One grid that is drawn.

    cells     rows of characters: S start, G goal, H hole, C cliff, # wall; others are free
    q         (rows, columns, actions)
    actions   direction of each action; of further ones, _WORDS
    walls     (row, column) of cells with a wall on their right
    """

    title: str
    cells: Sequence[str]
    q: np.ndarray
    actions: Sequence[tuple[int, int]]
    walls: Sequence[tuple[int, int]] = ()

    @property
    def values(self) -> np.ndarray:
        """max_a Q (rows, columns); NaN where no action is chosen."""
        final = np.array([[cell in _TERMINAL for cell in row] for row in self.cells])
        return np.where(final, np.nan, self.q.max(axis=-1))

    def greedy(self, row: int, column: int) -> int | None:
        """The greedy action in a cell; None if there is none, or all actions are equal."""
        q = self.q[row, column]
        if self.cells[row][column] in _TERMINAL or (q == q[0]).all():
            return None
        return int(q.argmax())


def table(
    agents: Any,
    *,
    grid: Sequence[str] | None = None,
    actions: Sequence[str] | None = None,
    passenger: str = "Y",
    destination: str = "G",
    title: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the value max_a Q(s, a) of every cell of a grid, with an arrow to the greedy action.

    Holes, cliff and goal are marked; a cell whose actions have equal values, such as one that was
    never visited, has no arrow. On Taxi there are two panels: on the way to the passenger, and with
    the passenger on the way to the destination.

    agents       a tabular agent (QLearning, Sarsa), its file, or a list of them or {title: agent}
    grid         rows of characters for a grid of your own, whose state is row * columns + column:
                 S start, G goal, H hole, C cliff, # wall, others free. Known for FrozenLake,
                 CliffWalking and Taxi
    actions      "left", "right", "up" or "down" for each action of a grid of your own
    passenger    where the passenger of Taxi waits: R, G, Y or B
    destination  where the passenger goes
    title        title of a single panel; None: algorithm and environment
    path         file to write: .png, .svg or .pdf

    Returns the matplotlib Figure. Raises ConfigError if an agent has no table, or its environment
    is not a known grid.
    """
    check_path(path)
    found = all_panels(agents, title, grid, actions, passenger, destination)
    rows, columns = np.shape(found[0].values)
    wide = columns > 1.5 * rows
    down, across = (len(found), 1) if wide else (1, len(found))
    scale = 0.62 if max(rows, columns) > 6 else 0.8
    figure = new_figure(across * (scale * columns + 0.7) + 1.3, down * (scale * rows + 0.95))
    figure.set_layout_engine("compressed")  # cells stay square
    values = np.concatenate([one.values.ravel() for one in found])
    low, high = np.nanmin(values), np.nanmax(values)
    axes = figure.subplots(down, across, squeeze=False)
    image: Any = None
    for ax, panel in zip(axes.flat, found):
        image = _draw(ax, panel, float(low), float(high))
    figure.colorbar(image, ax=list(axes.flat), label="value: max Q(s, a) over actions a", pad=0.02)
    return finish(figure, path)


def all_panels(agents: Any, title: str | None = None, *given: Any) -> list[Panel]:
    """What `table` draws, with its arguments: titles that are equal get the names of the files."""
    named: list[tuple[str | None, Any]]
    if isinstance(agents, Mapping):
        named = [(str(name), one) for name, one in agents.items()]
    else:
        single = isinstance(agents, str | os.PathLike) or not isinstance(agents, Iterable)
        named = [(title, one) for one in ([agents] if single else agents)]
    each = [panels(one, name, *given) for name, one in named]
    seen = Counter(panel.title for found in each for panel in found)
    for i, ((_, one), found) in enumerate(zip(named, each), 1):
        file = shortened([os.fspath(one)], 60)[0] if isinstance(one, str | os.PathLike) else str(i)
        for panel in found:
            if seen[panel.title] > 1:
                panel.title = f"{panel.title} ({file})"
    return [panel for found in each for panel in found]


def panels(
    agent: Any,
    title: str | None = None,
    grid: Sequence[str] | None = None,
    actions: Sequence[str] | None = None,
    passenger: str = "Y",
    destination: str = "G",
) -> list[Panel]:
    """What `table` draws for one agent or file."""
    name, env, kwargs, q = _content(agent)
    title = title or f"{name} on {env}"
    if grid is not None:
        return [_custom(title, q, grid, actions)]
    kind = env.split("-")[0].removesuffix("Slippery")
    if kind == "Taxi":
        return _taxi(title, q, passenger, destination)
    if kind == "CliffWalking":
        return [_square(title, q, _CLIFF, _CLIFF_ACTIONS)]
    if kind in ("FrozenLake", "FrozenLake8x8"):
        return [_square(title, q, _lake(agent, kind, kwargs), _LAKE_ACTIONS)]
    raise ConfigError(
        f"{env} is not a grid that npr knows (FrozenLake, CliffWalking, Taxi). Pass grid=, rows of "
        "characters, and actions=, directions: table(agent, grid=['S.', '.G'], actions=['left', "
        "'right', 'up', 'down'])."
    )


def _content(agent: Any) -> tuple[str, str, dict[str, Any], np.ndarray]:
    """(algorithm, environment, its arguments, Q) of an agent or file."""
    if isinstance(agent, str | os.PathLike):
        policy, (manifest, _) = load(agent), checkpoint.read(agent)
        name, described = manifest["algorithm"], manifest["env_description"]
        env = manifest["env"]
    elif hasattr(agent, "policy"):
        policy, name, described = agent.policy, type(agent).__name__, agent.env_description
        env = agent.env_name
    else:
        raise ConfigError(f"table() draws agents or their files, got {agent!r}.")
    if policy.sizes is not None:
        raise ConfigError(
            f"{name} has a network and no table of values; table() draws QLearning and Sarsa."
        )
    kwargs = described.get("kwargs") or {}
    return name, str(env), dict(kwargs), np.asarray(policy.theta, np.float64)


def _lake(agent: Any, kind: str, kwargs: Mapping[str, Any]) -> Sequence[str]:
    """The map of a FrozenLake, from the arguments of its environment."""
    desc = kwargs.get("desc")
    name = kwargs.get("map_name", "8x8" if kind == "FrozenLake8x8" else "4x4")
    if desc is None and name in _LAKES:
        return _LAKES[name]
    if desc is None:
        envs = getattr(agent, "envs", None)  # a map that is drawn at random is in the open one only
        desc = getattr(envs.bases()[0].unwrapped, "desc", None) if envs else None
    if desc is None:
        raise ConfigError(
            "The map of this FrozenLake was drawn at random and is not in the file. Pass it: "
            "table(agent, grid=['SF', 'FG'], actions=['left', 'down', 'right', 'up'])."
        )
    text = [[one.decode() if isinstance(one, bytes) else str(one) for one in row] for row in desc]
    return ["".join(row) for row in text]


def _square(
    title: str, q: np.ndarray, cells: Sequence[str], actions: Sequence[tuple[int, int]]
) -> Panel:
    rows, columns = len(cells), len(cells[0])
    if len(q) != rows * columns or any(len(row) != columns for row in cells):
        raise ConfigError(
            f"The table has {len(q)} states, which do not fill a grid with rows of "
            f"{[len(row) for row in cells]} cells."
        )
    return Panel(title, list(cells), q.reshape(rows, columns, -1), actions)


def _custom(title: str, q: np.ndarray, grid: Sequence[str], actions: Sequence[str] | None) -> Panel:
    unknown = [one for one in actions or () if one not in _DIRECTIONS]
    if actions is None or unknown or len(actions) != q.shape[1]:
        raise ConfigError(
            f"actions must be a direction for each of the {q.shape[1]} actions, of "
            f"{', '.join(_DIRECTIONS)}; got {actions!r}."
        )
    return _square(title, q, list(grid), [_DIRECTIONS[one] for one in actions])


def _taxi(title: str, q: np.ndarray, passenger: str, destination: str) -> list[Panel]:
    """To the passenger, and with the passenger to the destination. State of gymnasium's taxi.py:
    ((row * 5 + column) * 5 + passenger) * 4 + destination, where passenger 4 is in the taxi."""
    for name, stop in (("passenger", passenger), ("destination", destination)):
        if stop not in _STOPS:
            raise ConfigError(f"{name} must be one of {', '.join(_STOPS)}; got {stop!r}.")
    if passenger == destination:
        raise ConfigError(f"passenger and destination must differ, got {passenger!r} for both.")
    if q.shape != (500, 6):
        raise ConfigError(f"The table of Taxi has shape (500, 6), got {q.shape}.")
    q = q.reshape(5, 5, 5, 4, 6)
    goal = _STOPS.index(destination)
    cells = ["".join(row[::2]).replace("G", "g") for row in _TAXI]
    walls = [(i, j // 2) for i, row in enumerate(_TAXI) for j, c in enumerate(row) if c == "|"]
    return [
        Panel(f"{title}: {text}", cells, q[:, :, where, goal], _TAXI_ACTIONS, walls)
        for text, where in (
            (f"to the passenger at {passenger}", _STOPS.index(passenger)),
            (f"with the passenger to {destination}", 4),
        )
    ]


def _draw(ax: Axes, panel: Panel, low: float, high: float) -> Any:
    values = panel.values
    rows, columns = values.shape
    if high == low:
        low, high = low - 0.5, high + 0.5
    image = ax.imshow(values, cmap="cividis", vmin=low, vmax=high)
    for i in range(rows):
        for j in range(columns):
            _draw_cell(ax, panel, i, j, (values[i, j] - low) / (high - low))
    for i, j in panel.walls:
        ax.plot([j + 0.5] * 2, [i - 0.5, i + 0.5], color="black", linewidth=4)
    ax.set_xticks(range(columns))
    ax.set_yticks(range(rows))
    ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="both", length=0, labelsize=8)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("column")
    ax.set_ylabel("row")
    ax.set_title(panel.title, fontsize=11)
    return image


def _draw_cell(ax: Axes, panel: Panel, i: int, j: int, brightness: float) -> None:
    """The mark, the value and the arrow of one cell."""
    from matplotlib.patches import Rectangle

    cell = panel.cells[i][j]
    if cell in _TERMINAL:
        dark = cell != "G"
        ax.add_patch(
            Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="0.25" if dark else "#009E73", zorder=1)
        )
        ax.text(
            j, i, _MEANING[cell], ha="center", va="center", color="white", fontsize=8,
            fontweight="bold",
        )  # fmt: skip
        return
    ink = "black" if brightness > 0.55 else "white"
    ax.text(j, i + 0.36, f"{panel.values[i, j]:.3g}", ha="center", va="center", color=ink,
            fontsize=7)  # fmt: skip
    name = {"S": "start"}.get(cell, cell.upper() if cell.upper() in _STOPS else "")
    if name:
        ax.text(j - 0.45, i - 0.34, name, ha="left", va="center", color=ink, fontsize=7)
    action = panel.greedy(i, j)
    if action is None:
        return
    if action >= len(panel.actions):
        word = _WORDS[action - len(panel.actions)].replace(" ", "\n")
        ax.text(j, i - 0.03, word, ha="center", va="center", color=ink, fontsize=7,
                fontweight="bold", linespacing=0.9)  # fmt: skip
        return
    down, right = panel.actions[action]
    ax.annotate(
        "", (j + 0.24 * right, i - 0.05 + 0.24 * down),
        (j - 0.24 * right, i - 0.05 - 0.24 * down),
        arrowprops={"arrowstyle": "-|>", "color": ink, "linewidth": 1.4, "mutation_scale": 10},
    )  # fmt: skip
