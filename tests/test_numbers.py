"""No number that is not finite ever enters a parameter, and the first bad one is named.

First the search on the tape, then what an optimiser skips, then whole runs into which NaN and
both infinities are put: for each algorithm, at every door that there is. Tables have one: their
observations and actions are indices, and there is no gradient.
"""

import re
import sys

import gymnasium as gym
import numpy as np
import pytest
from proofs import many
from tiny import BUDGET, CASES, assert_same_parameters, next_update, parameters, tiny, trained
from toy_envs import M2, Bandit, Faulty

import npr
from npr import autodiff as ad
from npr.autodiff import anomaly, grad, record, value_and_grad, vjp
from npr.errors import EnvContractError, GradientError, NumericsError
from npr.heads import Categorical, TanhGaussian
from npr.losses import clipped_surrogate, mse, td_huber
from npr.nn import MLP
from npr.optim import SGD, Adam, Optimiser, RMSprop

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
BAD = [np.nan, np.inf, -np.inf]
TABLES = ("QLearning", "Sarsa")
DEEP = [case for case in CASES if case not in TABLES]
every_bad = pytest.mark.parametrize("bad", BAD)
every_deep = pytest.mark.parametrize("case", DEEP)
X = np.array([[1.0, 0.0], [2.0, 3.0]], np.float32)


@pytest.fixture(autouse=True)
def the_search_is_off_again():
    assert not anomaly.on
    yield
    assert not anomaly.on


# ---- the search on the tape


def searched(f, x=X):
    with npr.debug_anomaly():
        return grad(f)(x)


@pytest.mark.parametrize(
    "f, message",
    [
        (
            lambda x: ad.exp(100 * x).sum(),
            "Forwards: the value of exp, shape (2, 2), is not finite: entry (0, 0) = inf. "
            "All its arguments are finite: it begins here.",
        ),
        (
            lambda x: ad.log(x[0, 1]) + x.sum(),
            "Forwards: the value of log, shape (), is not finite: it is -inf. "
            "All its arguments are finite: it begins here.",
        ),
        (
            lambda x: (x * np.array([1, np.nan], np.float32)).sum(),
            "Forwards: the value of multiply, shape (2, 2), is not finite: entry (0, 1) = nan. "
            "Its argument 2, a plain array such as a target, was not finite already: "
            "entry (1,) = nan.",
        ),
        (
            lambda x: ad.stack([np.full((2, 2), np.inf, np.float32), x]).sum(),
            "Forwards: the value of stack, shape (2, 2, 2), is not finite: entry (0, 0, 0) = inf. "
            "Its argument 1, a plain array such as a target, was not finite already: "
            "entry (0, 0) = inf.",
        ),
        (
            lambda x: ad.sqrt(x).sum(),
            "Backwards: the cotangent of argument 1 of sqrt, shape (2, 2), is not finite: "
            "entry (0, 1) = inf. All its arguments are finite: it begins here.",
        ),
        (
            lambda x: (np.ones((2, 2), np.float32) / (x + 1e-30)).sum(),
            "Backwards: the cotangent of argument 2 of divide, shape (2, 2), is not finite: "
            "entry (0, 1) = -inf. All its arguments are finite: it begins here.",
        ),
        (
            lambda x: (-(0 * x) * 3e38 + -(0 * x) * 0 + 3e38 * (y := 0 * x) + 3e38 * y).sum(),
            "Backwards: the cotangent that reaches multiply, a sum over its uses, shape (2, 2), "
            "is not finite: entry (0, 0) = inf.",
        ),
        (
            lambda x: (3e38 * (x - X) + 3e38 * (x - X)).sum(),
            "Backwards: the gradient, a sum over its uses, shape (2, 2), is not finite: "
            "entry (0, 0) = inf.",
        ),
    ],
)
def test_the_first_number_that_is_not_finite_is_named(f, message):
    with pytest.raises(NumericsError, match=f"^{re.escape(message)}$"):
        searched(f)
    grad(f)(X)


@every_bad
def test_an_input_that_is_not_finite_is_named_first(bad):
    x = X.copy()
    x[1, 0] = bad
    message = rf"array that the gradient is taken in, .* entry \(1, 0\) = {bad}"
    with pytest.raises(NumericsError, match=message):
        searched(lambda x: x.sum(), x)


def nan(*shape):
    return np.full(shape, np.nan, np.float32)


NET = MLP(2, [3])
THETA = np.ones(NET.size, np.float32)
ACTIONS = np.array([0, 1])
NODES = {
    "MLP 2-3-1": (lambda theta: NET(theta, nan(4, 2)).sum(), THETA, 2),
    "mse": (lambda x: mse(x, nan(2, 2)), X, 2),
    "clipped_surrogate": (lambda x: clipped_surrogate(x, nan(2, 2), 0.2), X, 2),
    "td_huber": (lambda x: td_huber(x, ACTIONS, nan(2))[0], X, 3),
    "TanhGaussian.sample, its actions": (
        lambda x: TanhGaussian(x).sample(nan(2, 1))[0].sum(), X, 2,
    ),
    "huber": (lambda x: ad.huber(x, nan(2, 2)).sum(), X, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_a_coarse_node_has_a_name_and_says_which_argument_was_bad(name):
    f, x, argument = NODES[name]
    message = rf"the value of {name}, .* Its argument {argument}, a plain array such as a target"
    with pytest.raises(NumericsError, match=message):
        searched(f, x)


@pytest.mark.parametrize(
    "name, value",
    [
        ("Categorical.logp", lambda x: Categorical(x).logp),
        ("Categorical.log_prob", lambda x: Categorical(x).log_prob(ACTIONS)),
        ("Categorical.entropy", lambda x: Categorical(x).entropy()),
        (
            "TanhGaussian.sample, their log-probabilities",
            lambda x: TanhGaussian(x).sample(X[:, :1])[1],
        ),
    ],
)
def test_a_bad_cotangent_that_reaches_a_head_names_it(name, value):
    with npr.debug_anomaly():
        y, pullback = vjp(value, X)
        with pytest.raises(NumericsError, match=f"^Backwards: the cotangent that reaches {name}"):
            pullback(np.full(y.shape, np.nan, np.float32))


def test_the_search_changes_no_bit_of_a_finite_gradient():
    rng = np.random.default_rng(0)
    theta, x = NET.init(rng), rng.standard_normal((5, 2)).astype(np.float32)

    def loss(theta):
        return mse(ad.tanh(NET(theta, x)), x[:, 0])

    plain = value_and_grad(loss)(theta)
    with npr.debug_anomaly():
        looked_at = value_and_grad(loss)(theta)
    for one, other in zip(plain, looked_at):
        assert one.tobytes() == other.tobytes()


def test_the_search_ends_with_its_block_however_that_ends():
    with npr.debug_anomaly():
        with pytest.raises(KeyboardInterrupt), npr.debug_anomaly():
            raise KeyboardInterrupt
        assert anomaly.on, "the outer block goes on"
    with pytest.raises(NumericsError):
        searched(lambda x: ad.log(x - 5).sum())
    assert not anomaly.on


# ---- an exception in the middle of a gradient


def breaks_once(x, broken):
    def pullback(g):
        if not broken:
            broken.append(True)
            raise KeyboardInterrupt
        return [g]

    return record(x.data, [x], pullback)


def test_a_pullback_that_broke_off_in_the_middle_can_be_called_again():
    broken = []
    _, pullback = vjp(lambda x: 2 * breaks_once(3 * x, broken) + x, X)
    with pytest.raises(KeyboardInterrupt):
        pullback(np.ones_like(X))
    np.testing.assert_array_equal(pullback(np.ones_like(X)), np.full_like(X, 7))


def test_a_gradient_that_broke_off_in_the_middle_is_finished():
    broken, leaked = [], []

    def loss(x):
        leaked.append(x)
        return (2 * breaks_once(3 * x, broken)).sum()

    with pytest.raises(KeyboardInterrupt):
        grad(loss)(X)
    with pytest.raises(GradientError, match="belongs to a gradient that is already finished"):
        leaked[0] * 2
    np.testing.assert_array_equal(grad(loss)(X), np.full_like(X, 6))


# ---- what an optimiser skips


def held(optimiser):
    """Everything that a step moves, as bytes."""
    state = {k: v for k, v in vars(optimiser).items() if isinstance(v, np.ndarray)}
    moving = {k: v.tobytes() for k, v in {**state, "theta": optimiser.theta}.items()}
    return {**moving, "t": getattr(optimiser, "t", None)}


@every_bad
@pytest.mark.parametrize("kind", [Adam, RMSprop, SGD])
def test_a_step_by_a_bad_gradient_is_skipped_and_counted(kind, bad):
    theta, g = np.ones(5, np.float32), np.arange(5, dtype=np.float32)
    optimiser = kind(theta, 0.1)
    optimiser.step(theta, g)
    before, wrong = held(optimiser), g.copy()
    wrong[2] = bad
    for n in (1, 2, 3):
        optimiser.step(theta, wrong)
        assert held(optimiser) == before
        assert optimiser.missed() == (n, n)
    optimiser.step(theta, g)
    assert held(optimiser) != before
    assert optimiser.missed() == (3, 0)


@pytest.mark.parametrize("kind", [Adam, RMSprop, SGD])
def test_after_a_skipped_step_an_optimiser_goes_on_as_if_it_had_not_been(kind):
    gradients = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    one, other = np.ones(5, np.float32), np.ones(5, np.float32)
    disturbed, calm = kind(one), kind(other)
    for g in gradients:
        disturbed.step(one, np.full(5, np.nan, np.float32))
        disturbed.step(one, g)
        calm.step(other, g)
    assert held(disturbed) == held(calm)


@pytest.mark.parametrize(
    "entry, message",
    [
        (np.nan, r"to the optimiser, shape (5,), is not finite: entry (2,) = nan."),
        (3e38, "is finite, but the sum of its squares is more than float32 can hold: its largest "
         "entry is 3e+38."),
    ],
)  # fmt: skip
def test_under_the_search_a_step_is_not_skipped_in_silence(entry, message):
    theta, g = np.ones(5, np.float32), np.ones(5, np.float32)
    g[2] = entry
    with npr.debug_anomaly(), pytest.raises(NumericsError, match=re.escape(message)):
        Adam(theta).step(theta, g)
    np.testing.assert_array_equal(theta, 1)


# ---- whole runs


def optimisers(agent):
    return {name: part for name, part in vars(agent).items() if isinstance(part, Optimiser)}


def assert_finite(agent):
    """Parameters, optimisers and replay."""
    arrays = parameters(agent)
    for name, part in optimisers(agent).items():
        arrays |= {f"{name}.{k}": v for k, v in vars(part).items() if isinstance(v, np.ndarray)}
    if hasattr(agent, "buffer"):
        arrays |= agent.buffer.state()
    for name, array in arrays.items():
        assert np.isfinite(array).all(), name


class FaultyBox(Faulty):
    """Faulty, with an action in a box."""

    def __init__(self, fault, bad):
        super().__init__(fault, bad)
        self.action_space = Bandit().action_space

    def step(self, action):
        return super().step(float(action[0]))


class FaultyTable(gym.Wrapper):
    """M2 whose 42nd reward is bad."""

    def __init__(self, bad):
        super().__init__(M2())
        self.bad, self.t = bad, 0

    def step(self, action):
        self.t += 1
        observation, reward, *rest = super().step(action)
        return observation, self.bad if self.t == 42 else reward, *rest


@every_bad
@pytest.mark.parametrize("fault", Faulty.FAULTS)
@every_deep
def test_a_bad_number_of_an_environment_is_named_and_goes_nowhere(case, fault, bad):
    """In the eleventh episode of four steps: every algorithm has made updates by then."""
    env = (FaultyBox if CASES[case][1] == "Pendulum-v1" else Faulty)(fault, bad)
    env.where[1] = -11
    agent = tiny(case, env)
    what = r"reward \(" if fault == "reward" else r"observation \(index 2 = "
    step = {"step": 42, "reward": 42, "final": 44, "reset": 44}[fault]
    into = {"step": 2, "reward": 2, "final": 4, "reset": 0}[fault]
    message = f"env 0 returned a non-finite {what}{bad}\\) at step {step}, {into} steps into its"
    with pytest.raises(EnvContractError, match=message):
        agent.learn(BUDGET)
    assert agent.n_updates
    assert_finite(agent)


@every_bad
@pytest.mark.parametrize("case", TABLES)
def test_a_bad_reward_is_named_and_does_not_reach_a_table(case, bad):
    agent = tiny(case, FaultyTable(bad))
    with pytest.raises(EnvContractError, match=rf"non-finite reward \({bad}\) at step 42"):
        agent.learn(BUDGET)
    assert agent.Q.any()
    assert_finite(agent)


@every_bad
@every_deep
def test_a_weight_of_the_policy_that_is_not_finite_stops_the_run(case, bad):
    """At the action where it shows, at the tenth skipped step, or at the end of the run."""
    agent = trained(case)
    theta = getattr(agent, agent.policy_parts[2])
    theta.flat[0] = bad
    with pytest.raises(
        NumericsError,
        match="policy chose an action that is not finite|policy holds numbers that are not finite|"
        rf"skipped, .* No step made the parameters so \(.* = {bad}\)",
    ):
        agent.learn(300)
    assert np.isfinite(theta.flat[1:]).all(), "it did not spread"
    for part in optimisers(agent).values():
        assert all(np.isfinite(x).all() for x in vars(part).values() if hasattr(x, "dtype"))


def poison(monkeypatch, agent, bad, when):
    """Put a bad number into the gradients that the algorithm asks for, where when(n) of the n-th
    gradient is true."""
    module, calls = sys.modules[type(agent).__module__], []

    def spoilt(f, has_aux=False):
        def both(theta, *args):
            value, g = value_and_grad(f, has_aux)(theta, *args)
            calls.append(theta)
            if when(len(calls)):
                g.flat[1] = bad
            return value, g

        return both

    monkeypatch.setattr(module, "value_and_grad", spoilt)
    return calls


@every_bad
@every_deep
def test_one_bad_gradient_moves_nothing_and_the_run_goes_on(case, bad, monkeypatch):
    agent = trained(case)
    batch = next_update(agent)
    before = {name: held(part) for name, part in optimisers(agent).items()}
    with monkeypatch.context() as patch:
        calls = poison(patch, agent, bad, lambda n: n == 1)
        agent.log(agent.update(*batch))
    (hit,) = (name for name, part in optimisers(agent).items() if part.theta is calls[0])
    assert {name: part.skipped for name, part in optimisers(agent).items() if part.skipped} == {
        hit: 1
    }
    if sum(theta is calls[0] for theta in calls) == 1:  # else the next step of the update moved it
        assert held(optimisers(agent)[hit]) == before[hit]
    assert agent.logger.groups["train"]["n_skipped"] == 1
    updates = agent.n_updates
    agent.learn(60)
    assert agent.n_updates > updates
    assert held(optimisers(agent)[hit]) != before[hit]
    assert agent.logger.groups["train"]["n_skipped"] == 1
    assert_finite(agent)


@every_bad
@every_deep
def test_ten_bad_gradients_in_a_row_stop_the_run_and_are_named(case, bad, monkeypatch):
    agent = trained(case)
    before = {name: held(part) for name, part in optimisers(agent).items()}
    updates = agent.n_updates
    with monkeypatch.context() as patch:
        poison(patch, agent, bad, lambda n: True)
        with pytest.raises(NumericsError) as caught:
            agent.learn(400)
    message = str(caught.value)
    part = next(p for p in optimisers(agent).values() if p.in_a_row >= 10)
    name = next(n for n, p in optimisers(agent).items() if p is part)
    vector = next(n for n, x in vars(agent).items() if x is part.theta)
    assert message.startswith(f"{CASES[case][0]}: ten steps or more in a row were skipped")
    assert f"{vector} ({name}, since update {updates + 1})" in message
    assert re.search(rf"given to the optimiser, shape \(.*\), is not finite: .* = {bad}\.", message)
    assert "The parameters are finite" in message and "learning_rate" in message
    for key, each in optimisers(agent).items():
        if each.skipped:
            assert held(each) == before[key]
    stopped = agent.n_updates
    assert stopped <= updates + 9
    assert "update" not in vars(agent)
    assert_finite(agent)
    (file,) = re.findall(r"npr\.load\('(.*)'\)", caught.value.__notes__[0])
    loaded = npr.load(file)
    assert_same_parameters(agent, loaded)
    assert [p.missed() for p in optimisers(loaded).values()] == [
        p.missed() for p in optimisers(agent).values()
    ]
    loaded.learn(60)
    assert all(part.in_a_row == 0 for part in optimisers(loaded).values())
    agent.learn(60)
    assert agent.n_updates > stopped
    assert all(part.in_a_row == 0 for part in optimisers(agent).values())


def test_after_nine_bad_gradients_a_good_one_ends_the_search(monkeypatch):
    agent = trained("DQN")
    poison(monkeypatch, agent, np.nan, lambda n: n <= 9)
    seen = []
    agent.learn(120, callback=lambda agent: seen.append("update" in vars(agent)))
    assert seen.count(True) in (1, 2), "for one update, which comes every second step"
    assert agent.adam.missed() == (9, 0)
    assert agent.logger.snapshot()["train/n_skipped"] == 9


def test_a_run_without_skipped_steps_does_not_mention_them():
    assert not any("n_skipped" in key for key in trained("SAC").logger.snapshot())


def test_a_run_that_ends_before_the_tenth_update_leaves_the_search_off(monkeypatch):
    agent = trained("SAC")
    poison(monkeypatch, agent, np.nan, lambda n: True)
    agent.learn(400, callback=lambda agent: "update" not in vars(agent))
    assert "update" in vars(agent) and not anomaly.on


def test_the_operation_and_the_plain_argument_that_began_it_are_named():
    agent = trained("DQN")
    agent.buffer.r[:] = np.nan
    message = (
        r"^DQN: ten steps or more .* of theta \(adam, since update \d+\)\. Forwards: the value of "
        r"td_huber, shape \(\), is not finite: it is nan\. Its argument 3, a plain array such as "
        r"a target, was not finite already: entry \(\d+,\) = nan\. The parameters are finite"
    )
    with pytest.raises(NumericsError, match=message):
        agent.learn(400)


def test_a_bad_gradient_that_is_on_no_tape_is_named_too():
    """SAC's temperature, whose gradient is a plain mean."""
    agent = trained("SAC")
    agent.H_bar = np.nan
    with pytest.raises(NumericsError, match=r"of log_alpha \(adam_alpha, .* entry \(0,\) = nan"):
        agent.learn(400)
    assert_finite(agent)


def test_a_bad_pullback_of_the_sampler_of_softq_is_skipped_too(monkeypatch):
    agent = trained("SoftQ")
    module = sys.modules[type(agent).__module__]
    monkeypatch.setattr(module, "svgd_direction", lambda fixed, x, *rest: np.full_like(x, np.nan))
    before = held(agent.adam_phi)
    message = r"of phi \(adam_phi, .* Backwards: the cotangent that reaches MLP 4-8-1, .* = nan"
    with pytest.raises(NumericsError, match=message):
        agent.learn(400)
    assert held(agent.adam_phi) == before
    assert_finite(agent)


def test_a_bad_td_error_leaves_its_row_and_per_goes_on():
    agent = trained("PERDQN")
    agent.buffer.r[:8] = np.nan
    before = agent.buffer.tree[:8].copy()
    batch = next_update(agent)
    agent.buffer.set_priorities(np.arange(16), np.r_[np.full(8, np.nan), np.ones(8)])
    np.testing.assert_array_equal(agent.buffer.tree[:8], before)
    agent.update(*batch)
    assert np.isfinite(agent.theta).all()


# ---- rewards of any scale

EXPONENTS = [*range(-8, 9, 16 // (many(3, 17) - 1)), 18, 30]


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("case", CASES)
def test_rewards_of_any_scale_end_finite_or_with_a_clean_error(case, exponent):
    def scaled():
        env = gym.make(CASES[case][1])
        return gym.wrappers.TransformReward(env, lambda r: r * 10.0**exponent)

    agent = tiny(case, scaled)
    try:
        agent.learn(BUDGET)
    except NumericsError as error:
        assert exponent > 8, error
    assert_finite(agent)
