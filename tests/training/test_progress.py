"""The progress line, with a fake clock."""

import io
import re
from types import SimpleNamespace

import pytest
from support.small_agents import (
    small_agent,
)

from npr.training.logger import Logger
from npr.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Set clock.now to seconds."""
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("npr.training.progress.time", clock)
    return clock


def test_a_run_of_less_than_a_second_prints_nothing(clock):
    stream, logger = io.StringIO(), Logger()
    progress = Progress("SAC Pendulum-v1", 0, 20_000, stream=stream)
    clock.now += 0.99
    progress.update(5000, logger)
    progress.close(20_000, logger)
    assert stream.getvalue() == ""


def test_a_longer_run_prints_a_line_every_ten_seconds_and_at_its_end(clock):
    stream, logger = io.StringIO(), Logger()
    progress = Progress("SAC Pendulum-v1", 0, 20_000, stream=stream)
    clock.now = 102.0
    progress.update(4000, logger)
    logger.episode((-1234.56, 200))
    clock.now = 111.9
    progress.update(9000, logger)  # too early
    clock.now = 112.0
    progress.update(9600, logger)
    clock.now = 120.0
    progress.close(20_000, logger)
    assert stream.getvalue().splitlines() == [
        "SAC Pendulum-v1  4,000/20,000   20%  no episode yet  2,000 steps/s  8 s left",
        "SAC Pendulum-v1  9,600/20,000   48%  return -1234.6  800 steps/s  13 s left",
        "SAC Pendulum-v1  20,000/20,000  100%  return -1234.6  1,000 steps/s  0 s left",
    ]


def test_on_a_terminal_the_line_is_overwritten(clock):
    stream, logger = Terminal(), Logger()
    progress = Progress("DQN", 0, 1000, stream=stream)
    for step, seconds in ((100, 1.0), (110, 0.125), (200, 0.125)):
        clock.now += seconds
        progress.update(step, logger)
    progress.close(1000, logger)
    first, *lines = stream.getvalue().split("\r")
    assert first == ""
    assert [line.split("  ")[1] for line in lines] == ["100/1,000", "200/1,000", "1,000/1,000"]
    assert all(len(line.rstrip("\n")) == 79 for line in lines)  # the previous line is overwritten
    assert stream.getvalue().endswith("\n")


def test_the_remaining_time_is_in_seconds_minutes_or_hours(clock):
    shown = {}
    for total in (50_000, 6_000_000, 100_000_000):
        stream = io.StringIO()
        progress = Progress("PPO", 0, total, stream=stream)
        clock.now += 10.0
        progress.update(10_000, Logger())
        shown[total] = stream.getvalue().split("  ")[-1].strip()
    assert shown == {50_000: "40 s left", 6_000_000: "100 min left", 100_000_000: "28 h left"}


def test_the_speed_of_a_resumed_run_counts_from_its_start(clock):
    stream = io.StringIO()
    progress = Progress("PPO", 10_000, 30_000, stream=stream)
    clock.now += 10.0
    progress.update(20_000, Logger())
    assert (
        stream.getvalue() == "PPO  20,000/30,000   67%  no episode yet  1,000 steps/s  10 s left\n"
    )


def test_progress_can_be_switched_off(clock):
    stream = io.StringIO()
    progress = Progress("PPO", 0, 100, shown=False, stream=stream)
    clock.now += 100.0
    progress.update(50, Logger())
    progress.close(100, Logger())
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "verbose, progress_bar, shown",
    [(1, None, True), (0, None, False), (1, False, False), (0, True, True)],
)
def test_learn_prints_progress_to_stderr(verbose, progress_bar, shown, clock, capsys):
    agent = small_agent("DQN", verbose=verbose)

    def tick(_):
        clock.now += 1.0

    agent.learn(30, tick, progress_bar=progress_bar)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (4 if shown else 0)  # after 2, 12 and 22 seconds, and at the end
    assert all(line.startswith("DQN CartPole-v1  ") for line in lines)
    if shown:
        assert re.search(r"  30/30  100%  (return \d+\.\d|no episode yet)  1 steps/s", lines[-1])
