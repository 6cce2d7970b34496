"""Small agents by algorithm, for tests that set parameters by hand."""

import npr
from support.toy_envs import TwoStates

# ---- Q-learning


def q_learning(env=TwoStates, **settings):
    return npr.QLearning(env, seed=0, verbose=0, **settings)


# ---- DQN


def dqn(env="CartPole-v1", **settings):
    return npr.DQN(env, seed=0, verbose=0, **{"net_arch": [8], "buffer_size": 100, **settings})


# ---- PPO


def ppo(env="CartPole-v1", **settings):
    given = {"net_arch": [8], "n_envs": 1, "n_steps": 16, "batch_size": 8, **settings}
    return npr.PPO(env, seed=0, verbose=0, **given)


# ---- SAC


def sac(env="Pendulum-v1", **settings):
    given = {"net_arch": [8], "buffer_size": 5_000, "batch_size": 1, **settings}
    return npr.SAC(env, seed=0, verbose=0, **given)


# ---- Sarsa


def sarsa(env=TwoStates, **settings):
    return npr.Sarsa(env, seed=0, verbose=0, **settings)


# ---- PER-DQN


def per_dqn(**settings):
    given = {"net_arch": [8], "buffer_size": 100, **settings}
    return npr.PERDQN("CartPole-v1", seed=0, verbose=0, **given)


# ---- DDPG and TD3


def ddpg(env="Pendulum-v1", algorithm="DDPG", **settings):
    given = {"net_arch": [8], "buffer_size": 5_000, "batch_size": 1, **settings}
    return getattr(npr, algorithm)(env, seed=0, verbose=0, **given)


SHORT = {  # settings of runs of a few updates
    "REINFORCE": {"n_episodes": 2},
    "QActorCritic": {"n_steps": 8},
    "A2C": {},
    "PPO": {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
    "PPOKL": {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
}


def on_policy_agent(name, env="CartPole-v1", **settings):
    given = {"net_arch": [8], "n_envs": 1, **SHORT[name], **settings}
    return getattr(npr, name)(env, seed=0, verbose=0, **given)


# ---- REINFORCE


def gradients(agent, *names):
    """Record the gradients passed to the named optimizers; no steps are made."""
    caught = {name: [] for name in names}
    for name in names:
        getattr(agent, name).step = lambda theta, g, name=name: caught[name].append(g.copy())
    return caught


def bandit_policy(name="REINFORCE", **settings):
    """Two arms, logits that are the two biases alone, equal probabilities."""
    settings = {"net_arch": [], "normalize_advantage": False, "max_grad_norm": 1e6, **settings}
    agent = on_policy_agent(name, **settings)
    agent.theta[:] = 0
    return agent


def off_policy_agent(name, env, **settings):
    given = {"net_arch": [8], "buffer_size": 5_000, "batch_size": 16, **settings}
    return getattr(npr, name)(env, seed=0, verbose=0, **given)


# ---- SAC-S


def sacs(env="Pendulum-v1", **settings):
    return off_policy_agent("SACS", env, **{"batch_size": 1, **settings})


# ---- SAC for Discrete actions


def discrete_sac(env="CartPole-v1", **settings):
    return off_policy_agent("SAC", env, **settings)
