"""Launches the kernels of replay.cu."""

from npr.backend import Array
from npr.kernels.cuda.compiler import Source, per_thread

_SOURCE = Source("replay.cu")


def gather(rows: Array, fresh: Array, start: int, count: int, index: Array, last: Array,
           returns: Array, mean: Array, scale: Array, reward_scale: Array, clip: float,
           reward_clip: float, s: Array, a: Array, r: Array, s2: Array,
           terminated: Array) -> None:  # fmt: skip
    """See npr.kernels.replay; index and last are int32."""
    (C, W), (B, S), A = rows.shape, s.shape, a.shape[1]
    name = "gather_indices" if a.dtype.kind == "i" else "gather_numbers"
    optional = [x.size > 0 for x in (returns, mean, reward_scale)]
    _SOURCE.launch(
        name, *per_thread((count + B) * W), rows, fresh, start, count, C, index, last, returns,
        mean, scale, reward_scale, *optional, float(clip), float(reward_clip), B, S, A,
        s, a, r, s2, terminated,
    )  # fmt: skip
