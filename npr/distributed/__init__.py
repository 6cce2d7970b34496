"""Actors: processes, or Ray actors on a cluster, that hold environments and act in them.

    npr.PPO("CartPole-v1", n_envs=64, n_workers=4).learn()
    npr.SAC(env, n_workers=32, engine="ray").learn()

An actor (actor.py) has a share of the environments and what an agent needs to act, without buffers
and optimizers. The learner asks for blocks of steps and gets arrays back (collected.py). An Engine
(engine.py) starts actors and reaches them: processes of this machine (processes.py), or Ray
(ray_actors.py); others, such as one for robots, need the same methods. costs.py says when actors
pay.
"""
