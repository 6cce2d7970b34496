"""Small CUDA kernels, right and wrong, to test support.cuda."""

import os

import numpy as np

from npr.backend import FLOAT, to_host, xp
from npr.kernels.cuda import compiler

CODE = """
#define I (blockIdx.x * blockDim.x + threadIdx.x)
extern "C" __global__ void scale(const real *x, real *y, int n, real by) {
    if (I < n) y[I] = by * x[I];
}
extern "C" __global__ void outside(const real *x, real *y, int n, real by) {
    y[I] = by * x[I];
}
extern "C" __global__ void race(const real *x, real *y, int n, real by) {
    __shared__ real turned[4];
    turned[3 - threadIdx.x] = by * x[I];
    y[I] = turned[3 - threadIdx.x % 2];  // without a barrier
}
"""


def launch(name, x, y, by):
    module = xp.RawModule(code=CODE, options=compiler.options(FLOAT))
    args = (x, y, np.int32(x.size), FLOAT.type(by))
    module.get_function(name)((-(-x.size // 4),), (4,), args)


def scaled(x, y, by):
    """y = by * x; also returned, as a part of a dictionary."""
    if isinstance(x, np.ndarray):
        y[:] = by * x
    else:
        launch("scale", x, y, by)
    return {"y": y, "n": x.size}


def twice(x, y, by):
    y[:] = 2 * by * x
    return {"y": y}


def outside(x, y, by):
    launch("outside", x, y, by)


def race(x, y, by):
    launch("race", x, y, by)


def waits(x, y, by):
    y[:] = float(to_host(x[0]))


def no_launch(x, y, by):
    y[:] = by * x
    return {"y": y}


def crash(x, y, by):
    os.abort()
