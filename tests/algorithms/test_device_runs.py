"""The deep algorithms on the strict CuPy double: transfers, results, files."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from support import TESTS, device_cases
from support.processes import DOUBLE, run


@functools.cache
def on_the_double(case):
    """What device_cases did with NPR_BACKEND=cupy; each test looks at its part of it."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(TESTS / "support" / "device_cases.py")
        ran = run(script, case, folder, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def part(case, name):
    outcome = on_the_double(case)[name]
    assert "error" not in outcome, outcome["error"]
    return outcome


@functools.cache
def on_numpy(case):
    return device_cases.one_update(case)


ALL = pytest.mark.parametrize("case", device_cases.CASES)


@ALL
def test_an_update_runs_on_the_device_alone(case):
    """Host arrays, values read and float64 raise; transfers are counted"""
    assert part(case, "update")["crossed"] == {
        "uploads": 0, "downloads": 0, "synchronizations": 0,
    }  # fmt: skip


@ALL
def test_an_update_moves_what_it_should(case):
    before, after = (part(case, "update")[when] for when in ("before", "after"))
    still = {name for name in before if np.array_equal(before[name], after[name])}
    expected = set()
    if case.startswith(("DQN", "PERDQN", "SoftQ")):
        expected = {"theta_bar"}  # waits for target_update_interval
    elif case == "PPOKL":
        expected = {"kl_weight"}  # waits for the end of the epochs
    elif "fixed" in case:
        expected = {"log_alpha"}
    assert still == expected
    for name, value in {**after, **part(case, "update")["metrics"]}.items():
        assert np.isfinite(value).all(), name


@ALL
def test_an_update_is_that_of_numpy(case):
    """Same seed, same batch: same parameters and metrics to rounding."""
    for what in ("before", "after", "metrics"):
        mine, theirs = part(case, "update")[what], on_numpy(case)[what]
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            tolerance = 0 if what == "before" else 1e-5
            np.testing.assert_allclose(mine[name], value, rtol=tolerance, atol=tolerance,
                                       err_msg=f"{what}: {name}")  # fmt: skip


@ALL
def test_learning_saving_and_loading_work_end_to_end(case):
    outcome = part(case, "learn")
    assert outcome["updates"] > 10
    assert outcome["metrics"] and all(np.isfinite(v) for v in outcome["metrics"].values())
    assert outcome["saved"] == outcome["loaded"]
    assert outcome["on host"], "environments get host arrays"
    one, many, one_loaded, many_loaded = outcome["actions"]
    assert one == one_loaded and many == many_loaded
    assert len(many) == 3
    np.testing.assert_allclose(many[0], one, rtol=1e-5, atol=1e-6)
    assert outcome["random"][0] == outcome["random"][1], "the generator was saved too"
    assert outcome["updates of the loaded"] > outcome["updates"]


# uploads per update beside its batch: weights, noise, particles; valid steps
EXTRA = {
    "PERDQN": 1, "DDPG": 1, "TD3": 1, "SoftQ Box": 2, "SoftQ Box, legacy": 2, "SACS": 1, "SAC": 1,
    "SAC, fixed temperature": 1, "REINFORCE": 1, "REINFORCE, discounted": 2, "A2C": 1,
    "QActorCritic Discrete": 1 + 1 + 8, "QActorCritic Box": 1 + 1 + 8,
}  # fmt: skip
NOISELESS = ("DQN", "PERDQN", "DDPG", "TD3")  # they explore without noise on the device


def budget(case, steps, updates):
    """The most uploads and downloads that `learn` may need.

    An action sends the observations and the noise, and fetches itself. An update sends its batch at
    once, and what EXTRA says; PPO sends a rollout and its valid steps once, and an order of its
    steps per epoch. The priorities and the divergences that decide what happens next are fetched.
    """
    name, _, settings = device_cases.CASES[case]
    acts = steps // settings["n_envs"] + 1
    sent = acts if name in NOISELESS else 2 * acts
    if "learning_starts" in settings:
        batch = 1 + (settings["n_step_return"] > 1)  # then each row has its own discount
        fetched = acts + (updates if name == "PERDQN" else 0)
        return sent + (batch + EXTRA.get(case, 0)) * updates, fetched
    if "n_epochs" not in settings:
        return sent + (6 + EXTRA[case]) * updates, acts
    rollouts = -(-acts // settings["n_steps"])  # the last one may be shorter
    epochs = settings["n_epochs"] * rollouts
    kl = name == "PPOKL"
    return sent + 7 * rollouts + epochs, acts + kl * epochs


@ALL
def test_the_bus_is_crossed_no_more_than_law_6_allows(case):
    outcome = part(case, "learn")
    crossed = outcome["crossed"]
    uploads, downloads = budget(case, device_cases.STEPS, outcome["updates"])
    assert 0 < crossed["uploads"] <= uploads
    assert 0 < crossed["downloads"] <= downloads
    assert crossed["synchronizations"] == 0, "nobody looked at a metric"


def on_the_device(code):
    ran = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr


def test_a_step_by_a_bad_gradient_is_skipped_and_counted_without_waiting_for_the_device():
    on_the_device("""
import numpy as np
from npr.backend import to_device, to_host, xp
from npr.optim import SGD, Adam, RMSprop, clip_norm
good, bad = np.ones(5, np.float32), np.ones(5, np.float32)
bad[2] = np.nan
for kind in (Adam, RMSprop, SGD):
    theta, g, wrong = to_device(good), to_device(good), to_device(bad)
    optimizer = kind(theta, 0.1)
    xp.counts.reset()
    for gradient in (g, wrong, wrong):
        optimizer.step(theta, clip_norm(gradient, 0.5))
    assert vars(xp.counts) == {"uploads": 0, "downloads": 0, "synchronizations": 0}
    twice, held = optimizer.skip_counts(), to_host(theta)
    optimizer.step(theta, g)
    assert twice == (2, 2) and optimizer.skip_counts() == (2, 0), (twice, optimizer.skip_counts())
    assert np.isfinite(held).all() and (held < 1).all() and (to_host(theta) < held).all()
""")


def test_a_run_on_the_device_looks_for_skipped_steps_every_hundred_updates():
    on_the_device("""
import numpy as np, npr
from npr.algorithms import dqn
from npr.autodiff import value_and_grad
from npr.backend import to_host, xp
def spoilt(f, has_aux=False):
    def both(theta, *args):
        value, g = value_and_grad(f, has_aux)(theta, *args)
        g.fill(np.nan)
        return value, g
    return both
dqn.value_and_grad = spoilt
agent = npr.DQN("CartPole-v1", seed=0, verbose=0, train_freq=1, gradient_steps=1, n_envs=1,
                learning_starts=20, batch_size=8, net_arch=[8])
before = to_host(agent.theta)
try:
    agent.learn(400)
except npr.NumericsError as error:
    assert "of theta (adam, since update 1)" in str(error), error
    assert "optimizer, shape (58,), is not finite: entry (0,) = nan" in str(error), error
else:
    raise SystemExit("it went on")
assert agent.n_updates == 100 and xp.counts.synchronizations == 0
assert np.array_equal(before, to_host(agent.theta))
""")


def test_a_table_stays_on_the_host():
    """QLearning has nothing to win on a device; it learns, saves and loads all the same."""
    code = """
import sys, numpy as np, npr
agent = npr.QLearning("FrozenLake-v1", seed=0, verbose=0).learn(2_000)
agent.save(sys.argv[1])
other = npr.load(sys.argv[1])
assert type(other.Q) is np.ndarray and other.Q.any() and np.array_equal(agent.Q, other.Q)
assert other.act(0) == agent.act(0)
"""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "table.npz")
        ran = run("-c", code, path, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr
