"""DDPG swings up a pendulum with a deterministic policy. Well under a minute on two cores."""

import npr

agent = npr.DDPG("Pendulum-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("ddpg.npz")
