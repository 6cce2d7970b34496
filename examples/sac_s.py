"""SAC-S swings up a pendulum. Well under a minute on two cores."""

import npr

agent = npr.SACS("Pendulum-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("sac_s.npz")
