"""Steps per second of learning with many environments: how npr steps them, and SB3 beside it.

    python benchmarks/vector.py [--only train fast slow cost model pay ensemble] [--rounds 2]
                                [--seconds 0.5] [--write]

train      PPO and A2C on CartPole-v1 with 8, 64 and 256 environments
fast       PPO on CartPole-v1 with settings that leave most of the time to acting
slow       an environment that waits 5 ms in every step, with 16 of them
cost       what npr adds to a step of 256 environments, per environment
model      workers as npr.distributed.costs predicts them, and as they are
pay        from how many microseconds per step of an environment workers and clusters pay
ensemble   16 seeds at once, and one after another

Every way runs in a process of its own, all ways of a case in turn, and the medians over the rounds
count. A run learns from one rollout before it is timed. SB3 has the same networks and settings, and
is timed with 1 and 2 threads of PyTorch, of which the better one counts. --write saves the results
in benchmarks/vector.json. Ways whose libraries are not installed are skipped: pip install
'npr-rl[bench,envpool,ray]'.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import store

FILE = Path(__file__).with_name("vector.json")
NUMBERS = (8, 64, 256)
WIDTHS = [64, 64]
PAUSE = 0.005  # seconds of a step of the slow environment
MOST_PROCESSES = 64  # one per environment: more take minutes to start on a few cores
SEEDS = 16  # of an ensemble

# how environments are stepped -> arguments of npr's algorithms
NPR = {
    "list": {},
    "async": {"vectorization": "async"},
    "entry_point": {"vectorization": "entry_point"},
    "envpool": {"vectorization": "envpool"},
    "1 worker": {"n_workers": 1},
    "2 workers": {"n_workers": 2},
    "4 workers": {"n_workers": 4},
    "16 workers": {"n_workers": 16},
    "ray, 2 workers": {"n_workers": 2, "engine": "ray"},
}
SB3 = ("SB3 DummyVecEnv", "SB3 SubprocVecEnv")
NEEDS = {"envpool": "envpool", "ray, 2 workers": "ray", **dict.fromkeys(SB3, "stable_baselines3")}
ONE_PROCESS_EACH = ("async", "SB3 SubprocVecEnv")

_STEPS = {8: 128, 64: 32, 256: 16}  # of each environment per rollout of PPO
_PPO = {"n_epochs": 4, "learning_rate": 3e-4, "gae_lambda": 0.95}
_A2C = {"n_steps": 5, "learning_rate": 7e-4}
_FAST = {"n_steps": 128, "batch_size": 4_096, "n_epochs": 1, "learning_rate": 1e-3}
_SLOW = {"n_steps": 16, "batch_size": 64, "n_epochs": 4, "learning_rate": 3e-4}
_WAYS = ("list", "async", "entry_point", "envpool", "2 workers", "ray, 2 workers", *SB3)


def four_minibatches(n):
    """Settings of PPO for n environments."""
    return {**_PPO, "n_steps": _STEPS[n], "batch_size": _STEPS[n] * n // 4}


# part -> case -> (algorithm, environment, number of environments, settings, ways)
LEARNING = {
    "train": {
        f"{name}, {n}": (name, "CartPole-v1", n, settings, _WAYS)
        for name in ("PPO", "A2C")
        for n in NUMBERS
        for settings in [_A2C if name == "A2C" else four_minibatches(n)]
    },
    "fast": {
        "PPO, 256": ("PPO", "CartPole-v1", 256, _FAST, ("list", "entry_point", "envpool", SB3[0])),
    },
    "slow": {
        "PPO, 16": (
            "PPO", "slow", 16, _SLOW,
            ("list", "1 worker", "4 workers", "16 workers", "async", *SB3),
        ),
    },
}  # fmt: skip
COST = ("list", "entry_point", "envpool")
TITLES = {
    "train": "steps per second on CartPole-v1, by algorithm and number of environments",
    "fast": f"steps per second on CartPole-v1, rollouts of 128 steps, one epoch of "
            f"{_FAST['batch_size']:,} steps per minibatch",
    "slow": f"steps per second with an environment that waits {1e3 * PAUSE:.0f} ms per step",
    "cost": "microseconds per environment and step of 256 environments of CartPole-v1",
    "model": "steps per second of PPO with 16 environments, by workers",
    "pay": "microseconds per step of an environment from which workers pay, by environments, and "
           "the costs that say so",
    "ensemble": f"{SEEDS} seeds: steps per second of all together",
}  # fmt: skip


class Slow(gymnasium.Env):
    """Waits for `pause` seconds in every step, as for a simulator in another process, and computes
    for `work` seconds."""

    observation_space = gymnasium.spaces.Box(-1, 1, (4,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, pause=PAUSE, work=0.0):
        self.pause, self.work = pause, work

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        if self.pause:
            time.sleep(self.pause)
        end = time.thread_time() + self.work
        while time.thread_time() < end:
            pass
        self.t += 1
        return self.np_random.uniform(-1, 1, 4).astype(np.float32), 1.0, self.t >= 200, False, {}


# ---- one way, in its own process


def rate(learn, rollout, seconds):
    """Steps per second of learn(steps), in whole rollouts for about so many seconds."""
    learn(rollout)
    start = time.perf_counter()
    learn(rollout)
    count = max(1, round(seconds / (time.perf_counter() - start)))
    start = time.perf_counter()
    learn(count * rollout)
    return count * rollout / (time.perf_counter() - start)


def npr_rate(algorithm, env, n, settings, way, seconds):
    import npr

    kind = getattr(npr, algorithm)
    given = {**settings, **NPR[way], "n_envs": n, "net_arch": WIDTHS, "verbose": 0}
    agent = kind(Slow if env == "slow" else env, seed=0, **{**kind.defaults(), **given})
    try:
        return {
            "rate": rate(
                lambda steps: agent.learn(steps, reset_num_timesteps=False),
                settings["n_steps"] * n, seconds,
            )
        }  # fmt: skip
    finally:
        agent.close()


def sb3_rate(algorithm, env, n, settings, way, seconds):
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    envs = make_vec_env(
        Slow if env == "slow" else env, n, seed=0,
        vec_env_cls=DummyVecEnv if way == "SB3 DummyVecEnv" else SubprocVecEnv,
    )  # fmt: skip
    agent = getattr(stable_baselines3, algorithm)(
        "MlpPolicy", envs, seed=0, device="cpu",
        policy_kwargs={"net_arch": WIDTHS, "activation_fn": torch.nn.ReLU}, **settings,
    )  # fmt: skip
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found[threads] = rate(
            lambda steps: agent.learn(steps, reset_num_timesteps=False),
            settings["n_steps"] * n, seconds,
        )  # fmt: skip
    envs.close()
    best = max(found, key=found.get)
    return {"rate": found[best], "threads": best}


def cost(way, seconds, n=256):
    """Microseconds per environment and step: of the environments alone, of what npr adds to them,
    and of choosing actions."""
    import npr
    from npr.cli.doctor_throughput import act_times

    given = {**npr.PPO.defaults(), **NPR[way], "n_envs": n, "net_arch": WIDTHS, "verbose": 0}
    agent = npr.PPO("CartPole-v1", seed=0, **{**given, "n_steps": 1 << 30})  # no update
    alone = environments_alone(way, n)
    end, acting, bare = time.perf_counter() + seconds, [], []
    while time.perf_counter() < end or len(bare) < 3:  # in turn
        bare.append(1e6 * timed(alone, 50))
        acting.append(act_times(agent, 0.0))
    agent.close()
    environment = statistics.median(bare)
    act, step, rest = map(statistics.median, zip(*acting))
    found = {"environment": environment, "npr": step - environment + rest, "policy": act}
    return {name: each / n for name, each in found.items()}


# algorithm -> environment, arguments of Costs, numbers of environments
PAY = {
    "PPO": ("CartPole-v1", {"n_steps": 128, "per_rollout": 0}, (8, 64, 256)),
    "A2C": ("CartPole-v1", {"n_steps": 5, "per_rollout": 0}, (8, 64, 256)),
    "SAC": ("Pendulum-v1", {"max_lag": 1_000}, (8, 64)),
}
PAY_WORKERS = (2, 4, 16)
NODES, NODE_CORES = 4, 16  # of a cluster


def pay(algorithm):
    """Microseconds per step of an environment from which workers pay, on a machine with a core for
    each and one for the learner, and from which a cluster does; and the constants of the link."""
    import dataclasses

    from npr.cli import doctor_throughput
    from npr.distributed import costs

    env, given, numbers = PAY[algorithm]
    ray = installed("ray")
    held = doctor_throughput.opened(env, algorithm.lower())
    known = doctor_throughput.measured(held, 5, ray)
    held.agent.close()
    known = dataclasses.replace(known, reset=0.0, spread=0.0, **given)
    found = {}
    for n in numbers:
        for W in PAY_WORKERS:
            if n >= W:
                ample = dataclasses.replace(known, cores=W + 1)
                found[f"{n}, {W} workers"] = never(costs.workers_pay(ample, n, W))
        if ray and n >= NODES * NODE_CORES:
            each = dataclasses.replace(known, cores=NODE_CORES)
            least = costs.cluster_pays(each, n, NODES * NODE_CORES, NODES)
            found[f"{n}, {NODES} machines"] = never(least)
    for engine, link in known.links.items():
        found |= {f"{engine}, each": link.request, f"{engine}, per kB": 1e3 * link.byte}
        found[f"{engine}, per block"] = link.latency
    lines = ("policy", "stepping", "loop", "replay", "update")
    for name, line in ((name, getattr(known, name)) for name in lines):
        found |= {f"{name} fixed": line.fixed, f"{name} each": line.each}
    return found | {"record": known.record, "row_bytes": known.row_bytes}


def never(microseconds):
    return math.inf if microseconds is None else microseconds


# algorithm -> environment, and env steps of a call of learn()
ENSEMBLE = {
    "PPO": ("CartPole-v1", 512), "A2C": ("CartPole-v1", 400), "DQN": ("CartPole-v1", 200),
    "SAC": ("Pendulum-v1", 100), "TD3": ("Pendulum-v1", 100),
}  # fmt: skip
TOGETHER, ALONE = "together", "one after another"


def ensemble(algorithm, way, seconds):
    """Steps per second of all agents, with the settings of the preset."""
    import npr

    kind, (env, steps) = getattr(npr, algorithm), ENSEMBLE[algorithm]
    if way == TOGETHER:
        agent, number = npr.ensemble(kind, env, seeds=range(SEEDS), verbose=0), SEEDS
        starts = getattr(agent[0], "learning_starts", 0)
    else:
        agent, number = kind(env, seed=0, verbose=0), 1
        starts = getattr(agent, "learning_starts", 0)
    agent.learn(starts + steps)
    found = rate(lambda steps: agent.learn(steps, reset_num_timesteps=False), steps, seconds)
    agent.close()
    return {"rate": number * found}


# environment -> its arguments, and numbers of workers that this machine can have at once
MODEL = {
    "waits 5 ms": ({"pause": 0.005}, (1, 2, 4, 16)),
    "waits 1 ms": ({"pause": 0.001}, (1, 2, 4, 16)),
    "computes 100 us": ({"pause": 0.0, "work": 1e-4}, (1, 2)),
    "computes 1 ms": ({"pause": 0.0, "work": 1e-3}, (1, 2)),
}


def model(case, seconds, n=16):
    """Steps per second of PPO with 16 environments and some numbers of workers: predicted from
    what `npr doctor --throughput` measures, and measured."""
    import npr
    from npr.cli import doctor_throughput
    from npr.distributed import costs

    arguments, numbers = MODEL[case]
    gymnasium.register("Slow-v0", Slow, kwargs=arguments)
    held = doctor_throughput.opened("Slow-v0", "ppo")
    held.agent.set_params(**_SLOW)
    known = doctor_throughput.measured(held._replace(n_envs=n, n_steps=_SLOW["n_steps"]), 5)
    held.agent.close()
    found = {}
    for W in numbers:
        settings = {**npr.PPO.defaults(), **_SLOW, "n_envs": n, "n_workers": W, "verbose": 0}
        agent = npr.PPO("Slow-v0", seed=0, **settings)
        found[f"{W} predicted"] = costs.rate(costs.with_workers(known, n, W))
        found[f"{W} measured"] = rate(
            lambda steps, learn=agent.learn: learn(steps, reset_num_timesteps=False),
            n * _SLOW["n_steps"], seconds,
        )  # fmt: skip
        agent.close()
    return found


def environments_alone(way, n):
    """A function that steps n environments with random actions, and resets those that end."""
    rng = np.random.default_rng(0)
    if way == "list":
        envs = [gymnasium.make("CartPole-v1", disable_env_checker=True) for _ in range(n)]
        for i, env in enumerate(envs):
            env.reset(seed=i)

        def step():
            for env, action in zip(envs, rng.integers(2, size=n).tolist()):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()

        return step
    if way == "envpool":
        import envpool

        env = envpool.make_gymnasium("CartPole-v1", num_envs=n, seed=0)
    else:
        mode = gymnasium.VectorizeMode.VECTOR_ENTRY_POINT
        env = gymnasium.make_vec("CartPole-v1", n, vectorization_mode=mode)
    env.reset()
    return lambda: env.step(rng.integers(2, size=n))


def timed(f, count):
    """Seconds of a call: the median of so many."""
    seen = []
    for _ in range(count):
        start = time.perf_counter()
        f()
        seen.append(time.perf_counter() - start)
    return statistics.median(seen)


def side(part, case, way, seconds):
    """The figures of one way."""
    if part == "cost":
        return cost(way, seconds)
    if part == "model":
        return model(case, seconds)
    if part == "pay":
        return pay(case)
    if part == "ensemble":
        return ensemble(case, way, seconds)
    measure = sb3_rate if way in SB3 else npr_rate
    algorithm, env, n, settings, _ = LEARNING[part][case]
    return measure(algorithm, env, n, settings, way, seconds)


# ---- all ways in turn


def cases(part):
    """case -> ways, of those that can run here."""
    if part == "cost":
        found = {"CartPole-v1": COST}
    elif part == "model":
        found = dict.fromkeys(MODEL, ("all",))
    elif part == "pay":
        found = dict.fromkeys(PAY, ("all",))
    elif part == "ensemble":
        found = dict.fromkeys(ENSEMBLE, (TOGETHER, ALONE))
    else:
        found = {case: ways for case, (*_, ways) in LEARNING[part].items()}
    return {case: [way for way in ways if can_run(part, case, way)] for case, ways in found.items()}


def can_run(part, case, way):
    n = LEARNING[part][case][2] if part in LEARNING else 1
    return installed(NEEDS.get(way)) and (n <= MOST_PROCESSES or way not in ONE_PROCESS_EACH)


def installed(module):
    return module is None or importlib.util.find_spec(module) is not None


def run(part, case, way, seconds):
    """The figures of one way; None: it failed, and what it wrote is shown."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "RAY_DEDUP_LOGS": "0"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--side", part, case, way,
         "--seconds", str(seconds)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    if done.returncode:
        print(f"{part}, {case}, {way} failed:\n{done.stderr[-1_000:]}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def measure(part, rounds, seconds):
    """case -> way -> {figure: median}."""
    seen = {case: {way: [] for way in ways} for case, ways in cases(part).items()}
    for _ in range(rounds):
        for case, ways in seen.items():
            for way, figures in ways.items():
                if (found := run(part, case, way, seconds)) is not None:
                    figures.append(found)
    medians = {
        case: {
            way: {name: statistics.median(one[name] for one in figures) for name in figures[0]}
            for way, figures in ways.items()
            if figures
        }  # fmt: skip
        for case, ways in seen.items()
    }
    return {case: ways for case, ways in medians.items() if ways}


def table(part, medians):
    """Lines of a Markdown table."""
    if part == "cost":
        (ways,) = medians.values()
        rows = {way: [f"{x:.2f}" for x in figures.values()] for way, figures in ways.items()}
        heads = list(next(iter(ways.values())))
    elif part == "pay":
        heads = list(medians)
        names = dict.fromkeys(name for ways in medians.values() for name in ways["all"])
        rows = {
            name: [f"{ways['all'][name]:,.1f}" if name in ways["all"] else ""
                   for ways in medians.values()]
            for name in names
        }  # fmt: skip
    elif part == "model":
        heads = ["predicted", "measured"]
        rows = {
            f"{case}, {W} workers": [f"{ways['all'][f'{W} {head}']:,.0f}" for head in heads]
            for case, ways in medians.items() for W in MODEL[case][1]
        }  # fmt: skip
    else:
        heads = list(medians)
        rows = {
            way: [f"{ways[way]['rate']:,.0f}" if way in ways else "" for ways in medians.values()]
            for way in dict.fromkeys(way for ways in medians.values() for way in ways)
        }
    yield f"{TITLES[part]}:"
    yield ""
    yield f"| | {' | '.join(heads)} |"
    yield "|---|" + "--:|" * len(heads)
    for way, row in rows.items():
        yield f"| {way} | {' | '.join(row)} |"
    yield ""


def main():
    parts = [*LEARNING, "cost", "model", "pay", "ensemble"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=2, help="of model and pay: one")
    parser.add_argument("--seconds", type=float, default=0.5, help="that a way is timed")
    parser.add_argument("--write", action="store_true", help="save the results")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(side(*arguments.side, arguments.seconds)))
        return
    store.show_machine()
    for module in sorted({*NEEDS.values()}):
        if not installed(module):
            print(f"{module} is not installed: its rows are left out")
    print(f"ways with a process per environment: up to {MOST_PROCESSES}\n", flush=True)
    held = json.loads(FILE.read_text()) if FILE.exists() else {}
    for part in arguments.only:
        rounds = (
            1 if part in ("model", "pay") else arguments.rounds
        )  # which take medians themselves
        held[part] = measure(part, rounds, arguments.seconds)
        print("\n".join(table(part, held[part])), flush=True)
    if arguments.write:
        packages = (*store.PACKAGES, "ray")
        store.write(FILE, {**held, "machine": store.machine(packages), "rounds": arguments.rounds})


if __name__ == "__main__":
    main()
