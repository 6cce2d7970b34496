"""Sarsa walks along a cliff at a distance: its policy explores, so the edge is dangerous."""

import npr

agent = npr.Sarsa("CliffWalking-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("sarsa.npz")
