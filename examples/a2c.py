"""A2C balances a pole. Well under a minute on two cores."""

import npr

agent = npr.A2C("CartPole-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("a2c.npz")
