"""Costs of an env step: formulas against numbers worked by hand, limits, and the simulation."""

import dataclasses
import math

import numpy as np
import pytest

from npr.distributed import costs as model
from npr.distributed.costs import Costs, Line, Link, advice, in_process, simulate, with_workers
from npr.errors import ConfigError

# 4 cores; 8 environments of 100 us; 10 steps per rollout
COSTS = Costs(
    env=90, reset=10, policy=Line(20, 1), stepping=Line(4, 2), loop=Line(6, 0.5),
    update=Line(0, 30), processes=Line(50, 25), vectors={"envpool": Line(30, 3)},
    links={"processes": Link(100, 0.001, 40), "ray": Link(700, 0.002, 1_000)},
    row_bytes=50, weight_bytes=20_000, n_steps=10, cores=4,
)  # fmt: skip
AHEAD = dataclasses.replace(COSTS, synchronous=False)


# ---- lines


def test_a_line_is_fitted_exactly_to_times_on_a_line():
    assert Line.fitted([1, 8, 64], [25, 60, 340]) == pytest.approx((20, 5))


def test_a_fitted_line_has_no_negative_part():
    assert Line.fitted([1, 10], [1, 100]).fixed == 0
    assert Line.fitted([1, 10], [10, 5]).each == 0
    assert Line.fitted([8], [40]) == pytest.approx((0, 5))


# ---- one process, worked by hand


def test_one_process():
    # 20 + 8, 6 + 4, 240; environments: 4 + 16 + 800
    assert in_process(COSTS, 8) == pytest.approx((28 + 10 + 240 + 820) / 8)


def test_environments_in_processes():
    # messages 50 + 200; 8 processes on 4 cores: 800 / 4 is above one step's 100
    assert in_process(COSTS, 8, "async") == pytest.approx((278 + 250 + 200) / 8)
    waits = dataclasses.replace(COSTS, computes=0)
    assert in_process(waits, 8, "async") == pytest.approx((278 + 250 + 100) / 8)


def test_a_vector_environment():
    assert in_process(COSTS, 8, "envpool") == pytest.approx((278 + 54) / 8)


# ---- workers, worked by hand


def test_synchronous_workers():
    # a worker: 10 (20 + 8 + 4 + 8 + 400) = 4,400; gather: 40 + 2 100 + 4,000 + 20,000 bytes / 1,000
    # learner: 10 (10 + 240)
    by_hand = (4_400 + 40 + 200 + 4 + 20 + 2_500) / 80
    assert with_workers(COSTS, 8, 2) == pytest.approx(by_hand)


def test_a_rollout_may_have_as_many_steps_whatever_the_number_of_environments():
    kept = dataclasses.replace(COSTS, per_rollout=80)
    assert kept.steps(8) == 10 and kept.steps(16) == 5 and kept.steps(200) == 1
    assert with_workers(kept, 8, 2) == with_workers(COSTS, 8, 2)
    assert with_workers(kept, 16, 2) == with_workers(dataclasses.replace(COSTS, n_steps=5), 16, 2)


def test_more_workers_than_cores():
    """Eight workers compute for 10 (28 + 4 + 2 + 100) each, which four cores do in twice the time;
    environments that wait need the cores only for npr's part."""
    learner = 40 + 800 + 24 + 2_500
    assert with_workers(COSTS, 8, 8) == pytest.approx((2 * 1_340 + learner) / 80)
    waits = dataclasses.replace(COSTS, computes=0)
    assert with_workers(waits, 8, 8) == pytest.approx((1_340 + learner) / 80)


def test_workers_that_do_not_hold_equally_many_wait_for_the_fullest():
    assert with_workers(COSTS, 8, 3) == pytest.approx(
        (10 * (28 + 4 + 6 + 300) + 40 + 300 + 24 + 2_500) / 80
    )


def test_a_cluster():
    # eight workers on two machines: four each, on four cores
    by_hand = (1_340 + 1_000 + 8 * 700 + 24_000 * 0.002 + 2_500) / 80
    assert with_workers(COSTS, 8, 8, nodes=2, engine="ray") == pytest.approx(by_hand)


def test_workers_that_are_ahead_take_the_time_of_the_slower_side():
    # a worker: 10 (20 + 4 + 4 + 8 + 400) = 4,360; learner: 10 (10 + 240); gather: 200 + 24
    assert with_workers(AHEAD, 8, 2) == pytest.approx((224 + 40 + 4_360) / 80)
    quick = dataclasses.replace(AHEAD, env=0, reset=0)
    assert with_workers(quick, 8, 2) == pytest.approx((224 + 2_500) / 80)


def test_the_lag_bounds_the_steps_of_a_block():
    """With one update per env step of 8 environments, two blocks of 10 steps are 160 updates."""
    assert AHEAD.steps(8) == 10 and AHEAD.lag(8) == 160
    held = dataclasses.replace(AHEAD, max_lag=100)
    assert held.steps(8) == 6 and held.lag(8) == 96
    assert dataclasses.replace(AHEAD, max_lag=100, steps_per_update=4).steps(8) == 10
    assert COSTS.lag(8) == 0


def test_workers_and_the_learner_need_time_to_hand_steps_over():
    costs = dataclasses.replace(COSTS, replay=Line(106, 0.5), record=7)
    assert with_workers(costs, 8, 2) == pytest.approx(with_workers(COSTS, 8, 2) + 1_070 / 80)
    assert in_process(costs, 8) == in_process(COSTS, 8)


# ---- limits


def test_without_environment_workers_only_add_their_transfer():
    bare = dataclasses.replace(COSTS, env=0, reset=0, stepping=Line(), policy=Line())
    gather = (40 + 2 * 100 + 24) / 80
    assert with_workers(bare, 8, 2) == pytest.approx(in_process(bare, 8) + gather)


def test_with_slow_environments_workers_are_as_many_times_as_fast():
    slow = dataclasses.replace(COSTS, env=1e9)
    for W in (1, 2, 4):
        assert in_process(slow, 8) / with_workers(slow, 8, W) == pytest.approx(W, rel=1e-5)
    assert in_process(slow, 8) / with_workers(slow, 8, 8) == pytest.approx(4, rel=1e-5)  # cores
    waits = dataclasses.replace(slow, computes=0)
    assert in_process(waits, 8) / with_workers(waits, 8, 8) == pytest.approx(8, rel=1e-5)


def test_one_free_worker_takes_as_long_as_none():
    free = dataclasses.replace(COSTS, links={"processes": Link()})
    assert with_workers(free, 8, 1) == pytest.approx(in_process(free, 8))


# ---- where workers pay


def test_from_where_workers_pay():
    """In one process 8 environments take 10 (28 + 4 + 16 + 8 e), on two workers 10 (28 + 4 + 8 +
    4 e) + 264: equal at e = 4.6, of which 1 is resets here."""
    costs = dataclasses.replace(COSTS, reset=1)
    assert model.workers_pay(costs, 8, 2) == pytest.approx(3.6, rel=1e-5)


def test_workers_pay_never_or_always():
    one_core = dataclasses.replace(COSTS, cores=1)
    assert model.workers_pay(one_core, 8, 2) is None
    free = dataclasses.replace(COSTS, links={"processes": Link()}, reset=0)
    assert model.workers_pay(free, 8, 2) == 0


def test_from_where_a_cluster_pays():
    """At the break-even both take the same time, and only above it the cluster is faster."""
    costs = dataclasses.replace(COSTS, reset=0, n_steps=100)
    found = model.cluster_pays(costs, 64, 16, nodes=4)
    assert found is not None and found > model.workers_pay(costs, 64, 4)

    def both(env):
        given = dataclasses.replace(costs, env=env)
        local = min(with_workers(given, 64, W) for W in (2, 4))
        return local, with_workers(given, 64, 16, nodes=4, engine="ray")

    assert both(found) == pytest.approx(both(found)[::-1], rel=1e-4)
    assert both(2 * found)[0] > both(2 * found)[1] and both(found / 2)[0] < both(found / 2)[1]


# ---- advice


def test_advice_is_the_fastest_that_was_measured():
    found = advice(COSTS, [8, 64])
    assert found.vectorization == "envpool" and found.n_workers == 0 and found.n_envs == 64
    assert found.rate == pytest.approx(1e6 / in_process(COSTS, 64, "envpool"))
    assert found.arguments == 'n_envs=64, vectorization="envpool"'


def test_advice_for_a_slow_environment_has_workers():
    slow = dataclasses.replace(COSTS, env=5_000, computes=0, vectors={}, processes=None)
    slow = dataclasses.replace(slow, links={"processes": slow.links["processes"]})
    found = advice(slow, [64])
    assert (found.n_workers, found.engine) == (64, "processes")
    assert found.arguments == "n_envs=64, n_workers=64"
    found = advice(dataclasses.replace(slow, computes=1), [64])
    assert found.n_workers == 4


def test_advice_is_one_process_for_a_fast_environment():
    fast = dataclasses.replace(COSTS, env=1, reset=0, vectors={})
    found = advice(fast, [8, 64])
    assert (found.n_workers, found.vectorization) == (0, "sync")


def test_advice_is_simpler_where_little_is_lost():
    """One process takes 104 us per step, eight in workers a little less."""
    costs = Costs(env=4, update=Line(0, 100), links={"processes": Link()}, cores=4, n_steps=10)
    assert advice(costs, [8]).n_workers == 0
    assert model.candidates(costs, [8])[0].n_workers == 4


def test_all_measured_configurations_are_candidates():
    found = {one[1:4] for one in model.candidates(COSTS, [8])}
    assert found == {
        (0, "sync", "processes"), (0, "async", "processes"), (0, "envpool", "processes"),
        (2, "sync", "processes"), (4, "sync", "processes"), (2, "sync", "ray"), (4, "sync", "ray"),
    }  # fmt: skip


# ---- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Costs(env=1, computes=2), r"computes must be in \[0, 1\], got 2"),
        (lambda: Costs(env=-1), r"env must be in \[0, inf\), got -1"),
        (lambda: Costs(env=1, cores=0), "cores must be at least 1, got 0"),
        (lambda: in_process(COSTS, 8, "entry_point"), "'entry_point' was not measured, only sync"),
        (lambda: in_process(Costs(env=1), 8, "async"), "were not measured"),
        (lambda: with_workers(COSTS, 8, 9), r"n_workers must be in \[1, n_envs=8\], got 9"),
        (lambda: with_workers(COSTS, 8, 2, nodes=0), "nodes must be at least 1"),
        (lambda: with_workers(COSTS, 8, 2, engine="mpi"), "only processes, ray"),
        (lambda: advice(COSTS, []), "no number of environments"),
        (lambda: simulate(COSTS, 8, 2, blocks=0), "blocks must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_computed_is_an_error(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


# ---- the simulation equals the formulas where step times are constant


@pytest.mark.parametrize("computes", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    ("n", "W", "nodes"),
    [(8, 1, 1), (8, 2, 1), (8, 4, 1), (8, 8, 1), (64, 16, 4), (2_000, 1_000, 50)],
)
def test_the_synchronous_simulation_is_exact(n, W, nodes, computes):
    costs = dataclasses.replace(COSTS, computes=computes)
    found = simulate(costs, n, W, nodes=nodes, blocks=3)
    assert found.per_step == pytest.approx(with_workers(costs, n, W, nodes=nodes), rel=1e-9)


@pytest.mark.parametrize("env", [0, 90, 10_000])
@pytest.mark.parametrize(
    ("n", "W", "nodes", "max_lag"),
    [
        (8, 1, 1, math.inf),
        (8, 2, 1, math.inf),
        (8, 2, 1, 80),
        (64, 16, 8, math.inf),
        (1_000, 1_000, 4, math.inf),
    ],
)
def test_the_simulation_of_workers_that_are_ahead_is_exact(n, W, nodes, max_lag, env):
    """Where every process has a core."""
    cores = 4 if W < 1_000 else 251
    costs = dataclasses.replace(AHEAD, env=env, max_lag=max_lag, cores=cores)
    found = simulate(costs, n, W, nodes=nodes, blocks=3)
    assert found.per_step == pytest.approx(with_workers(costs, n, W, nodes=nodes), rel=1e-9)


def test_processes_share_the_cores_that_there_are():
    """One core: it is always at work, so that a block takes the processor time of all."""
    costs = dataclasses.replace(AHEAD, cores=1, links={"processes": Link(100, 0.001)})
    for W in (1, 2, 4):
        work = model._Work.of(costs, 8, W, 1, "processes", "sync")
        by_hand = (W * (work.actor_cpu + work.receive) + work.learn) / 80
        assert with_workers(costs, 8, W) == pytest.approx(by_hand)
        assert simulate(costs, 8, W).per_step == pytest.approx(by_hand, rel=1e-9)


def test_shares_of_waiting():
    """Slow environments let the learner wait, fast ones the actors."""
    slow = simulate(dataclasses.replace(AHEAD, env=1e6), 8, 2)
    assert slow.idle < 0.01 and slow.waiting > 0.99
    fast = simulate(dataclasses.replace(AHEAD, env=0, reset=0, update=Line(0, 1e4)), 8, 2)
    assert fast.idle > 0.99 and fast.waiting < 0.01


# ---- the simulation against a loop, where step times vary


def test_synchronous_stragglers_cost_what_a_loop_finds():
    """Every round takes until the slowest worker has answered, answers being taken in order."""
    W, rounds = 50, 6
    times = np.random.default_rng(0).exponential(5_000, (W, rounds))
    costs = dataclasses.replace(COSTS, cores=200)
    found = simulate(costs, W, W, blocks=rounds, durations=lambda w, i: times[w, i])
    own, receive = 10 * (20 + 50 + 4 + 2), 100 + (500 + 20_000 / W) * 0.001
    t = 0.0
    for i in range(rounds):
        taken = start = t
        for w in range(W):
            taken = max(taken, start + 40 + own + times[w, i]) + receive
        t = taken + 10 * (6 + 25 + 1_500)
    assert found.per_step == pytest.approx(t / (rounds * 10 * W), rel=1e-9)
    mean = simulate(costs, W, W, blocks=rounds, durations=lambda w, i: times.mean())
    assert found.per_step > 1.1 * mean.per_step


def test_stragglers_of_workers_that_are_ahead_cost_what_a_loop_finds():
    """A block is received when the learner has used the one before and all have answered."""
    W, blocks = 7, 40
    times = np.random.default_rng(1).exponential(3_000, (W, blocks + 1))
    costs = dataclasses.replace(AHEAD, cores=100)
    found = simulate(costs, W, W, blocks=blocks, durations=lambda w, i: times[w, i])
    own, receive = 10 * (20 + 1 + 4 + 2), 100 + (500 + 20_000 / W) * 0.001
    t, ends = 0.0, []
    for i in range(blocks + 1):
        taken = t if i == 0 else t + 10 * (6 + 3.5 + 210)
        for w in range(W):
            taken = max(taken, t + 40 + own + times[w, i]) + receive
        t = taken
        ends.append(t)
    assert found.per_step == pytest.approx((ends[-1] - ends[0]) / (blocks * 10 * W), rel=1e-9)


def test_the_durations_have_the_mean_and_the_deviation_of_sums_of_steps():
    costs = dataclasses.replace(COSTS, spread=0.5)
    draw = model._gamma_sums(costs, 40, seed=3)
    x = np.array([draw(0, 0) for _ in range(20_000)])
    assert x.mean() == pytest.approx(40 * 100, rel=0.005)
    assert x.std() == pytest.approx(math.sqrt(40) * 50, rel=0.02)
    assert model._gamma_sums(COSTS, 40, seed=3)(0, 0) == 4_000


def test_the_formula_foresees_the_stragglers():
    """The waiting for the slowest of 100, within 15 % of the simulated one."""
    costs = dataclasses.replace(COSTS, spread=0.8, cores=200, env=5_000)
    steady = dataclasses.replace(costs, spread=0.0)
    simulated = simulate(costs, 100, 100, blocks=60).per_step
    extra = simulated - with_workers(steady, 100, 100)
    assert with_workers(costs, 100, 100) - with_workers(steady, 100, 100) == pytest.approx(
        extra, rel=0.15
    )


def test_a_simulation_can_be_repeated():
    costs = dataclasses.replace(AHEAD, spread=1.0)
    assert simulate(costs, 64, 32, seed=5) == simulate(costs, 64, 32, seed=5)
    assert simulate(costs, 64, 32, seed=5) != simulate(costs, 64, 32, seed=6)


def test_the_largest_of_normal_numbers():
    x = np.random.default_rng(0).standard_normal((20_000, 16)).max(axis=1)
    assert model.largest(16) == pytest.approx(x.mean(), rel=0.02)
    assert model.largest(1) == 0
