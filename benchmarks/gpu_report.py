"""What the jobs of benchmarks/gpu.py share: the report that each of them writes, errors, agents."""

import itertools
import math
import os
import sys
import time
import traceback

import gymnasium.spaces as gs
import numpy as np
import store
from support.small_agents import RandomEnv

import npr
from npr import capture
from npr.backend import CUDA_KERNELS, FLOAT, GRAPHS, ON_HOST, to_device, to_host, xp
from npr.files.parts import arrays_of, parts
from npr.kernels import jit
from npr.kernels.rows import Block
from npr.optim import Optimizer

SMALL = sys.argv[4:] == ["small"]  # few cases and small shapes, to test the script itself
ON_DOUBLE = hasattr(xp, "counts")  # whether `cupy` is the strict double of tests/strict_device
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}[str(FLOAT)]  # of a reference's largest entry
INPUTS, ACTIONS = 17, 6  # of the agents that are timed, as in HalfCheetah-v5


class Report:
    """The results of one job, written to its file whenever one is added.

    deadline   in seconds since 1970, after which no further case is begun
    """

    def __init__(self, path, deadline):
        self.path, self.folder, self.deadline = path, path.parent, deadline
        self.cases = {}

    def add(self, name, result):
        self.cases[name] = result
        store.write(self.path, self.cases)

    def left(self):
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def run(self, name, function, *arguments):
        """Add what the function returns, or the traceback of what it raises."""
        if self.left() <= 0:
            self.add(name, {"skipped": "no time was left"})
            return
        try:
            self.add(name, function(*arguments))
        except Exception:
            self.add(name, {"error": traceback.format_exc()})

    def figures(self, key):
        """[(name of the case, its figure `key`), ...] of the cases that have one."""
        cases = ((name, case) for name, case in self.cases.items() if isinstance(case, dict))
        return [(name, case[key]) for name, case in cases if key in case]

    def summarize_worst(self, *keys, allowed=TOLERANCE):
        """The largest of each of these figures, and the case that it belongs to."""
        found = [(key, self.figures(key)) for key in keys]
        worst = [(key, *max(pairs, key=lambda pair: pair[1])) for key, pairs in found if pairs]
        text = ", ".join(f"{key} {x:.1e} ({name})" for key, name, x in worst)
        n = max(len(pairs) for _, pairs in found)
        self.summarize(f"{n} cases, {text}, allowed {allowed:.0e}" if n else "no case was finished")

    def summarize(self, text):
        """One line for the console."""
        self.add("summary", f"{mode()}: {text}")


def mode():
    """Where this process computes, and how."""
    if ON_HOST:
        threads = os.environ.get("OPENBLAS_NUM_THREADS") or "all"
        numba = "" if jit.available() else ", without Numba"
        return f"NumPy {FLOAT}, {threads} thread{'s' * (threads != '1')}{numba}"
    kernels = "own kernels" if CUDA_KERNELS else "array operations"
    return f"CuPy {FLOAT}, {kernels}{', graphs' * GRAPHS}"


def synchronize():
    if not (ON_HOST or ON_DOUBLE):
        xp.cuda.Device().synchronize()


def error_of(result, reference):
    """The largest error, relative to the largest entry of the reference; infinity for a NaN."""
    result, reference = np.asarray(result, np.float64), np.asarray(reference, np.float64)
    if result.shape != reference.shape:
        raise ValueError(f"got shape {result.shape}, the reference has {reference.shape}")
    error = np.abs(result - reference).max(initial=0.0)
    return float(error / (np.abs(reference).max(initial=0.0) or 1.0)) if error >= 0 else math.inf


# ---- agents


def uploaded(batch):
    """The arguments of an update with their arrays on the device."""
    if isinstance(batch, (list, tuple)):
        return [uploaded(part) for part in batch]
    return to_device(batch) if isinstance(batch, (np.ndarray, np.generic)) else batch


class Saved:
    """What an update changes: parameters and optimizers, copied to the host and put back in place,
    so that captured graphs find them."""

    def __init__(self, agent):
        self.agent = agent
        self.parts = {name: part for name, part in parts(agent).items() if self._learned(part)}
        self.arrays, self.counters = self.now(), self._counters()

    @staticmethod
    def _learned(part):
        return isinstance(part, (Optimizer, np.ndarray, xp.ndarray))

    def _optimizers(self):
        return {name: p for name, p in self.parts.items() if isinstance(p, Optimizer)}

    def _counters(self):
        return {name: part.counters() for name, part in self._optimizers().items()}

    def now(self):
        """{key in a file: a copy of the array}."""
        arrays = {}
        for name, part in self.parts.items():
            arrays |= arrays_of(name, part)
        return {key: np.array(to_host(array)) for key, array in arrays.items()}

    def restore(self):
        for name, part in self.parts.items():
            if isinstance(part, Optimizer):
                start = f"{part.group}/{name}."
                keys = (key for key in self.arrays if key.startswith(start))
                part.load({key.removeprefix(start): self.arrays[key] for key in keys})
                part.load_counters(self.counters[name])
            else:
                array = self.arrays[f"params/{name}"]
                part[...] = array if isinstance(part, np.ndarray) else to_device(array)


def graphs_of(agent):
    """{"replays": of captured updates, "eager": [why others were not captured, ...]}; {} where
    there are no graphs."""
    if ON_HOST or not GRAPHS:
        return {}
    found = capture.report(agent)
    reasons = [one.state.removeprefix("eager: ") for one in found if one.state != "captured"]
    return {"replays": sum(one.replays for one in found), "eager": reasons}


def sac(batch, width):
    """A SAC agent whose replay holds random transitions, and a function that draws a batch."""
    n, rng = 20_000, np.random.default_rng(0)
    spaces = (gs.Box(-1, 1, (size,), np.float32) for size in (INPUTS, ACTIONS))
    env = RandomEnv(*spaces)
    agent = npr.SAC(
        env, seed=0, verbose=0, buffer_size=n, batch_size=batch, net_arch=[width, width],
        learning_rate=3e-4,
    )  # fmt: skip
    s, s2, a = (np.tanh(rng.standard_normal((n, m))) for m in (INPUTS, INPUTS, ACTIONS))
    agent.buffer.add(s, a, rng.standard_normal(n), s2, rng.random(n) < 0.01)
    return agent, lambda: agent.buffer.sample(batch, agent.rng["sample"], agent.noise())


def ppo(batch, width):
    """A PPO agent, and a function that takes a minibatch of a rollout; the policy has moved since
    the rollout, so that some ratios are clipped."""
    rng = np.random.default_rng(0)
    spaces = (gs.Box(-1, 1, (size,), np.float32) for size in (INPUTS, ACTIONS))
    agent = npr.PPO(
        RandomEnv(*spaces), seed=0, verbose=0, n_envs=1, batch_size=batch,
        net_arch=[width, width], learning_rate=3e-4, ent_coef=0.01,
    )  # fmt: skip
    n = 4 * batch
    data = [rng.standard_normal((n, *shape)).astype(FLOAT) for shape in ((INPUTS,), (ACTIONS,))]
    s, a, A, R = map(to_device, (*data, *rng.standard_normal((2, n)).astype(FLOAT)))
    logp = agent.pi(agent.theta, s).log_prob(a) - 0.3 * A
    taken = Block().taker([s, a, A, R, logp])
    index = itertools.cycle(to_device(rng.permutation(n)).reshape(-1, batch))
    return agent, lambda: (*taken(next(index)), 0.2)


AGENTS = {"SAC": sac, "PPO": ppo}
