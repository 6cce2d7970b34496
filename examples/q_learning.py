"""Q-learning walks along a cliff: the shortest safe path returns -13. A few seconds."""

import npr

agent = npr.QLearning("CliffWalking-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("q_learning.npz")
