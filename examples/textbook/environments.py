"""Environments of Sutton and Barto 2018, "Reinforcement Learning: An Introduction"."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class WindyGrid(gym.Env):
    """Example 6.5: 7 rows and 10 columns, with wind that moves up by the strength of the column
    that is left. Each step costs 1.

    kings   also diagonal moves (exercise 6.9)
    """

    WIND = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0)
    ROWS, COLUMNS, START, GOAL = 7, 10, (3, 0), (3, 7)
    STRAIGHT = ((-1, 0), (0, 1), (1, 0), (0, -1))
    DIAGONAL = ((-1, 1), (1, 1), (1, -1), (-1, -1))

    def __init__(self, kings=False):
        self.moves = self.STRAIGHT + self.DIAGONAL * kings
        self.observation_space = spaces.Discrete(self.ROWS * self.COLUMNS)
        self.action_space = spaces.Discrete(len(self.moves))

    def index(self):
        row, column = self.at
        return row * self.COLUMNS + column

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.START
        return self.index(), {}

    def step(self, action):
        (row, column), (down, right) = self.at, self.moves[action]
        row += down - self.WIND[column]
        column += right
        self.at = min(max(row, 0), self.ROWS - 1), min(max(column, 0), self.COLUMNS - 1)
        return self.index(), -1.0, self.at == self.GOAL, False, {}


class RandomWalk(gym.Env):
    """Example 7.1: 19 states in a row, from the middle one; each step goes left or right at random.
    Beyond the left end it pays -1, beyond the right end 1. There is one action, so that control is
    prediction."""

    STATES = 19
    VALUES = np.arange(-9, 10) / 10
    observation_space, action_space = spaces.Discrete(STATES), spaces.Discrete(1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.STATES // 2
        return self.at, {}

    def step(self, action):
        to = self.at + (1 if self.np_random.random() < 0.5 else -1)
        self.at = min(max(to, 0), self.STATES - 1)
        terminated = to != self.at
        reward = float(np.sign(to - self.at))
        return self.at, reward, terminated, False, {}


class MaximizationBias(gym.Env):
    """Example 6.7: from A (0) right ends with reward 0, left leads to B (1), where each of ten
    actions ends with a reward of mean -0.1 and deviation 1. In A there are two actions, left and
    right, which the mask says."""

    LEFT, RIGHT, ACTIONS = 0, 1, 10
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(ACTIONS)

    def action_masks(self):
        return np.arange(self.ACTIONS) < (2 if self.at == 0 else self.ACTIONS)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.at, {}

    def step(self, action):
        if self.at == 0 and action == self.LEFT:
            self.at = 1
            return self.at, 0.0, False, False, {}
        reward = 0.0 if self.at == 0 else self.np_random.normal(-0.1, 1.0)
        return self.at, float(reward), True, False, {}
