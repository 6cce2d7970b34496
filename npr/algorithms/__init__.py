"""The algorithms, one file each, in the order of the pseudocode."""

from npr.algorithms.ddpg import DDPG, TD3
from npr.algorithms.dqn import DQN
from npr.algorithms.per_dqn import PERDQN
from npr.algorithms.ppo import PPO
from npr.algorithms.q_learning import QLearning
from npr.algorithms.sac import SAC
from npr.algorithms.sarsa import Sarsa

__all__ = ["DDPG", "DQN", "PERDQN", "PPO", "QLearning", "SAC", "TD3", "Sarsa"]
