"""The algorithms, one file each, with code in the order of its pseudocode.

Algorithm files import base.py and the layers below, never each other. The classes are public.
"""

from npr.algorithms.a2c import A2C as A2C
from npr.algorithms.ddpg import DDPG as DDPG
from npr.algorithms.ddpg import TD3 as TD3
from npr.algorithms.dqn import DQN as DQN
from npr.algorithms.per_dqn import PERDQN as PERDQN
from npr.algorithms.ppo import PPO as PPO
from npr.algorithms.ppo_kl import PPOKL as PPOKL
from npr.algorithms.q_actor_critic import QActorCritic as QActorCritic
from npr.algorithms.q_learning import QLearning as QLearning
from npr.algorithms.reinforce import REINFORCE as REINFORCE
from npr.algorithms.sac import SAC as SAC
from npr.algorithms.sac_s import SACS as SACS
from npr.algorithms.sarsa import Sarsa as Sarsa
from npr.algorithms.soft_q import SoftQ as SoftQ
