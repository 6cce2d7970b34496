"""SoftQ learns a policy with several modes: a point in the plane that can reach four goals.

Haarnoja et al. 2017, section 5.1. Half a minute on two cores.
"""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

import npr

GOALS = np.array([[5, 0], [0, 5], [-5, 0], [0, -5]], np.float32)


class MultiGoal(gym.Env):
    """A point moves by its action, at most 1 per coordinate, from near (0, 0) to any goal.

    A step costs the squared distance from the nearest goal and 30 times the squared length of the
    action; a goal is reached within a distance of 1, with a reward of 10.
    """

    def __init__(self):
        self.observation_space = spaces.Box(-7, 7, (2,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(0, 0.1, 2).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x = np.clip(self.x + action, -7, 7)
        square = ((self.x - GOALS) ** 2).sum(axis=1).min()
        reached = bool(square < 1)
        return self.x.copy(), 10.0 * reached - square - 30 * (action**2).sum(), reached, False, {}


def learn(seed, **settings):
    return npr.SoftQ(
        MultiGoal, seed=seed, max_episode_steps=30, ent_coef=13.0, n_particles=32,
        value_n_particles=32, net_arch=[64, 64], learning_rate=1e-3, batch_size=64,
        learning_starts=500, target_update_interval=200, **settings,
    ).learn(10_000)  # fmt: skip


def fractions(agent):
    """The fraction of actions at the origin that point to each goal."""
    a = agent.act(np.zeros((1_000, 2), np.float32), deterministic=False)
    return np.bincount((a @ GOALS.T).argmax(axis=1), minlength=4) / len(a)


def main():
    agent = learn(seed=0)
    print(agent.evaluate(seed=1, deterministic=False))
    for (x, y), fraction in zip(GOALS, fractions(agent)):
        print(f"from the origin towards ({x:2.0f}, {y:2.0f}): {fraction:.0%}")
    agent.save("soft_q.npz")


if __name__ == "__main__":
    main()
