"""Logged values of a run, with the keys of Stable-Baselines3.

Each row of a log has the means of what was measured since the row before.
"""

import contextlib
import functools
import json
import operator
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from npr.backend import Array, to_host, xp
from npr.errors import ConfigError
from npr.files.checkpoint import count
from npr.loggers import Outputs
from npr.training.history import History

WINDOW = 100  # episodes in ep_rew_mean, as in Stable-Baselines3
NO_EPISODE = "no episode finished yet"
_LONGEST = 1 << 20  # bytes of the open row in a file
_ARRAYS = (np.ndarray, xp.ndarray)
_BLOCK = 256  # updates whose metrics are kept before they are added up


def explained_variance(v: Array, R: Array, rows: Array) -> Array:
    """1 - Var[R - v] / Var[R] of values v and returns R (T, N) over the valid rows; a scalar.

    rows   indices into the flattened columns, see Rollout.rows
    """
    v, R = v.reshape(-1)[rows], R.reshape(-1)[rows]
    return 1 - (R - v).var() / (R.var() + 1e-8)


class Column(NamedTuple):
    """Where a metric is in rows of bytes, and what it is."""

    name: str
    start: int
    stop: int
    dtype: Any
    shape: tuple[int, ...]


class Replayed(dict[str, Any]):
    """Metrics of one update that are in an array with those of many updates, so that a device is
    read once for all of them.

    values   the metrics
    rows     (N, K) bytes; a row is not written again
    row      the row of this update
    columns  where its metrics are
    """

    __slots__ = ("columns", "row", "rows", "values_in_rows")

    def __init__(
        self, values: dict[str, Any], rows: Array, row: int, columns: list[Column]
    ) -> None:
        super().__init__(values)
        self.values_in_rows, self.rows, self.row, self.columns = values, rows, row, columns


class Logger:
    """Collects the logged values of a run, and writes rows of them to outputs.

    episodes        (return, length) of the last episodes
    successes       1 or 0 for each of them; NaN if the environment does not say
    episode_count   number of episodes so far
    history         the episodes in this process
    outputs         npr.loggers.Outputs, while a run writes to them
    """

    group = "state"  # in an agent's file: npr.files.parts

    def __init__(self) -> None:
        self.episodes: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self.successes: deque[float] = deque(maxlen=WINDOW)
        self.episode_count = 0
        self.history = History()
        self.outputs = Outputs([])
        self.last_row: int | None = None  # env steps at the last row; None: unknown
        self.iterations = 0  # rollouts so far
        self.start_row()
        self._complete = False  # whether the run is, so that nothing is added to its open row
        self.clear_line: Callable[[], None] = _nothing  # empties a line of progress, for other text
        self._last: dict[str, Any] = {}  # values of the last row
        self._seconds_before = 0.0  # in the history, of earlier calls of learn()

    def start_row(self) -> None:
        """Forget what was measured since the last row."""
        self._values: dict[str, Any] = {}
        self._sums: dict[str, tuple[float, int]] = {}  # sum and number of what is averaged
        self._metrics: list[dict[str, Any]] = []  # not added up yet

    def __repr__(self) -> str:
        mean = self.mean_return()
        return f"Logger({self.episode_count:,} episodes, mean return {mean})"

    def __getstate__(self) -> dict[str, Any]:
        # files cannot be copied; a history belongs to its process
        own = {"outputs": Outputs([]), "history": History(), "clear_line": _nothing}
        return {**vars(self), **own}

    def begin(self, step: int) -> None:
        """A run begins, or goes on at this env step: then its open row does too."""
        if not step:
            self.start_row()
            self._last, self.history = {}, History()
            self.last_row = self.iterations = self.episode_count = 0
            self.episodes.clear()
            self.successes.clear()
        elif self._complete:
            self.start_row()
        self._complete = False
        self._seconds_before = self.history.seconds
        if self.last_row is None:
            self.last_row = step

    def finish(self, step: int) -> None:
        """A run is complete: what is measured later belongs to the next one. The agent's file is
        then that of a run without a log. Reads nothing from a device."""
        self._complete, self.last_row = True, step

    def record(self, key: str, value: Any) -> None:
        """Set a value of the next row, e.g. record("rollout/exploration_rate", 0.1).

        value   a number, an array of numbers, whose mean is taken, or a short text

        Raises ConfigError for anything else.
        """
        _check_key(key)
        if not _is_numbers(value) and not (isinstance(value, str) and len(value) <= 200):
            raise ConfigError(
                f"logger.record({key!r}, ...) takes a number, an array of numbers or a text of up "
                f"to 200 characters, got {value!r:.100}."
            )
        self._values[key] = value.copy() if isinstance(value, _ARRAYS) else value

    def record_mean(self, key: str, value: Any) -> None:
        """Add a number, or an array whose mean is taken, to the mean in the next row.

        Raises ConfigError for anything else.
        """
        _check_key(key)
        if not _is_numbers(value):
            raise ConfigError(
                f"logger.record_mean({key!r}, ...) takes a number or an array of numbers, got "
                f"{value!r:.100}."
            )
        self._metrics.append({key: value.copy() if hasattr(value, "copy") else value})
        if len(self._metrics) >= _BLOCK:
            self._add_up()

    def add(self, metrics: dict[str, Any]) -> None:
        """Add what an update returned, by name: the row has the means, as train/NAME.

        Arrays are copied, since they may be of a batch, whose memory is written to again. The rows
        of `Replayed` are not.
        """
        if type(metrics) is not Replayed:
            for name, x in metrics.items():
                if isinstance(x, _ARRAYS):
                    metrics = {**metrics, name: x.copy()}
        self._metrics.append(metrics)
        if len(self._metrics) >= _BLOCK:
            self._add_up()

    def _add_up(self) -> None:
        for key, values in _columns(_with_means(self._metrics)).items():
            key = key if "/" in key else f"train/{key}"
            total, n = self._sums.get(key, (0.0, 0))
            # one by one: the sum does not depend on the blocks, and `sum` would round otherwise
            self._sums[key] = functools.reduce(operator.add, _means(values), total), n + len(values)
        self._metrics = []

    def episode(
        self,
        ret: float,
        length: int,
        success: bool | None = None,
        step: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Add a finished episode, the env step at its end and the time since the run began."""
        self.episodes.append((ret, length))
        self.successes.append(np.nan if success is None else float(success))
        self.episode_count += 1
        self.history.add(step, ret, length, self._seconds_before + seconds)
        self.outputs.episode(ret, length, seconds, success)

    def mean_return(self) -> float | None:
        """Mean return of the last episodes; None before the first has ended."""
        return float(np.mean([r for r, _ in self.episodes])) if self.episodes else None

    def state(self) -> dict[str, np.ndarray]:
        """The last episodes, and the open row of the log as JSON in bytes. The total of episodes is
        a counter in the manifest of a file."""
        episodes = np.array(self.episodes, np.float64).reshape(-1, 2)
        row: dict[str, Any] = {
            "step": self.last_row, "iterations": self.iterations, "sums": {}, "values": {}
        }  # fmt: skip
        if not self._complete:
            self._add_up()
            row["sums"] = self._sums
            row["values"] = {key: _plain(value) for key, value in self._values.items()}
        text = json.dumps(row).encode()
        return {
            "episodes": np.column_stack([episodes, np.array(self.successes, np.float64)]),
            "row": np.frombuffer(text, np.uint8),
        }

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Restore a state. Raises ConfigError if it is not one."""
        rows = state["episodes"]
        if rows.ndim != 2 or rows.shape[1] != 3:
            raise ConfigError(f"Episodes must have three columns, got an array {rows.shape}.")
        rows = rows.tolist()
        self.episodes = deque(((r, int(n)) for r, n, _ in rows), maxlen=WINDOW)
        self.successes = deque((success for *_, success in rows), maxlen=WINDOW)
        self._load_row(state["row"])

    def _load_row(self, held: np.ndarray) -> None:
        self.start_row()
        self.last_row = None
        if not held.size:  # of a file in an older format
            return
        try:
            if held.dtype != np.uint8 or held.ndim != 1 or held.size > _LONGEST:
                raise ValueError(f"an array {held.dtype}{held.shape}")
            row = json.loads(held.tobytes())
            self.last_row = None if row["step"] is None else count(row["step"])
            self.iterations = count(row["iterations"])
            self._sums = {str(k): (float(s), count(n)) for k, (s, n) in row["sums"].items()}
            self._values = {str(k): _number_or_text(v) for k, v in row["values"].items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError,
                OverflowError) as error:  # fmt: skip
            raise ConfigError(f"The open row of the log is not valid: {error!r:.200}.") from None

    def snapshot(self) -> dict[str, Any]:
        """Every value as a Python number: means since the last row, else those in that row."""
        return {**self._last, **self._row()}

    def _row(self) -> dict[str, Any]:
        """The values since the last row, as Python numbers."""
        self._add_up()
        values = {key: total / count for key, (total, count) in self._sums.items()}
        values |= {key: _plain(value) for key, value in self._values.items()}
        if self.episodes:
            returns, lengths = zip(*self.episodes)
            values["rollout/ep_rew_mean"] = sum(returns) / len(returns)
            values["rollout/ep_len_mean"] = sum(lengths) / len(lengths)
            known = [success for success in self.successes if success == success]
            if known:
                values["rollout/success_rate"] = sum(known) / len(known)
        return values

    def dump(self, step: int) -> None:
        """Write a row to the outputs: the values since the last one. `step` counts env steps."""
        row = self._row()
        self.start_row()
        self._last = {**self._last, **row}
        self.clear_line()
        self.outputs.write(
            row if self.episodes else {**row, "rollout/ep_rew_mean": NO_EPISODE}, step
        )


def _with_means(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same metrics, with means in place of arrays that are in rows."""
    result = [{**one} if type(one) is Replayed else one for one in metrics]
    held: dict[int, list[tuple[int, Replayed]]] = {}
    for i, one in enumerate(metrics):
        if type(one) is Replayed:
            held.setdefault(id(one.rows), []).append((i, one))
    for same in held.values():
        (_, first), (_, last) = same[0], same[-1]
        read = to_host(first.rows[first.row : last.row + 1])
        for name, start, stop, kind, _ in first.columns:
            means = read[:, start:stop].view(kind).mean(axis=1, dtype=np.float64).tolist()
            for i, one in same:
                if one.get(name) is one.values_in_rows[name]:  # it was not replaced since
                    result[i][name] = means[one.row - first.row]
    return result


def _columns(metrics: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """Name -> the values of all metrics with that name, in their order."""
    names = [*metrics[0]] if metrics else []
    if len(names) > 1 and {*map(len, metrics)} == {len(names)}:
        with contextlib.suppress(KeyError):  # in most blocks all have the same names
            return dict(zip(names, zip(*map(operator.itemgetter(*names), metrics))))
    columns: dict[str, Any] = {}
    for one in metrics:
        for name, value in one.items():
            columns.setdefault(name, []).append(value)
    return columns


def _means(values: Sequence[Any]) -> list[float]:
    """Numbers, and the means of arrays. Reads a device once per shape."""
    if {*map(type, values)} == {xp.ndarray} and len({x.shape for x in values}) == 1:
        return _means_of_arrays(values)
    means: list[float] = [0.0] * len(values)
    arrays: dict[tuple[int, ...], list[int]] = {}
    for i, value in enumerate(values):
        if isinstance(value, xp.ndarray):
            arrays.setdefault(value.shape, []).append(i)
        else:
            means[i] = float(value.mean()) if isinstance(value, np.ndarray) else float(value)
    for same in arrays.values():
        for i, mean in zip(same, _means_of_arrays([values[i] for i in same])):
            means[i] = mean
    return means


def _means_of_arrays(arrays: Sequence[Array]) -> list[float]:
    """The means of arrays of one shape."""
    join = xp.concatenate if arrays[0].ndim else xp.stack
    rows = to_host(join(arrays)).reshape(len(arrays), -1)
    means: list[float] = rows.mean(axis=1, dtype=np.float64).tolist()
    return means


def _check_key(key: Any) -> None:
    """Raise ConfigError unless this can be the name of a logged value."""
    if not isinstance(key, str) or not 0 < len(key) <= 200:
        raise ConfigError(
            f"The name of a logged value must be a text of up to 200 characters, got {key!r:.100}."
        )


def _is_numbers(value: Any) -> bool:
    """Whether this is a number, or an array of at least one."""
    kind = getattr(value, "dtype", None)
    if kind is None:
        return isinstance(value, (int, float))
    return kind.kind in "fiub" and value.size > 0


def _nothing() -> None:
    """Without a run there is no line of progress."""


def _plain(value: Any) -> Any:
    """A value as a Python number or text."""
    return float(to_host(value).mean()) if hasattr(value, "dtype") else value


def _number_or_text(value: Any) -> float | int | str:
    if isinstance(value, (str, int, float)):
        return value
    raise ValueError(f"{value!r:.60} is neither a number nor a text")
