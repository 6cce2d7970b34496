"""Runs of test_device_runs.py on two backends: one update of a small agent, a short `learn`.

In the process of a test they use NumPy. `python device_cases.py FOLDER CASE ...` uses the backend
of NPR_BACKEND and prints {case: results} as one line of JSON; with the strict double of CuPy this
shows that an algorithm stays on the device.
"""

import json
import os
import sys
import traceback

import gymnasium.spaces as gs
import numpy as np

import npr
from npr.backend import BACKEND, FLOAT, to_device, to_host, xp
from npr.training.acting import Acting
from support.masked_envs import Hand
from support.small_agents import RandomEnv, next_update

STEPS = 300  # env steps of the short learn
MORE = 100  # of the loaded agent
BATCH = 16

# settings that presets may set and that change the number of transfers are given here
_OFF_POLICY = {"n_envs": 1, "net_arch": [16, 16], "batch_size": BATCH, "learning_starts": 40,
               "buffer_size": 200, "gradient_steps": 1, "n_step_return": 1}  # fmt: skip
_DQN = {**_OFF_POLICY, "train_freq": 4, "target_update_interval": 100, "double": False}
_SOFTQ = {**_OFF_POLICY, "train_freq": 4, "target_update_interval": 100, "ent_coef": 0.5}
_ACTOR = {**_OFF_POLICY, "train_freq": 2}
_SAC = {**_ACTOR, "ent_coef": "auto"}
_ON_POLICY = {"n_envs": 2, "net_arch": [16, 16], "ent_coef": 0.01}
_REINFORCE = {**_ON_POLICY, "n_episodes": 2, "max_episode_steps": 9}
_PPO = {**_ON_POLICY, "batch_size": BATCH, "n_steps": 32, "n_epochs": 2}

# name -> (algorithm, environment, settings)
CASES = {
    "DQN": ("DQN", "CartPole-v1", _DQN),
    "DQN double, dueling, 3 steps": (
        "DQN", "CartPole-v1", {**_DQN, "double": True, "dueling": True, "n_step_return": 3},
    ),
    "PERDQN": ("PERDQN", "CartPole-v1", _DQN),
    "REINFORCE": ("REINFORCE", "CartPole-v1", _REINFORCE),
    "REINFORCE, discounted": (
        "REINFORCE", "Pendulum-v1", {**_REINFORCE, "discount_state": True},
    ),
    "QActorCritic Discrete": ("QActorCritic", "CartPole-v1", {**_ON_POLICY, "n_steps": 8}),
    "QActorCritic Box": ("QActorCritic", "Pendulum-v1", {**_ON_POLICY, "n_steps": 8}),
    "A2C": ("A2C", "CartPole-v1", {**_ON_POLICY, "n_steps": 8}),
    "PPO Discrete": ("PPO", "CartPole-v1", {**_PPO, "clip_range": 0.2}),
    "PPO Box": ("PPO", "Pendulum-v1", {**_PPO, "clip_range": 0.2}),
    "PPO MultiDiscrete": ("PPO", "MultiDiscrete", {**_PPO, "clip_range": 0.2}),
    "PPO MultiBinary": ("PPO", "MultiBinary", {**_PPO, "clip_range": 0.2}),
    "PPO, shared layers": (
        "PPO", "CartPole-v1",
        {**_PPO, "clip_range_vf": 0.3, "vf_share_layers": True, "target_kl": 1e3},
    ),
    "QActorCritic Dict": ("QActorCritic", "Dict", {**_ON_POLICY, "n_steps": 8}),
    "PPOKL": ("PPOKL", "Pendulum-v1", _PPO),
    "DDPG": ("DDPG", "Pendulum-v1", _ACTOR),
    "TD3": ("TD3", "Pendulum-v1", _ACTOR),
    "SoftQ Discrete": ("SoftQ", "CartPole-v1", _SOFTQ),
    "SoftQ Box": ("SoftQ", "Pendulum-v1", _SOFTQ),
    "SoftQ Box, legacy": ("SoftQ", "Pendulum-v1", {**_SOFTQ, "svgd_space": "legacy"}),
    "SACS": ("SACS", "Pendulum-v1", _ACTOR),
    "SAC": ("SAC", "Pendulum-v1", _SAC),
    "SAC, fixed temperature": ("SAC", "Pendulum-v1", {**_SAC, "ent_coef": 0.2}),
    "SAC, REDQ, normalized layers": (
        "SAC", "Pendulum-v1", {**_SAC, "n_critics": 4, "n_target_critics": 2, "layer_norm": True},
    ),
    "SAC Discrete": ("SAC", "CartPole-v1", _SAC),
    "DQN masked": ("DQN", "Hand", {**_DQN, "action_masks": True}),
    "PPO masked": ("PPO", "Hand", {**_PPO, "clip_range": 0.2, "action_masks": True}),
}  # fmt: skip
JOINT = {
    "MultiDiscrete": gs.MultiDiscrete([3, 2]), "MultiBinary": gs.MultiBinary(3),
    "Dict": gs.Dict(a=gs.Discrete(3), b=gs.Box(-1, 1, (2,)), c=gs.MultiBinary(2)),
}  # fmt: skip


def environment(name):
    if name == "Hand":
        return Hand
    if name not in JOINT:
        return name
    return lambda: RandomEnv(gs.Box(-1, 1, (2,), np.float32), JOINT[name])


def make(case):
    name, env, settings = CASES[case]
    env = environment(env)
    return getattr(npr, name)(env, seed=0, verbose=0, learning_rate=1e-3, **settings)


def parameters(agent):
    """Name -> host array of everything that is learned."""
    kinds = (xp.ndarray, np.ndarray)
    held = {name: x for name, x in vars(agent).items() if isinstance(x, kinds)}
    return {name: to_host(x).copy() for name, x in held.items()}


def one_update(case):
    """The parameters before and after one update, its metrics and what the double counted."""
    agent = make(case)
    batch, before = next_update(agent, STEPS), parameters(agent)
    reset_counts()
    metrics = agent.update(*batch)
    counted = counts()
    agent.update(*batch)  # again: in the second update the policy is not the one that acted
    return {
        "before": plain(before),
        "after": plain(parameters(agent)),
        "metrics": plain({name: np.asarray(to_host(x)) for name, x in metrics.items()}),
        "counts": counted,
    }


def exploring(case):
    """Actions that an agent explores with, before and after its parameters are changed, and the
    state of its generator: as bytes in hexadecimal."""
    agent = make(case)
    rng, seen = np.random.default_rng(0), []
    greedy = {"learning_starts": 0, "exploration_initial_eps": 0.1}  # not random
    agent.assign({name: value for name, value in greedy.items() if name in agent.settings})
    for _ in range(2):
        for n in (1, 2, 5):
            s = rng.standard_normal((n, agent.row_size)).astype(FLOAT)
            s[:, agent.observations.size :] = 1  # masks
            acting = Acting.of(agent)
            choose = acting.on_host(agent, agent.explore) if acting else agent.explore
            agent.envs.episode = np.arange(n)
            seen.append(choose(s).tobytes().hex())
        *_, theta = agent.acts_by()
        theta[...] = to_device(rng.normal(0, 0.3, theta.shape).astype(FLOAT))
    return [*seen, repr(agent.rng["explore"].bit_generator.state)]


def short_learn(case, folder):
    """A whole run: learn, act, save, load, act the same, continue."""
    agent = make(case)
    reset_counts()
    agent.learn(STEPS)
    counted = counts()
    seen = agent.logger.snapshot()
    path = os.path.join(folder, "agent.npz")
    agent.save(path)
    other = npr.load(path, environment(CASES[case][1]))
    s = np.linspace(-1, 1, agent.observations.size, dtype=np.float32)
    batch = np.stack([s, 0.5 * s, -s])
    actions = [
        each.predict(x, deterministic=True)[0] for each in (agent, other) for x in (s, batch)
    ]
    random = [each.act(s, deterministic=False) for each in (agent, other)]
    saved, loaded = plain(parameters(agent)), plain(parameters(other))
    other.learn(MORE)
    return {
        "counts": counted,
        "updates": agent.n_updates,
        "optimizers": len(agent._optimizers),
        "metrics": {key: value for key, value in seen.items() if key.startswith("train/")},
        "saved": saved,
        "loaded": loaded,
        "actions": [rows(a).tolist() for a in actions],
        "random": [rows(a).tolist() for a in random],
        "on host": all(map(on_host, actions + random)),
        "updates of the loaded": other.n_updates,
    }


def rows(action):
    """An action or a batch of them as one array; the parts of a Dict one after the other."""
    if not isinstance(action, dict):
        return np.asarray(action)
    parts = [np.asarray(part) for part in action.values()]
    batched = parts[0].ndim > 0  # the first part is a number
    joined = [x.reshape(len(x) if batched else 1, -1) for x in parts]
    return np.concatenate(joined, axis=-1)[slice(None) if batched else 0]


def on_host(action):
    parts = action.values() if isinstance(action, dict) else [action]
    return all(isinstance(part, np.ndarray) or np.isscalar(part) for part in parts)


def plain(arrays):
    return {name: array.tolist() for name, array in arrays.items()}


def counts():
    """What the strict double counted since `reset_counts`; nothing elsewhere."""
    return vars(xp.counts).copy() if BACKEND == "cupy" and hasattr(xp, "counts") else {}


def reset_counts():
    if BACKEND == "cupy" and hasattr(xp, "counts"):
        xp.counts.reset()


def attempt(function, *args):
    try:
        return function(*args)
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    folder, *cases = sys.argv[1:]
    outcome = {
        case: {
            "update": attempt(one_update, case),
            "exploring": attempt(exploring, case),
            "learn": attempt(short_learn, case, folder),
        }
        for case in cases
    }
    print(json.dumps(outcome))
