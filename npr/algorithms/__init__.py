"""The algorithms, one file each, in the order of the pseudocode.

Algorithm files import base.py and the layers below, never each other. The classes in `__all__` are
public as `npr.SAC` and so on.
"""

from npr.algorithms.a2c import A2C
from npr.algorithms.ddpg import DDPG, TD3
from npr.algorithms.dqn import DQN
from npr.algorithms.per_dqn import PERDQN
from npr.algorithms.ppo import PPO
from npr.algorithms.ppo_kl import PPOKL
from npr.algorithms.q_actor_critic import QActorCritic
from npr.algorithms.q_learning import QLearning
from npr.algorithms.reinforce import REINFORCE
from npr.algorithms.sac import SAC
from npr.algorithms.sac_s import SACS
from npr.algorithms.sarsa import Sarsa
from npr.algorithms.soft_q import SoftQ

__all__ = [
    "A2C", "DDPG", "DQN", "PERDQN", "PPO", "PPOKL", "QActorCritic", "QLearning", "REINFORCE", "SAC",
    "SACS", "TD3", "Sarsa", "SoftQ",
]  # fmt: skip
