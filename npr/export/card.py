"""What is said about a policy in the files that are written."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from npr.export.graph import Array, Graph
from npr.version import __version__


@dataclass(frozen=True)
class Quantized:
    """What the quantization of a policy costs, as plain data.

    dtype               int8 or q15
    box                 whether actions are numbers; else they are indices or bits
    largest, mean, near errors of actions in so many `observations`, see accuracy.Errors
    float_mean, float_std  of the returns of the same episodes with the policy of floats; None: not
                        measured
    """

    dtype: str
    box: bool
    largest: float
    mean: float
    near: float
    observations: int
    float_mean: float | None
    float_std: float | None

    @property
    def text(self) -> str:
        """int8: actions differ by 0.12% of their range, 3.4% at most, ..."""
        if self.box:
            errors = (
                f"actions differ from float32's by {self.mean:.3%} of their range in the mean, "
                f"{self.largest:.2%} at most"
            )
        else:
            errors = (
                f"{self.mean:.2%} of the actions differ from float32's ({self.near:.2%} near ties; "
                f"the largest loss is {self.largest:.2%} of the range of scores)"
            )
        result = f"{self.dtype}: in {self.observations:,} observations {errors}"
        if self.float_mean is None:
            return result
        return f"{result}; return with float32 {self.float_mean:.2f} +- {self.float_std:.2f}"


@dataclass(frozen=True)
class Card:
    """Where a policy comes from, as plain data.

    algorithm, env   names, with those of wrappers around the environment; None: unknown
    num_timesteps    env steps that it was trained for; None: unknown
    low, high        bounds of each number of an observation, None where there are none; or None:
                     they are not known
    mean, std        of the returns of `episodes` episodes with the policy as it is written, with
                     deterministic actions; None: not measured
    note             why it was not measured
    sha256           of the parameters, see `fingerprint`
    npr              version
    quantized        what the policy of integers that is written costs; None: it has floats
    """

    algorithm: str | None
    env: str | None
    num_timesteps: int | None
    low: tuple[float | None, ...] | None
    high: tuple[float | None, ...] | None
    mean: float | None
    std: float | None
    episodes: int
    note: str
    sha256: str
    npr: str = __version__
    quantized: Quantized | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def title(self) -> str:
        """SAC on Pendulum-v1, 5,000 steps"""
        steps = "" if self.num_timesteps is None else f", {self.num_timesteps:,} steps"
        return f"{self.algorithm or 'A policy'} on {self.env or 'an unnamed environment'}{steps}"

    @property
    def measured(self) -> str:
        """The measured return as a text."""
        if self.mean is None:
            return f"return not measured: {self.note}"
        result = f"return {self.mean:.2f} +- {self.std:.2f}"
        episodes = "1 episode" if self.episodes == 1 else f"{self.episodes} episodes"
        return f"{result} (mean and deviation, {episodes})"


def observation_names(graph: Graph) -> list[str]:
    """What each number of an observation is, for those of a Dict or Tuple; "" for others."""
    names = []
    for part in graph.parts:
        many = part.numbers > 1
        for i in range(part.numbers):
            index = f"[{i}]" if many and part.name else ""
            one_of = "" if part.start is None else _choice_of(part.inputs, part.start)
            names.append(", ".join(text for text in (f"{part.name}{index}", one_of) if text))
    return names


def _choice_of(n: int, start: int) -> str:
    return f"a whole number from {start} to {start + n - 1}"


def bounds_of(space: Any) -> tuple[list[float | None], list[float | None]]:
    """The bounds of each number of a Gymnasium observation space, in the order of an export."""
    import gymnasium.spaces as gs

    if isinstance(space, gs.Dict | gs.Tuple):
        parts = space.spaces.values() if isinstance(space, gs.Dict) else space.spaces
        pairs = [bounds_of(part) for part in parts]
        return [x for low, _ in pairs for x in low], [x for _, high in pairs for x in high]
    if isinstance(space, gs.Discrete):
        return [float(space.start)], [float(space.start + space.n - 1)]
    if isinstance(space, gs.MultiDiscrete):
        return _finite(space.start), _finite(space.start + space.nvec - 1)
    if isinstance(space, gs.MultiBinary):
        size = int(np.prod(space.shape))
        return [0.0] * size, [1.0] * size
    return _finite(space.low), _finite(space.high)


_UNBOUNDED = 1e30  # numbers beyond stand for no bound, as Gymnasium's own largest floats do


def _finite(x: Array) -> list[float | None]:
    return [float(v) if abs(v) < _UNBOUNDED else None for v in np.ravel(x).astype(np.float64)]
