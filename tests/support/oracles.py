"""Shared by the tests of algorithms: batches, gradient checks, optimal policies."""

import numpy as np

import npr
from npr.autodiff import gradcheck, value_and_grad
from npr.heads import TanhGaussian

F = np.float32


def rows(*values):
    """A float32 array with one number per row."""
    return np.array(values, F)


def check_every_gradient(monkeypatch, module):
    """Compare every gradient of an update with finite differences; returns the list of errors."""
    checked = []

    def checked_value_and_grad(f, has_aux=False):
        def run(theta):
            scalar = (lambda t: f(t)[0]) if has_aux else f
            checked.append(gradcheck(scalar, theta.astype(np.float64)))
            return value_and_grad(f, has_aux)(theta)

        return run

    monkeypatch.setattr(f"npr.algorithms.{module}.value_and_grad", checked_value_and_grad)
    return checked


def random_batch(rng, n=7, s=4, a=None):
    """A batch (s, a, r, s2, terminated) of random transitions."""
    action = (
        rng.integers(2, size=n) if a is None else np.tanh(rng.standard_normal((n, a))).astype(F)
    )
    states = rng.standard_normal((2, n, s)).astype(F)
    terminated = (rng.random(n) < 0.3).astype(F)
    return states[0], action, rng.standard_normal(n).astype(F), states[1], terminated


def u_of_log_prob(logp):
    """u > 0 with log-density `logp` under tanh of the standard normal."""
    u = np.linspace(0, 6, 600_001)
    density = TanhGaussian(np.zeros((len(u), 2))).log_prob_u(u[:, None])
    return u[np.abs(density - logp).argmin()]


def best_tanh_gaussian(alpha):
    """(mean of a, entropy) of the tanh-Gaussian that maximizes E[-4 (a - .3)^2] + alpha H, by
    Gauss-Hermite quadrature and gradient ascent on its two parameters."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = (weights / weights.sum())[:, None]

    def J(out):
        a, logp = TanhGaussian(out + np.zeros((80, 2))).sample(nodes[:, None])
        reward = -4 * (a - 0.3) ** 2
        return -((reward - alpha * logp.reshape(80, 1)) * weights).sum(), (a, logp)

    out = np.array([0.3, -1.0])
    adam = npr.optim.Adam(out)
    for step in range(300):
        adam.learning_rate = 0.1 * (1 - step / 300)
        (_, (a, logp)), g = value_and_grad(J, has_aux=True)(out)
        adam.step(out, g)
    return (a * weights).sum(), -(logp * weights[:, 0]).sum()
