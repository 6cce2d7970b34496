"""Figures of Sutton and Barto 2018 with npr's tables, one picture each.

    python examples/textbook/figures.py                  # all, a few minutes
    python examples/textbook/figures.py cliff windy      # some
    python examples/textbook/figures.py --quick          # few runs, to see that they work

Needs matplotlib: pip install 'npr-rl[plot]'. Averages are over fewer runs than in the book, which
has up to 50,000; the number is in each title.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
from environments import MaximizationBias, RandomWalk, WindyGrid
from matplotlib.figure import Figure

import npr

GREEDY = {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1, "gamma": 1.0}
LIMIT = 10**9  # steps of a run that ends after a number of episodes


def learned(algorithm, env, episodes, seed, after=None, **settings):
    """An agent after so many episodes, with their returns and lengths (episodes,); `after` is
    called with the agent at the end of each."""
    played = []

    def ended(agent):
        played.extend((one.ret, one.length) for one in agent.envs.finished)
        if after is not None and agent.envs.finished:
            after(agent)
        return len(played) < episodes

    given = {**GREEDY, "max_episode_steps": None, **settings}
    agent = algorithm(env, seed=seed, verbose=0, **given).learn(LIMIT, ended)
    return agent, *np.array(played).T


def picture(title, across, up):
    figure = Figure((6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


# ---- the cliff


def cliff(quick):
    """Example 6.6: Sarsa takes the safe path, and so it gets more while it explores."""
    runs, episodes = (1, 30) if quick else (60, 500)
    title = f"Cliff walking, example 6.6 ({runs} runs)"
    figure, axes = picture(title, "episode", "sum of rewards during the episode")
    for algorithm in (npr.Sarsa, npr.QLearning):
        make = functools.partial(learned, algorithm, "CliffWalking-v1", episodes)
        curve = np.mean([make(i, learning_rate=0.5)[1] for i in range(runs)], axis=0)
        smooth = np.convolve(curve, np.full(10, 0.1), "valid")
        axes.plot(np.arange(9, episodes), smooth, label=algorithm.__name__)
        print(f"cliff: {algorithm.__name__} {curve[episodes // 2 :].mean():.1f} per episode")
    axes.set_ylim(-100, -10)
    axes.legend()
    return figure


def expected(quick):
    """Figure 6.3: the mean over next actions allows large step sizes."""
    rates = (0.5, 1.0) if quick else np.arange(0.1, 1.05, 0.1).round(1).tolist()
    first, early, long, late = (1, 10, 1, 15) if quick else (10, 100, 1, 1_000)
    title = f"Cliff walking, figure 6.3 ({first} runs of {early} and {long} of {late:,} episodes)"
    figure, axes = picture(title, "step size", "mean sum of rewards per episode")
    kinds = {
        "Expected Sarsa": (npr.Sarsa, {"expected": True}),
        "Q-learning": (npr.QLearning, {}),
        "Sarsa": (npr.Sarsa, {}),
    }
    for k, (name, (algorithm, settings)) in enumerate(kinds.items()):
        for runs, episodes, style in ((first, early, ":"), (long, late, "-")):
            make = functools.partial(learned, algorithm, "CliffWalking-v1", episodes, **settings)
            means = [
                np.mean([make(i, learning_rate=rate)[1].mean() for i in range(runs)])
                for rate in rates
            ]
            kind = "first" if episodes == early else "all"
            axes.plot(rates, means, f"{style}o", color=f"C{k}", ms=3, label=f"{name}, {kind}")
            print(f"expected: {name}, {episodes} episodes, {rates[0]} to {rates[-1]}: "
                  f"{' '.join(f'{x:.0f}' for x in means)}")  # fmt: skip
    axes.set_ylim(None if quick else -160, 0)
    axes.legend(fontsize="small")
    return figure


# ---- wind


def steps_of(agent, env):
    """Steps of the greedy policy from the start to the goal; 0: it does not arrive."""
    s, _ = env.reset()
    for t in range(1, 100):
        s, _, terminated, *_ = env.step(agent.act(s))
        if terminated:
            return t
    return 0


def windy(quick):
    """Example 6.5: the slope of the curve becomes that of the shortest path, 15 steps; with the
    moves of a king it has 7 (exercise 6.9)."""
    runs, steps = (1, 1_500) if quick else (10, 8_000)
    title = f"Windy gridworld, example 6.5 and exercise 6.9 ({runs} runs)"
    figure, axes = picture(title, "time steps", "episodes")
    for kings, label in ((False, "four moves"), (True, "king's moves")):
        done, lengths = np.zeros((runs, steps + 1)), []
        for i in range(runs):
            agent = npr.Sarsa(
                functools.partial(WindyGrid, kings), seed=i, verbose=0, learning_rate=0.5, **GREEDY
            ).learn(steps)
            ends = agent.logger.history.rows()[:, 0]
            done[i] = np.searchsorted(ends, np.arange(steps + 1), "right")
            lengths.append(steps_of(agent, WindyGrid(kings)))
        axes.plot(done.mean(axis=0), label=label)
        print(f"windy: {label}, {done[:, -1].mean():.0f} episodes, greedy paths {lengths}")
    axes.legend()
    return figure


# ---- the random walk


def walk(quick, choices, label, title):
    """Error of the values, over the first ten episodes, for step sizes and other settings."""
    steps = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    runs, rates = (1, (0.2, 0.4)) if quick else (10, steps)
    axes_title = f"19-state random walk, {title} ({runs} runs)"
    figure, axes = picture(axes_title, "step size", "RMS error over the first 10 episodes")

    def error(seed, **settings):
        errors = []

        def after(agent):
            errors.append(np.sqrt(((agent.Q[:, 0] - RandomWalk.VALUES) ** 2).mean()))

        learned(npr.Sarsa, RandomWalk, 10, seed, after, **settings)
        return np.mean(errors)

    for choice, settings in choices[:: 4 if quick else 1]:
        curve = []
        for rate in rates:
            curve.append(np.mean([error(i, learning_rate=rate, **settings) for i in range(runs)]))
            if curve[-1] > 0.55:  # it leaves the axes, and may diverge
                break
        axes.plot(rates[: len(curve)], curve, label=f"{label} = {choice}")
        best = int(np.argmin(curve))
        print(f"walk: {label} = {choice}, least error {curve[best]:.3f} at {rates[best]:.2f}")
    axes.set(ylim=(0.25, 0.55), xlim=(0, 1))
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def n_step(quick):
    """Figure 7.2: a number of steps between one and all of them is best."""
    choices = [(n, {"n_step_return": n}) for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)]
    return walk(quick, choices, "n", "n-step TD, figure 7.2")


def trace(quick):
    """Figure 12.6: so is a lambda between 0 and 1."""
    decays = (0.0, 0.4, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)
    choices = [(decay, {"trace_decay": decay}) for decay in decays]
    return walk(quick, choices, "lambda", "TD(lambda), figure 12.6")


# ---- the maximum of estimates


def bias(quick):
    """Figure 6.5: Q-learning goes left, since the largest of ten estimates is too large."""
    runs, episodes = (5, 40) if quick else (200, 300)
    title = f"Maximization bias, figure 6.5 ({runs} runs)"
    figure, axes = picture(title, "episode", "% left actions from A")
    for label, settings in (("Q-learning", {}), ("Double Q-learning", {"double": True})):
        make = functools.partial(learned, npr.QLearning, MaximizationBias, episodes)
        left = np.zeros(episodes)
        for i in range(runs):
            left += make(i, learning_rate=0.1, action_masks=True, **settings)[2] == 2
        axes.plot(np.arange(1, episodes + 1), 100 * left / runs, label=label)
        print(f"bias: {label}, {100 * left[:50].mean() / runs:.0f}% left in the first 50 episodes, "
              f"{100 * left[-50:].mean() / runs:.0f}% in the last 50")  # fmt: skip
    axes.axhline(5, color="gray", ls="--", lw=1, label="optimal")
    axes.set_ylim(0, 100)
    axes.legend()
    return figure


FIGURES = {one.__name__: one for one in (cliff, expected, windy, n_step, trace, bias)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few runs, in seconds")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the pictures go")
    args = parser.parse_args()
    if unknown := {*args.names} - {*FIGURES}:
        parser.error(f"no figure is named {' or '.join(sorted(unknown))}: there are {[*FIGURES]}")
    for name in args.names or FIGURES:
        path = args.folder / f"textbook_{name}.png"
        FIGURES[name](args.quick).savefig(path, dpi=120)
        print(path)


if __name__ == "__main__":
    main()
