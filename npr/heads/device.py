"""Functions of distributions as one CUDA kernel each way, where their composition from basic
operations takes up to thirty: on a device an operation costs its launch.

The classes of distributions use them for parameters `x`, arrays or Tensors (..., K), if `used(x)`.
"""

from typing import Any

from npr.autodiff import Tensor, record, stop_gradient
from npr.backend import Array, contiguous, empty_like
from npr.heads.base import node
from npr.kernels.cuda import compiler
from npr.kernels.cuda.distributions import launch, launch_elementwise


def used(x: Any, *others: Any) -> bool:
    """Whether kernels take these parameters, with others of the same shape and type."""
    plain = stop_gradient(x)
    return compiler.used() and all(
        y.shape == plain.shape and y.dtype == plain.dtype for y in map(stop_gradient, others)
    )


def number(name: str, D: int, x: Any, *constants: Array) -> Any:
    """One number per row of x: Gaussian.entropy by the kernels gaussian_entropy, and

        gaussian_entropy(rows of x, constants, the numbers)
        gaussian_entropy_backward(rows of x, constants, g, the cotangent of the rows)

    with g (B,), the cotangent of the numbers. D is that of an action.
    """
    kernel = _kernel(name)
    rows, constants = _rows(x), tuple(map(_rows, constants))
    y = empty_like(rows, len(rows))
    launch(kernel, D, rows, *constants, y)

    def pull(g: Array) -> Array:
        dx = empty_like(rows)
        launch(f"{kernel}_backward", D, rows, *constants, g, dx)
        return dx

    return node(name, x, y, pull)


def elementwise(name: str, x: Any) -> Any:
    """A function of each number of x: log_slope by the kernels log_slope(x, the results) and
    log_slope_backward(x, g, the cotangent of x)."""
    plain = contiguous(stop_gradient(x))
    shape, y = x.shape, empty_like(plain, x.shape)
    launch_elementwise(name, plain, y)
    if type(x) is not Tensor:
        return y

    def pullback(g: Array) -> list[Array]:
        dx = empty_like(plain, shape)
        launch_elementwise(f"{name}_backward", plain, contiguous(g), dx)
        return [dx]

    return record(y, [x], pullback, name, (x,))


def divergence(name: str, D: int, x: Any, y: Any) -> Any:
    """KL(x || y), one number per row; as `number`, with the cotangents of both."""
    kernel = _kernel(name)
    p, q, shape = _rows(x), _rows(y), x.shape
    kl = empty_like(p, len(p))
    launch(kernel, D, p, q, kl)
    on_tape = [type(one) is Tensor for one in (x, y)]
    kl = kl.reshape(shape[:-1])
    if not any(on_tape):
        return kl

    def pullback(g: Array) -> list[Array]:
        both = empty_like(p), empty_like(q)
        launch(f"{kernel}_backward", D, p, q, contiguous(g).reshape(-1), *both)
        return [d.reshape(shape) for d, wanted in zip(both, on_tape) if wanted]

    return record(kl, [one for one in (x, y) if type(one) is Tensor], pullback, name, (x, y))


def _kernel(name: str) -> str:
    return name.lower().replace(".", "_")


def _rows(x: Any) -> Array:
    """A plain array (B, K), contiguous."""
    return contiguous(stop_gradient(x)).reshape(-1, x.shape[-1])
