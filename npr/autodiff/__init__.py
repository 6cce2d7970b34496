"""Reverse-mode autodiff on NumPy or CuPy arrays: read tensor.py, then ops.py. show.py shows a tape.

Imports npr.backend and npr.errors, and no kernels. Public is what `__all__` names.
"""

from npr.autodiff.anomaly import debug_anomaly
from npr.autodiff.check import gradcheck
from npr.autodiff.ops import (
    abs,
    add,
    clip,
    concatenate,
    divide,
    exp,
    getitem,
    huber,
    log,
    log_softmax,
    logsumexp,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    multiply,
    negative,
    pick,
    power,
    relu,
    reshape,
    sigmoid,
    softplus,
    sqrt,
    stack,
    subtract,
    sum,
    tanh,
    transpose,
    where,
)
from npr.autodiff.show import TapeView, show
from npr.autodiff.tensor import (
    OPS,
    Tensor,
    grad,
    guarded,
    record,
    stop_gradient,
    value_and_grad,
    vjp,
)

__all__ = [
    "OPS", "TapeView", "Tensor", "debug_anomaly", "grad", "gradcheck", "guarded", "record", "show",
    "stop_gradient", "value_and_grad", "vjp",
    "abs", "add", "clip", "concatenate", "divide", "exp", "getitem", "huber", "log",
    "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "multiply",
    "negative", "pick", "power", "relu", "reshape", "sigmoid", "softplus", "sqrt", "stack",
    "subtract", "sum", "tanh", "transpose", "where",
]  # fmt: skip
