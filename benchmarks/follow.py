"""A batched environment in NumPy, for benchmarks: its cost does not grow with Python's loops."""

import gymnasium.spaces as gs
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv


class Follow(VectorEnv):
    """Independent uniform observations in [-1, 1]; the reward is 1 for the best action.

    discrete   two actions: which of the first two numbers is larger; reward 0 or 1. Otherwise
               `actions` numbers, which should equal the first ones of the observation; reward
               1 - their mean square distance
    length     steps of an episode, which is truncated then
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  as Gymnasium's

    def __init__(self, num_envs, inputs=4, actions=2, discrete=False, length=20):
        self.num_envs, self.length, self.discrete = num_envs, length, discrete
        self.actions = actions
        self.single_observation_space = gs.Box(-1, 1, (inputs,), np.float32)
        box = gs.Box(-1, 1, (actions,), np.float32)
        self.single_action_space = gs.Discrete(2) if discrete else box
        self.observation_space = gs.Box(-1, 1, (num_envs, inputs), np.float32)
        self.action_space = (
            gs.MultiDiscrete([2] * num_envs) if discrete
            else gs.Box(-1, 1, (num_envs, actions), np.float32)
        )  # fmt: skip

    def _observe(self):
        self.s = self.rng.uniform(-1, 1, self.observation_space.shape).astype(np.float32)
        return self.s

    def reset(self, *, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        self.t = 0
        return self._observe(), {}

    def step(self, actions):
        if self.discrete:
            r = (actions == (self.s[:, 1] > self.s[:, 0])).astype(np.float64)
        else:
            r = 1.0 - np.square(actions - self.s[:, : self.actions]).mean(axis=1)
        self.t += 1
        s, over, info = self._observe(), self.t == self.length, {}
        if over:
            every = np.ones(self.num_envs, bool)
            info = {"final_obs": s, "_final_obs": every}
            s, self.t = self._observe(), 0
        n = self.num_envs
        return s, r, np.zeros(n, bool), np.full(n, over), info
