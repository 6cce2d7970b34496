"""Each update against the same update written in scalar loops: losses, gradients, parameters.

The references below share nothing with npr but the layout of theta: a forward pass over samples,
units and weights, distributions as the textbook has them, and gradients from dual numbers, one
pass for each parameter, exact to rounding. A target is computed from plain floats before the loss
that it belongs to, so that a gradient that leaks through it would show. All is in float64: npr's
arithmetic follows the arrays that it is given.

In place of an optimiser stands one step of RATE down the gradient, in the agent and in the
reference. Thus a step that must see what the one before it has moved, and one that must not, are
told apart as well.
"""

import functools
import math
import sys

import numpy as np
import pytest
from gymnasium import spaces
from tiny import Spaces
from toy_envs import M2

import npr
from npr.optim import Adam, RMSprop

RATE = 0.1
NO_CLIP = 1e30  # a max_grad_norm that no gradient reaches
STATES = spaces.Box(-1, 1, (2,), np.float32)
ACTIONS = {"discrete": spaces.Discrete(3), "box": spaces.Box(-1, 1, (2,), np.float32)}
TERMINATED = np.array([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
GAMMA = np.array([0.9, 0.9, 0.81, 0.729, 0.81, 0.9])  # as n-step returns have it: one per sample

both_kinds = pytest.mark.parametrize("kind", ["discrete", "box"])


# ---- numbers that know their derivative


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

    def __lt__(self, other):  # what min and max ask
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


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda x: 2 - x, -1),
        (lambda x: 1 + x * x * x, 3 * 0.49),
        (lambda x: 3 / x, -3 / 0.49),
        (lambda x: x / (1 + x), 1 / 1.7**2),
        (lambda x: exp(2 * x), 2 * math.exp(1.4)),
        (lambda x: log(x) - x, 1 / 0.7 - 1),
        (lambda x: tanh(x), 1 / math.cosh(0.7) ** 2),
        (lambda x: max(x, 0.5) + min(x, 0.5), 1),
        (lambda x: 4.0, 0),
    ],
    ids=["minus", "times", "over", "ratio", "exp", "log", "tanh", "max, min", "constant"],
)
def test_the_dual_numbers_of_this_file(f, slope):
    value, g = gradient(lambda x: f(x[0]), [0.7])
    assert value == f(0.7) and g[0] == pytest.approx(slope, rel=1e-14)


# ---- networks and distributions, one sample at a time


def relu(x):
    return max(x, 0.0)


def elu(x):
    return x if x > 0 else exp(x) - 1


def network(*sizes, activation=tanh, out=lambda x: x):
    """A function of (theta, *inputs), all lists: layer after layer W (in, out), row by row, and b.

    What theta has beyond the layers is put out as it is, behind their outputs.
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


class Choice:
    """One of three actions, from their logits."""

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


class Normal:
    """Two independent numbers, from two means and two log standard deviations."""

    actor = staticmethod(network(2, 3, 2))  # theta ends in the log standard deviations

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


HEADS = {"discrete": Choice, "box": Normal}


def log_slope(u):
    """log d tanh(u) / du: the slope is 1 / cosh(u)^2."""
    return -2 * log((exp(u) + exp(-u)) / 2)


def squashed(out, noise):
    """An action tanh(u) of SAC and its log density, the log standard deviation in [-20, 2]."""
    out = out[:2] + [min(max(x, -20.0), 2.0) for x in out[2:]]
    u = Normal.sample(out, noise)
    return [tanh(x) for x in u], Normal.log_prob(out, u) - sum(log_slope(x) for x in u)


# ---- an update of an agent, and the same update by a reference


def make(algorithm, kind, **settings):
    """An agent of small networks with two observations and three choices, or two numbers."""
    cls = getattr(npr, algorithm)
    given = {"net_arch": [3], "max_grad_norm": NO_CLIP, "buffer_size": 10, **settings}
    given = {name: value for name, value in given.items() if name in cls.settings}
    return cls(Spaces(STATES, ACTIONS[kind]), seed=0, verbose=0, **given)


class Caught:
    """The losses and gradients of an agent's update, in order, after new float64 parameters.

    The gradients are those that reach the optimisers: clipped, and with the sign of a descent.
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
            def both(theta):
                result, g = original(f, has_aux)(theta)
                self.losses.append(result[0] if has_aux else result)
                return result, g

            return both

        monkeypatch.setattr(module, "value_and_grad", value_and_grad)

    def step(self, theta, g):
        self.gradients.append(g.copy())
        theta -= RATE * g


class Reference:
    """The losses and gradients of a reference; its parameters are attributes, lists of floats."""

    def __init__(self, agent, *names):
        self.names, self.losses, self.gradients = names, [], []
        for name in names:
            setattr(self, name, getattr(agent, name).tolist())

    def descend(self, name, loss, max_norm=None, shown=True):
        """One step down the gradient of a loss in the parameters of that name.

        max_norm   where the gradient's norm is clipped
        shown      False: the agent takes this gradient without a value of the loss
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
        """A target network takes a share of its source."""
        old, new = np.array(getattr(self, name)), np.array(getattr(self, source))
        setattr(self, name, (tau * new + (1 - tau) * old).tolist())

    def agrees(self, caught):
        """Hold what an agent did against this, to a relative 1e-9."""
        assert len(caught.losses) == len(self.losses)
        assert len(caught.gradients) == len(self.gradients)
        for got, expected in zip(caught.losses, self.losses):
            assert got.dtype == np.float64
            assert abs(got - expected) <= 1e-9 * abs(expected)
        for got, expected in zip(caught.gradients, self.gradients):
            assert_close(got, expected)
            assert np.linalg.norm(expected) > 1e-3  # or the comparison says nothing
        for name in self.names:
            assert_close(getattr(caught.agent, name), np.array(getattr(self, name)))


def assert_close(got, expected):
    assert got.dtype == np.float64 and got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= 1e-9 * np.linalg.norm(expected)


def both(flags):
    """Whether a batch takes both sides of a branch."""
    flags = list(flags)
    return any(flags) and not all(flags)


def transitions(kind, seed=1):
    """Six of them: s, a, r, s2, terminated, gamma."""
    rng = np.random.default_rng(seed)
    s, s2 = rng.standard_normal((2, 6, 2))
    a = rng.integers(3, size=6) if kind == "discrete" else rng.uniform(-0.9, 0.9, (6, 2))
    return s, a, 2 * rng.standard_normal(6), s2, TERMINATED, GAMMA


def lists(*arrays):
    return [x.tolist() for x in arrays]


# ---- tables


def table_step(Q, s, a, y, rate):
    """One step down the gradient of 1/2 (y - Q[s][a])^2 in the whole table."""
    _, g = gradient(lambda Q: square(y - Q[s][a]) / 2, Q)
    return (np.array(Q) - rate * g).tolist()


WALK = [(0, 1, 1.0, 1, 0), (1, 0, 2.0, 0, 0), (0, 0, -0.5, 0, 0), (0, 1, 1.0, 1, 0),
        (1, 1, 3.0, 0, 1), (1, 0, 2.0, 0, 1)]  # fmt: skip


def test_q_learning():
    agent = npr.QLearning(M2, seed=0, verbose=0, learning_rate=0.3, gamma=0.9)
    agent.Q[:] = [[0.5, -1.0], [2.0, 1.5]]
    Q = agent.Q.tolist()
    for s, a, r, s2, terminated in WALK:
        agent.update(s, a, r, s2, terminated)
        y = r if terminated else r + 0.9 * max(Q[s2])
        Q = table_step(Q, s, a, y, 0.3)
        assert_close(agent.Q, np.array(Q))


@pytest.mark.parametrize("expected", [False, True])
def test_sarsa(expected):
    """Expected Sarsa: with chance .4 one of both actions, else the better one."""
    agent = npr.Sarsa(
        M2, seed=0, verbose=0, learning_rate=0.3, gamma=0.9, expected=expected,
        exploration_initial_eps=0.4, exploration_final_eps=0.4,
    )  # fmt: skip
    agent.Q[:] = [[0.5, -1.0], [2.0, 1.5]]
    Q = agent.Q.tolist()
    for (s, a, r, s2, terminated), a2 in zip(WALK, [0, 1, 1, 0, 0, 1]):
        agent.update(s, a, r, s2, a2, terminated)
        chances = [0.8 if q == max(Q[s2]) else 0.2 for q in Q[s2]]
        value = sum(p * q for p, q in zip(chances, Q[s2])) if expected else Q[s2][a2]
        y = r if terminated else r + 0.9 * value
        Q = table_step(Q, s, a, y, 0.3)
        assert_close(agent.Q, np.array(Q))


# ---- DQN and PER-DQN


def argmax(values):
    return values.index(max(values))


def dqn_values(out, dueling):
    if not dueling:
        return out
    V, A = out[0], out[1:]
    return [V + x - mean(A) for x in A]


def dqn_targets(Q, theta, theta_bar, double, batch):
    y, differ = [], []
    for _, _, r, s2, terminated, gamma in zip(*batch):
        q, q2 = Q(theta, s2), Q(theta_bar, s2)
        differ.append(argmax(q) != argmax(q2))
        best = q2[argmax(q)] if double else max(q2)
        y.append(r if terminated else r + gamma * best)
    assert both(differ)  # or double Q would not be told from the plain one
    return y


def huber(error):
    size = max(error, -error)
    return square(error) / 2 if size < 1 else size - 0.5


def dqn_loss(Q, batch, y, weights):
    s, a = batch[:2]

    def loss(theta):
        return mean(w * huber(Q(theta, x)[i] - z) for x, i, z, w in zip(s, a, y, weights))

    return loss


dqn_cases = pytest.mark.parametrize(
    ("double", "dueling", "activation", "hidden", "max_norm"),
    [
        (False, False, relu, [3], NO_CLIP),
        (False, False, tanh, [3], 0.05),
        (True, False, elu, [3, 2], NO_CLIP),
        (False, True, tanh, [3], NO_CLIP),
        (True, True, relu, [3], NO_CLIP),
    ],
    ids=["plain", "clipped", "double", "dueling", "double dueling"],
)


def dqn(algorithm, double, dueling, activation, hidden, max_norm):
    """An agent, and its Q in scalar loops."""
    name = "tanh" if activation is tanh else activation.__name__
    agent = make(algorithm, "discrete", double=double, dueling=dueling, activation=name,
                 net_arch=hidden, max_grad_norm=max_norm)  # fmt: skip
    net = network(2, *hidden, 3 + dueling, activation=activation)
    return agent, lambda theta, s: dqn_values(net(theta, s), dueling)


@dqn_cases
def test_dqn(monkeypatch, double, dueling, activation, hidden, max_norm):
    agent, Q = dqn("DQN", double, dueling, activation, hidden, max_norm)
    caught = Caught(monkeypatch, agent, "theta", "theta_bar", seed=18)
    reference = Reference(agent, "theta", "theta_bar")
    data = transitions("discrete")
    agent.update(*data)

    batch = lists(*data)
    y = dqn_targets(Q, reference.theta, reference.theta_bar, double, batch)
    errors = [Q(reference.theta, s)[a] - z for s, a, z in zip(*batch[:2], y)]
    assert both(abs(e) > 1 for e in errors)
    reference.descend("theta", dqn_loss(Q, batch, y, [1.0] * 6), max_norm)
    reference.agrees(caught)


@dqn_cases
def test_per_dqn(monkeypatch, double, dueling, activation, hidden, max_norm):
    agent, Q = dqn("PERDQN", double, dueling, activation, hidden, max_norm)
    caught = Caught(monkeypatch, agent, "theta", "theta_bar", seed=18)
    reference = Reference(agent, "theta", "theta_bar")
    data, w = transitions("discrete"), np.array([1.0, 0.3, 0.7, 0.2, 0.9, 0.5])
    metrics = agent.update(*data, w)

    batch = lists(*data)
    y = dqn_targets(Q, reference.theta, reference.theta_bar, double, batch)
    errors = [z - Q(reference.theta, s)[a] for s, a, z in zip(*batch[:2], y)]
    assert both(abs(e) > 1 for e in errors)
    assert_close(metrics["delta"], np.array(errors))  # the next priorities
    reference.descend("theta", dqn_loss(Q, batch, y, w.tolist()), max_norm)
    reference.agrees(caught)


# ---- policy gradients

V = network(2, 3, 1)


def policy_data(kind, seed=2):
    """Six states, actions, advantages of both signs, returns."""
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((6, 2))
    a = rng.integers(3, size=6) if kind == "discrete" else rng.normal(0, 1.5, (6, 2))
    return s, a, np.array([1.5, -1.2, 0.8, -0.6, 0.5, -1.3]), 2 * rng.standard_normal(6)


def normalised(A):
    middle = mean(A)
    deviation = math.sqrt(sum(square(x - middle) for x in A) / (len(A) - 1))
    return [(x - middle) / (deviation + 1e-8) for x in A]


def policy_loss(head, s, a, A, ent_coef):
    """-mean A log pi(a|s) - ent_coef mean H(pi(.|s)), of theta."""

    def loss(theta):
        outs = [head.actor(theta, x) for x in s]
        L = mean(w * head.log_prob(out, i) for out, i, w in zip(outs, a, A))
        return -L - ent_coef * mean(head.entropy(out) for out in outs)

    return loss


def value_loss(s, targets, coefficient=1.0):
    def loss(phi):
        return coefficient * mean(square(V(phi, x)[0] - y) for x, y in zip(s, targets))

    return loss


@both_kinds
@pytest.mark.parametrize("baseline", [True, False])
def test_reinforce(monkeypatch, kind, baseline):
    """With the states of two episodes of three steps weighed by gamma^t; without a baseline, with
    advantages as they are and a clipped gradient."""
    max_norm = NO_CLIP if baseline else 0.05
    agent = make("REINFORCE", kind, ent_coef=0.3, baseline=baseline, vf_epochs=2,
                 normalize_advantage=baseline, max_grad_norm=max_norm)  # fmt: skip
    caught = Caught(monkeypatch, agent, "theta", "phi")
    reference = Reference(agent, "theta", "phi")
    s, a, _, G = policy_data(kind)
    weight = 0.9 ** np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0])
    agent.update(s, a, G, weight)

    s, a, G, weight = lists(s, a, G, weight)
    A = G
    if baseline:
        A = normalised([g - V(reference.phi, x)[0] for g, x in zip(G, s)])
    A = [w * x for w, x in zip(weight, A)]
    reference.descend("theta", policy_loss(HEADS[kind], s, a, A, 0.3), max_norm)
    for _ in range(2 if baseline else 0):
        reference.descend("phi", value_loss(s, G), max_norm)
    reference.agrees(caught)


@both_kinds
@pytest.mark.parametrize(("normalize", "max_norm"), [(False, NO_CLIP), (True, 0.05)])
def test_a2c(monkeypatch, kind, normalize, max_norm):
    agent = make("A2C", kind, ent_coef=0.3, vf_coef=0.4, normalize_advantage=normalize,
                 max_grad_norm=max_norm)  # fmt: skip
    caught = Caught(monkeypatch, agent, "theta", "phi")
    reference = Reference(agent, "theta", "phi")
    data = policy_data(kind)
    agent.update(*data)

    s, a, A, R = lists(*data)
    reference.descend("phi", value_loss(s, R, 0.4), max_norm)
    A = normalised(A) if normalize else A
    reference.descend("theta", policy_loss(HEADS[kind], s, a, A, 0.3), max_norm)
    reference.agrees(caught)


def clipped_loss(head, s, a, A, logp_old, epsilon, ent_coef):
    def loss(theta):
        total = 0.0
        for x, i, advantage, old in zip(s, a, A, logp_old):
            out = head.actor(theta, x)
            ratio = exp(head.log_prob(out, i) - old)
            held = min(max(ratio, 1 - epsilon), 1 + epsilon)
            total = total + min(ratio * advantage, held * advantage)
            total = total + ent_coef * head.entropy(out)
        return -total / len(A)

    return loss


@both_kinds
@pytest.mark.parametrize("normalize", [True, False])
def test_ppo(monkeypatch, kind, normalize):
    """Log ratios beyond both ends of the clip range, each with advantages of both signs."""
    agent = make("PPO", kind, ent_coef=0.3, vf_coef=0.4, clip_range=0.25,
                 normalize_advantage=normalize)  # fmt: skip
    caught = Caught(monkeypatch, agent, "theta", "phi")
    reference, head = Reference(agent, "theta", "phi"), HEADS[kind]
    s, a, A, R = policy_data(kind)
    log_ratio = [0.4, 0.5, -0.6, -0.4, 0.1, -0.2]
    logp_old = [
        head.log_prob(head.actor(reference.theta, x), i) - shift
        for x, i, shift in zip(*lists(s, a), log_ratio)
    ]
    agent.update(s, a, A, R, np.array(logp_old))

    s, a, A, R = lists(s, a, A, R)
    A = normalised(A) if normalize else A
    assert [x > 0 for x in A] == [True, False, True, False, True, False]
    reference.descend("theta", clipped_loss(head, s, a, A, logp_old, 0.25, 0.3))
    reference.descend("phi", value_loss(s, R, 0.4))
    reference.agrees(caught)


def penalised_loss(head, s, a, A, out_old, weight, ent_coef):
    def loss(theta):
        total = 0.0
        for x, i, advantage, old in zip(s, a, A, out_old):
            out = head.actor(theta, x)
            ratio = exp(head.log_prob(out, i)) / exp(head.log_prob(old, i))
            total = total + ratio * advantage - weight * head.kl(old, out)
            total = total + ent_coef * head.entropy(out)
        return -total / len(A)

    return loss


@both_kinds
@pytest.mark.parametrize("normalize", [True, False])
def test_ppo_kl(monkeypatch, kind, normalize):
    agent = make("PPOKL", kind, ent_coef=0.3, vf_coef=0.4, normalize_advantage=normalize)
    caught = Caught(monkeypatch, agent, "theta", "phi")
    reference, head = Reference(agent, "theta", "phi"), HEADS[kind]
    s, a, A, R = policy_data(kind)
    width = 3 if kind == "discrete" else 4
    out_old = np.random.default_rng(3).normal(0, 0.5, (6, width))
    agent.update(s, a, A, R, agent.head(out_old).log_prob(a), out_old, 0.7)

    s, a, A, R, out_old = lists(s, a, A, R, out_old)
    A = normalised(A) if normalize else A
    reference.descend("theta", penalised_loss(head, s, a, A, out_old, 0.7, 0.3))
    reference.descend("phi", value_loss(s, R, 0.4))
    reference.agrees(caught)


@both_kinds
def test_an_unclipped_update_of_ppo_is_one_of_a2c(kind):
    """One epoch on one minibatch, collected by the present policy: all ratios are one. Three
    batches in turn, with the true Adam and in float32."""
    given = {"learning_rate": 3e-3, "normalize_advantage": False, "ent_coef": 0.1,
             "max_grad_norm": 0.5}  # fmt: skip
    a2c = make("A2C", kind, use_rms_prop=False, **given)
    ppo = make("PPO", kind, n_epochs=1, clip_range=1e6, **given)
    assert np.array_equal(a2c.theta, ppo.theta) and np.array_equal(a2c.phi, ppo.phi)
    first = a2c.theta.copy(), a2c.phi.copy()
    for seed in range(3):
        s, a, A, R = policy_data(kind, seed)
        s, A, R = (x.astype(a2c.theta.dtype) for x in (s, A, R))
        a = a if kind == "discrete" else a.astype(s.dtype)
        a2c.update(s, a, A, R)
        ppo.update(s, a, A, R, ppo.pi(ppo.theta, s).log_prob(a))
    for got, expected, before in zip((ppo.theta, ppo.phi), (a2c.theta, a2c.phi), first):
        assert np.abs(got - expected).max() < 1e-6
        assert np.abs(expected - before).max() > 1e-3


# ---- Q actor-critic


def q_actor_critic_values(kind):
    """Q(w, s, a) as a function of one state and action."""
    net = network(2, 3, 3) if kind == "discrete" else network(4, 3, 1)
    if kind == "discrete":
        return lambda w, s, a: net(w, s)[a]
    return lambda w, s, a: net(w, s, a)[0]


def critic_loss(Q, s, a, y, valid):
    def loss(w):
        return mean(square(z - Q(w, x, i)) / 2 for x, i, z, v in zip(s, a, y, valid) if v)

    return loss


@both_kinds
@pytest.mark.parametrize("baseline", [True, False])
def test_q_actor_critic(monkeypatch, kind, baseline):
    """Three steps of two environments, one of which only resets itself in the middle."""
    agent = make("QActorCritic", kind, ent_coef=0.3, gamma=0.9, baseline=baseline,
                 max_grad_norm=NO_CLIP if baseline else 0.2)  # fmt: skip
    caught = Caught(monkeypatch, agent, "theta", "w")
    reference, head, Q = Reference(agent, "theta", "w"), HEADS[kind], q_actor_critic_values(kind)
    rng = np.random.default_rng(5)
    s, s2 = rng.standard_normal((2, 3, 2, 2))
    if kind == "discrete":
        a, a2, noises = *rng.integers(3, size=(2, 3, 2)), []
    else:
        a, a2, *noises = rng.normal(0, 1.2, (5, 3, 2, 2))  # three actions for the baseline
    r, terminated = 2 * rng.standard_normal((3, 2)), np.array([[0.0, 1.0], [0, 1], [1, 0]])
    valid = np.array([[True, True], [True, False], [True, True]])
    agent.update(s, a, r, s2, a2, terminated, valid, noises)

    max_norm = agent.max_grad_norm
    s, a, r, s2, a2, terminated, valid, *noises = lists(s, a, r, s2, a2, terminated, valid, *noises)
    for t in (2, 1, 0):
        y = [
            reward if ended else reward + 0.9 * Q(reference.w, x, i)
            for reward, ended, x, i in zip(r[t], terminated[t], s2[t], a2[t])
        ]
        reference.descend("w", critic_loss(Q, s[t], a[t], y, valid[t]), max_norm)

    states, actions, weights = [], [], []
    for t in range(3):
        for n in np.flatnonzero(valid[t]):
            out = head.actor(reference.theta, s[t][n])
            value = Q(reference.w, s[t][n], a[t][n])
            if baseline and kind == "discrete":
                p = [exp(x) for x in log_softmax(out)]
                value -= sum(p[i] * Q(reference.w, s[t][n], i) for i in range(3))
            elif baseline:
                drawn = [head.sample(out, noise[t][n]) for noise in noises]
                value -= mean(Q(reference.w, s[t][n], x) for x in drawn)
            states.append(s[t][n])
            actions.append(a[t][n])
            weights.append(value)
    reference.descend("theta", policy_loss(head, states, actions, weights, 0.3), max_norm)
    reference.agrees(caught)


# ---- DDPG and TD3

mu = network(2, 3, 2, activation=elu, out=tanh)
critic = network(4, 3, 1, activation=elu)


def twin(theta, s, a):
    """The values of every row of critics."""
    return [critic(row, s, a)[0] for row in theta]


def squares_of_all_critics(s, a, y, coefficient):
    """Summed over critics, the mean over samples."""

    def loss(theta):
        return mean(
            coefficient * sum(square(q - z) for q in twin(theta, x, i)) for x, i, z in zip(s, a, y)
        )

    return loss


@pytest.mark.parametrize("algorithm", ["DDPG", "TD3"])
@pytest.mark.parametrize("delayed", [False, True])
def test_ddpg_and_td3(monkeypatch, algorithm, delayed):
    """Some of the target's actions are clipped; a delayed update leaves actor and targets alone."""
    agent = make(algorithm, "box", activation="elu", tau=0.2)
    names = "theta", "theta_bar", "phi", "phi_bar"
    caught, reference = Caught(monkeypatch, agent, *names), Reference(agent, *names)
    data = transitions("box")
    noise = np.zeros((6, 2))
    if algorithm == "TD3":
        noise = np.clip(np.random.default_rng(6).standard_normal((6, 2)), -0.5, 0.5)
    agent.update(*data, noise, delayed)

    s, a, r, s2, terminated, gamma, noise = lists(*data, noise)
    y, first, clipped = [], [], []
    for i in range(6):
        raw = [m + e for m, e in zip(mu(reference.phi_bar, s2[i]), noise[i])]
        a2 = [min(max(x, -1.0), 1.0) for x in raw]
        q = twin(reference.theta_bar, s2[i], a2)
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * min(q))
        first.append(q[0] == min(q))
        clipped += [x != z for x, z in zip(raw, a2)]
    assert algorithm == "DDPG" or (both(first) and both(clipped))
    reference.descend("theta", squares_of_all_critics(s, a, y, 1.0))
    if not delayed:
        reference.descend(
            "phi", lambda phi: -mean(twin(reference.theta, x, mu(phi, x))[0] for x in s)
        )
        reference.follow("theta_bar", "theta", 0.2)
        reference.follow("phi_bar", "phi", 0.2)
    reference.agrees(caught)


# ---- soft Q-learning


def test_soft_q_of_choices(monkeypatch):
    agent = make("SoftQ", "discrete", activation="elu", ent_coef=0.4)
    caught = Caught(monkeypatch, agent, "theta", "theta_bar")
    reference, Q = Reference(agent, "theta", "theta_bar"), network(2, 3, 3, activation=elu)
    data = transitions("discrete")
    agent.update(*data, None, None)

    s, a, r, s2, terminated, gamma = lists(*data)
    y = []
    for i in range(6):
        v = 0.4 * log(sum(exp(q / 0.4) for q in Q(reference.theta_bar, s2[i])))
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * v)
    reference.descend(
        "theta", lambda theta: mean(square(z - Q(theta, x)[i]) / 2 for x, i, z in zip(s, a, y))
    )
    reference.agrees(caught)


def squared_distance(x, y):
    return sum(square(p - q) for p, q in zip(x, y))


def bandwidth(staying, moved):
    """The median of squared distances, the smaller middle one, over the log of their number."""
    distances = sorted(squared_distance(x, y) for x in staying for y in moved)
    return max(distances[(len(distances) - 1) // 2] / math.log(len(staying)), 1e-3)


def log_p(theta, s, x, alpha, space):
    """The log density that particles follow at s, up to a constant."""
    a = [tanh(u) for u in x] if space == "u" else x
    energy = critic(theta, s, a)[0] / alpha
    if space == "u":
        return energy + sum(log_slope(u) for u in x)
    if space == "legacy":
        return energy + sum(log(1 - square(u) + 1e-6) for u in x)
    return energy


def svgd_directions(theta, s, staying, moved, alpha, space):
    """Delta_i of every moved particle, and the bandwidth."""
    h = bandwidth(staying, moved)
    directions = []
    for x in moved:
        terms = []
        for z in staying:
            _, score = gradient(lambda z: log_p(theta, s, z, alpha, space), z)
            k, slope = gradient(lambda z, x=x: exp(-squared_distance(z, x) / h), z)
            terms.append([k * p + q for p, q in zip(score.tolist(), slope.tolist())])
        directions.append([mean(term[d] for term in terms) for d in range(2)])
    return directions, h


@pytest.mark.parametrize("space", ["u", "legacy", "a"])
def test_soft_q_in_a_box(monkeypatch, space):
    """Of five particles two are moved, by critics that have just made their step."""
    agent = make("SoftQ", "box", activation="elu", ent_coef=0.4, svgd_space=space, n_particles=5,
                 kernel_update_ratio=0.4, value_n_particles=4)  # fmt: skip
    names = "theta", "theta_bar", "phi"
    caught, reference = Caught(monkeypatch, agent, *names), Reference(agent, *names)
    data, rng = transitions("box"), np.random.default_rng(7)
    a2, xi = rng.uniform(-1, 1, (4, 2)), rng.standard_normal((6, 5, 2))
    metrics = agent.update(*data, a2, xi)

    s, a, r, s2, terminated, gamma, a2, xi = lists(*data, a2, xi)
    y = []
    for i in range(6):
        density = 1 / 4  # of uniform actions in a square of side 2
        weights = [exp(critic(reference.theta_bar, s2[i], x)[0] / 0.4) / density for x in a2]
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * 0.4 * log(mean(weights)))
    reference.descend(
        "theta",
        lambda theta: mean(square(z - critic(theta, x, i)[0]) / 2 for x, i, z in zip(s, a, y)),
    )

    f = network(4, 3, 2, activation=elu, out=tanh if space != "u" else lambda u: u)
    Delta, h = [], []
    for i in range(6):
        particles = [f(reference.phi, s[i], e) for e in xi[i]]
        found = svgd_directions(reference.theta, s[i], particles[2:], particles[:2], 0.4, space)
        Delta.append(found[0])
        h.append(found[1])

    def minus_climb(phi):
        """Its gradient is that of the moved particles, along Delta."""
        return -mean(
            sum(p * u for p, u in zip(Delta[i][j], f(phi, s[i], xi[i][j])))
            for i in range(6)
            for j in range(2)
        )

    reference.descend("phi", minus_climb, shown=False)
    reference.agrees(caught)
    assert metrics["svgd_kernel_bandwidth"] == pytest.approx(mean(h), rel=1e-9)


# ---- soft actor-critics

actor = network(2, 3, 4, activation=elu)  # two means and two log standard deviations


def soft_value(phi, theta, s, noise, alpha):
    """(min Q - alpha log pi, log pi) at one action from the noise."""
    a, logp = squashed(actor(phi, s), noise)
    return min(twin(theta, s, a)) - alpha * logp, logp


def covers_its_branches(phi, theta, s, noise):
    """Whether some log standard deviations are clamped, and either critic is the smaller one."""
    outs = [actor(phi, x) for x in s]
    q = [twin(theta, x, squashed(out, e)[0]) for x, out, e in zip(s, outs, noise)]
    return both(x > 2 for out in outs for x in out[2:]) and both(x < z for x, z in q)


def wide(agent):
    """Lift one log standard deviation towards its clamp at 2."""
    agent.phi[-1] = 1.8


def test_sac_s(monkeypatch):
    agent = make("SACS", "box", activation="elu", ent_coef=0.3, tau=0.2)
    names = "psi", "psi_bar", "theta", "phi"
    caught = Caught(monkeypatch, agent, *names)
    wide(agent)
    reference, value = Reference(agent, *names), network(2, 3, 1, activation=elu)
    data, noise = transitions("box"), 0.6 * np.random.default_rng(8).standard_normal((6, 2))
    agent.update(*data, noise)

    s, a, r, s2, terminated, gamma, noise = lists(*data, noise)
    assert covers_its_branches(reference.phi, reference.theta, s, noise)
    v = [soft_value(reference.phi, reference.theta, x, e, 0.3)[0] for x, e in zip(s, noise)]
    reference.descend(
        "psi", lambda psi: mean(square(value(psi, x)[0] - z) / 2 for x, z in zip(s, v))
    )
    y = [
        r[i] if terminated[i] else r[i] + gamma[i] * value(reference.psi_bar, s2[i])[0]
        for i in range(6)
    ]
    reference.descend("theta", squares_of_all_critics(s, a, y, 0.5))
    reference.descend(
        "phi",
        lambda phi: -mean(soft_value(phi, reference.theta, x, e, 0.3)[0] for x, e in zip(s, noise)),
    )
    reference.follow("psi_bar", "psi", 0.2)
    reference.agrees(caught)


def sac_step(reference, data, soft, critic_loss, H_bar):
    """The lines of SAC, from soft(phi, theta, s, sample) = (V, mean log pi) and the critics' loss.

    H_bar is None where the temperature is fixed.
    """
    s, a, r, s2, terminated, gamma = lists(*data)
    alpha = math.exp(reference.log_alpha[0])
    y = []
    for i in range(6):
        v, _ = soft(reference.phi, reference.theta_bar, s2[i], alpha, i, True)
        y.append(r[i] if terminated[i] else r[i] + gamma[i] * v)
    reference.descend("theta", critic_loss(s, a, y))
    theta, phi = reference.theta, reference.phi
    reference.descend(
        "phi", lambda phi: -mean(soft(phi, theta, s[i], alpha, i, False)[0] for i in range(6))
    )
    if H_bar is not None:
        logp = mean(soft(phi, theta, s[i], alpha, i, False)[1] for i in range(6))
        reference.descend("log_alpha", lambda x: -x[0] * (logp + H_bar), shown=False)
    reference.follow("theta_bar", "theta", 0.2)


sac_cases = pytest.mark.parametrize("ent_coef", ["auto", 0.3])
SAC_NAMES = "theta", "theta_bar", "phi", "log_alpha"


@sac_cases
def test_sac_in_a_box(monkeypatch, ent_coef):
    agent = make("SAC", "box", activation="elu", ent_coef=ent_coef, tau=0.2)
    caught = Caught(monkeypatch, agent, *SAC_NAMES)
    wide(agent)
    reference = Reference(agent, *SAC_NAMES)
    data, noises = transitions("box"), 0.6 * np.random.default_rng(8).standard_normal((2, 6, 2))
    agent.update(*data, *noises)

    noise, noise2 = lists(*noises)
    s = data[0].tolist()
    assert covers_its_branches(reference.phi, reference.theta, s, noise)

    def soft(phi, theta, s, alpha, i, after):
        return soft_value(phi, theta, s, (noise2 if after else noise)[i], alpha)

    loss = functools.partial(squares_of_all_critics, coefficient=0.5)
    sac_step(reference, data, soft, loss, -2.0 if ent_coef == "auto" else None)
    reference.agrees(caught)


@sac_cases
def test_sac_of_choices(monkeypatch, ent_coef):
    agent = make("SAC", "discrete", activation="elu", ent_coef=ent_coef, tau=0.2)
    caught = Caught(monkeypatch, agent, *SAC_NAMES)
    reference, net = Reference(agent, *SAC_NAMES), network(2, 3, 3, activation=elu)
    data = transitions("discrete")
    agent.update(*data, None, None)

    def soft(phi, theta, s, alpha, i, after):
        """Both means over all actions, none of which is drawn."""
        logp, qs = log_softmax(net(phi, s)), [net(row, s) for row in theta]
        V = sum(exp(x) * (min(q) - alpha * x) for x, q in zip(logp, zip(*qs)))
        return V, sum(exp(x) * x for x in logp)

    def loss_of(s, a, y):
        def loss(theta):
            return mean(
                sum(square(net(row, x)[i] - z) / 2 for row in theta) for x, i, z in zip(s, a, y)
            )

        return loss

    smaller = [
        x < z for s in data[0].tolist() for x, z in zip(*(net(w, s) for w in reference.theta))
    ]
    assert both(smaller)
    H_bar = 0.6 * math.log(3) if ent_coef == "auto" else None
    sac_step(reference, data, soft, loss_of, H_bar)
    reference.agrees(caught)
