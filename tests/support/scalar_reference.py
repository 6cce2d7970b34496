"""Reference implementation in scalar loops: dual numbers, networks, distributions, updates.

Nothing here uses NumPy's broadcasting or npr.autodiff: derivatives come from dual numbers."""

import math
import sys

import numpy as np
import pytest
from gymnasium import spaces

import npr
from npr.optim import Adam, RMSprop
from support.small_agents import RandomEnv

RATE = 0.1
NO_CLIP = 1e30  # a max_grad_norm that no gradient reaches
STATES = spaces.Box(-1, 1, (2,), np.float32)
ACTIONS = {"discrete": spaces.Discrete(3), "box": spaces.Box(-1, 1, (2,), np.float32)}
TERMINATED = np.array([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
GAMMA = np.array([0.9, 0.9, 0.81, 0.729, 0.81, 0.9])  # one per sample, as for n-step returns

both_kinds = pytest.mark.parametrize("kind", ["discrete", "box"])


# ---- dual numbers


class Dual:
    """x + d e with e^2 = 0: a number and its derivative in one parameter."""

    __slots__ = ("x", "d")

    def __init__(self, x, d=0.0):
        self.x, self.d = x, d

    def __add__(self, other):
        other = dual(other)
        return Dual(self.x + other.x, self.d + other.d)

    def __mul__(self, other):
        other = dual(other)
        return Dual(self.x * other.x, self.d * other.x + self.x * other.d)

    def __truediv__(self, other):
        other = dual(other)
        return Dual(self.x / other.x, (self.d - self.x / other.x * other.d) / other.x)

    def __neg__(self):
        return Dual(-self.x, -self.d)

    def __sub__(self, other):
        return self + -dual(other)

    def __rsub__(self, other):
        return dual(other) - self

    def __rtruediv__(self, other):
        return dual(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other):  # for min and max
        return self.x < dual(other).x

    def __gt__(self, other):
        return self.x > dual(other).x


def dual(x):
    return x if type(x) is Dual else Dual(x)


def function(f, slope):
    """f(x) of a float or a Dual, from f and slope(x, f(x)) of floats."""

    def apply(x):
        if type(x) is not Dual:
            return f(x)
        y = f(x.x)
        return Dual(y, slope(x.x, y) * x.d)

    return apply


exp = function(math.exp, lambda x, y: y)
log = function(math.log, lambda x, y: 1 / x)
tanh = function(math.tanh, lambda x, y: 1 - y * y)


def gradient(loss, theta):
    """loss at theta, a list or a list of rows, and its derivative in every number there."""
    theta = np.array(theta, object)
    g = np.zeros(theta.shape)
    for index in np.ndindex(theta.shape):
        seeded = theta.copy()
        seeded[index] = Dual(theta[index], 1.0)
        g[index] = dual(loss(seeded.tolist())).d
    return loss(theta.tolist()), g


# ---- networks and distributions, one sample at a time


def relu(x):
    return max(x, 0.0)


def elu(x):
    return x if x > 0 else exp(x) - 1


def network(*sizes, activation=tanh, out=lambda x: x):
    """A function of (theta, *inputs), all lists: layer after layer W (in, out), row by row, and b.

    Numbers of theta beyond the layers are appended to the outputs.
    """

    def forward(theta, *inputs):
        h, start = [x for part in inputs for x in part], 0
        for layer, (n, m) in enumerate(zip(sizes, sizes[1:])):
            f = out if layer == len(sizes) - 2 else activation
            units = []
            for j in range(m):
                z = theta[start + n * m + j]
                for i in range(n):
                    z = z + h[i] * theta[start + i * m + j]
                units.append(f(z))
            h, start = units, start + n * m + m
        return h + theta[start:]

    return forward


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def square(x):
    return x * x


def log_softmax(logits):
    total = log(sum(exp(x) for x in logits))
    return [x - total for x in logits]


class CategoricalHead:
    """A categorical distribution over three actions, from their logits."""

    actor = staticmethod(network(2, 3, 3))

    @staticmethod
    def log_prob(out, a):
        return log_softmax(out)[a]

    @staticmethod
    def entropy(out):
        return -sum(exp(x) * x for x in log_softmax(out))

    @staticmethod
    def kl(old, new):
        return sum(exp(p) * (p - q) for p, q in zip(log_softmax(old), log_softmax(new)))


class GaussianHead:
    """Two independent normals, from two means and two log standard deviations."""

    actor = staticmethod(
        network(2, 3, 2)
    )  # the last numbers of theta are the log standard deviations

    @staticmethod
    def log_prob(out, a):
        total = 0.0
        for mu, log_std, x in zip(out[:2], out[2:], a):
            std = exp(log_std)
            density = exp(-square((x - mu) / std) / 2) / (std * math.sqrt(2 * math.pi))
            total = total + log(density)
        return total

    @staticmethod
    def entropy(out):
        return sum(log(math.sqrt(2 * math.pi * math.e) * exp(x)) for x in out[2:])

    @staticmethod
    def kl(old, new):
        total = 0.0
        for mu, log_std, mu2, log_std2 in zip(old[:2], old[2:], new[:2], new[2:]):
            var, var2 = exp(2 * log_std), exp(2 * log_std2)
            total = total + log(var2 / var) / 2 + (var + square(mu - mu2)) / (2 * var2) - 0.5
        return total

    @staticmethod
    def sample(out, noise):
        return [mu + exp(log_std) * e for mu, log_std, e in zip(out[:2], out[2:], noise)]


HEADS = {"discrete": CategoricalHead, "box": GaussianHead}


def log_slope(u):
    """log d tanh(u) / du, where the derivative is 1 / cosh(u)^2."""
    return -2 * log((exp(u) + exp(-u)) / 2)


def squashed(out, noise):
    """An action tanh(u) of SAC and its log density, the log standard deviation in [-20, 2]."""
    out = out[:2] + [min(max(x, -20.0), 2.0) for x in out[2:]]
    u = GaussianHead.sample(out, noise)
    return [tanh(x) for x in u], GaussianHead.log_prob(out, u) - sum(log_slope(x) for x in u)


# ---- an update of an agent, and of the reference


def make(algorithm, kind, **settings):
    """An agent with small networks: two observations, three actions or a Box of two."""
    cls = getattr(npr, algorithm)
    given = {"net_arch": [3], "max_grad_norm": NO_CLIP, "buffer_size": 10, **settings}
    given = {name: value for name, value in given.items() if name in cls.settings}
    return cls(RandomEnv(STATES, ACTIONS[kind]), seed=0, verbose=0, **given)


class RecordedUpdate:
    """Records losses and gradients of an agent's update, in order, from random float64 parameters.

    The gradients are those that the optimizers get: clipped, and to be subtracted.
    """

    def __init__(self, monkeypatch, agent, *names, seed=6):
        self.agent, self.losses, self.gradients = agent, [], []
        rng = np.random.default_rng(seed)
        for name in names:
            setattr(agent, name, rng.normal(0, 0.7, getattr(agent, name).shape))
        for held in vars(agent).values():
            if isinstance(held, (Adam, RMSprop)):
                held.step = self.step
        module = sys.modules[type(agent).__module__]
        original = module.value_and_grad

        def value_and_grad(f, has_aux=False):
            def recorded(theta):
                result, g = original(f, has_aux)(theta)
                self.losses.append(result[0] if has_aux else result)
                return result, g

            return recorded

        monkeypatch.setattr(module, "value_and_grad", value_and_grad)

    def step(self, theta, g):
        self.gradients.append(g.copy())
        theta -= RATE * g


class Reference:
    """Losses and gradients of the reference; its parameters are attributes, lists of floats."""

    def __init__(self, agent, *names):
        self.names, self.losses, self.gradients = names, [], []
        for name in names:
            setattr(self, name, getattr(agent, name).tolist())

    def descend(self, name, loss, max_norm=None, shown=True):
        """One step of gradient descent on a loss in the named parameters.

        max_norm   gradient clipping
        shown      False: the agent computes this gradient without the value of the loss
        """
        theta = getattr(self, name)
        value, g = gradient(loss, theta)
        if max_norm is not None:
            norm = math.sqrt(sum(x * x for x in g.ravel().tolist()))
            g *= min(1.0, max_norm / (norm + 1e-6))
        if shown:
            self.losses.append(value)
        self.gradients.append(g)
        setattr(self, name, (np.array(theta) - RATE * g).tolist())

    def follow(self, name, source, tau):
        """Polyak averaging of a target network."""
        old, new = np.array(getattr(self, name)), np.array(getattr(self, source))
        setattr(self, name, (tau * new + (1 - tau) * old).tolist())

    def agrees(self, caught):
        """Compare with the update of an agent, to a relative 1e-9."""
        assert len(caught.losses) == len(self.losses)
        assert len(caught.gradients) == len(self.gradients)
        for got, expected in zip(caught.losses, self.losses):
            assert got.dtype == np.float64
            assert abs(got - expected) <= 1e-9 * abs(expected)
        for got, expected in zip(caught.gradients, self.gradients):
            assert_close(got, expected)
            assert np.linalg.norm(expected) > 1e-3  # else the comparison is meaningless
        for name in self.names:
            assert_close(getattr(caught.agent, name), np.array(getattr(self, name)))


def assert_close(got, expected):
    assert got.dtype == np.float64 and got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= 1e-9 * np.linalg.norm(expected)


def covers_both(flags):
    """Whether a batch covers both branches of a condition."""
    flags = list(flags)
    return any(flags) and not all(flags)


def transitions(kind, seed=1):
    """Six transitions: s, a, r, s2, terminated, gamma."""
    rng = np.random.default_rng(seed)
    s, s2 = rng.standard_normal((2, 6, 2))
    a = rng.integers(3, size=6) if kind == "discrete" else rng.uniform(-0.9, 0.9, (6, 2))
    return s, a, 2 * rng.standard_normal(6), s2, TERMINATED, GAMMA


def lists(*arrays):
    return [x.tolist() for x in arrays]


# ---- DDPG and TD3

mu = network(2, 3, 2, activation=elu, out=tanh)
critic = network(4, 3, 1, activation=elu)


def critic_values(theta, s, a):
    """The value under each row of critic parameters."""
    return [critic(row, s, a)[0] for row in theta]


def squared_critic_loss(s, a, y, coefficient):
    """Squared errors, summed over critics and averaged over samples."""

    def loss(theta):
        return mean(
            coefficient * sum(square(q - z) for q in critic_values(theta, x, i))
            for x, i, z in zip(s, a, y)
        )

    return loss
