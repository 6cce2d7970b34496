"""How an update's time grows with batch, width and number of environments: docs/growth.png.

    python benchmarks/growth.py [--write]

The floor of an update is the time of its matrix products alone. Where it is less than half of the
update, Python is the main cost, elsewhere arithmetic. --write saves the results in
benchmarks/results.json and draws the plot (needs npr-rl[plot]).
"""

import argparse
import time
from pathlib import Path

import store
from peers import SPACES, alternately, matrix_products, products, with_arguments

PLOT = Path(__file__).parent.parent / "docs" / "growth.png"
BATCHES, WIDTHS = [2**i for i in range(5, 14)], [2**i for i in range(5, 11)]
ENVIRONMENTS = [2**i for i in range(7)]


def updates(width, batch, env="Pendulum-v1"):
    """Microseconds of an update of SAC, and of its matrix products alone."""
    import npr
    from npr.system.blas import blas_threads, threads_for

    agent = npr.SAC(
        env, seed=0, verbose=0, net_arch=[width, width], batch_size=batch, learning_starts=10_000,
        buffer_size=10_000, train_freq=1, gradient_steps=1,
    )  # fmt: skip
    agent.learn(200)
    agent.learning_starts = 0
    arguments = with_arguments(agent, 5)
    shapes = products("SAC", [width, width], {"batch_size": batch}, *SPACES[env])
    multiply = matrix_products(shapes)
    with blas_threads(threads_for(width)):
        return alternately(lambda: agent.update(*arguments), multiply, seconds=2.0)


def steps(n, env="CartPole-v1"):
    """Microseconds of PPO per environment step with n environments, and of the environments."""
    import npr

    agent = npr.PPO(env, seed=0, verbose=0, n_envs=n, n_steps=2_048 // n, batch_size=256)
    agent.learn(2_048)
    start = time.perf_counter()
    agent.learn(8_192, reset_num_timesteps=False)
    per_step = (time.perf_counter() - start) / 8_192
    envs = agent.envs
    actions = [envs.actions.n * x for x in agent.rng["act"].random((4_096 // n, n))]
    actions = [x.astype(int) for x in actions]
    start = time.perf_counter()
    for a in actions:
        envs.step(a)
    return 1e6 * per_step, 1e6 * (time.perf_counter() - start) / (4_096 // n * n)


def measure():
    def row(what, value, figures, names=("update", "floor")):
        one = {"case": f"{what} {value}", **dict(zip(names, figures))}
        print(one, flush=True)
        return one

    return [
        *(row("batch", n, updates(64, n)) for n in BATCHES),
        *(row("width", n, updates(n, 256)) for n in WIDTHS),
        *(row("environments", n, steps(n), ("step", "environment")) for n in ENVIRONMENTS),
    ]


def draw(rows):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    panels = (
        ("batch", "rows of a batch, SAC 64 x 64", "update", "floor"),
        ("width", "width of two layers, SAC, batch 256", "update", "floor"),
        ("environments", "environments, PPO on CartPole", "step", "environment"),
    )
    names = {"floor": "matrix products alone", "environment": "the environments alone"}
    for axis, (what, label, whole, least) in zip(axes, panels):
        held = {int(row["case"].split()[1]): row for row in rows if row["case"].startswith(what)}
        x = sorted(held)
        y, z = [held[n][whole] for n in x], [held[n][least] for n in x]
        axis.plot(x, y, "o-", color="#1f5fa8", label=f"{whole}, whole")
        axis.plot(x, z, "s--", color="#c2571a", label=names[least])
        turn = next((n for n, a, b in zip(x, y, z) if b > a / 2), None)
        if turn and what != "environments":
            axis.axvline(turn, color="0.7", zorder=0)
            axis.annotate(
                "arithmetic\nfrom here", (turn, min(z)), xytext=(4, 0), textcoords="offset points",
                fontsize=8, color="0.35",
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        if what == "environments":
            axis.set_ylim(0, 1.4 * max(y))
        else:
            axis.set_yscale("log")
        axis.set_xticks(x, [f"{n:,}" for n in x], fontsize=8)
        axis.minorticks_off()
        axis.set_xlabel(label)
        axis.legend(frameon=False, fontsize=8, loc="upper left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("microseconds per update")
    axes[2].set_ylabel("microseconds per env step")
    figure.savefig(PLOT, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="save the results, draw the plot")
    arguments = parser.parse_args()
    rows = measure()
    if arguments.write:
        store.keep("growth", rows)
        draw(rows)


if __name__ == "__main__":
    main()
