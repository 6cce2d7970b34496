"""What test_strict_device.py runs on two backends: small agents, one update, a short `learn`.

In a test's own process this runs on NumPy. `python device_cases.py CASE FOLDER` runs it on the
backend of NPR_BACKEND and prints what happened as one line of JSON: under the strict double of
CuPy that is the proof that an algorithm keeps to the device.
"""

import json
import os
import sys
import traceback

import numpy as np

import npr
from npr.backend import BACKEND, to_device, to_host, xp

STEPS = 300  # env steps of the short learn
BATCH = 16

# what a preset could move and what changes the count of transfers is written out
_OFF_POLICY = {"n_envs": 1, "net_arch": [16, 16], "batch_size": BATCH, "learning_starts": 40,
               "buffer_size": 200, "gradient_steps": 1, "n_step_return": 1}  # fmt: skip
_DQN = {**_OFF_POLICY, "train_freq": 4, "target_update_interval": 100, "double": False}
_SAC = {**_OFF_POLICY, "train_freq": 2, "ent_coef": "auto"}
_PPO = {"n_envs": 2, "net_arch": [16, 16], "batch_size": BATCH, "n_steps": 32, "n_epochs": 2,
        "clip_range": 0.2}  # fmt: skip

# name -> (algorithm, environment, settings)
CASES = {
    "DQN": ("DQN", "CartPole-v1", _DQN),
    "DQN double, 3 steps": ("DQN", "CartPole-v1", {**_DQN, "double": True, "n_step_return": 3}),
    "PPO Discrete": ("PPO", "CartPole-v1", _PPO),
    "PPO Box": ("PPO", "Pendulum-v1", {**_PPO, "ent_coef": 0.01}),
    "SAC": ("SAC", "Pendulum-v1", _SAC),
    "SAC, fixed temperature": ("SAC", "Pendulum-v1", {**_SAC, "ent_coef": 0.2}),
}


def make(case):
    name, env, settings = CASES[case]
    return getattr(npr, name)(env, seed=0, verbose=0, learning_rate=1e-3, **settings)


def parameters(agent):
    """Name -> host array of everything on the device that learns."""
    held = {name: x for name, x in vars(agent).items() if isinstance(x, xp.ndarray)}
    return {name: to_host(x).copy() for name, x in held.items()}


def random_batch(agent):
    """What `train` hands to `update`, from random numbers."""
    rng = np.random.default_rng(1)
    discrete = agent.actions.kind == "discrete"

    def some(n):
        s, s2 = rng.standard_normal((2, n, agent.observations.size), np.float32)
        a = rng.integers(agent.actions.size, size=n) if discrete else (
            rng.uniform(-1, 1, (n, agent.actions.size)).astype(np.float32))  # fmt: skip
        return s, a, rng.standard_normal(n, np.float32), s2, rng.random(n) < 0.2

    if isinstance(agent, npr.PPO):
        s, a, A, _, _ = some(BATCH)
        R, nudge = rng.standard_normal((2, BATCH), np.float32)
        s, a, A, R, nudge = (to_device(x) for x in (s, a, A, R, nudge))
        logp_old = agent.pi(agent.theta, s).log_prob(a) + 0.3 * nudge  # some ratios are clipped
        return s, a, A, R, logp_old
    for _ in range(30):
        agent.buffer.add(*some(2), np.array([0, 1]))
    batch = agent.buffer.sample(BATCH, rng)
    return (*batch, agent.noise(), agent.noise()) if isinstance(agent, npr.SAC) else batch


def one_update(case):
    """The parameters before and after one update, its metrics, and what crossed the bus."""
    agent = make(case)
    batch, before = random_batch(agent), parameters(agent)
    forget_counts()
    metrics = agent.update(*batch)
    crossed = counts()
    return {
        "before": plain(before),
        "after": plain(parameters(agent)),
        "metrics": plain({name: np.asarray(to_host(x)) for name, x in metrics.items()}),
        "crossed": crossed,
    }


def short_learn(case, folder):
    """A run from end to end: learn, act, save, load, act the same, learn on."""
    agent = make(case)
    forget_counts()
    agent.learn(STEPS)
    crossed = counts()
    seen = agent.logger.snapshot()
    path = os.path.join(folder, "agent.npz")
    agent.save(path)
    other = npr.load(path)
    s = np.linspace(-1, 1, agent.observations.size, dtype=np.float32)
    batch = np.stack([s, 0.5 * s, -s])
    actions = [
        each.predict(x, deterministic=True)[0] for each in (agent, other) for x in (s, batch)
    ]
    random = [each.act(s, deterministic=False) for each in (agent, other)]
    saved, loaded = plain(parameters(agent)), plain(parameters(other))
    other.learn(STEPS)
    return {
        "crossed": crossed,
        "updates": agent.n_updates,
        "metrics": {key: value for key, value in seen.items() if key.startswith("train/")},
        "saved": saved,
        "loaded": loaded,
        "actions": [np.asarray(a).tolist() for a in actions],
        "random": [np.asarray(a).tolist() for a in random],
        "on host": all(isinstance(a, np.ndarray) or np.isscalar(a) for a in actions + random),
        "updates of the loaded": other.n_updates,
    }


def plain(arrays):
    return {name: array.tolist() for name, array in arrays.items()}


def counts():
    """What crossed the bus since `forget_counts`; the double counts, NumPy has no bus."""
    return vars(xp.counts).copy() if BACKEND == "cupy" and hasattr(xp, "counts") else {}


def forget_counts():
    if BACKEND == "cupy" and hasattr(xp, "counts"):
        xp.counts.reset()


def attempt(function, *args):
    try:
        return function(*args)
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    case, folder = sys.argv[1:]
    outcome = {"update": attempt(one_update, case), "learn": attempt(short_learn, case, folder)}
    print(json.dumps(outcome))
