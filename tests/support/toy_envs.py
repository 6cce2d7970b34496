"""Environments small enough to know their transitions in advance."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class CountingEnv(gym.Env):
    """The observation says where it comes from: (env, episode, t).

    plan     one (length, ending) per episode, repeated; an ending is "terminated", "truncated"
             or "both" at once. A length of 1 ends in its first step.
    reuse    return the same array every time, overwritten
    """

    def __init__(self, number=0, plan=((3, "terminated"),), reuse=False):
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.plan, self.reuse = plan, reuse
        self.where = np.array([number, -1, 0], np.float32)

    def _observe(self):
        return self.where if self.reuse else self.where.copy()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.where[1:] = self.where[1] + 1, 0
        return self._observe(), {}

    def step(self, action):
        self.where[2] += 1
        _, episode, t = self.where
        length, ending = self.plan[int(episode) % len(self.plan)]
        over = t == length
        terminated = bool(over and ending in ("terminated", "both"))
        truncated = bool(over and ending in ("truncated", "both"))
        return self._observe(), counting_reward(t, action), terminated, truncated, {}


def counting_reward(t, action):
    return float(t + 0.5 * action)


def counting_action(s):
    """A policy that depends on the observation alone: 0 or 1."""
    return int(s[1:].sum()) % 2


# three environments whose episodes rarely end together: termination, truncation, both in
# one step, and episodes of one step
PLANS = (
    ((1, "terminated"), (2, "truncated"), (1, "both")),
    ((3, "truncated"), (4, "terminated")),
    ((2, "both"), (5, "truncated"), (1, "truncated")),
)


def counting_envs(n=3, **options):
    """n factories of CountingEnv, for EnvList and Gymnasium's vector environments."""
    return [lambda i=i: CountingEnv(i, PLANS[i], **options) for i in range(n)]


def single_env_rows(env, policy, steps):
    """Transitions of one environment in a plain loop: the reference.

    Returns a list of (s, a, r, s2, terminated, truncated), s and s2 as tuples.
    """
    rows = []
    s = env.reset()[0].copy()
    for _ in range(steps):
        a = policy(s)
        s2, r, terminated, truncated, _ = env.step(a)
        rows.append((tuple(s), a, r, tuple(s2), terminated, truncated))
        s = (env.reset()[0] if terminated or truncated else s2).copy()
    return rows


class ConstantReward(gym.Env):
    """One state, reward 1, `length` steps: truncated at the end, and terminated as well if `both`.

    With gamma = .9 the value of the state is 10 if it is truncated, and less if it is terminated.
    """

    def __init__(self, length=10, both=False):
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.length, self.both = length, both

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t >= self.length
        return np.ones(1, np.float32), 1.0, over and self.both, over, {}


class ActionRecorder(gym.Env):
    """Records the actions that it gets in `taken`; episodes have one step."""

    def __init__(self, action_space):
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space, self.taken = action_space, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.taken.append(action)
        return np.zeros(2, np.float32), 0.0, True, False, {}


class Bandit(gym.Env):
    """One step, action in [-1, 1], reward -4 (a - .3)^2."""

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), -4 * float(action[0] - 0.3) ** 2, True, False, {}


class ConstantBox(ConstantReward):
    """ConstantReward for ten steps, with an action in [-1, 1] that does nothing."""

    def __init__(self, both=False):
        super().__init__(10, both)
        self.action_space = Bandit().action_space


class TwoStates(gym.Env):
    """Two states. In state 0: a0 -> 0, r 0; a1 -> 1, r 1;
    in state 1: a0 -> 0, r 2; a1 -> terminated, r 3. With gamma = .9,
    Q* = [[13.263158, 14.736842], [15.263158, 3]]."""

    Q_STAR = np.array([[13.263158, 14.736842], [15.263158, 3.0]])

    def __init__(self):
        self.observation_space, self.action_space = spaces.Discrete(2), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0
        return self.state, {}

    def step(self, action):
        reward = float(2 * self.state + action)
        ended = self.state == 1 and action == 1
        self.state = 1 if self.state == 0 and action == 1 else 0
        return self.state, reward, ended, False, {}


class RandomObservation(gym.Env):
    """Observations drawn from the environment's generator, so that they depend on its seed."""

    def __init__(self):
        self.observation_space = spaces.Box(0, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def _observe(self):
        return self.np_random.random(2, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        return self._observe(), 0.0, False, self.t == 3, {}


class Fixed(gym.Env):
    """Always the same observation of a given space; episodes have two steps."""

    def __init__(self, space, observation):
        self.observation_space, self.action_space = space, spaces.Discrete(2)
        self.observation = observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation, {}

    def step(self, action):
        self.t += 1
        return self.observation, 0.0, self.t == 2, False, {}


class InterruptedEnv(CountingEnv):
    """A CountingEnv whose second step raises KeyboardInterrupt, once."""

    def step(self, action):
        if tuple(self.where[1:]) == (0, 1):
            self.where[2] += 1
            raise KeyboardInterrupt
        return super().step(action)


class NonFiniteEnv(CountingEnv):
    """A CountingEnv with episodes of four steps and one invalid number.

    fault    "reset": the second episode starts with an invalid observation; "step", "final": the
             second or the last step of the first episode returns one; "reward": the second
             step's reward is invalid
    bad      the invalid number
    """

    FAULTS = ("reset", "step", "final", "reward")

    def __init__(self, fault, bad=np.nan, number=0):
        super().__init__(number, plan=((4, "terminated"),))
        self.fault, self.bad = fault, bad

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        if self.fault == "reset" and observation[1] == 1:
            observation[2] = self.bad
        return observation, info

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        _, episode, t = observation
        if episode == 0 and t == {"step": 2, "final": 4}.get(self.fault):
            observation[2] = self.bad
        if episode == 0 and t == 2 and self.fault == "reward":
            reward = self.bad
        return observation, reward, terminated, truncated, info


# one environment for each kind of episode end, and one with episodes of unequal lengths
SHAPES = (
    ((4, "terminated"),),
    ((3, "truncated"),),
    ((5, "both"),),
    ((1, "terminated"), (1, "truncated")),
    ((2, "terminated"), (6, "truncated"), (1, "both")),
)


class FaultyEnv(CountingEnv):
    """A CountingEnv with episodes of three steps and one faulty call of step() or reset().

    step      function that changes the five values of step number `at`; it may raise
    reset     function that changes (observation, info) of reset number `at`
    space     another observation space; the observations are then `valid`
    """

    def __init__(self, step=None, reset=None, at=2, number=1, space=None, valid=None, always=False):
        super().__init__(number)
        self.step_fault, self.reset_fault, self.at, self.always = step, reset, at, always
        self.steps = self.resets = 0
        self.valid = valid
        if space is not None:
            self.observation_space = space

    def _observe(self):
        return super()._observe() if self.valid is None else self.valid

    def _is_faulty(self, count):
        return count == self.at or (self.always and count > self.at)

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed)
        self.resets += 1
        if self.reset_fault is not None and self._is_faulty(self.resets):
            return self.reset_fault(*result)
        return result

    def step(self, action):
        self.steps += 1
        self.where[2] += 1
        _, _, t = self.where
        result = self._observe(), counting_reward(t, action), bool(t == 3), False, {}
        if self.step_fault is not None and self._is_faulty(self.steps):
            return self.step_fault(*result)
        return result


class Aim(gym.Env):
    """Pull the right one of two levers to the right place, both said by the observation; episodes
    of five steps.

    Its reward needs both parts of the action: 1 - 2 |place - target|, at least 0, on the right
    lever, 0 on the other. A third part, of bits and choices, does nothing.
    """

    def __init__(self):
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Dict(
            lever=spaces.Discrete(2, start=1),
            place=spaces.Box(-2, 2, (1,), np.float32),
            idle=spaces.Tuple([spaces.MultiBinary(2), spaces.MultiDiscrete([3, 2])]),
        )

    def _observe(self):
        self.lever = int(self.np_random.integers(1, 3))
        self.target = self.np_random.uniform(-0.8, 0.8)
        return np.array([2 * self.lever - 3, self.target], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not in {self.action_space}")
        self.t += 1
        error = abs(float(action["place"][0]) / 2 - self.target)
        reward = max(0.0, 1 - 2 * error) if action["lever"] == self.lever else 0.0
        return self._observe(), reward, False, self.t == 5, {}
