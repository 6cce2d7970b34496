"""The deep algorithms keep to the device: proved on a strict double of CuPy, without a GPU.

The double, tests/strict_device/cupy, refuses what a GPU would punish; its docstring says what it
can and cannot catch. First it is tested itself, then every update runs on it, in a process of its
own with NPR_BACKEND=cupy. No GPU code runs here.
"""

import functools
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import device_cases
import numpy as np
import pytest

HERE = Path(__file__).parent
DOUBLE = HERE / "strict_device"


def run(*command, path=(), **environment):
    """Python in a process of its own, on the npr beside these tests."""
    folders = [*map(str, path), str(HERE.parent), str(HERE)]
    inherited = {k: v for k, v in os.environ.items() if k not in ("NPR_BACKEND", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, *command],
        env={**inherited, "PYTHONPATH": os.pathsep.join(folders), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# ---- the double obeys its rules


@pytest.fixture
def cp(monkeypatch):
    """A fresh double under another name: nothing else in this process takes it for CuPy."""
    monkeypatch.setenv("NPR_DTYPE", "float32")
    spec = importlib.util.spec_from_file_location("strict_double", DOUBLE / "cupy" / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "strict_double", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def x(cp):
    """A device array [[0, 1, 2], [3, 4, 5]]."""
    return cp.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


HOST = np.ones(3, np.float32)


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda x: np.zeros(6).dot(x)])
def test_r1_it_never_turns_into_a_numpy_array_by_itself(x, convert):
    assert not isinstance(x, np.ndarray)
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy|got a device array"):
        convert(x)


@pytest.mark.parametrize(
    "mix",
    [
        lambda cp, x: x + HOST,
        lambda cp, x: HOST + x,
        lambda cp, x: HOST @ x.T,
        lambda cp, x: x @ HOST,
        lambda cp, x: x == HOST,
        lambda cp, x: x.__iadd__(HOST),
        lambda cp, x: x + np.array(1, np.float32),
        lambda cp, x: cp.maximum(x, HOST),
        lambda cp, x: cp.exp(HOST),
        lambda cp, x: cp.exp(x, out=np.zeros((2, 3), np.float32)),
        lambda cp, x: cp.where(x > 0, HOST, x),
        lambda cp, x: cp.stack([x[0], HOST]),
        lambda cp, x: cp.dot(x, HOST),
        lambda cp, x: cp.sum(HOST),
        lambda cp, x: x[np.array([0, 1])],
        lambda cp, x: x[[0, 1]],
        lambda cp, x: x[:, np.array([0, 1])],
        lambda cp, x: x.__setitem__(0, HOST),
        lambda cp, x: x.__setitem__(np.array([0]), 1.0),
        lambda cp, x: cp.add.at(x, 0, HOST),
        lambda cp, x: cp.take(x, np.array([0])),
        lambda cp, x: np.exp(x),
        lambda cp, x: np.sum(x),
        lambda cp, x: np.float32(2) * x,
    ],
)
def test_r2_host_arrays_are_refused_everywhere(cp, x, mix):
    with pytest.raises(TypeError):
        mix(cp, x)
    assert cp.asnumpy(x).tolist() == [[0, 1, 2], [3, 4, 5]], "and nothing was written"


def test_r2_numbers_and_device_arrays_are_welcome(cp, x):
    results = [x + 1, 1 - x, 2 * x, x / 2.0, -x, abs(x), x**2, x @ x.T, x * np.float32(2), x > 1]
    assert all(type(y) is cp.ndarray for y in results)
    assert cp.asnumpy(1 - x).tolist() == [[1, 0, -1], [-2, -3, -4]]
    y = x
    y += x
    y *= 0.5
    assert y is x and cp.asnumpy(x).tolist() == [[0, 1, 2], [3, 4, 5]]
    x[0, 1:] = x[1, :2]
    x[1] = 7
    assert cp.asnumpy(x).tolist() == [[0, 3, 4], [7, 7, 7]]
    assert cp.asnumpy(x[cp.asarray(np.array([1, 0])), cp.arange(2)]).tolist() == [7, 3]


def test_r3_reductions_are_arrays(cp, x):
    for y in (x.sum(), x.mean(), x.max(), x.std(ddof=1), x.argmax(), cp.sum(x), (x > 1).any(),
              cp.array_equal(x, x), x[1, 2], x[0] @ x[1]):  # fmt: skip
        assert type(y) is cp.ndarray and y.shape == ()


READS = {
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "item": lambda y: y.item(),
    "tolist": lambda y: y.tolist(),
    "format": lambda y: f"{y:.1f}",
    "print": str,
    "repr": repr,
    "if": lambda y: 1 if y > 0 else 0,
    "max": lambda y: max(y, 0),
    "in": lambda y: 1.0 in y.reshape(1),
    "list": lambda y: list(y.reshape(1)),
    "unpack": lambda y: [*y.reshape(1)],
}


@pytest.mark.parametrize("name", READS)
def test_r4_reading_a_value_is_a_synchronisation(cp, x, name):
    y = x[0, 1]
    with pytest.raises(cp.SynchronisationError, match="makes the CPU wait for the GPU"):
        READS[name](y)
    with cp.allow_sync():
        READS[name](y)
    with pytest.raises(cp.SynchronisationError):  # the permission ends with the block
        READS[name](y)
    assert cp.counts.synchronisations >= 3, "refused ones are counted as well"


def test_r4_the_rows_of_a_matrix_may_be_walked(cp, x):
    first, second = x
    first[:] = second
    assert cp.asnumpy(x).tolist() == [[3, 4, 5], [3, 4, 5]], "rows are views"
    assert cp.counts.synchronisations == 0


def test_r4_an_index_is_no_array(cp, x):
    with pytest.raises(TypeError):
        range(x.argmax())
    with pytest.raises(TypeError):
        hash(x)


@pytest.mark.parametrize(
    "select",
    [
        lambda cp, x: x[x > 1],
        lambda cp, x: x.__setitem__(x > 1, 0.0),
        lambda cp, x: x[:, cp.asarray(np.array([True, False, True]))],
        lambda cp, x: x.nonzero(),
        lambda cp, x: cp.nonzero(x),
        lambda cp, x: cp.flatnonzero(x),
        lambda cp, x: cp.argwhere(x),
        lambda cp, x: cp.unique(x),
        lambda cp, x: cp.where(x > 1),
    ],
)
def test_r5_shapes_that_depend_on_values_wait(cp, x, select):
    with pytest.raises(cp.SynchronisationError):
        select(cp, x)
    assert cp.counts.synchronisations == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda cp, x: x.sum(where=x > 1),
        lambda cp, x: cp.max(x, initial=0.0),
        lambda cp, x: cp.exp(x, where=x > 1),
        lambda cp, x: cp.clip(x, min=0),
        lambda cp, x: x.std(correction=1),
        lambda cp, x: cp.argsort(x, stable=True),
        lambda cp, x: x.setflags(write=False),
        lambda cp, x: cp.maximum.at(x, 0, 1.0),
        lambda cp, x: cp.errstate(),
        lambda cp, x: cp.vecdot(x, x),
        lambda cp, x: cp.random.random(3),
    ],
)
def test_r6_what_cupy_or_npr_has_not_is_not_there(cp, x, call):
    with pytest.raises((TypeError, AttributeError)):
        call(cp, x)


def test_r7_no_place_is_assigned_twice(cp, x):
    twice, once = (cp.asarray(np.array(i)) for i in ([1, 1], [1, 0]))
    with pytest.raises(ValueError, match="no defined result on a GPU"):
        x[twice] = 0.0
    x[once] = 0.0
    cp.add.at(x, (0, twice), cp.asarray(np.array([1, 2], np.float32)))
    assert cp.asnumpy(x).tolist() == [[0, 3, 0], [0, 0, 0]]


def test_r9_fresh_memory_is_poisoned(cp, x):
    assert np.isnan(cp.asnumpy(cp.empty((2, 2), np.float32))).all()
    assert np.isnan(cp.asnumpy(cp.empty_like(x))).all()
    assert cp.asnumpy(cp.empty(2, np.int64)).tolist() == [np.iinfo(np.int64).min] * 2
    assert np.isnan(cp.asnumpy(cp.ndarray(2, np.float32))).all()


@pytest.mark.parametrize(
    "widen",
    [
        lambda cp, x: x * np.float64(2),
        lambda cp, x: cp.asarray(np.zeros(2)),
        lambda cp, x: cp.zeros(2),
        lambda cp, x: cp.full(2, 0.5),
        lambda cp, x: x.astype(float),
        lambda cp, x: (x > 1).mean(),
        lambda cp, x: x.argmax(axis=0) / 2,
        lambda cp, x: x + cp.arange(3),
    ],
)
def test_r10_float64_does_not_creep_in(cp, x, widen, monkeypatch):
    with pytest.raises(cp.PrecisionError, match="float64 array of shape"):
        widen(cp, x)
    monkeypatch.setattr(cp, "_TOO_WIDE", ())  # as with NPR_DTYPE=float64
    assert widen(cp, x).dtype == np.float64


def test_r15_transfers_are_counted(cp, x):
    host = np.zeros(3, np.float32)
    cp.counts.reset()
    y = cp.asarray(host)
    host[:] = 1
    assert cp.asarray(y) is y and cp.counts.uploads == 1, "on the device already"
    assert cp.asnumpy(y).tolist() == [0, 0, 0], "the upload was a copy"
    y.get()[:] = 5
    assert cp.asnumpy(y).tolist() == [0, 0, 0], "the download too"
    assert cp.asnumpy(host) is host
    assert vars(cp.counts) == {"uploads": 1, "downloads": 3, "synchronisations": 0}


def test_operators_leave_room_for_a_tensor(cp, x):
    class Tensor:
        __array_ufunc__ = None

        def answer(self, other):
            return "reflected", other

        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rpow__ = __rmatmul__ = answer

    t = Tensor()
    for y in (x + t, x - t, x * t, x / t, x**t, x @ t):
        assert y[0] == "reflected" and y[1] is x


def test_cupy_has_every_name_and_parameter_that_the_double_offers(cp):
    """Against the real CuPy where it is installed; it needs no GPU for this."""
    real = pytest.importorskip("cupy")
    for name, value in vars(cp).items():
        if isinstance(value, cp.ufunc):
            assert hasattr(real, name), name
    for name, signature in cp.SIGNATURES.items():
        function = getattr(real, name)
        known = inspect.signature(function).parameters
        for parameter in signature.replace("*", "").split():
            assert parameter in known or name == "einsum", f"cupy.{name} has no {parameter}"
    own = {name for name in vars(cp.ndarray) if not name.startswith("_")}
    assert own and own <= set(dir(real.ndarray))


# ---- the algorithms on the double


@functools.cache
def on_the_double(case):
    """What device_cases did with NPR_BACKEND=cupy; each test looks at its part of it."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(HERE / "device_cases.py")
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
        "uploads": 0, "downloads": 0, "synchronisations": 0,
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
    once, and what EXTRA says; PPO sends a rollout once, and an order of its steps per
    epoch. The priorities and the divergences that decide what happens next are fetched.
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
    return sent + 6 * rollouts + epochs + kl * rollouts, acts + kl * epochs


@ALL
def test_the_bus_is_crossed_no_more_than_law_6_allows(case):
    outcome = part(case, "learn")
    crossed = outcome["crossed"]
    uploads, downloads = budget(case, device_cases.STEPS, outcome["updates"])
    assert 0 < crossed["uploads"] <= uploads
    assert 0 < crossed["downloads"] <= downloads
    assert crossed["synchronisations"] == 0, "nobody looked at a metric"


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
    optimiser = kind(theta, 0.1)
    xp.counts.reset()
    for gradient in (g, wrong, wrong):
        optimiser.step(theta, clip_norm(gradient, 0.5))
    assert vars(xp.counts) == {"uploads": 0, "downloads": 0, "synchronisations": 0}
    twice, held = optimiser.missed(), to_host(theta)
    optimiser.step(theta, g)
    assert twice == (2, 2) and optimiser.missed() == (2, 0), (twice, optimiser.missed())
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
    assert "optimiser, shape (58,), is not finite: entry (0,) = nan" in str(error), error
else:
    raise SystemExit("it went on")
assert agent.n_updates == 100 and xp.counts.synchronisations == 0
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


# ---- backends that cannot be used say so


IMPORT = "import npr.backend"


@pytest.mark.parametrize(
    ("code", "environment", "sentence"),
    [
        pytest.param(
            IMPORT,
            {"NPR_BACKEND": "torch"},
            "NPR_BACKEND='torch' is not known; use 'numpy' or 'cupy'.",
            id="torch",
        ),
        pytest.param(
            f"import sys; sys.modules['cupy'] = None; {IMPORT}",
            {"NPR_BACKEND": "cupy"},
            "NPR_BACKEND=cupy, but CuPy is not installed. Install npr-rl[cuda12] or "
            "npr-rl[cuda13], or unset NPR_BACKEND to run on the CPU.",
            id="not installed",
        ),
        pytest.param(
            f"import cupy; cupy.is_available = lambda: False; {IMPORT}",
            {"NPR_BACKEND": "cupy"},
            "NPR_BACKEND=cupy, but no usable NVIDIA GPU was found (cupy 14.2.0 imports; the driver "
            "is missing or too old). Unset NPR_BACKEND to run on the CPU.",
            id="no GPU",
        ),
        pytest.param(
            IMPORT,
            {"NPR_DTYPE": "float16"},
            "NPR_DTYPE='float16' is not known; use 'float32' or 'float64'.",
            id="float16",
        ),
    ],
)
def test_a_backend_that_cannot_be_used_is_refused(code, environment, sentence):
    ran = run("-c", code, path=[DOUBLE], **environment)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == f"npr.errors.BackendError: {sentence}"


def test_the_double_is_found_only_where_it_is_asked_for():
    code = "import npr.backend as b; print(b.xp.__file__, b.ON_HOST, b.FLOAT)"
    fake = run("-c", code, path=[DOUBLE], NPR_BACKEND="cupy", NPR_DTYPE="float64").stdout.split()
    assert Path(fake[0]) == DOUBLE / "cupy" / "__init__.py"
    assert fake[1:] == ["False", "float64"]
    numpy = run("-c", code, path=[DOUBLE], NPR_DTYPE="float32").stdout.split()
    assert Path(numpy[0]) == Path(np.__file__)
    assert numpy[1:] == ["True", "float32"]
