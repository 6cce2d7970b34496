"""TD3 swings up a pendulum with a deterministic policy. Well under a minute on two cores."""

import npr

agent = npr.TD3("Pendulum-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("td3.npz")
