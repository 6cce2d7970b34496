"""Non-finite numbers never enter a parameter: skipped optimizer steps and runs."""

import re
import sys

import gymnasium as gym
import numpy as np
import pytest
from support.proof_size import half, n_trials, pairs, rotated
from support.small_agents import (
    BUDGET,
    CASES,
    TABLES,
    assert_same_parameters,
    next_update,
    parameters,
    run_of,
    small_agent,
    trained,
)
from support.toy_envs import Bandit, NonFiniteEnv, TwoStates

import npr
from npr.autodiff import anomaly, value_and_grad
from npr.capture.calls import thread
from npr.errors import EnvContractError, NumericsError
from npr.optim import SGD, Adam, Optimizer, RMSprop

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
BAD = [np.nan, np.inf, -np.inf]
DEEP = [case for case in CASES if case not in TABLES]
every_bad = pytest.mark.parametrize("bad", BAD)
every_deep = pytest.mark.parametrize("case, bad", rotated(DEEP, BAD))
X = np.array([[1.0, 0.0], [2.0, 3.0]], np.float32)


@pytest.fixture(autouse=True)
def anomaly_detection_is_off():
    assert not anomaly.on
    yield
    assert not anomaly.on


# ---- skipped steps of optimizers


def state_of(optimizer):
    """Everything that a step changes, as bytes."""
    state = {k: v for k, v in vars(optimizer).items() if isinstance(v, np.ndarray)}
    moving = {k: v.tobytes() for k, v in {**state, "theta": optimizer.theta}.items()}
    return {**moving, "t": getattr(optimizer, "t", None)}


@every_bad
@pytest.mark.parametrize("kind", [Adam, RMSprop, SGD])
def test_a_step_with_a_non_finite_gradient_is_skipped_and_counted(kind, bad):
    theta, g = np.ones(5, np.float32), np.arange(5, dtype=np.float32)
    optimizer = kind(theta, 0.1)
    optimizer.step(theta, g)
    before, wrong = state_of(optimizer), g.copy()
    wrong[2] = bad
    for n in (1, 2, 3):
        optimizer.step(theta, wrong)
        assert state_of(optimizer) == before
        assert optimizer.skip_counts() == (n, n)
    optimizer.step(theta, g)
    assert state_of(optimizer) != before
    assert optimizer.skip_counts() == (3, 0)


@pytest.mark.parametrize("kind", [Adam, RMSprop, SGD])
def test_a_skipped_step_has_no_effect_on_later_steps(kind):
    gradients = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    one, other = np.ones(5, np.float32), np.ones(5, np.float32)
    disturbed, calm = kind(one), kind(other)
    for g in gradients:
        disturbed.step(one, np.full(5, np.nan, np.float32))
        disturbed.step(one, g)
        calm.step(other, g)
    assert state_of(disturbed) == state_of(calm)


@pytest.mark.parametrize(
    "entry, message",
    [
        (np.nan, r"to the optimizer, shape (5,), is not finite: entry (2,) = nan."),
        (3e38, "is finite, but the sum of its squares is more than float32 can hold: its largest "
         "entry is 3e+38."),
    ],
)  # fmt: skip
def test_anomaly_detection_raises_instead_of_skipping(entry, message):
    theta, g = np.ones(5, np.float32), np.ones(5, np.float32)
    g[2] = entry
    with npr.debug_anomaly(), pytest.raises(NumericsError, match=re.escape(message)):
        Adam(theta).step(theta, g)
    np.testing.assert_array_equal(theta, 1)


# ---- runs


def optimizers(agent):
    return {name: part for name, part in vars(agent).items() if isinstance(part, Optimizer)}


def assert_finite(agent):
    """Parameters, optimizers and replay are finite."""
    arrays = parameters(agent)
    for name, part in optimizers(agent).items():
        arrays |= {f"{name}.{k}": v for k, v in vars(part).items() if isinstance(v, np.ndarray)}
    if hasattr(agent, "buffer"):
        arrays |= agent.buffer.state()
    for name, array in arrays.items():
        assert np.isfinite(array).all(), name


class NonFiniteBoxEnv(NonFiniteEnv):
    """NonFiniteEnv with a Box action space."""

    def __init__(self, fault, bad):
        super().__init__(fault, bad)
        self.action_space = Bandit().action_space

    def step(self, action):
        return super().step(float(action[0]))


class NonFiniteTableEnv(gym.Wrapper):
    """TwoStates whose 42nd reward is not finite."""

    def __init__(self, bad):
        super().__init__(TwoStates())
        self.bad, self.t = bad, 0

    def step(self, action):
        self.t += 1
        observation, reward, *rest = super().step(action)
        return observation, self.bad if self.t == 42 else reward, *rest


@pytest.mark.parametrize("case, fault, bad", pairs(DEEP, NonFiniteEnv.FAULTS, BAD))
def test_a_non_finite_number_of_an_environment_is_reported_and_not_stored(case, fault, bad):
    """In the eleventh episode of four steps, when every algorithm has made updates."""
    env = (NonFiniteBoxEnv if CASES[case][1] == "Pendulum-v1" else NonFiniteEnv)(fault, bad)
    env.where[1] = -11
    agent = small_agent(case, env)
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
def test_a_non_finite_reward_does_not_enter_a_table(case, bad):
    agent = small_agent(case, NonFiniteTableEnv(bad))
    with pytest.raises(EnvContractError, match=rf"non-finite reward \({bad}\) at step 42"):
        agent.learn(BUDGET)
    assert agent.Q.any()
    assert_finite(agent)


@every_deep
def test_a_non_finite_weight_of_the_policy_stops_the_run(case, bad):
    """At a non-finite action, at the tenth skipped step, or at the end of the run."""
    agent = trained(case)
    *_, theta = agent.acts_by()
    theta.flat[0] = bad
    with pytest.raises(
        NumericsError,
        match="policy chose an action that is not finite|policy holds numbers that are not finite|"
        rf"skipped .* The parameters are not finite \(.* = {bad}\)",
    ):
        agent.learn(300)
    assert np.isfinite(theta.flat[1:]).all(), "it did not spread"
    for part in optimizers(agent).values():
        assert all(np.isfinite(x).all() for x in vars(part).values() if hasattr(x, "dtype"))


def poison(monkeypatch, agent, bad, when):
    """Put a non-finite number into gradient number n of the algorithm if when(n)."""
    module, calls = sys.modules[type(agent).__module__], []

    def poisoned(f, has_aux=False):
        def both(theta, *args):
            value, g = value_and_grad(f, has_aux)(theta, *args)
            calls.append(theta)
            if when(len(calls)):
                g.flat[1] = bad
            return value, g

        return both

    monkeypatch.setattr(module, "value_and_grad", poisoned)
    monkeypatch.setattr(thread, "inside", True)  # no replays, which would not notice
    return calls


@every_deep
def test_one_non_finite_gradient_is_skipped_and_the_run_continues(case, bad, monkeypatch):
    agent = trained(case)
    batch = next_update(agent)
    before = {name: state_of(part) for name, part in optimizers(agent).items()}
    with monkeypatch.context() as patch:
        calls = poison(patch, agent, bad, lambda n: n == 1)
        run_of(agent).updated(agent.update(*batch))
    (hit,) = (name for name, part in optimizers(agent).items() if part.theta is calls[0])
    assert {name: part.skipped for name, part in optimizers(agent).items() if part.skipped} == {
        hit: 1
    }
    if sum(theta is calls[0] for theta in calls) == 1:  # else a later step of the update changed it
        assert state_of(optimizers(agent)[hit]) == before[hit]
    assert agent.logger.snapshot()["train/n_skipped"] == 1
    updates = agent.n_updates
    agent.learn(60)
    assert agent.n_updates > updates
    assert state_of(optimizers(agent)[hit]) != before[hit]
    assert agent.logger.snapshot()["train/n_skipped"] == 1
    assert_finite(agent)


@every_deep
def test_ten_consecutive_non_finite_gradients_stop_the_run(case, bad, monkeypatch):
    agent = trained(case)
    before = {name: state_of(part) for name, part in optimizers(agent).items()}
    updates = agent.n_updates
    with monkeypatch.context() as patch:
        poison(patch, agent, bad, lambda n: True)
        with pytest.raises(NumericsError) as caught:
            agent.learn(400)
    message = str(caught.value)
    part = next(p for p in optimizers(agent).values() if p.consecutive_skipped >= 10)
    name = next(n for n, p in optimizers(agent).items() if p is part)
    vector = next(n for n, x in vars(agent).items() if x is part.theta)
    assert message.startswith(f"{CASES[case][0]}: ten steps or more in a row were skipped")
    assert f"{vector} ({name}, since update {updates + 1})" in message
    assert re.search(rf"given to the optimizer, shape \(.*\), is not finite: .* = {bad}\.", message)
    assert "The parameters are finite" in message and "learning_rate" in message
    for key, each in optimizers(agent).items():
        if each.skipped:
            assert state_of(each) == before[key]
    stopped = agent.n_updates
    assert stopped <= updates + 9
    assert "update" not in vars(agent)
    assert_finite(agent)
    (file,) = re.findall(r"npr\.load\('(.*)'\)", caught.value.__notes__[0])
    loaded = npr.load(file)
    assert_same_parameters(agent, loaded)
    assert [p.skip_counts() for p in optimizers(loaded).values()] == [
        p.skip_counts() for p in optimizers(agent).values()
    ]
    loaded.learn(60)
    assert all(part.consecutive_skipped == 0 for part in optimizers(loaded).values())
    agent.learn(60)
    assert agent.n_updates > stopped
    assert all(part.consecutive_skipped == 0 for part in optimizers(agent).values())


def test_a_finite_gradient_after_nine_non_finite_ones_ends_anomaly_detection(monkeypatch):
    agent = trained("DQN")
    poison(monkeypatch, agent, np.nan, lambda n: n <= 9)
    seen = []
    agent.learn(120, callback=lambda agent: seen.append(anomaly.on))
    assert seen.count(True) in (1, 2), "for one update, which comes every second step"
    assert agent.adam.skip_counts() == (9, 0)
    assert agent.logger.snapshot()["train/n_skipped"] == 9


def test_a_run_without_skipped_steps_does_not_mention_them():
    assert not any("n_skipped" in key for key in trained("SAC").logger.snapshot())


def test_anomaly_detection_is_off_after_a_short_run(monkeypatch):
    agent = trained("SAC")
    poison(monkeypatch, agent, np.nan, lambda n: True)
    agent.learn(400, callback=lambda agent: not anomaly.on)
    assert agent.num_timesteps < 400 and not anomaly.on


def test_the_operation_and_its_non_finite_argument_are_reported():
    agent = trained("DQN")
    agent.buffer.r[:] = np.nan
    message = (
        r"^DQN: ten steps or more .* of theta \(adam, since update \d+\)\. Forwards: the value of "
        r"td_huber, shape \(\), is not finite: it is nan\. Its argument 3, a plain array such as "
        r"a target, was not finite already: entry \(\d+,\) = nan\. The parameters are finite"
    )
    with pytest.raises(NumericsError, match=message):
        agent.learn(400)


def test_a_non_finite_gradient_without_a_tape_is_reported():
    """The gradient of SAC's temperature is a plain mean."""
    agent = trained("SAC")
    agent.H_bar = np.nan
    with pytest.raises(NumericsError, match=r"of log_alpha \(adam_alpha, .* entry \(0,\) = nan"):
        agent.learn(400)
    assert_finite(agent)


def test_a_non_finite_pullback_of_the_sampler_of_softq_is_skipped(monkeypatch):
    agent = trained("SoftQ")
    module = sys.modules[type(agent).__module__]
    monkeypatch.setattr(module, "svgd_direction", lambda fixed, x, *rest: np.full_like(x, np.nan))
    monkeypatch.setattr(thread, "inside", True)
    before = state_of(agent.adam_phi)
    message = r"of phi \(adam_phi, .* Backwards: the cotangent that reaches MLP 4-8-1, .* = nan"
    with pytest.raises(NumericsError, match=message):
        agent.learn(400)
    assert state_of(agent.adam_phi) == before
    assert_finite(agent)


def test_a_non_finite_td_error_does_not_change_its_priority():
    agent = trained("PERDQN")
    agent.buffer.r[:8] = np.nan
    before = agent.buffer.tree[:8].copy()
    batch = next_update(agent)
    agent.buffer.set_priorities(np.arange(16), np.r_[np.full(8, np.nan), np.ones(8)])
    np.testing.assert_array_equal(agent.buffer.tree[:8], before)
    agent.update(*batch)
    assert np.isfinite(agent.theta).all()


# ---- rewards of any scale

EXPONENTS = [*range(-8, 9, 16 // (n_trials(3, 17) - 1)), 18, 30]


@pytest.mark.parametrize("case, exponent", half(CASES, EXPONENTS))
def test_rewards_of_any_scale_stay_finite_or_raise(case, exponent):
    def scaled():
        env = gym.make(CASES[case][1])
        return gym.wrappers.TransformReward(env, lambda r: r * 10.0**exponent)

    agent = small_agent(case, scaled)
    try:
        agent.learn(BUDGET)
    except NumericsError as error:
        assert exponent > 8, error
    assert_finite(agent)
