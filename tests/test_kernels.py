"""Every kernel, three times over: the loop as Python runs it, the array twin, and as npr calls it
(compiled, unless NPR_NUMBA=0), all held against a slow and obvious loop in float64.

Also numbers worked out by hand, and what happens where Numba cannot be used.
"""

import importlib
import math
import os
import pkgutil
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import npr.kernels
from npr.heads import Categorical
from npr.kernels import discounted_returns, gae, standardize, svgd_bandwidth, svgd_direction
from npr.kernels.jit import Kernel
from npr.losses import td_huber

KERNELS = {
    name.lstrip("_"): kernel
    for module in pkgutil.iter_modules(npr.kernels.__path__)
    for name, kernel in vars(importlib.import_module(f"npr.kernels.{module.name}")).items()
    if isinstance(kernel, Kernel) and module.name != "sumtree"  # test_sumtree.py
}

# --- the slow and obvious loops: they write their results into their arguments, or return them ---


def slow_bias_relu(z, b):
    for i, j in np.ndindex(z.shape):
        z[i, j] = max(z[i, j] + b[j], 0)


def slow_relu_backward(g, h, out):
    for i, j in np.ndindex(g.shape):
        g[i, j] = g[i, j] if h[i, j] > 0 else 0
    slow_bias_backward(g, h, out)


def slow_bias(z, b):
    for i, j in np.ndindex(z.shape):
        z[i, j] += b[j]


def slow_bias_tanh(z, b):
    for i, j in np.ndindex(z.shape):
        z[i, j] = math.tanh(z[i, j] + b[j])


def slow_bias_elu(z, b):
    for i, j in np.ndindex(z.shape):
        x = z[i, j] + b[j]
        z[i, j] = x if x > 0 else math.exp(x) - 1


def slow_elu_backward(g, h, out):
    for i, j in np.ndindex(g.shape):
        g[i, j] *= 1 if h[i, j] > 0 else h[i, j] + 1
    slow_bias_backward(g, h, out)


def slow_tanh_backward(g, h, out):
    for i, j in np.ndindex(g.shape):
        g[i, j] = g[i, j] * (1 - h[i, j] ** 2)
    slow_bias_backward(g, h, out)


def slow_bias_backward(g, h, out):
    for j in range(len(out)):
        out[j] = math.fsum(g[:, j])


def slow_network(theta, x, sizes, hidden, out):
    """[(W, its place in theta, input, output, slope of the activation)] of every layer."""
    f = [lambda z: max(z, 0), math.tanh, lambda z: z if z > 0 else math.expm1(z), lambda z: z]
    df = [
        lambda y: float(y > 0), lambda y: 1 - y * y, lambda y: 1 if y > 0 else y + 1, lambda y: 1,
    ]  # fmt: skip
    layers, start = [], 0
    for layer, (n, m) in enumerate(zip(sizes, sizes[1:])):
        code = out if layer == len(sizes) - 2 else hidden
        W, y = theta[start : start + n * m].reshape(n, m), np.zeros((len(x), m))
        for i, j in np.ndindex(y.shape):
            z = sum(x[i, k] * W[k, j] for k in range(n)) + theta[start + n * m + j]
            y[i, j] = f[code](z)
        slope = np.array([df[code](value) for value in y.ravel()]).reshape(y.shape)
        layers.append((W, start, x, y, slope))
        x, start = y, start + (n + 1) * m
    return layers


def slow_forward(theta, x, sizes, hidden, out, work):
    networks = [slow_network(row, x, sizes, hidden, out) for row in theta]
    work[:] = [v for layer in zip(*networks) for _, _, _, y, _ in layer for v in y.ravel()]


def slow_backward(theta, x, sizes, hidden, out, work, g, dtheta, dx):
    dx[...] = 0
    for row, network in enumerate(slow_network(row, x, sizes, hidden, out) for row in theta):
        grad = g[row]
        for W, start, h, _, slope in reversed(network):
            grad, (n, m) = grad * slope, W.shape
            if dtheta.size:
                for k, j in np.ndindex(n, m):
                    products = [h[i, k] * grad[i, j] for i in range(len(x))]
                    dtheta[row, start + k * m + j] = sum(products)
                dtheta[row, start + n * m : start + (n + 1) * m] = grad.sum(axis=0)
            grad = np.array([[sum(W[k] * one) for k in range(n)] for one in grad]).reshape(-1, n)
        if dx.size:
            dx += grad


def slow_adam(theta, g, m, v, step, beta1, beta2, eps):
    for i in range(len(theta)):
        m[i] = beta1 * m[i] + (1 - beta1) * g[i]
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2
        theta[i] = theta[i] - step * m[i] / (math.sqrt(v[i]) + eps)


def slow_rmsprop(theta, g, v, rate, decay, eps):
    for i in range(len(theta)):
        v[i] = decay * v[i] + (1 - decay) * g[i] ** 2
        theta[i] = theta[i] - rate * g[i] / (math.sqrt(v[i]) + eps)


def slow_sgd(theta, g, velocity, rate, momentum):
    for i in range(len(theta)):
        velocity[i] = momentum * velocity[i] + g[i]
        theta[i] = theta[i] - rate * velocity[i]


def slow_polyak(theta_bar, theta, tau):
    for i in range(len(theta)):
        theta_bar[i] = tau * theta[i] + (1 - tau) * theta_bar[i]


def slow_clip_norm(g, max_norm):
    norm = math.sqrt(math.fsum(x * x for x in g))
    for i in range(len(g)):
        g[i] = g[i] * min(1, max_norm / (norm + 1e-6))


def slow_squash(out, noise, a, logp):
    B, D = noise.shape
    for i in range(B):
        logp[i] = 0
        for j in range(D):
            log_std = min(max(out[i, D + j], -20), 2)
            u = out[i, j] + math.exp(log_std) * noise[i, j]
            a[i, j] = math.tanh(u)
            normal = -0.5 * noise[i, j] ** 2 - log_std - 0.5 * math.log(2 * math.pi)
            logp[i] += normal + 2 * math.log(math.cosh(u))  # d tanh(u) / du = 1 / cosh(u)^2


def slow_squash_backward(out, noise, a, da, dlogp, dout):
    B, D = noise.shape
    for i, j in np.ndindex(B, D):
        log_std = out[i, D + j]
        du = da[i, j] * (1 - a[i, j] ** 2) + dlogp[i] * 2 * a[i, j]
        dout[i, j] = du
        inside = -20 <= log_std <= 2
        dout[i, D + j] = du * math.exp(log_std) * noise[i, j] - dlogp[i] if inside else 0


def slow_gae(r, v, v_next, terminated, done, gamma, lam):
    """The definition, a sum over all later steps of the trace: O(T^2)."""
    T, N = r.shape
    A = np.zeros((T, N))
    for t, n in np.ndindex(T, N):
        weight = 1.0
        for k in range(t, T):
            delta = r[k, n] + gamma * v_next[k, n] * (1 - terminated[k, n]) - v[k, n]
            A[t, n] += weight * delta
            weight *= gamma * lam * (1 - done[k, n])
    return A


def slow_returns(r, done, gamma, bootstrap):
    T, N = r.shape
    G = np.zeros((T, N))
    for t, n in np.ndindex(T, N):
        for k in range(t, T):
            G[t, n] += gamma ** (k - t) * r[k, n]
            if done[k, n] or k == T - 1:
                G[t, n] += gamma ** (k - t + 1) * bootstrap[k, n]
                break
    return G


def slow_n_step_returns(rewards, next_row, index, n, gamma, r, power, last):
    for i, row in enumerate(index):
        rows = [row]
        while len(rows) < n and next_row[rows[-1]] >= 0:
            rows.append(next_row[rows[-1]])
        r[i] = sum(gamma**k * rewards[row] for k, row in enumerate(rows))
        power[i], last[i] = gamma ** len(rows), rows[-1]


def slow_td_huber(q, a, y, w, loss, chosen, slope):
    loss[0], slope[:] = 0, 0
    for i in range(len(q)):
        chosen[i] = q[i, a[i]]
        x = chosen[i] - y[i]
        loss[0] += w[i] * (x**2 / 2 if abs(x) <= 1 else abs(x) - 0.5) / len(q)
        slope[i, a[i]] = w[i] * (x if abs(x) <= 1 else np.sign(x)) / len(q)


def slow_log_softmax(logits, logp):
    for i, k in np.ndindex(logits.shape):
        logp[i, k] = logits[i, k] - math.log(sum(math.exp(x) for x in logits[i]))


def slow_log_softmax_backward(logp, g, dlogits):
    """The Jacobian, entry by entry."""
    for i, k in np.ndindex(logp.shape):
        slopes = [float(j == k) - math.exp(logp[i, k]) for j in range(logp.shape[1])]
        dlogits[i, k] = sum(slopes * g[i])


def slow_draw(logp, u, a):
    for i in range(len(logp)):
        a[i], total = 0, sum(math.exp(x) for x in logp[i])
        while sum(math.exp(x) for x in logp[i, : a[i] + 1]) <= u[i] * total:
            a[i] += 1


def slow_log_prob(logp, a, chosen):
    for i in range(len(logp)):
        chosen[i] = logp[i, a[i]]


def slow_log_prob_backward(logp, a, g, dlogits):
    for i, k in np.ndindex(logp.shape):
        dlogits[i, k] = g[i] * ((a[i] == k) - math.exp(logp[i, k]))


def slow_entropy(logp, H):
    for i, row in enumerate(logp):
        H[i] = -sum(math.exp(x) * x for x in row if x > -math.inf)


def slow_entropy_backward(logp, H, g, dlogits):
    """By the chain rule through log_softmax: d(-sum p log p)/d logp = -p (log p + 1)."""
    inner = np.array([[-math.exp(x) * (x + 1) for x in row] for row in logp]).reshape(logp.shape)
    slow_log_softmax_backward(logp, g[:, None] * inner, dlogits)


def slow_bandwidth(fixed, updated):
    h = np.empty(len(fixed))
    for b, (xs, ys) in enumerate(zip(fixed, updated)):
        square = sorted(((x - y) ** 2).sum() for x in xs for y in ys)
        h[b] = max(square[(len(square) - 1) // 2] / np.log(len(xs)), 1e-3)
    return h


def slow_direction(fixed, updated, score, h):
    moved = np.zeros_like(updated)
    for b, i in np.ndindex(updated.shape[:2]):
        for x, slope in zip(fixed[b], score[b]):
            kernel = np.exp(-((x - updated[b, i]) ** 2).sum() / h[b])
            moved[b, i] += kernel * slope - 2 * (x - updated[b, i]) / h[b] * kernel
    return moved / fixed.shape[1]


# --- what to call them with ----------------------------------------------------------------------


class Draw:
    """Random arguments of drawn sizes (B, n), all of one floating type."""

    def __init__(self, seed, B, n, dtype):
        self.rng, self.B, self.n, self.dtype = np.random.default_rng(seed), B, n, dtype

    def normal(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def table(self):
        return self.normal(self.B, self.n)

    def row(self):
        return self.normal(self.n)

    def truths(self, kind):
        return (self.rng.random((self.B + 1, self.n)) < 0.3).astype(kind)


def rollout(d):
    """r, v, v_next, terminated, done of at least one step; ended and timed out are drawn apart."""
    kind = d.rng.choice([bool, d.dtype])
    terminated = d.truths(kind)
    done = np.maximum(terminated, d.truths(kind))
    return *(d.normal(d.B + 1, d.n) for _ in range(3)), terminated, done


def returns_of(d):
    r, _, bootstrap, _, done = rollout(d)
    return r, done, float(d.rng.random()), bootstrap


def squash_backward_of(d):
    out, noise = 10 * d.normal(d.B, 2 * d.n), d.table()
    return out, noise, np.tanh(d.table()), d.table(), d.normal(d.B), d.normal(d.B, 2 * d.n)


def n_steps_of(d):
    capacity = d.B + 3
    next_row = np.append(np.arange(1, capacity), 0)  # a ring, with cuts
    next_row[d.rng.random(capacity) < 0.3] = -1
    index, steps = d.rng.integers(capacity, size=d.B), int(d.rng.integers(1, 6))
    r, power, last = d.normal(d.B), d.normal(d.B), 0 * index
    return d.normal(capacity), next_row, index, steps, 0.9, r, power, last


def td_huber_of(d):
    B = d.B + 1
    rows = [2 * d.normal(B) for _ in range(4)]
    q, y, w, chosen = 2 * d.normal(B, d.n), rows[0], rows[1] ** 2, rows[2]
    return q, d.rng.integers(d.n, size=B), y, w, d.normal(1), chosen, d.normal(B, d.n)


def particles_of(d):
    K, L = d.rng.integers(2, 6), d.rng.integers(1, 5)
    return d.normal(d.B, K, d.n), d.normal(d.B, L, d.n)


def direction_of(d):
    fixed, updated = particles_of(d)
    return fixed, updated, d.normal(*fixed.shape), 0.5 + d.normal(d.B) ** 2


def network_of(d):
    """theta with one more number than the layers need, x, sizes, hidden, out, work"""
    sizes = d.rng.integers(1, 4, d.rng.integers(2, 5))
    size, rows = sum((n + 1) * m for n, m in zip(sizes, sizes[1:])) + 1, d.rng.integers(1, 3)
    hidden, out = d.rng.integers(4, size=2).tolist()
    work = np.zeros(rows * d.B * sizes[1:].sum(), d.dtype)
    return d.normal(rows, size), d.normal(d.B, sizes[0]), sizes, hidden, out, work


def backward_of(d):
    theta, x, sizes, hidden, out, work = network_of(d)
    slow_forward(theta, x, sizes, hidden, out, work)
    g, nothing = d.normal(len(theta), d.B, sizes[-1]), np.zeros((0, 0), d.dtype)
    dtheta, dx = (nothing if d.rng.random() < 0.3 else np.zeros_like(y) for y in (theta, x))
    return theta, x, sizes, hidden, out, work, g, dtheta, dx


def logp_of(d):
    logp = 2 * d.table()
    return logp - np.log(np.exp(logp).sum(axis=1, keepdims=True))


def choices_of(d):
    return d.rng.integers(d.n, size=d.B)


def entropy_of(d):
    logp = logp_of(d)
    H = np.zeros(d.B, d.dtype)
    slow_entropy(logp, H)
    return logp, H, d.normal(d.B), d.table()


CASES = {
    "log_softmax": (slow_log_softmax, lambda d: (3 * d.table(), d.table())),
    "log_softmax_backward": (
        slow_log_softmax_backward,
        lambda d: (logp_of(d), d.table(), d.table()),
    ),
    "draw": (
        slow_draw,
        lambda d: (logp_of(d), d.rng.random(d.B).astype(d.dtype), choices_of(d)),
    ),
    "log_prob": (slow_log_prob, lambda d: (logp_of(d), choices_of(d), d.normal(d.B))),
    "log_prob_backward": (
        slow_log_prob_backward,
        lambda d: (logp_of(d), choices_of(d), d.normal(d.B), d.table()),
    ),
    "entropy": (slow_entropy, lambda d: (logp_of(d), d.normal(d.B))),
    "entropy_backward": (slow_entropy_backward, entropy_of),
    "bias": (slow_bias, lambda d: (d.table(), d.row())),
    "bias_tanh": (slow_bias_tanh, lambda d: (5 * d.table(), d.row())),
    "bias_elu": (slow_bias_elu, lambda d: (d.table(), d.row())),
    "elu_backward": (slow_elu_backward, lambda d: (d.table(), np.expm1(-d.table()), d.row())),
    "forward": (slow_forward, network_of),
    "backward": (slow_backward, backward_of),
    "bias_relu": (slow_bias_relu, lambda d: (d.table(), d.row())),
    "relu_backward": (slow_relu_backward, lambda d: (d.table(), np.maximum(d.table(), 0), d.row())),
    "tanh_backward": (slow_tanh_backward, lambda d: (d.table(), np.tanh(d.table()), d.row())),
    "bias_backward": (slow_bias_backward, lambda d: (d.table(), d.table(), d.row())),
    "adam": (
        slow_adam,
        lambda d: (d.row(), d.row(), d.row(), d.row() ** 2, 0.01, 0.9, 0.99, 1e-3),
    ),
    "rmsprop": (slow_rmsprop, lambda d: (d.row(), d.row(), d.row() ** 2, 0.01, 0.9, 1e-3)),
    "sgd": (slow_sgd, lambda d: (d.row(), d.row(), d.row(), 0.01, 0.9)),
    "polyak": (slow_polyak, lambda d: (d.row(), d.row(), 0.3)),
    "clip_norm": (slow_clip_norm, lambda d: (d.row(), float(d.rng.choice([0.1, 1.0, 100.0])))),
    "squash": (
        slow_squash,
        lambda d: (10 * d.normal(d.B, 2 * d.n), d.table(), d.table(), d.normal(d.B)),
    ),
    "squash_backward": (slow_squash_backward, squash_backward_of),
    "gae": (slow_gae, lambda d: (*rollout(d), *map(float, d.rng.random(2)))),
    "returns": (slow_returns, returns_of),
    "n_step_returns": (slow_n_step_returns, n_steps_of),
    "td_huber": (slow_td_huber, td_huber_of),
    "bandwidth": (slow_bandwidth, particles_of),
    "direction": (slow_direction, direction_of),
}


def after(body, arguments):
    """The arrays among copies of the arguments, and the result, when the body has run."""
    arguments = [x.copy() if isinstance(x, np.ndarray) else x for x in arguments]
    result = body(*arguments)
    return [x for x in (*arguments, result) if isinstance(x, np.ndarray)]


def exactly(x):
    """Truths and floats as float64."""
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind in "bf" else x


def test_every_kernel_has_a_case_and_every_case_a_kernel():
    assert set(CASES) == set(KERNELS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32 - 1), B=st.integers(0, 6), n=st.integers(1, 4))
def test_loop_twin_and_compiled_kernel_are_the_obvious_loop(name, dtype, seed, B, n):
    slow, arguments = CASES[name]
    arguments, kernel = arguments(Draw(seed, B, n, dtype)), KERNELS[name]
    expected = after(slow, [exactly(x) for x in arguments])
    precision = (
        {"rtol": 1e-10, "atol": 1e-12} if dtype is np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    )
    for body in (kernel.loop, kernel.twin, kernel):
        got = after(body, arguments)
        assert all(x.dtype == dtype for x in got if x.dtype.kind == "f")
        for x, y in zip(got, expected, strict=True):
            np.testing.assert_allclose(x, y, **precision)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(
    "name", ["bias_relu", "bias_tanh", "bias_elu", "tanh_backward", "clip_norm", "squash", "gae"]
)
def test_no_body_hides_a_nan(name):
    """A NaN that an activation turned into 0 would never be found again."""
    first, *rest = CASES[name][1](Draw(0, 3, 2, np.float32))
    first[0] = np.nan
    kernel = KERNELS[name]
    expected = [np.isnan(x) for x in after(kernel.twin, [first, *rest])]
    assert expected[0].any() or expected[-1].any()
    for body in (kernel.loop, kernel):
        for x, y in zip(after(body, [first, *rest]), expected):
            np.testing.assert_array_equal(np.isnan(x), y)


STEPS = ("adam", "rmsprop", "sgd")
LARGEST = {np.float32: 3e38, np.float64: 1.7e308}


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, "huge", "many"])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_by_a_gradient_that_is_not_finite_changes_no_bit(name, bad, dtype):
    """Also where the gradient is finite and the sum of its squares is not."""
    theta, g, *rest = CASES[name][1](Draw(0, 1, 37, dtype))
    theta[3], rest[0][4] = -0.0, 0.0
    if bad == "many":
        g[:] = 0.3 * np.sqrt(LARGEST[dtype])
    else:
        g[36] = LARGEST[dtype] if bad == "huge" else bad
    kernel, before = KERNELS[name], after(lambda *arguments: None, [theta, g, *rest])
    for body in (kernel.loop, kernel.twin, kernel):
        arguments = [x.copy() if isinstance(x, np.ndarray) else x for x in (theta, g, *rest)]
        assert not body(*arguments)
        unmoved = [x.tobytes() for x in arguments if isinstance(x, np.ndarray)]
        assert unmoved == [x.tobytes() for x in before]


@pytest.mark.parametrize("name", STEPS)
def test_a_step_by_a_finite_gradient_is_said_to_be_made(name):
    for n in (0, 1, 37):
        arguments = CASES[name][1](Draw(0, 1, n, np.float32))
        for body in (KERNELS[name].loop, KERNELS[name].twin, KERNELS[name]):
            assert body(*arguments)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_gradient_whose_norm_is_not_finite_is_not_clipped(bad):
    """Else one infinity would make zeros of all other entries, and a huge one of all."""
    g = Draw(0, 1, 37, np.float32).row()
    g[20] = bad
    kernel = KERNELS["clip_norm"]
    for body in (kernel.loop, kernel.twin, kernel):
        held = g.copy()
        body(held, 0.5)
        assert held.tobytes() == g.tobytes()


def test_impossible_choices_have_no_share_in_an_entropy():
    logits = np.array([[0, -np.inf, 0]], np.float32)
    logp, H, dlogits = np.empty_like(logits), np.empty(1, np.float32), np.empty_like(logits)
    for name in ("loop", "twin", "__call__"):
        getattr(KERNELS["log_softmax"], name)(logits, logp)
        getattr(KERNELS["entropy"], name)(logp, H)
        getattr(KERNELS["entropy_backward"], name)(logp, H, np.ones_like(H), dlogits)
        assert H[0] == pytest.approx(math.log(2)) and np.abs(dlogits).max() < 1e-6


def test_a_choice_that_there_is_not_is_refused():
    values = np.zeros((2, 3), np.float32)
    for refused in (Categorical(values).log_prob, lambda a: td_huber(values, a, values[:, 0])):
        for a in ([0, 3], [-1, 0]):
            with pytest.raises(IndexError, match="choice|index"):
                refused(np.array(a))


def test_standardize_by_hand():
    """1, 2, 6 have mean 3 and variance (4 + 1 + 9) / 2 = 7."""
    x = standardize(np.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(x, np.array([-2, -1, 3]) / math.sqrt(7), rtol=1e-7)
    assert (standardize(np.full(3, 5.0)) == 0).all()


def test_tanh_of_floats_is_within_a_few_roundings():
    z = np.concatenate([np.linspace(-12, 12, 40_001), np.logspace(-30, 0, 999), [np.inf, -np.inf]])
    z = z.astype(np.float32)[:, None]
    exact = np.tanh(z.astype(np.float64))
    KERNELS["bias_tanh"](z, np.zeros(1, np.float32))
    np.testing.assert_allclose(z, exact, rtol=4e-7, atol=0)
    assert np.abs(z).max() == 1


def test_views_are_as_good_as_copies():
    r, v, v_next, terminated, done, gamma, lam = CASES["gae"][1](Draw(0, 6, 4, np.float32))
    views = [np.repeat(x, 2, axis=1)[:, ::2] for x in (r, v, v_next)] + [terminated, done]
    np.testing.assert_array_equal(
        gae(*views, gamma, lam), gae(r, v, v_next, terminated, done, gamma, lam)
    )


# --- generalised advantage estimates, by hand ----------------------------------------------------

REWARDS = np.array([[1.0], [1.0], [1.0]])
VALUES = np.array([[0.5], [0.4], [0.3]])
NEXT_VALUES = np.array([[0.4], [0.3], [0.2]])
NEVER, AT_ONE = np.zeros((3, 1)), np.array([[0.0], [1.0], [0.0]])


@pytest.mark.parametrize(
    "terminated, done, lam, expected",
    [
        (NEVER, NEVER, 0.8, [1.942592, 1.5036, 0.88]),
        (AT_ONE, AT_ONE, 0.8, [1.292, 0.6, 0.88]),
        (NEVER, AT_ONE, 0.8, [0.86 + 0.72 * 0.87, 0.87, 0.88]),  # timed out: bootstrapped, but cut
        (NEVER, NEVER, 1.0, [2.3558, 1.662, 0.88]),
        (NEVER, NEVER, 0.0, [0.86, 0.87, 0.88]),
    ],
    ids=["going on", "terminated", "timed out", "lambda 1", "lambda 0"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gae_by_hand(terminated, done, lam, expected, dtype):
    arrays = [x.astype(dtype) for x in (REWARDS, VALUES, NEXT_VALUES, terminated, done)]
    A = gae(*arrays, 0.9, lam)
    assert A.shape == (3, 1) and A.dtype == dtype
    np.testing.assert_allclose(A[:, 0], expected, rtol=1e-6)


def test_returns_to_go_by_hand():
    A = gae(REWARDS, VALUES, NEXT_VALUES, NEVER, NEVER, 0.9, 0.8)
    np.testing.assert_allclose((A + VALUES)[:, 0], [2.442592, 1.9036, 1.18], rtol=1e-6)


def test_no_advantage_crosses_an_episode_or_an_environment():
    r, v, v_next, terminated, done, gamma, lam = CASES["gae"][1](Draw(1, 7, 3, np.float64))
    done[3] = 1
    before = gae(r, v, v_next, terminated, done, gamma, lam)
    r[4:], r[:, 2] = 1e6, -1e6
    after = gae(r, v, v_next, terminated, done, gamma, lam)
    np.testing.assert_array_equal(after[:4, :2], before[:4, :2])


# --- discounted returns, by hand -----------------------------------------------------------------


def column(*numbers):
    return np.array(numbers, np.float64)[:, None]


@pytest.mark.parametrize(
    "done, bootstrap, expected",
    [
        (column(0, 0, 0), None, [2.75, 3.5, 3]),
        (column(0, 0, 1), None, [2.75, 3.5, 3]),
        (column(0, 0, 1), column(0, 0, 4), [3.25, 4.5, 5]),
        (column(0, 0, 0), column(0, 0, 4), [3.25, 4.5, 5]),
        (column(0, 0, 0), column(9, 9, 4), [3.25, 4.5, 5]),  # asked for at cuts only
        (column(1, 0, 1), column(8, 0, 4), [5, 4.5, 5]),
        (column(0, 1, 0), None, [2, 2, 3]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_discounted_returns_by_hand(done, bootstrap, expected, dtype):
    G = discounted_returns(
        column(1, 2, 3).astype(dtype),
        done,
        0.5,
        None if bootstrap is None else bootstrap.astype(dtype),
    )
    assert G.shape == (3, 1) and G.dtype == dtype
    np.testing.assert_array_equal(G[:, 0], expected)


def test_rewards_that_are_whole_numbers_have_returns_that_are_not():
    whole = np.array([[1], [2], [3]])
    np.testing.assert_array_equal(discounted_returns(whole, 0 * whole, 0.5)[:, 0], [2.75, 3.5, 3])
    advantages = gae(whole, whole, whole, 0 * whole, 0 * whole, 0.5, 0.5)
    np.testing.assert_array_equal(advantages[:, 0], [0.84375, 1.375, 1.5])


# --- wrong shapes --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (3, 2, 1)])
def test_rewards_of_one_environment_need_an_axis(shape):
    x = np.zeros(shape)
    for name, call in (
        ("gae", lambda: gae(x, x, x, x, x, 0.9, 0.9)),
        ("discounted_returns", lambda: discounted_returns(x, x, 0.9)),
    ):
        with pytest.raises(
            ValueError, match=rf"{name} needs arrays of shape \(T, N\), got .* N = 1"
        ):
            call()


@pytest.mark.parametrize("wrong", ["v", "v_next", "terminated", "done"])
def test_gae_names_the_array_whose_shape_is_wrong(wrong):
    arrays = {key: np.zeros((3, 2)) for key in ("r", "v", "v_next", "terminated", "done")}
    arrays[wrong] = np.zeros((3, 1))
    with pytest.raises(ValueError, match=rf"gae needs {wrong} of r's shape \(3, 2\), got \(3, 1\)"):
        gae(**arrays, gamma=0.9, lam=0.9)


@pytest.mark.parametrize("wrong", ["done", "bootstrap"])
def test_discounted_returns_names_the_array_whose_shape_is_wrong(wrong):
    arrays = {key: np.zeros((3, 2)) for key in ("r", "done", "bootstrap")}
    arrays[wrong] = np.zeros((4, 2))
    with pytest.raises(ValueError, match=rf"needs {wrong} of r's shape \(3, 2\), got \(4, 2\)"):
        discounted_returns(**arrays, gamma=0.9)


# --- with and without Numba, each time in a fresh interpreter ------------------------------------


def fresh(script, **environment):
    """What the script prints in an interpreter of its own."""
    environment = {**os.environ, "NPR_NUMBA": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


GAE_BY_HAND = """
import sys, warnings
{first}
import numpy as np
from npr.kernels import discounted_returns, gae, svgd_bandwidth, svgd_direction
x = np.ones((3, 1))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    A = gae(x, 0 * x, 0 * x, 0 * x, 0 * x, 0.5, 1.0)
    discounted_returns(x, 0 * x, 0.5)
kinds = [w.category.__name__ for w in caught if "Numba" in str(w.message)]
print(A[0, 0], "numba" in sys.modules, *kinds)
"""


def test_npr_numba_0_runs_the_twins_and_does_not_import_numba():
    assert fresh(GAE_BY_HAND.format(first=""), NPR_NUMBA="0") == ["1.75", "False"]


def test_kernels_are_not_compiled_before_the_first_call():
    script = "import sys, npr.kernels, npr.nn, npr.optim, npr.heads; print('numba' in sys.modules)"
    assert fresh(script) == ["False"]


def test_a_numba_that_cannot_be_imported_costs_one_warning():
    blocked = GAE_BY_HAND.format(first="sys.modules['numba'] = None")
    assert fresh(blocked) == ["1.75", "True", "RuntimeWarning"]


def test_a_place_without_a_cache_costs_one_warning():
    script = """
import warnings
import numpy as np
from npr.kernels.jit import Kernel

def double(x):  # a function without a file: Numba has nowhere to cache it
    for i in range(len(x)):
        x[i] *= 2

x = np.ones(2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    kernel = Kernel(double, double)
    kernel(x)
    kernel(x)
print(*x, *(w.category.__name__ for w in caught if "cache cannot be used" in str(w.message)))
"""
    pytest.importorskip("numba")
    assert fresh(script) == ["4.0", "4.0", "RuntimeWarning"]


@pytest.mark.parametrize("damaged", ["*", "*.2.nbc"], ids=["all files", "of the second type"])
def test_a_damaged_cache_does_not_stop_a_run(damaged, tmp_path):
    script = """
import numpy as np
from npr.optim import polyak
for dtype in (np.float32, np.float64):
    theta_bar = np.zeros(1, dtype)
    polyak(theta_bar, np.ones(1, dtype), 0.25)
    print(theta_bar[0])
"""
    pytest.importorskip("numba")
    cache = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    assert fresh(script, **cache) == ["0.25", "0.25"]
    files = [path for path in tmp_path.rglob(damaged) if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"damaged")
    assert fresh(script, **cache) == ["0.25", "0.25"]
    cache["PYTHONWARNINGS"] = "error"  # what was damaged is written anew, at the second run at most
    assert fresh(script, **{**cache, "PYTHONWARNINGS": "ignore"}) == ["0.25", "0.25"]
    assert fresh(script, **cache) == ["0.25", "0.25"]


def test_without_openblas_by_name_networks_run_layer_by_layer():
    script = """
import numpy as np
from npr.kernels import mlp
{hide}
from npr.nn import MLP
net = MLP(3, [4], 2, "tanh")
theta = net.init(np.random.default_rng(0))
print(np.round(net(theta, np.ones((2, 3), np.float32)), 4).ravel().tolist(), end=" ")
print(mlp.forward._run is mlp.forward.twin)
"""
    by_name, by_layer = (
        fresh(script.format(hide=hide)) for hide in ("", "mlp.blas = lambda: None")
    )
    assert by_name[:-1] == by_layer[:-1] and by_layer[-1] == "True"


# --- Stein variational gradient descent, by hand -------------------------------------------------

FIXED, UPDATED = np.array([[-0.5], [0.5]]), np.array([[0.0], [0.25]])
SCORE = -8 * (FIXED - 0.3)


def test_svgd_directions_by_hand():
    np.testing.assert_allclose(SCORE[:, 0], [6.4, -1.6])
    moved = svgd_direction(FIXED, UPDATED, SCORE, bandwidth=1.0)
    np.testing.assert_allclose(moved[:, 0], [1.869122, 1.264258], atol=1e-6)


def test_the_bandwidth_is_the_median_over_the_logarithm():
    """Squared distances .0625, .25, .25, .5625: h = .25 / log 2."""
    np.testing.assert_allclose(svgd_bandwidth(FIXED, UPDATED), 0.360674, atol=1e-6)
    moved = svgd_direction(FIXED, UPDATED, SCORE)
    np.testing.assert_allclose(moved[:, 0], [1.2, -0.145716], atol=1e-6)


def test_particles_repel_each_other():
    moved = svgd_direction(np.zeros((1, 1)), np.full((1, 1), 0.1), np.zeros((1, 1)), 1.0)
    assert moved[0, 0] > 0


def test_leading_axes_are_a_batch():
    rng = np.random.default_rng(0)
    fixed, updated, score = (rng.standard_normal((2, 3, n, 2)) for n in (5, 4, 5))
    moved = svgd_direction(fixed, updated, score)
    assert moved.shape == updated.shape
    for where in np.ndindex(2, 3):
        alone = svgd_direction(fixed[where], updated[where], score[where])
        np.testing.assert_allclose(moved[where], alone, rtol=1e-12)


@pytest.mark.parametrize(("density", "mean", "deviation"), [(8.0, 0.3, 0.353553), (1.0, -1.0, 1.0)])
def test_particles_come_to_rest_in_their_density(density, mean, deviation):
    """All particles at once, for a normal density: the mean exactly, the deviation nearly."""
    x = np.random.default_rng(0).standard_normal((60, 1))
    for _ in range(600):
        x += 0.2 / density * svgd_direction(x, x, -density * (x - mean))
    assert x.mean() == pytest.approx(mean, abs=0.01)
    assert x.std() == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize(
    ("fixed", "updated", "score"),
    [((3, 2), (4, 1), (3, 2)), ((3, 2), (4, 2), (2, 2)), ((3,), (4,), (3,)),
     ((2, 3, 1), (3, 4, 1), (2, 3, 1))],
)  # fmt: skip
def test_particles_of_other_shapes_are_refused(fixed, updated, score):
    with pytest.raises(ValueError, match=r"SVGD needs fixed particles and scores \(..., K, D\)"):
        svgd_direction(np.ones(fixed), np.ones(updated), np.ones(score), 1.0)


def test_one_fixed_particle_has_no_bandwidth():
    with pytest.raises(ValueError, match="log 1 = 0"):
        svgd_direction(np.ones((1, 1)), np.ones((2, 1)), np.ones((1, 1)))


def test_the_bandwidth_must_be_above_zero():
    with pytest.raises(ValueError, match="must be above 0, got 0"):
        svgd_direction(FIXED, UPDATED, SCORE, bandwidth=0)


def test_particles_of_other_types_are_made_floats_of_one():
    whole = np.array([[0], [2]]), np.array([[1], [3]]), np.array([[1], [-1]])
    expected = svgd_direction(*(x.astype(float) for x in whole), 1.0)
    np.testing.assert_allclose(svgd_direction(*whole, 1.0), expected, atol=1e-6)
    narrow = [FIXED.astype(np.float32), UPDATED.astype(np.float32)]
    assert svgd_direction(*narrow, SCORE, 1.0).dtype == np.float64
    assert svgd_direction(*narrow, SCORE.astype(np.float32)).dtype == np.float32
