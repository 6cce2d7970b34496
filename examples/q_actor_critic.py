"""Q Actor-Critic balances a pole. Well under a minute on two cores."""

import npr

agent = npr.QActorCritic("CartPole-v1", seed=0)
agent.learn()
print(agent.evaluate(seed=1))
agent.save("q_actor_critic.npz")
