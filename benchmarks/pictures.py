"""Pictures of agents: docs/learning.gif for the README, and those of docs/plots.md.

    python benchmarks/pictures.py [--only learning.gif curves.png table.png ...]

Trains small agents for each, two minutes in all on two cores (needs npr-rl[plot]).
"""

import argparse
import time
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

import npr
from npr.plot import compare, curves, curves_text, policy, profile, table
from npr.plot.drawing import color

DOCS = Path(__file__).parent.parent / "docs"


class TwoTargets(gymnasium.Env):
    """One step: the reward is highest at the actions -1 and 1."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        distance = abs(abs(float(action[0])) - 1)
        return np.zeros(1, np.float32), 1 - distance**2, True, False, {}


def draw_curves(path):
    """Returns of SAC on Pendulum-v1 with two learning rates, five seeds of each."""
    agents = [
        npr.SAC("Pendulum-v1", seed=seed, verbose=0, net_arch=[64, 64], learning_rate=rate).learn(
            5_000
        )
        for rate in (1e-3, 3e-4)
        for seed in range(5)
    ]
    curves(agents, smooth=3, each=True, path=path)
    print(curves_text(agents, smooth=3))


def draw_table(path):
    """Value maps of Q-learning and Sarsa on CliffWalking-v1."""
    agents = {
        f"{name}: exploration 10 %": algorithm("CliffWalking-v1", seed=0, verbose=0).learn(50_000)
        for name, algorithm in (("Q-learning", npr.QLearning), ("Sarsa", npr.Sarsa))
    }
    table(agents, path=path)


def draw_policies(path):
    """SoftQ beside SAC where two actions are equally good, with the same temperature."""
    same = {
        "seed": 0, "verbose": 0, "ent_coef": 0.05, "net_arch": [64, 64], "learning_rate": 1e-3,
        "batch_size": 64, "learning_starts": 500,
    }  # fmt: skip
    agents = {
        "SoftQ": npr.SoftQ(TwoTargets, n_particles=32, target_update_interval=200, **same),
        "SAC": npr.SAC(TwoTargets, **same),
    }
    for agent in agents.values():
        agent.learn(4_000)
    policy(agents, np.zeros(1, np.float32), path=path)


def draw_profile(path):
    """Success of twenty short runs of Q-learning and Sarsa on FrozenLake-v1."""
    scores = {
        name: [
            algorithm("FrozenLake-v1", seed=seed, verbose=0).learn(20_000).evaluate(seed=0).mean
            for seed in range(20)
        ]
        for name, algorithm in (("QLearning", npr.QLearning), ("Sarsa", npr.Sarsa))
    }
    profile(
        scores, xlabel="share of 100 evaluation episodes that reach the goal (tau)",
        title="FrozenLake-v1 after 20,000 steps", path=path,
    )  # fmt: skip
    for a, b, p, (low, high) in compare(scores):
        print(f"P({a} > {b}) = {p:.2f}, 95% interval {low:.2f} to {high:.2f}")


# ---- an agent that learns, and acts

HALFWAY, BUDGET = 2_750, 5_000  # env steps
SLOW, FAST = 80, 130  # ms of a frame: while the agent acts, and while the curve grows


def swing(agent, steps):
    """[(angle, torque, return so far)] of Pendulum-v1 from hanging at rest; 0 is upright."""
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([np.pi, 0.0])
    observation, total, shown = env._get_obs(), 0.0, []
    for _ in range(steps):
        action = agent.act(observation)
        shown.append((env.state[0], float(action[0]), total))
        observation, reward, *_ = env.step(action)
        total += float(reward)
    return shown


def trained():
    """Evaluations [(env steps, mean return)] of a training, and what the agent did at three times
    {env steps: what swing() returns}."""
    agent = npr.SAC("Pendulum-v1", seed=0, verbose=0)
    evaluations, acts = [], {}

    def look(agent):
        if agent.num_timesteps % 250 == 0:
            evaluations.append((agent.num_timesteps, agent.evaluate(episodes=10, seed=0).mean))
        if agent.num_timesteps in (HALFWAY, BUDGET):
            acts[agent.num_timesteps] = swing(agent, 110)

    evaluations.append((0, agent.evaluate(episodes=10, seed=0).mean))
    acts[0] = swing(agent, 40)
    agent.learn(BUDGET, callback=look)
    return evaluations, acts


def frame(evaluations, n, moment, title):
    """An image: n evaluations on the left, the pendulum at a moment of swing() on the right; it is
    gray without one."""
    figure = Figure(figsize=(6.4, 3.1), dpi=100)
    left = figure.add_axes((0.14, 0.16, 0.46, 0.71))
    left.set(xlim=(-100, BUDGET + 200), ylim=(-1_900, 0), xlabel="env steps", ylabel="mean return")
    left.set_title('npr.SAC("Pendulum-v1").learn()', family="monospace", fontsize=10)
    left.xaxis.set_major_formatter("{x:,.0f}")
    left.yaxis.set_major_formatter("{x:,.0f}")
    left.spines[["top", "right"]].set_visible(False)
    left.grid(color="0.9")
    steps, returns = zip(*evaluations[:n])
    left.plot(steps, returns, color=color(0), lw=2)
    left.plot(steps[-1], returns[-1], "o", color=color(0), ms=7)

    right = figure.add_axes((0.635, 0.13, 0.35, 0.74))
    right.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    right.set_axis_off()
    right.set_title(title, fontsize=11)
    right.plot([0, 0], [0.15, 1.1], ":", color="0.7", lw=1.5)
    angle, torque, total = moment or (np.pi, 0.0, None)
    rod = "0.8" if moment is None else "0.25"
    right.plot([0, -np.sin(angle)], [0, np.cos(angle)], color=rod, lw=9, solid_capstyle="round")
    right.plot(0, 0, "o", color="white", ms=5, zorder=3)
    if abs(torque) > 0.05:  # counterclockwise is positive
        turn = np.pi / 2 + np.linspace(0, torque * 0.8, 30)
        right.plot(0.42 * np.cos(turn), 0.42 * np.sin(turn), color=color(1), lw=3)
        end, way = turn[-1], 0.16 * np.sign(torque)
        right.add_patch(Polygon(
            [(r * np.cos(end + a), r * np.sin(end + a)) for r, a in
             ((0.33, 0), (0.51, 0), (0.42, 2.2 * way))], color=color(1),
        ))  # fmt: skip
    if total is not None:
        right.text(0, -1.42, f"return so far {total:,.0f}", ha="center", fontsize=10)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def draw_learning(path):
    """An animation of SAC on Pendulum-v1: its learning curve, and what it does before the training,
    in the middle of it and at its end."""
    evaluations, acts = trained()
    frames, times = [], []

    def act(step, title):
        n = sum(at <= step for at, _ in evaluations)
        for moment in acts[step][::2]:
            frames.append(frame(evaluations, n, moment, title))
            times.append(SLOW)

    def learn(first, last):
        for n, (step, _) in enumerate(evaluations, 1):
            if first < step <= last:
                frames.append(frame(evaluations, n, None, f"learning: {step:,} steps"))
                times.append(FAST)

    act(0, "before learning")
    learn(0, HALFWAY)
    act(HALFWAY, f"after {HALFWAY:,} steps")
    learn(HALFWAY, BUDGET)
    act(BUDGET, f"after {BUDGET:,} steps")
    times[-1] = 2_000
    # one palette for all, so that a frame stores only what has changed
    sample = np.concatenate([np.asarray(frames[i]) for i in (5, len(frames) // 2, -1)])
    palette = Image.fromarray(sample).quantize(64, Image.Quantize.MAXCOVERAGE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=times, loop=0)


PICTURES = {
    "learning.gif": draw_learning, "curves.png": draw_curves, "table.png": draw_table,
    "policies.png": draw_policies, "profile.png": draw_profile,
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=PICTURES, default=[*PICTURES])
    for name in parser.parse_args().only:
        start, path = time.process_time(), DOCS / name
        PICTURES[name](path)
        seconds, size = time.process_time() - start, path.stat().st_size
        print(f"{path.name}: {seconds:.1f} s of one core, {size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
