"""Agents with captured calls beside agents whose calls run as they are."""

import contextlib
import hashlib
import tempfile

import numpy as np

import npr
from npr.capture import report
from npr.capture.calls import thread
from npr.training.logger import Logger


@contextlib.contextmanager
def eager():
    """Within this block calls run as they were written."""
    before, thread.inside = thread.inside, True
    try:
        yield
    finally:
        thread.inside = before


class Toy(npr.DQN):
    """theta <- theta - one step of Adam along gain * number * x; x has the size of theta."""

    def build(self):
        super().build()
        self.gain = 0.5

    def update(self, x, number):
        g = self.gain * number * x
        self.adam.step(self.theta, g)
        return {"mean": g.mean(), "g": g}


def toy(kind=Toy, seed=0):
    return kind("CartPole-v1", seed=seed, verbose=0, net_arch=[8], n_envs=1)


def vector(agent, k=0):
    return np.random.default_rng(k).standard_normal(agent.theta.size).astype(agent.theta.dtype)


def bits(x):
    """What a call has returned, as something that is equal only if all bits are."""
    if isinstance(x, dict):
        return {name: bits(value) for name, value in x.items()}
    if x is None or isinstance(x, (bool, int, str)):
        return x
    return np.asarray(x).dtype.str, np.shape(x), np.asarray(x).tobytes()


def updates(agent, n=10, *, first=0, number=2.0):
    """The bits of what n updates return."""
    return [bits(agent.update(vector(agent, k), number)) for k in range(first, first + n)]


def saved_arrays(agent):
    """Name -> array of all that a file of the agent holds, but its log."""
    with tempfile.TemporaryDirectory() as folder:
        agent.save(f"{folder}/agent.npz")
        with np.load(f"{folder}/agent.npz") as file:
            held = {name: file[name] for name in file.files}
    groups = ("params/", "optim/", "rng/", "state/")
    return {n: x for n, x in held.items() if n.startswith(groups) and "logger" not in n}


def digest(arrays):
    whole = hashlib.sha256()
    for name, x in sorted(arrays.items()):
        whole.update(f"{name} {x.dtype.str} {x.shape}".encode() + np.ascontiguousarray(x).tobytes())
    return whole.hexdigest()


@contextlib.contextmanager
def hashed_metrics():
    """Within this block: a hash of all metrics of updates, in their order."""
    whole, add = hashlib.sha256(), Logger.add

    def hashed(self, values):
        for name, value in values.items():
            whole.update(name.encode() + np.asarray(value, np.float64).tobytes())
        return add(self, values)

    Logger.add = hashed
    try:
        yield whole
    finally:
        Logger.add = add


def states(agent):
    return [one.state for one in report(agent)]


def replays(agent, method="update"):
    """How many calls of a method were replayed."""
    calls = vars(agent).get("_captured")
    if calls is None:
        return 0
    return sum(one.replays for one in calls.signatures.values() if one.method.__name__ == method)
