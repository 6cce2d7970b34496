"""Where the time of learn() goes, part by part: a clock around methods of classes."""

import time
from collections import Counter

PARTS = ("act", "step", "add", "sample", "log", "other")  # of a step of learn()


class Clock:
    """Seconds of watched calls by part, each without the watched calls inside it.

    What the clock itself takes is measured on an empty function and taken off.
    """

    def __init__(self):
        self.seconds, self.calls = Counter(), 0
        self._inside = [0.0]  # seconds of watched calls, within each one that is running
        self._own = self._outside = 0.0

        class Empty:
            def call(self):
                pass

        self.watch(Empty, "call", "")
        empty, n, costs = Empty(), 2_000, []
        for _ in range(5):
            self.reset()
            start = time.perf_counter()
            for _ in range(n):
                empty.call()
            costs.append(((time.perf_counter() - start) / n, self.seconds[""] / n))
        whole, self._own = min(costs)
        self._outside = whole - self._own
        self.reset()

    def reset(self):
        self.seconds.clear()
        self.calls = 0

    def watch(self, owner, name, part):
        """Count the time of this method of a class as that of a part."""
        f, inside, seconds = getattr(owner, name), self._inside, self.seconds

        def call(*args, **options):
            inside.append(0.0)
            start = time.perf_counter()
            try:
                return f(*args, **options)
            finally:
                spent = time.perf_counter() - start
                seconds[part] += spent - inside.pop() - self._own
                inside[-1] += spent + self._outside
                self.calls += 1

        setattr(owner, name, call)

    def parts(self, wall):
        """{part: seconds} of a time that all these calls were in, with the rest as "other"."""
        rest = wall - sum(self.seconds.values()) - self.calls * (self._own + self._outside)
        return {**self.seconds, "other": rest}


def watch_loop(clock, agent):
    """Watch what agents of this kind do in a step: for those that are made from now on."""
    from npr.training.run import Run

    kind = type(agent)
    clock.watch(kind, "update", "update")
    clock.watch(kind, "explore", "act")
    clock.watch(type(agent.envs), "step", "step")
    clock.watch(Run, "updated", "log")
    if hasattr(agent, "buffer"):
        clock.watch(type(agent.buffer), "add", "add")
        clock.watch(type(agent.buffer), "sample", "sample")
    if hasattr(agent, "noise"):
        clock.watch(kind, "noise", "sample")
    env = agent.envs.envs[0]
    for layer in layers(env):
        clock.watch(layer, "step", "environment")


def layers(env):
    """The classes of an environment and its wrappers, each once."""
    found = [type(env)]
    while hasattr(env, "env"):
        env = env.env
        found.append(type(env))
    return dict.fromkeys(found)
