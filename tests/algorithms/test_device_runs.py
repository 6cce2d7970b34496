"""The deep algorithms on the strict CuPy double: transfers, results and files."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from support import TESTS, device_cases
from support.processes import DOUBLE, run

TOGETHER = 5  # cases per process, which imports for a second
# variants whose code the other cases run too
LONG = (
    "REDQ",
    "legacy",
    "fixed temperature",
    "discounted",
    "MultiBinary",
    "double, dueling",
    "TD3",
)
USUAL = [case for case in device_cases.CASES if not any(one in case for one in LONG)]
ALL = pytest.mark.parametrize(
    "case",
    [
        case if case in USUAL else pytest.param(case, marks=pytest.mark.slow)
        for case in device_cases.CASES
    ],
)


@functools.cache
def results(*cases):
    """The results of device_cases with NPR_BACKEND=cupy; each test checks a part of them."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(TESTS / "support" / "device_cases.py")
        ran = run(script, folder, *cases, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def on_the_double(case):
    if case not in USUAL:
        return results(case)[case]
    first = USUAL.index(case) // TOGETHER * TOGETHER
    return results(*USUAL[first : first + TOGETHER])[case]


def part(case, name):
    outcome = on_the_double(case)[name]
    assert "error" not in outcome, outcome["error"]
    return outcome


@functools.cache
def on_numpy(case):
    return device_cases.one_update(case)


@ALL
def test_an_update_runs_on_the_device_only(case):
    """Host arrays, reads of values and float64 raise; transfers are counted."""
    crossed = part(case, "update")["counts"]
    assert [crossed[what] for what in ("uploads", "downloads", "synchronizations")] == [0, 0, 0]
    assert crossed["launches"] > 0


@ALL
def test_an_update_changes_the_parameters_it_should(case):
    before, after = (part(case, "update")[when] for when in ("before", "after"))
    still = {name for name in before if np.array_equal(before[name], after[name])}
    expected = set()
    if case.startswith(("DQN", "PERDQN", "SoftQ")):
        expected = {"theta_bar"}  # updated every target_update_interval
    elif case == "PPOKL":
        expected = {"kl_weight"}  # updated after the epochs
    elif "fixed" in case:
        expected = {"log_alpha"}
    assert still == expected
    for name, value in {**after, **part(case, "update")["metrics"]}.items():
        assert np.isfinite(value).all(), name


@ALL
def test_an_update_equals_that_of_numpy(case):
    """The same seed and batch give the same parameters and metrics up to rounding."""
    for what in ("before", "after", "metrics"):
        mine, theirs = part(case, "update")[what], on_numpy(case)[what]
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            tolerance = 0 if what == "before" else 1e-5
            np.testing.assert_allclose(mine[name], value, rtol=tolerance, atol=tolerance,
                                       err_msg=f"{what}: {name}")  # fmt: skip


@ALL
def test_exploration_equals_that_of_numpy_to_the_bit(case):
    """It runs on the host, with a copy of the parameters."""
    assert part(case, "exploring") == device_cases.exploring(case)


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


def rounds(case, steps):
    """How often `learn` updates: rounds of updates, or rollouts; None where episodes decide."""
    name, _, settings = device_cases.CASES[case]
    if "learning_starts" in settings:
        first, every = settings["learning_starts"], settings["train_freq"]
        return steps // every - (first - 1) // every
    if "n_steps" not in settings:
        return None
    return -(-steps // settings["n_envs"]) // settings["n_steps"]


@ALL
def test_an_update_takes_one_upload_and_one_download(case):
    """An update uploads its batch with noise and weights. TD errors are downloaded with the
    policy that acts, after a round of updates. PPO also uploads an order of the steps per epoch,
    and once what its minibatches consist of; PPOKL downloads a divergence per epoch, and PPO with
    target_kl one per update."""
    outcome, (name, _, settings) = part(case, "learn"), device_cases.CASES[case]
    crossed, updates = outcome["counts"], outcome["updates"]
    n = rounds(case, device_cases.STEPS) or updates
    epochs = n * settings["n_epochs"] if "n_epochs" in settings else 0
    assert n <= updates
    assert crossed["uploads"] == n + epochs + (epochs > 0)
    assert crossed["synchronizations"] == 0, "no metric was read"
    # at the start the policy that acts, at the end a check, while learning those skipped
    checks = 2 + updates // 100 * outcome["optimizers"]
    divergences = {"PPOKL": epochs, "PPO": updates * ("target_kl" in settings)}.get(name, 0)
    assert crossed["downloads"] == n + divergences + checks
    assert crossed["uploads"] + crossed["downloads"] - checks <= 2 * updates


def on_the_device(code):
    ran = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy")
    assert ran.returncode == 0, ran.stderr


def test_skipped_steps_are_counted_without_synchronization():
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
    assert xp.counts.transfers() == {"uploads": 0, "downloads": 0, "synchronizations": 0}
    twice, held = optimizer.skip_counts(), to_host(theta)
    optimizer.step(theta, g)
    assert twice == (2, 2) and optimizer.skip_counts() == (2, 0), (twice, optimizer.skip_counts())
    assert np.isfinite(held).all() and (held < 1).all() and (to_host(theta) < held).all()
""")


def test_skipped_steps_on_the_device_are_checked_every_hundred_updates():
    on_the_device("""
import numpy as np, npr
from npr.algorithms import dqn
from npr.autodiff import value_and_grad
from npr.backend import to_host, xp
def poisoned(f, has_aux=False):
    def both(theta, *args):
        value, g = value_and_grad(f, has_aux)(theta, *args)
        g.fill(np.nan)
        return value, g
    return both
dqn.value_and_grad = poisoned
agent = npr.DQN("CartPole-v1", seed=0, verbose=0, train_freq=1, gradient_steps=1, n_envs=1,
                learning_starts=20, batch_size=8, net_arch=[8])
before = to_host(agent.theta)
try:
    agent.learn(400)
except npr.NumericsError as error:
    assert "of theta (adam, since update 1)" in str(error), error
    assert "optimizer, shape (58,), is not finite: entry (0,) = nan" in str(error), error
else:
    raise SystemExit("no error was raised")
assert agent.n_updates == 100 and xp.counts.synchronizations == 0
assert np.array_equal(before, to_host(agent.theta))
""")


def test_a_table_stays_on_the_host():
    """QLearning uses the host with every backend; it learns, saves and loads."""
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
