"""npr doctor --throughput ENV: what is measured, with a clock that tests turn, and the advice."""

import argparse
import dataclasses
import multiprocessing
import types
import warnings

import gymnasium
import numpy as np
import pytest

from npr.cli import doctor
from npr.cli import doctor_throughput as throughput
from npr.distributed import costs as model
from npr.distributed.costs import Costs, Line, Link
from npr.errors import ConfigError


class Time:
    """A clock in seconds that only tests advance."""

    def __init__(self):
        self.wall = self.busy = 0.0
        self.waits = 0

    def compute(self, seconds):
        self.wall += seconds
        self.busy += seconds

    def wait(self, seconds):
        self.wall += seconds
        self.waits += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Time()
    monkeypatch.setattr(throughput, "now", lambda: clock.wall)
    monkeypatch.setattr(throughput.time, "process_time", lambda: clock.busy)
    monkeypatch.setattr(throughput.machine, "waits", lambda: clock.waits)
    return clock


class Timed(gymnasium.Env):
    """Steps take `work` seconds of the processor and `pause` of waiting, resets 3 ms; episodes have
    10 steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, clock, work=0.001, pause=0.0, taken=0.0):
        self.clock, self.work, self.pause, self.taken = clock, work, pause, taken

    def reset(self, *, seed=None, options=None):
        self.t = 0
        self.clock.compute(0.003)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        self.clock.compute(self.work)
        if self.pause:
            self.clock.wait(self.pause)
        self.clock.wall += self.taken  # by other processes
        return np.full(2, self.t / 10, np.float32), 1.0, self.t == 10, False, {}


def test_the_time_of_steps_and_resets(clock):
    found = throughput.env_times(Timed(clock), 2.0)
    assert (found.step, found.reset) == pytest.approx((1_000, 300), rel=0.01)
    assert (found.computes, found.length) == (1, 10)
    assert found.spread == pytest.approx(0, abs=1e-9)
    assert len(found.observations) == throughput.KEPT
    assert found.observations[1].tolist() == pytest.approx([0.1, 0.1])


def test_an_environment_that_waits(clock):
    found = throughput.env_times(Timed(clock, work=0.001, pause=0.004), 2.0)
    assert found.step == pytest.approx(5_000)
    assert found.computes == pytest.approx(1.3 / 5.3, rel=0.02)  # with resets


def test_what_other_processes_take_is_not_the_time_of_the_environment(clock):
    found = throughput.env_times(Timed(clock, work=0.001, taken=0.002), 2.0)
    assert found.computes == 1
    assert found.step == pytest.approx(1_000, rel=0.25)  # their share of a block is that of a step


def test_a_step_that_takes_longer_than_there_is_time(clock):
    found = throughput.env_times(Timed(clock, work=60.0), 1.0)
    assert found.step == pytest.approx(60e6) and found.length is None
    assert clock.wall < 200


class Learner:
    """Has what an agent has to be timed: 20 us of actions, 50 of environments, 10 of the loop, and
    an update of 700 us after every fifth step."""

    n_envs, n_updates, steps = 4, 0, 0

    def __init__(self, clock, update=700e-6):
        self.clock, self.time_of_update = clock, update
        self.envs = types.SimpleNamespace(step=lambda a: clock.compute(50e-6))

    def explore(self, s):
        self.clock.compute(20e-6)

    def learn(self, total, reset_num_timesteps):
        assert not reset_num_timesteps
        self.clock.compute(1.0)  # to begin
        for _ in range(total // self.n_envs):
            self.explore(None)
            self.envs.step(None)
            self.clock.compute(10e-6)
            self.steps += 1
            if self.time_of_update and self.steps % 5 == 0:
                self.clock.compute(self.time_of_update)
                self.n_updates += 1


def test_the_parts_of_a_step(clock):
    found = throughput.act_times(Learner(clock, update=None), 10.0)
    assert found == pytest.approx((20, 50, 10))


@pytest.mark.parametrize("chunk", [7, 10, 31])
def test_the_time_of_updates_per_step(clock, chunk):
    assert throughput.update_time(Learner(clock), chunk, 10, 100.0) == pytest.approx(140)


def test_an_agent_that_never_updates(clock):
    assert throughput.update_time(Learner(clock, update=None), 10, 10, 1.0) == 0


# ---- the report


COSTS = Costs(
    env=90, reset=10, policy=Line(200, 1), stepping=Line(4, 2), loop=Line(6, 0.5),
    update=Line(0, 30), links={}, n_steps=256, cores=4,
)  # fmt: skip
AGENT = types.SimpleNamespace(env_id="Some-v0", preset={})


def test_the_report_shows_what_the_formulas_predict():
    *_, head, row, _, advice = throughput.report(COSTS, throughput.Case(AGENT, 8, 256))
    assert head.split()[4:] == [f"n_envs={n}" for n in throughput.SHOWN]
    predicted = [model.rate(model.in_process(COSTS, n)) for n in throughput.SHOWN]
    assert row.split()[3:] == [f"{one:,.0f}" for one in predicted]
    # the smallest within 5 % of the best
    assert predicted[2] < 0.95 * predicted[4] <= predicted[3]
    assert advice == (
        f"advice: n_envs=64: {predicted[3]:,.0f} steps per second, "
        f"{predicted[3] / predicted[1]:.1f} times those of n_envs=8 in one process"
    )
    *_, advice = throughput.report(COSTS, throughput.Case(AGENT, 64, 256))
    assert advice.endswith(
        f"{predicted[3]:,.0f} steps per second, as it is without other arguments"
    )


def test_the_report_says_where_workers_pay():
    held = dataclasses.replace(COSTS, links={"processes": Link(10_000)}, reset=0, cores=2)
    (line,) = throughput.where_workers_pay(held, 8)
    least = model.workers_pay(held, 8, 2)
    assert line.endswith(f": 2 from {least:,.0f} us per step") and 0 < least < 100
    (line,) = throughput.where_workers_pay(dataclasses.replace(held, computes=0, cores=1), 4)
    assert line.endswith(" us per step") and ": 2 from " in line and ", 4 from " in line
    (line,) = throughput.where_workers_pay(
        dataclasses.replace(held, links={"processes": Link(1e12)}), 8
    )
    assert line.endswith(": 2 never per step")


def test_advice_leaves_a_rollout_of_a_preset_enough_steps():
    case = throughput.Case(types.SimpleNamespace(preset={"n_steps": 32}), 8, 32)
    assert case.per_rollout == 256 and [case.steps(n) for n in (8, 16, 256)] == [32, 16, 16]
    held = dataclasses.replace(COSTS, per_rollout=256)
    assert throughput.numbers(held, case) == [1, 8, 16]
    assert throughput.numbers(COSTS, throughput.Case(AGENT, 8, 256)) == [1, 8, 16, 64, 256]


# ---- the command


def spaces_env(observation_space, action_space):
    class Random(gymnasium.Env):
        def __init__(self):
            self.observation_space, self.action_space = observation_space, action_space

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            assert self.action_space.contains(action)
            throughput.time.sleep(0.005)
            return self.observation_space.sample(), 0.0, False, False, {}

    return Random


@pytest.fixture
def registered():
    """A slow environment with two kinds of observations and several actions at once."""
    spaces = gymnasium.spaces
    observations = spaces.Dict({"place": spaces.Box(-1, 1, (3,)), "kind": spaces.Discrete(3)})
    gymnasium.register("npr/Slow-v0", spaces_env(observations, spaces.MultiDiscrete([2, 3])))
    yield "npr/Slow-v0"
    gymnasium.registry.pop("npr/Slow-v0")


@pytest.mark.slow
def test_a_slow_environment(npr, registered):
    status, out, err = npr("doctor", "--throughput", registered, "--seconds", 1)
    assert (status, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("environment")]
    step = float(line.split()[1].replace(",", ""))
    assert step >= 5_000  # it sleeps so long
    assert out.splitlines()[-1].startswith("advice: n_envs=")
    assert "n_workers=16" in out  # which are more than there are cores: it only waits
    assert multiprocessing.active_children() == []


def test_an_algorithm_that_learns_from_whole_episodes():
    case = throughput.opened("CartPole-v1", "reinforce")
    times = throughput.EnvTimes(10.0, 1.0, 1.0, 0.0, [np.zeros(4, np.float32)], 20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = throughput.learning(throughput.StandIns(case, times), 0.1)
    case.agent.close()
    assert all(line(8) > 0 for line in found.values())


@pytest.mark.slow
def test_an_algorithm_that_replays(npr):
    status, out, err = npr("doctor", "--throughput", "Pendulum-v1", "--algorithm", "sac",
                           "--seconds", 1)  # fmt: skip
    assert (status, err) == (0, "")
    assert out.startswith("SAC on Pendulum-v1, ")
    parts = [line.split()[0] for line in out.splitlines() if " n   " in line]
    assert parts[:6] == ["policy", "stepping", "loop", "update", "replay", "processes"]
    assert set(parts[6:]) <= {"envpool"}  # if it is installed; Gymnasium has no vector Pendulum
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("CliffWalking-v1", "--algorithm", "sarsa"), "Sarsa learns a table, in one process"),
        (("NoSuchEnv-v9",), "NoSuchEnv"),
        (("CartPole-v1", "--algorithm", "pppo"), "did you mean PPO"),
        (("CartPole-v1", "--algorithm", "sacs"), "SACS needs a Box action space"),
        (("CartPole-v1", "--seconds", "0"), "--seconds"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(npr, capsys, words, text):
    try:
        status, out, err = npr("doctor", "--throughput", *words)
    except SystemExit as error:  # of argparse
        status, (out, err) = error.code, capsys.readouterr()
    assert status == 2 and out == "" and text in err
    assert "Traceback" not in err and len(err.splitlines()) == 1


def test_flags_without_an_environment_are_refused():
    parser = argparse.ArgumentParser()
    doctor.arguments(parser)
    for flags in (["--ray"], ["--algorithm", "sac"], ["--seconds", "3"]):
        with pytest.raises(ConfigError, match=f"{flags[0]} is for --throughput ENV"):
            doctor.run(parser.parse_args(flags))
