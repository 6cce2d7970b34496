"""SAC swings up a pendulum: train, evaluate, save, load. Well under a minute on two cores."""

import npr

agent = npr.SAC("Pendulum-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))

agent.save("sac.npz")
loaded = npr.load("sac.npz")
print(f"loaded from sac.npz: mean return {loaded.evaluate(seed=1).mean:.1f} over 100 episodes")
