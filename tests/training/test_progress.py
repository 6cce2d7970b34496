"""The progress line, with a fake clock."""

import io
import re
import sys
from types import SimpleNamespace

import pytest
from support.small_agents import (
    small_agent,
)

from npr.training.counters import Counters
from npr.training.logger import Logger
from npr.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Set clock.now to seconds; a Line starts at 100."""
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("npr.training.progress.time", clock)
    return clock


class Line:
    """A progress line whose counters and clock are set by hand."""

    def __init__(self, clock, title="PPO", start=0, end=1000, shown=True, stream=None):
        clock.now = 100.0
        self.clock, self.stream = clock, stream or io.StringIO()
        self.counters, self.logger = Counters(start, end), Logger()
        self.progress = Progress(title, self.counters, self.logger, shown, self.stream)

    def at(self, seconds, step, updates=0):
        """Let time pass until that many seconds after the start."""
        self.clock.now = 100.0 + seconds
        self.counters.num_timesteps = step
        self.counters.n_updates = updates
        self.progress.update()

    @property
    def text(self):
        return self.stream.getvalue()


def test_a_run_of_less_than_a_second_prints_nothing(clock):
    line = Line(clock)
    line.at(0.99, 500, 10)
    line.progress.close()
    assert line.text == ""


def test_a_longer_run_prints_a_line_every_ten_seconds_and_at_its_end(clock):
    line = Line(clock, "SAC Pendulum-v1", end=20_000)
    line.at(2.0, 4000)
    line.logger.episode(-1234.56, 200)
    line.at(11.9, 9000)  # too early
    line.at(12.0, 9600)
    line.counters.num_timesteps, clock.now = 20_000, 120.0
    line.progress.close()
    assert line.text.splitlines() == [
        "SAC Pendulum-v1  4,000/20,000   20%  no episode yet  2,000 steps/s",
        "SAC Pendulum-v1  9,600/20,000   48%  return -1234.6  800 steps/s",
        "SAC Pendulum-v1  20,000/20,000  100%  return -1234.6  1,000 steps/s  in 20 s",
    ]


def test_on_a_terminal_the_line_is_overwritten(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    line = Line(clock, "DQN", stream=Terminal())
    line.logger.episode(-1000.0, 9)
    for seconds, step in ((1.0, 100), (1.125, 110), (1.25, 200)):
        line.at(seconds, step)
        line.logger.episode(1000.0, 9)
    line.counters.num_timesteps = 1000
    line.progress.close()
    first, *lines = line.text.split("\r")
    assert first == ""
    assert [one.split("  ")[1] for one in lines] == ["100/1,000", "200/1,000", "1,000/1,000"]
    assert len(lines[0].rstrip()) <= len(lines[1]), "a shorter line covers the one before it"
    assert line.text.endswith("\n")


@pytest.mark.parametrize("columns", [200, 80, 60, 45, 30, 10, 1])
def test_the_line_is_narrower_than_the_terminal(columns, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    line = Line(clock, "SAC LunarLanderContinuous-v3", end=10**6, stream=Terminal())
    line.logger.episode(-1234.56, 200)
    for second in range(1, 5):
        line.at(second, 100_000 * second, second)
    shown = line.text.split("\r")[1:]
    assert len(shown) == 4
    assert all(len(one) < columns for one in shown)
    last = shown[-1].rstrip()
    assert ("steps/s" in last) is (columns == 200)
    assert ("LunarLander" in last) is (columns >= 80)
    assert ("400,000/1,000,000" in last) is (columns >= 45)
    assert ("return -1234.6  " in last and last.endswith("  6 s left")) is (columns >= 30)


def test_other_text_begins_on_an_empty_line(clock):
    line = Line(clock, stream=Terminal())
    line.progress.clear()
    assert line.text == "", "nothing was shown yet"
    line.at(1.0, 500)
    before = line.text
    line.progress.clear()
    assert line.text.removeprefix(before) == "\r" + " " * (len(before) - 1) + "\r"
    line.progress.clear()
    assert line.text.count("\r") == 3, "once is enough"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_is_not_appended_to_the_progress_line(terminal, clock, monkeypatch):
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    agent = small_agent("DQN", max_episode_steps=10, verbose=1)

    def tick(_):
        clock.now += 1.0

    agent.learn(60, tick, log_interval=1)
    visible = [line.split("\r")[-1] for line in screen.getvalue().split("\n")]
    begin = [line for line in visible if line.lstrip("-") != line]
    assert len(begin) == 2 * agent.logger.episode_count, "two rules of dashes for each table"
    assert ("\r" in screen.getvalue()) is terminal


def test_the_remaining_time_is_estimated_after_the_first_update(clock):
    """The first update compiles the kernels: 40 seconds here, for 100 steps."""
    line = Line(clock, end=1100)
    line.at(40.0, 100, 0)
    line.at(50.0, 100, 1)
    line.at(60.0, 200, 1)  # one round of steps and update is not complete
    line.at(70.0, 300, 2)
    shown = [text.split("  ")[-1] for text in line.text.splitlines()]
    assert shown == ["2 steps/s", "2 steps/s", "3 steps/s", "80 s left"]


def test_the_updates_of_an_earlier_run_do_not_count(clock):
    counters = Counters(0, 100, n_updates=50)
    progress = Progress("PPO", counters, Logger(), stream=io.StringIO())
    clock.now += 10.0
    counters.num_timesteps = 50
    progress.update()
    assert progress.compiled is None
    counters.n_updates += 1
    clock.now += 1.0
    progress.update()
    assert progress.compiled == (111.0, 50, 51)


def test_the_remaining_time_is_in_seconds_minutes_or_hours(clock):
    shown = {}
    for end in (50_000, 6_000_000, 100_000_000):
        line = Line(clock, end=end)
        line.at(1.0, 0, 1)
        line.at(11.0, 10_000, 2)
        shown[end] = line.text.split("  ")[-1].strip()
    assert shown == {50_000: "40 s left", 6_000_000: "100 min left", 100_000_000: "28 h left"}


def test_the_speed_of_a_resumed_run_counts_from_its_start(clock):
    line = Line(clock, start=10_000, end=30_000)
    line.at(10.0, 20_000)
    assert line.text == "PPO  20,000/30,000   67%  no episode yet  1,000 steps/s\n"


def test_progress_can_be_switched_off(clock):
    line = Line(clock, shown=False, stream=Terminal())
    line.at(100.0, 500, 5)
    line.progress.clear()
    line.progress.close()
    assert line.text == ""


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
        end = r"  30/30  100%  (return \d+\.\d|no episode yet)  1 steps/s  in 30 s"
        assert re.search(end, lines[-1])


# ---- notebooks


class Bar:
    """Stands in for tqdm."""

    def __init__(self, **given):
        self.given, self.n, self.texts, self.closed = given, 0, [], False

    def update(self, n):
        self.n += n

    def set_postfix_str(self, text, refresh):
        self.texts.append(text)

    def close(self):
        self.closed = True


class ZMQInteractiveShell:
    pass


@pytest.fixture
def notebook(monkeypatch):
    """Pretend to be in a notebook whose tqdm makes Bars; returns these."""
    bars = []
    ipython = SimpleNamespace(get_ipython=lambda: type("Shell", (ZMQInteractiveShell,), {})())
    auto = SimpleNamespace(tqdm=lambda **given: bars.append(Bar(**given)) or bars[-1])
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    return bars


def test_a_notebook_has_a_bar(notebook, capsys):
    agent = small_agent("DQN", verbose=1, max_episode_steps=10)
    agent.learn(40).learn(20, reset_num_timesteps=False)
    first, second = notebook
    assert first.given == {"total": 40, "desc": "DQN CartPole-v1", "unit": " steps"}
    assert (first.n, second.n) == (40, 20) and first.closed and second.closed
    assert second.texts[-1] == f"return {agent.logger.mean_return():.1f}"
    assert capsys.readouterr().err == ""


def test_a_notebook_without_tqdm_or_where_progress_is_off_has_none(notebook, monkeypatch):
    small_agent("DQN").learn(40, progress_bar=False)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    small_agent("DQN").learn(40, progress_bar=True)
    assert not notebook
