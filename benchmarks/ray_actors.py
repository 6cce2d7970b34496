"""What Ray's actors cost on this computer, beside processes and no workers.

    python benchmarks/ray_actors.py

The round trip of a request without work, the bytes per second of answers, the time to publish
weights, and steps per second of PPO on CartPole-v1 with 64 environments.
"""

import statistics
import time
import warnings

import numpy as np

import npr
from npr.distributed import ray_actors
from npr.distributed.actor import Setup
from npr.distributed.actors import wait

MEGABYTES = 8
ENVS, STEPS, BLOCKS = 64, 16_384, 5


class Answering(ray_actors.RemoteActor):
    """An actor without environments, that answers with arrays."""

    def begin(self, setup):
        """Nothing is made."""

    def call(self, number, method, args):
        """An array of so many bytes; none to close."""
        return np.ones(args[0], np.uint8) if args else None


def seconds(work, times):
    """The median time of a call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def transfers():
    """Print the costs of requests and answers."""
    real, ray_actors.RemoteActor = ray_actors.RemoteActor, Answering
    engine = ray_actors.RayActors(1, 0, {})
    ray_actors.RemoteActor = real

    def ask(size):
        engine.send(0, "answer", size)
        return engine.receive(0, wait)

    setup = Setup(object, {}, None, {}, 0, 1, [0], False, 1, None, 1)
    engine.start(0, setup)
    ask(1)
    print(f"round trip of a request: {seconds(lambda: ask(1), 500) * 1e3:.2f} ms")
    size = MEGABYTES << 20
    print(f"answers: {size / seconds(lambda: ask(size), 30) / 1e6:,.0f} MB/s")
    for numbers in (10_000, 100_000):
        weights = np.ones(numbers, np.float32)
        took = seconds(lambda weights=weights: engine.publish(weights), 200)
        print(f"publishing {numbers:,} weights: {took * 1e3:.2f} ms")
    engine.close()


def speeds():
    """Print env steps per second, in turn, of each engine: the median and the largest of blocks."""
    kinds = {"no workers": {}, "2 processes": {"n_workers": 2}}
    kinds["2 actors of Ray"] = {"n_workers": 2, "engine": "ray"}
    agents = {
        name: npr.PPO("CartPole-v1", seed=0, n_envs=ENVS, verbose=0, **given)
        for name, given in kinds.items()
    }
    for agent in agents.values():
        agent.learn(STEPS)  # compiles, and starts the actors
    found = {name: [] for name in agents}
    for _ in range(BLOCKS):
        for name, agent in agents.items():
            began = time.perf_counter()
            agent.learn(STEPS, reset_num_timesteps=False)
            found[name].append(STEPS / (time.perf_counter() - began))
    for name, agent in agents.items():
        print(f"{name}: {statistics.median(found[name]):,.0f} steps/s ({max(found[name]):,.0f})")
        agent.close()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transfers()
    speeds()
