"""The forward and backward pass of a stack of dense networks, one kernel each.

theta  (rows, size) one network per row: for each layer W (n, m) row-major, then b (m,); with
       `normal`, then the gains (m,) of each hidden layer
x      (B, n) the input of all of them
sizes  widths of the layers, input first
activations  of the layers, as indices of ACTIVATIONS
normal  whether hidden layers are act(LN(x W) * gain + b) instead of act(x W + b), where LN
       subtracts the mean of a row and divides by its standard deviation (Ba et al. 2016)
work   flat, of work_size numbers: the values of every layer after the input, a block (rows, B, m)
       each; with `normal`, then LN(x W) of each hidden layer, a block (rows, B, m) each, and what
       its rows were multiplied by, a block (rows, B) each

Without Numba, or without the BLAS of npr.kernels.blas, the reference implementations run, one
array operation after the other. On a device they run for large products, which cuBLAS computes
faster; it cannot be captured in a CUDA graph.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from npr.backend import Array, xp
from npr.kernels import blas
from npr.kernels.blas import matrix, product
from npr.kernels.cuda import mlp as cuda
from npr.kernels.jit import Kernel

_SMALL = 4096  # numbers of a matrix that is transposed before the product
EPSILON = 1e-5  # added to the variance of a row
ACTIVATIONS = ("relu", "tanh", "elu", "identity")
RELU, TANH, ELU, IDENTITY = range(4)

# ---- activations


def _bias_reference(z: Array, b: Array) -> None:
    """z <- z + b; z (B, n), b (n,)."""
    z += b


def _bias_loop(z: Array, b: Array) -> None:
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            row[j] += b[j]


def _bias_relu_reference(z: Array, b: Array) -> None:
    """z <- max(z + b, 0); z (B, n), b (n,)."""
    z += b
    xp.maximum(z, 0, out=z)


def _bias_relu_loop(z: Array, b: Array) -> None:
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            x = row[j] + b[j]
            row[j] = zero if x < zero else x  # in this order NaN propagates


def _bias_tanh_reference(z: Array, b: Array) -> None:
    """z <- tanh(z + b); z (B, n), b (n,)."""
    z += b
    xp.tanh(z, out=z)


def _bias_tanh_loop(z: Array, b: Array) -> None:
    if z.itemsize == 8:
        for i in range(z.shape[0]):
            row = z[i]
            for j in range(z.shape[1]):
                row[j] = math.tanh(row[j] + b[j])
        return
    # Compilers do not vectorize libm's tanh, but they do vectorize this: the ratio of two
    # polynomials with the smallest relative error (2e-8) up to 9, where tanh rounds to one.
    number = z.dtype.type
    one, edge = number(1), number(9)
    p1, p2 = number(0.1338102828), number(0.003495589515)
    p3, p4 = number(2.060904058e-05), number(1.335449363e-08)
    q1, q2 = number(0.4671434395), number(0.02587699197)
    q3, q4 = number(0.0003285634222), number(7.776512307e-07)
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            x = row[j] + b[j]
            x = -edge if x < -edge else x
            x = edge if x > edge else x
            y = x * x
            x *= one + y * (p1 + y * (p2 + y * (p3 + y * p4)))
            x /= one + y * (q1 + y * (q2 + y * (q3 + y * q4)))
            x = -one if x < -one else x
            row[j] = one if x > one else x


def _bias_elu_reference(z: Array, b: Array) -> None:
    """z <- z + b where that is above 0, exp(z + b) - 1 elsewhere; z (B, n), b (n,)."""
    z += b
    z[...] = xp.where(z > 0, z, xp.expm1(xp.minimum(z, 0)))


def _bias_elu_loop(z: Array, b: Array) -> None:
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(z.shape[1]):
            x = row[j] + b[j]
            row[j] = x if x > zero else math.expm1(x)


def _relu_backward_reference(g: Array, h: Array, out: Array) -> None:
    """g <- g * (h > 0), out <- its column sums; g, h (B, n), out (n,)."""
    g *= h > 0
    xp.sum(g, axis=0, out=out)


def _relu_backward_loop(g: Array, h: Array, out: Array) -> None:
    zero = g.dtype.type(0)
    out[:] = zero
    for i in range(g.shape[0]):
        row, value = g[i], h[i]
        for j in range(g.shape[1]):
            x = row[j] if value[j] > zero else zero
            row[j] = x
            out[j] += x


def _tanh_backward_reference(g: Array, h: Array, out: Array) -> None:
    """g <- g * (1 - h^2), out <- its column sums; g, h (B, n), out (n,)."""
    g *= 1 - h * h
    xp.sum(g, axis=0, out=out)


def _tanh_backward_loop(g: Array, h: Array, out: Array) -> None:
    one = g.dtype.type(1)
    out[:] = g.dtype.type(0)
    for i in range(g.shape[0]):
        row, value = g[i], h[i]
        for j in range(g.shape[1]):
            x = row[j] * (one - value[j] * value[j])
            row[j] = x
            out[j] += x


def _elu_backward_reference(g: Array, h: Array, out: Array) -> None:
    """g <- g where h > 0, g * (h + 1) elsewhere, out <- its column sums; g, h (B, n), out (n,)."""
    g *= xp.where(h > 0, 1, h + 1)
    xp.sum(g, axis=0, out=out)


def _elu_backward_loop(g: Array, h: Array, out: Array) -> None:
    zero, one = g.dtype.type(0), g.dtype.type(1)
    out[:] = zero
    for i in range(g.shape[0]):
        row, value = g[i], h[i]
        for j in range(g.shape[1]):
            x = row[j] if value[j] > zero else row[j] * (value[j] + one)
            row[j] = x
            out[j] += x


def _bias_backward_reference(g: Array, h: Array, out: Array) -> None:
    """out <- column sums of g (B, n); g is unchanged, h is not read."""
    xp.sum(g, axis=0, out=out)


def _bias_backward_loop(g: Array, h: Array, out: Array) -> None:
    out[:] = g.dtype.type(0)
    for i in range(g.shape[0]):
        row = g[i]
        for j in range(g.shape[1]):
            out[j] += row[j]


def _sum(x: Array) -> Any:
    """The sum of x (n,)."""
    total = x.dtype.type(0)
    for i in range(x.shape[0]):
        total += x[i]
    return total


def _dot(x: Array, y: Array) -> Any:
    """The sum of the products of x and y, both (n,)."""
    total = x.dtype.type(0)
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


def _normalize_reference(z: Array, gain: Array, scale: Array, y: Array) -> None:
    """z <- scale (z - mean of the row), with scale <- 1 / sqrt(variance of the row + EPSILON), and
    y <- z * gain; z, y (B, n), gain (n,), scale (B,)."""
    z -= z.mean(axis=1, keepdims=True)
    scale[...] = 1 / xp.sqrt((z * z).mean(axis=1) + EPSILON)
    z *= scale[:, None]
    xp.multiply(z, gain, out=y)


def _normalize_loop(z: Array, gain: Array, scale: Array, y: Array) -> None:
    one, n, small = z.dtype.type(1), z.dtype.type(z.shape[1]), z.dtype.type(EPSILON)
    for i in range(z.shape[0]):
        row, to = z[i], y[i]
        mean = _sum(row) / n
        for j in range(z.shape[1]):
            row[j] -= mean
        factor = one / math.sqrt(_dot(row, row) / n + small)
        scale[i] = factor
        for j in range(z.shape[1]):
            row[j] *= factor
            to[j] = row[j] * gain[j]


def _normalize_backward_reference(
    g: Array, z: Array, gain: Array, scale: Array, out: Array
) -> None:
    """g <- the cotangent of what `normalize` got, from that of its y, and out <- that of gain;
    z and scale are what it wrote; g, z (B, n), gain, out (n,), scale (B,)."""
    xp.sum(g * z, axis=0, out=out)
    g *= gain
    mean, along = g.mean(axis=1, keepdims=True), (g * z).mean(axis=1, keepdims=True)
    g -= mean
    g -= z * along
    g *= scale[:, None]


def _normalize_backward_loop(g: Array, z: Array, gain: Array, scale: Array, out: Array) -> None:
    n = g.dtype.type(g.shape[1])
    out[:] = g.dtype.type(0)
    for i in range(g.shape[0]):
        row, value, factor = g[i], z[i], scale[i]
        for j in range(g.shape[1]):
            out[j] += row[j] * value[j]
            row[j] *= gain[j]
        mean, along = _sum(row) / n, _dot(row, value) / n
        for j in range(g.shape[1]):
            row[j] = (row[j] - mean - value[j] * along) * factor


bias = Kernel(_bias_loop, _bias_reference, partial(cuda.bias, IDENTITY))
bias_relu = Kernel(_bias_relu_loop, _bias_relu_reference, partial(cuda.bias, RELU))
bias_tanh = Kernel(_bias_tanh_loop, _bias_tanh_reference, partial(cuda.bias, TANH))
bias_elu = Kernel(_bias_elu_loop, _bias_elu_reference, partial(cuda.bias, ELU))
bias_backward = Kernel(
    _bias_backward_loop, _bias_backward_reference, partial(cuda.bias_backward, IDENTITY)
)
relu_backward = Kernel(
    _relu_backward_loop, _relu_backward_reference, partial(cuda.bias_backward, RELU)
)
tanh_backward = Kernel(
    _tanh_backward_loop, _tanh_backward_reference, partial(cuda.bias_backward, TANH)
)
elu_backward = Kernel(_elu_backward_loop, _elu_backward_reference, partial(cuda.bias_backward, ELU))
_SUMS = (_sum, _dot)
normalize = Kernel(_normalize_loop, _normalize_reference, cuda.normalize, sums=_SUMS)
normalize_backward = Kernel(
    _normalize_backward_loop, _normalize_backward_reference, cuda.normalize_backward, sums=_SUMS
)
_FORWARD = (bias_relu, bias_tanh, bias_elu, bias)  # in the order of ACTIVATIONS
_BACKWARD = (relu_backward, tanh_backward, elu_backward, bias_backward)

# ---- networks


def layers(theta: Any, sizes: Sequence[int]) -> list[tuple[Any, Any]]:
    """[(W, b), ...] of one network (size,), a Tensor or an array, as views."""
    views, start = [], 0
    for n, m in zip(sizes, sizes[1:]):
        middle = start + n * m
        views.append((theta[start:middle].reshape(n, m), theta[middle : middle + m]))
        start = middle + m
    return views


def gains(theta: Any, sizes: Sequence[int]) -> list[Any]:
    """[gain, ...] of the hidden layers of one network (size,), as views: they follow what `layers`
    gives."""
    views, start = [], sum((n + 1) * m for n, m in zip(sizes, sizes[1:]))
    for m in sizes[1:-1]:
        views.append(theta[start : start + m])
        start += m
    return views


def work_size(sizes: Sequence[int], normal: bool, rows: int, B: int) -> int:
    """The numbers of `work`."""
    return rows * B * (sum(sizes[1:]) + (sum(sizes[1:-1]) + len(sizes) - 2 if normal else 0))


def _values(work: Array, rows: int, B: int, sizes: Sequence[int]) -> list[list[Array]]:
    """The blocks of work: of the layers' values, (rows, B, m) each; of those that are normalized;
    and of their scales, (rows, B) each. The last two are shorter without `normal`."""
    blocks, start = [], 0
    for shapes in (
        [(rows, B, m) for m in sizes[1:]],
        [(rows, B, m) for m in sizes[1:-1]],
        [(rows, B)] * (len(sizes) - 2),
    ):
        kind = []
        for shape in shapes:
            end = start + math.prod(shape)
            if end <= work.size:
                kind.append(work[start:end].reshape(shape))
            start = end
        blocks.append(kind)
    return blocks


def _forward_reference(theta: Array, x: Array, sizes: Array, activations: Array, normal: bool,
                       work: Array) -> None:  # fmt: skip
    """work <- the values of every layer."""
    sizes, codes = sizes.tolist(), activations.tolist()
    blocks, normalized, scales = _values(work, len(theta), len(x), sizes)
    for row, network in enumerate(theta):
        h, stretched = x, gains(network, sizes)
        for layer, (W, b) in enumerate(layers(network, sizes)):
            z = blocks[layer][row]
            if normal and layer < len(sizes) - 2:
                y = xp.dot(h, W, out=normalized[layer][row])
                normalize(y, stretched[layer], scales[layer][row], z)
            else:
                xp.dot(h, W, out=z)
            _FORWARD[codes[layer]](z, b)
            h = z


def _forward_loop(theta: Array, x: Array, sizes: Array, activations: Array, normal: bool,
                  work: Array) -> None:  # fmt: skip
    rows, B, last = theta.shape[0], x.shape[0], sizes.shape[0] - 2
    units = used = 0
    for layer in range(last + 1):
        units += sizes[layer + 1]
        used += (sizes[layer] + 1) * sizes[layer + 1]
    beyond = rows * B * units  # where LN(x W) of the first layer begins in work
    factors = beyond + rows * B * (units - sizes[last + 1])
    for row in range(rows):
        h, start, block, gain = x, 0, 0, used
        for layer in range(last + 1):
            n, m = sizes[layer], sizes[layer + 1]
            middle, first = start + n * m, block + row * B * m
            W, b = matrix(theta[row, start:middle], n, m), theta[row, middle : middle + m]
            z = matrix(work[first : first + B * m], B, m)
            if normal and layer < last:
                y = matrix(work[beyond + first : beyond + first + B * m], B, m)
                product(h, W, y, False, False, False)
                scale = factors + (layer * rows + row) * B
                _normalize_loop(y, theta[row, gain : gain + m], work[scale : scale + B], z)
                gain += m
            else:
                product(h, W, z, False, False, False)
            activation = activations[layer]
            if activation == RELU:
                _bias_relu_loop(z, b)
            elif activation == TANH:
                _bias_tanh_loop(z, b)
            elif activation == ELU:
                _bias_elu_loop(z, b)
            else:
                _bias_loop(z, b)
            h, start, block = z, middle + m, block + rows * B * m


def _backward_reference(theta: Array, x: Array, sizes: Array, activations: Array, normal: bool,
                        work: Array, g: Array, dtheta: Array, dx: Array,
                        scratch: Array) -> None:  # fmt: skip
    """dtheta, dx <- cotangents of theta and x from g (rows, B, m), that of the last layer.

    An empty dtheta or dx is not computed. The free outputs at the end of dtheta are not written.
    scratch, of scratch_size numbers, is used on the host alone.
    """
    sizes, codes = sizes.tolist(), activations.tolist()
    rows, B, last = len(theta), len(x), len(sizes) - 2
    blocks, normalized, scales = _values(work, rows, B, sizes)
    if dx.size:
        dx[...] = 0
    for row in range(rows):
        network, stretched = layers(theta[row], sizes), gains(theta[row], sizes)
        slopes, dgains = None, []
        if dtheta.size:
            slopes, dgains = layers(dtheta[row], sizes), gains(dtheta[row], sizes)
        grad = g[row].copy()
        for layer in range(last, -1, -1):
            W, b = network[layer]
            dW, db = slopes[layer] if slopes else (None, xp.empty_like(b))
            _BACKWARD[codes[layer]](grad, blocks[layer][row], db)
            if normal and layer < last:
                dgain = dgains[layer] if dgains else xp.empty_like(b)
                normalize_backward(
                    grad, normalized[layer][row], stretched[layer], scales[layer][row], dgain
                )
            if slopes:
                xp.dot((blocks[layer - 1][row] if layer else x).T, grad, out=dW)
            if layer:
                grad = xp.dot(grad, W.T)
            elif dx.size:
                dx += xp.dot(grad, W.T)


def scratch_size(sizes: Sequence[int], B: int) -> int:
    """The numbers that the loop of `backward` needs as scratch, on a batch of B rows."""
    outputs, pairs = sizes[:0:-1], zip(sizes, sizes[1:])
    first, second = max(outputs[::2]), max(outputs[1::2], default=0)
    return B * (first + second) + max(outputs) + min(_SMALL, max(n * m for n, m in pairs))


def _times_transposed(grad: Array, W: Array, into: Array, spare: Array) -> None:
    """into (B, n) <- grad (B, m) times W^T, for W (n, m); spare is scratch for a small W."""
    n, m = W.shape
    if m == 1:  # a column times a row, where BLAS is slow
        for i in range(grad.shape[0]):
            x_i, to = grad[i, 0], into[i]
            for j in range(n):
                to[j] = x_i * W[j, 0]
    elif n * m <= _SMALL:  # BLAS is a third faster for small matrices without transposition
        transposed = matrix(spare[: n * m], m, n)
        for i in range(n):
            for j in range(m):
                transposed[j, i] = W[i, j]
        product(grad, transposed, into, False, False, False)
    else:
        product(grad, W, into, False, True, False)


def _backward_loop(theta: Array, x: Array, sizes: Array, activations: Array, normal: bool,
                   work: Array, g: Array, dtheta: Array, dx: Array,
                   scratch: Array) -> None:  # fmt: skip
    rows, B, last = theta.shape[0], x.shape[0], sizes.shape[0] - 2
    # the cotangents of one layer after the other are in the first and second part of scratch
    first = second = widest = 0
    for layer in range(last + 1):
        m = sizes[layer + 1]
        if (last - layer) % 2 == 0 and m > first:
            first = m
        if (last - layer) % 2 == 1 and m > second:
            second = m
        if m > widest:
            widest = m
    second_part, sums = scratch[B * first :], scratch[B * (first + second) :]
    spare = sums[widest:]
    units = 0
    for layer in range(last + 1):
        units += sizes[layer + 1]
    beyond = rows * B * units  # where LN(x W) of the first layer begins in work
    factors = beyond + rows * B * (units - sizes[last + 1])
    for row in range(rows):
        start, block = 0, 0  # the ends of the last layer
        for layer in range(last + 1):
            m = sizes[layer + 1]
            start, block = start + (sizes[layer] + 1) * m, block + rows * B * m
        gain = start + units - sizes[last + 1]  # the end of the gains
        grad = matrix(scratch[: B * sizes[last + 1]], B, sizes[last + 1])
        for i in range(B):
            for j in range(sizes[last + 1]):
                grad[i, j] = g[row, i, j]
        for layer in range(last, -1, -1):
            n, m = sizes[layer], sizes[layer + 1]
            middle, start = start - m, start - (n + 1) * m
            block -= rows * B * m
            at = block + row * B * m
            h = matrix(work[at : at + B * m], B, m)
            db = dtheta[row, middle : middle + m] if dtheta.size else sums[:m]
            activation = activations[layer]
            if activation == RELU:
                _relu_backward_loop(grad, h, db)
            elif activation == TANH:
                _tanh_backward_loop(grad, h, db)
            elif activation == ELU:
                _elu_backward_loop(grad, h, db)
            else:
                _bias_backward_loop(grad, h, db)
            if normal and layer < last:
                y = matrix(work[beyond + at : beyond + at + B * m], B, m)
                gain, scale = gain - m, factors + (layer * rows + row) * B
                dgain = dtheta[row, gain : gain + m] if dtheta.size else sums[:m]
                _normalize_backward_loop(
                    grad, y, theta[row, gain : gain + m], work[scale : scale + B], dgain
                )
            W = matrix(theta[row, start:middle], n, m)
            if dtheta.size:
                dW = matrix(dtheta[row, start:middle], n, m)
                if layer:
                    at = block - rows * B * n + row * B * n
                    product(matrix(work[at : at + B * n], B, n), grad, dW, True, False, False)
                else:
                    product(x, grad, dW, True, False, False)
            if layer:
                part = scratch if (last - layer) % 2 else second_part  # where `grad` is not
                into = matrix(part[: B * n], B, n)
                _times_transposed(grad, W, into, spare)
                grad = into
            elif dx.size:
                product(grad, W, dx, False, True, row > 0)


def _forward_device(theta: Array, x: Array, sizes: Array, *rest: Any) -> None:
    large = cuda.is_large(theta, x, sizes)
    (_forward_reference if large else cuda.forward)(theta, x, sizes, *rest)


def _backward_device(theta: Array, x: Array, sizes: Array, *rest: Any) -> None:
    large = cuda.is_large(theta, x, sizes)
    (_backward_reference if large else cuda.backward)(theta, x, sizes, *rest)


_CALLS = (
    _bias_relu_loop, _bias_tanh_loop, _bias_elu_loop, _bias_loop,
    _relu_backward_loop, _tanh_backward_loop, _elu_backward_loop, _bias_backward_loop,
    _times_transposed, _normalize_loop, _normalize_backward_loop,
)  # fmt: skip
forward = Kernel(
    _forward_loop, _forward_reference, _forward_device, calls=_CALLS, sums=_SUMS, library=blas
)
backward = Kernel(
    _backward_loop, _backward_reference, _backward_device, calls=_CALLS, sums=_SUMS, library=blas
)

# ---- networks of a stack, inputs and free outputs


def _chosen_reference(theta: Array, index: Array, out: Array) -> None:
    """out (M, size) <- the rows `index` (M,) of theta (rows, size)."""
    out[...] = theta[index]


def _chosen_loop(theta: Array, index: Array, out: Array) -> None:
    for i in range(out.shape[0]):
        row = theta[index[i]]
        for j in range(out.shape[1]):
            out[i, j] = row[j]


def _join_reference(parts: Sequence[Array]) -> Array:
    """Arrays (..., n), side by side."""
    return xp.concatenate(parts, axis=-1)


def _add_free_reference(y: Array, theta: Array, free: int) -> Array:
    """y (rows, B, m), beside the last `free` numbers of each row of theta."""
    tail = xp.broadcast_to(theta[:, None, -free:], (*y.shape[:2], free))
    return xp.concatenate([y, tail], axis=-1)


def _split_free_reference(g: Array, free: int, dtheta: Array) -> Array:
    """g (rows, B, m + free) without its last columns, whose sums go to the end of dtheta's rows.

    An empty dtheta is not computed.
    """
    if dtheta.size:
        dtheta[:, -free:] = g[..., -free:].sum(axis=1)
    return g[..., :-free]


chosen = Kernel(_chosen_loop, _chosen_reference)
join = Kernel(None, _join_reference, cuda.join)
add_free = Kernel(None, _add_free_reference, cuda.add_free)
split_free = Kernel(None, _split_free_reference, cuda.split_free)
