"""Runs of every algorithm, each with and without capture.

`python capture_runs.py STEPS [LABEL ...]` makes these runs, or all, and prints
{label: [what differs, ...]} as one line of JSON.
"""

import json
import sys
import warnings

import gymnasium
from gymnasium import spaces

import npr
from npr.capture import table
from support.captured import digest, eager, hashed_metrics, replays, saved_arrays, states
from support.masked_envs import Hand
from support.small_agents import RandomEnv
from support.toy_envs import Aim

P, C = "Pendulum-v1", "CartPole-v1"
REPLAY = {
    "learning_starts": 60, "batch_size": 32, "net_arch": [32, 32], "train_freq": 1, "n_envs": 1,
    "buffer_size": 5000, "gradient_steps": 1,
}  # fmt: skip
POLICY = {"net_arch": [32, 32], "n_envs": 2, "n_steps": 8}
PPO = {**POLICY, "n_steps": 24, "batch_size": 16, "n_epochs": 3}
SHORT = {"max_episode_steps": 10}  # every episode has so many steps in Pendulum-v1


class SeededEnv(RandomEnv):
    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)  # its generator is a part of the state
        return super().reset(seed=seed, options=options)


def random_env(actions):
    return lambda: SeededEnv(spaces.Box(-1, 1, (3,)), actions)


# label -> (algorithm, environment, settings)
RUNS = {
    "DQN": ("DQN", C, REPLAY),
    "DQN double dueling": ("DQN", C, {**REPLAY, "double": True, "dueling": True}),
    "DQN n steps": ("DQN", C, {**REPLAY, "n_step_return": 3, "n_envs": 2, "activation": "tanh"}),
    "DQN schedule": ("DQN", C, {**REPLAY, "learning_rate": "linear:1e-3", "tau": 0.01}),
    "DQN normalized": (
        "DQN", "Acrobot-v1",
        {**REPLAY, "normalize_obs": True, "normalize_reward": True, "max_grad_norm": 1.0},
    ),
    "DQN masked": ("DQN", Hand, {**REPLAY, "action_masks": True, "dueling": True}),
    "SAC masked": ("SAC", Hand, {**REPLAY, "action_masks": True}),
    "PPO masked bits": ("PPO", lambda: Hand("multibinary"), {**PPO, "action_masks": True}),
    "DQN elu": ("DQN", C, {**REPLAY, "activation": "elu", "gradient_steps": 2, "n_envs": 3}),
    "PERDQN": ("PERDQN", C, REPLAY),
    "PERDQN dueling": (
        "PERDQN", C,
        {**REPLAY, "dueling": True, "per_normalization": "buffer", "n_step_return": 2, "n_envs": 3},
    ),
    "SAC": ("SAC", P, REPLAY),
    "SAC fixed": ("SAC", P, {**REPLAY, "ent_coef": 0.2, "action_noise": "normal"}),
    "SAC discrete": ("SAC", C, REPLAY),
    "SAC discrete fixed": ("SAC", C, {**REPLAY, "ent_coef": 0.1, "n_step_return": 2}),
    "SAC n steps": ("SAC", P, {**REPLAY, "n_step_return": 3, "ent_coef": "auto_0.1", "n_envs": 2}),
    "SAC rates": (
        "SAC", P,
        {**REPLAY, "actor_lr": "linear:1e-3", "critic_lr": 2e-3, "alpha_lr": 1e-4,
         "normalize_obs": True},
    ),
    "SACS": ("SACS", P, REPLAY),
    "SACS fixed": ("SACS", P, {**REPLAY, "ent_coef": 0.1, "n_envs": 2}),
    "DDPG": ("DDPG", P, REPLAY),
    "DDPG ou": ("DDPG", P, {**REPLAY, "action_noise": "ou", "n_envs": 2, "n_step_return": 2}),
    "TD3": ("TD3", P, REPLAY),
    "TD3 three critics": (
        "TD3", P, {**REPLAY, "net_arch": {"pi": [16], "qf": [32, 32]}, "n_critics": 3}
    ),
    "SAC redq": ("SAC", P, {**REPLAY, "n_critics": 3, "n_target_critics": 2, "layer_norm": True}),
    "SoftQ u": ("SoftQ", P, {**REPLAY, "svgd_space": "u", "n_particles": 8}),
    "SoftQ a": ("SoftQ", P, {**REPLAY, "svgd_space": "a", "n_particles": 8}),
    "SoftQ legacy": ("SoftQ", P, {**REPLAY, "svgd_space": "legacy", "n_particles": 8}),
    "SoftQ discrete": ("SoftQ", C, REPLAY),
    "PPO discrete": ("PPO", C, PPO),
    "PPO box": ("PPO", P, {**PPO, "ent_coef": 0.01, "activation": "relu"}),
    "PPO multidiscrete": ("PPO", random_env(spaces.MultiDiscrete([3, 2, 4])), PPO),
    "PPO multibinary": ("PPO", random_env(spaces.MultiBinary((2, 2))), PPO),
    "PPO hybrid": ("PPO", Aim, PPO),
    "PPO schedules": (
        "PPO", P, {**PPO, "clip_range": "linear:0.3", "learning_rate": "linear:1e-3"}
    ),
    "PPO last minibatch": ("PPO", C, {**PPO, "batch_size": 20, "normalize_advantage": False}),
    "PPO normalized": ("PPO", P, {**PPO, "normalize_obs": True, "normalize_reward": True}),
    "PPO options": (
        "PPO", P, {**PPO, "target_kl": 1e-4, "clip_range_vf": "linear:0.3", "joint_clip": True}
    ),
    "PPO shared layers": ("PPO", C, {**PPO, "vf_share_layers": True}),
    "PPOKL options": (
        "PPOKL", P, {**PPO, "clip_range_vf": 0.2, "vf_share_layers": True, "layer_norm": True}
    ),
    "PPOKL discrete": ("PPOKL", C, PPO),
    "PPOKL box": ("PPOKL", P, PPO),
    "A2C rmsprop": ("A2C", C, {**POLICY, "n_envs": 4}),
    "A2C adam": ("A2C", P, {**POLICY, "use_rms_prop": False, "ent_coef": 0.01}),
    "A2C multidiscrete": ("A2C", random_env(spaces.MultiDiscrete([2, 3])), POLICY),
    "QActorCritic discrete": ("QActorCritic", C, POLICY),
    "QActorCritic box": ("QActorCritic", P, {**POLICY, "baseline_actions": 3}),
    "QActorCritic no baseline": ("QActorCritic", P, {**POLICY, "baseline": False}),
    "QActorCritic hybrid": ("QActorCritic", Aim, {**POLICY, "baseline_actions": 3}),
    "REINFORCE box": (
        "REINFORCE", P, {**SHORT, "n_envs": 2, "n_episodes": 2, "net_arch": [32, 32]}
    ),
    "REINFORCE discounted": (
        "REINFORCE", P,
        {**SHORT, "n_envs": 1, "n_episodes": 1, "discount_state": True, "baseline": False,
         "net_arch": [16]},
    ),
}  # fmt: skip


def outcome(label, steps):
    """The agent of a run; hashes of its arrays and of its metrics; its updates."""
    name, env, given = RUNS[label]
    agent = getattr(npr, name)(env, seed=3, verbose=0, **given)
    with hashed_metrics() as metrics:
        agent.learn(steps)
    return agent, (digest(saved_arrays(agent)), metrics.hexdigest(), agent.n_updates)


def differences(label, steps):
    """What is wrong with the run: where it differs, and what was not captured."""
    with eager():
        _, expected = outcome(label, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        agent, found = outcome(label, steps)
    names = ("parameters, optimizers or generators", "metrics", "the number of updates")
    wrong = [name for name, a, b in zip(names, expected, found) if a != b]
    wrong += [state for state in states(agent) if state != "captured"]
    wrong += [
        f"no {name} was replayed" for name in ("update", "choose") if not replays(agent, name)
    ]
    calls = vars(agent)["_captured"]
    if calls.traces > len(calls.signatures):
        wrong.append(f"{calls.traces} calls were traced for {len(calls.signatures)} signatures")
    return wrong


if __name__ == "__main__":
    table.is_ready = lambda kernel, args: True  # compiled here
    steps, *labels = sys.argv[1:]
    print(json.dumps({label: differences(label, int(steps)) for label in labels or RUNS}))
