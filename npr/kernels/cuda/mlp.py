"""Launches of the kernels in mlp.cu: one for each layer, forward and backward, and
one more to normalize it."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from npr.backend import FLOAT, Array, xp
from npr.kernels.cuda.compiler import Source, per_row, per_thread

IDENTITY = 3  # among npr.kernels.mlp.ACTIVATIONS
_PRODUCT = 4  # instead of one: without the bias

# Estimates, to be measured by `make gpu`:
CUBLAS_WORK = 2**30  # multiplications of a product, above which cuBLAS is faster, outside of graphs
LARGE_TILES = 2**20  # results of a product from which on large tiles occupy all multiprocessors
PART, MOST_PARTS = 256, 32  # rows of a batch that a block adds up, until there are so many parts

_SOURCE = Source("mlp.cu")


def is_large(theta: Array, x: Array, sizes: Array) -> bool:
    """Whether cuBLAS should compute the products of these networks."""
    widths = sizes.tolist()
    most = max(n * m for n, m in zip(widths, widths[1:]))
    return bool(len(theta) * len(x) * most > CUBLAS_WORK)


def forward(theta: Array, x: Array, sizes: Array, activations: Array, normal: bool,
            work: Array) -> None:  # fmt: skip
    (rows, stride), B, widths = theta.shape, len(x), sizes.tolist()
    h, h_next, start, block, last = x, 0, 0, 0, len(widths) - 2
    gain, normalized, scales = _normal_parts(widths, rows * B, work)
    for layer, (n, m) in enumerate(zip(widths, widths[1:])):
        name, edge, threads = _tile(rows * B, n, m)
        z, activation = work[block : block + rows * B * m], int(activations[layer])
        is_normal = normal and layer < last
        into, kind = (normalized[layer], _PRODUCT) if is_normal else (z, activation)
        _SOURCE.launch(
            f"forward_{name}", rows * -(-B // edge) * -(-m // edge), threads,
            theta, stride, start, h, h_next, into, B, n, m, kind,
        )  # fmt: skip
        if is_normal:
            _normalize(
                theta, stride, gain, theta, start + n * m, into, scales[layer], z, rows * B, B, m,
                activation,
            )  # fmt: skip
        gain += m
        h, h_next, start, block = z, B * m, start + (n + 1) * m, block + rows * B * m


def backward(theta: Array, x: Array, sizes: Array, activations: Array, normal: bool, work: Array,
             g: Array, dtheta: Array, dx: Array, scratch: Array) -> None:  # fmt: skip
    (rows, stride), B, widths = theta.shape, len(x), sizes.tolist()
    used = start = sum((n + 1) * m for n, m in zip(widths, widths[1:]))
    block = rows * B * sum(widths[1:])  # the end of the layer's values in work
    gain, normalized, scales = _normal_parts(widths, rows * B, work)
    gain += sum(widths[1:-1])  # the end of the gains
    out, of_gains = int(activations[-1]), []
    if out != IDENTITY:
        y, of_result = work[block - g.size : block], g
        g = xp.empty_like(of_result)
        _times_slope(of_result, y, g, out)
    parts = min(-(-B // PART) or 1, MOST_PARTS) if dtheta.size else 0
    slopes = xp.empty((parts, rows, stride), theta.dtype) if parts > 1 else dtheta
    for layer in range(len(widths) - 2, -1, -1):
        n, m = widths[layer : layer + 2]
        name, edge, threads = _tile(rows * B, n, m)
        start, block = start - (n + 1) * m, block - rows * B * m
        if layer:
            h, h_next, sums = work[block - rows * B * n : block], B * n, 1
            below, activation = xp.empty(rows * B * n, theta.dtype), int(activations[layer - 1])
        else:
            h, h_next, sums, activation, below = x, 0, rows, IDENTITY, dx
        slope_blocks = parts * rows * -(-(n + 1) // edge) * -(-m // edge)
        below_blocks = rows // sums * -(-B // edge) * -(-n // edge) if below.size else 0
        _SOURCE.launch(
            f"backward_{name}", slope_blocks + below_blocks, threads,
            theta, stride, start, h, h_next, g, slopes, below, rows, B, n, m, activation,
            slope_blocks, parts, sums,
        )  # fmt: skip
        g = below
        if normal and layer:
            gain, z, g = gain - n, normalized[layer - 1], xp.empty_like(below)
            _normalize_backward(theta, stride, gain, below, z, scales[layer - 1], g, rows * B, B, n)
            of_gains.append((below, z, gain, start - n, n))
    if parts > 1:
        _SOURCE.launch(
            "add_parts", *per_thread(rows * used), slopes, dtheta, rows, stride, used, parts
        )
    for g, z, gain, bias, m in of_gains if dtheta.size else ():  # also those of biases, from g here
        _normal_sums(g, z, dtheta, stride, gain, dtheta, bias, rows, B, m)


def _normal_parts(widths: list[int], all_rows: int, work: Array) -> tuple[int, Any, Any]:
    """Where the gains begin in a row of theta, and for each hidden layer, LN(x W) and the scales in
    work; without `normal` these are empty."""
    start, normalized, scales = all_rows * sum(widths[1:]), [], []
    for m in widths[1:-1]:
        normalized.append(work[start : start + all_rows * m])
        start += all_rows * m
    for _ in widths[1:-1]:
        scales.append(work[start : start + all_rows])
        start += all_rows
    return sum((n + 1) * m for n, m in zip(widths, widths[1:])), normalized, scales


def _normalize(gains: Array, stride: int, gain: int, biases: Array | None, bias: int, z: Array,
               scale: Array, y: Array, all_rows: int, B: int, m: int,
               activation: int) -> None:  # fmt: skip
    blocks, threads, lanes = per_row(all_rows, m)
    _SOURCE.launch(
        "normalize", blocks, threads,
        gains, stride, gain, biases, bias, z, scale, y, all_rows, B, m, activation, lanes,
    )  # fmt: skip


def _normalize_backward(gains: Array, stride: int, gain: int, g: Array, z: Array, scale: Array,
                        out: Array, all_rows: int, B: int, m: int) -> None:  # fmt: skip
    blocks, threads, lanes = per_row(all_rows, m)
    _SOURCE.launch(
        "normalize_backward", blocks, threads,
        gains, stride, gain, g, z, scale, out, all_rows, B, m, lanes,
    )  # fmt: skip


def _normal_sums(g: Array, z: Array, dgains: Array, stride: int, gain: int, dbiases: Array | None,
                 bias: int, rows: int, B: int, m: int) -> None:  # fmt: skip
    _SOURCE.launch(
        "normal_sums", *per_thread(rows * m, 64),
        g, z, dgains, stride, gain, dbiases, bias, rows, B, m,
    )  # fmt: skip


def normalize(z: Array, gain: Array, scale: Array, y: Array) -> None:
    """z <- its rows, normalized; scale <- what they were multiplied by; y <- z * gain."""
    B, m = z.shape
    _normalize(gain, 0, 0, None, 0, z, scale, y, B, B, m, IDENTITY)


def normalize_backward(g: Array, z: Array, gain: Array, scale: Array, out: Array) -> None:
    """g <- the cotangent of what `normalize` got, from that of its y; out <- that of gain."""
    B, m = g.shape
    _normal_sums(g, z, out, 0, 0, None, 0, 1, B, m)
    _normalize_backward(gain, 0, 0, g, z, scale, g, B, B, m)


def _tile(all_rows: int, n: int, m: int) -> tuple[str, int, int]:
    """The kind of tile for a layer, the results along its edge, and the threads of a block."""
    narrow = min(n, m)
    if narrow >= 64 and all_rows * narrow >= LARGE_TILES:
        return "large", 64, 256
    return "small", 32, 128


def bias(activation: int, z: Array, b: Array) -> None:
    """z <- activation(z + b)."""
    _SOURCE.launch("add_bias", *per_thread(z.size), z, b, z.size, len(b), activation)


def bias_backward(activation: int, g: Array, h: Array, out: Array) -> None:
    """g <- g times the derivative at h, out <- its column sums."""
    if activation != IDENTITY:
        _times_slope(g, h, g, activation)
    xp.sum(g, axis=0, out=out)


def _times_slope(g: Array, y: Array, out: Array, activation: int) -> None:
    _SOURCE.launch("times_slope", *per_thread(g.size), g, y, out, g.size, activation)


def join(parts: Sequence[Array]) -> Array:
    """xp.concatenate(parts, axis=-1)."""
    first = parts[0]
    if any(x.shape[:-1] != first.shape[:-1] or x.dtype != FLOAT for x in parts):
        return xp.concatenate(parts, axis=-1)  # converts, or raises
    return reduce(lambda a, b: _beside(a, b, b.shape[-1], 1), parts)


def add_free(y: Array, theta: Array, free: int) -> Array:
    """y (rows, B, m), beside the last `free` numbers of each row of theta."""
    return _beside(y, theta, free, y.shape[1])


def _beside(a: Array, b: Array, width: int, repeats: int) -> Array:
    """Rows of a, beside the last `width` numbers of rows of b; each is for `repeats` rows of a."""
    a, b, n = xp.ascontiguousarray(a), xp.ascontiguousarray(b), a.shape[-1]
    out = xp.empty((*a.shape[:-1], n + width), a.dtype)
    _SOURCE.launch(
        "join", *per_thread(out.size), a, b, out, out.size, n, width, b.shape[-1], repeats
    )
    return out


def split_free(g: Array, free: int, dtheta: Array) -> Array:
    """g (rows, B, m + free) without its last columns; their sums -> the last numbers of dtheta."""
    rows, B, width = g.shape
    g, m = xp.ascontiguousarray(g, dtheta.dtype), width - free
    of_layer = xp.empty((rows, B, m), g.dtype)
    sums, (blocks, threads) = rows * free if dtheta.size else 0, per_thread(of_layer.size, 128)
    _SOURCE.launch(
        "split_free", sums + blocks, threads,
        g, of_layer, dtheta, of_layer.size, B, m, free, dtheta.shape[-1], sums,
    )  # fmt: skip
    return of_layer
