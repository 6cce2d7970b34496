"""REINFORCE balances a pole, learning from whole episodes. Well under a minute on two cores."""

import npr

agent = npr.REINFORCE("CartPole-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("reinforce.npz")
