"""The algorithms, one file each, in the order of the pseudocode."""

from npr.algorithms.dqn import DQN
from npr.algorithms.ppo import PPO
from npr.algorithms.q_learning import QLearning
from npr.algorithms.sac import SAC

__all__ = ["DQN", "PPO", "QLearning", "SAC"]
