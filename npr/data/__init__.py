"""Recorded transitions: as plain arrays, from Minari's datasets, and as rows of a replay buffer.

data = npr.data.minari("D4RL/pen/human-v2")          # needs npr-rl[minari]
agent.buffer.add_batch(*data)
agent.imitate(data.observations, data.actions)

Buffers and agents import it. It imports the spaces of envs, and Minari when its data are asked for.
"""

from npr.data.datasets import minari
from npr.data.transitions import Transitions

__all__ = ["Transitions", "minari"]
