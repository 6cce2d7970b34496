"""PPO-KL balances a pole. Well under a minute on two cores."""

import npr

agent = npr.PPOKL("CartPole-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("ppo_kl.npz")
