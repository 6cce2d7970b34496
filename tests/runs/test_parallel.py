"""Several runs beside each other: bytes, failures, signals, and what is shown."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT
from support.small_runs import digest, stop_at, table_run

import npr
from npr.errors import ConfigError, SpaceError
from npr.runs import grid, read_config, resume_all, run_all, train
from npr.runs.board import Board
from npr.runs.config import from_plain, varied
from npr.runs.folder import fcntl, locked, name_of

POINTS = grid(table_run(), learning_rate=[0.5, 0.1], seed=[0, 1, 2])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return run_all(POINTS, tmp_path_factory.mktemp("grid"), jobs=3)


def test_a_grid_in_parallel_has_the_bytes_of_its_runs_one_by_one(outcomes, tmp_path):
    assert [one.state for one in outcomes] == ["finished"] * 6
    for point, outcome in zip(POINTS, outcomes):
        assert outcome.folder.name == name_of(point, varied(POINTS))
        train(point, tmp_path / outcome.folder.name)
        alone = tmp_path / outcome.folder.name / "final.npz"
        assert digest(alone) == digest(outcome.folder / "final.npz"), outcome.folder.name
    assert len({digest(one.folder / "final.npz") for one in outcomes}) == 6


BREAKING = """
import gymnasium

class Breaking(gymnasium.Wrapper):
    def step(self, action):
        raise KeyError("broken")
"""


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    (tmp_path / "breaking_grid.py").write_text(BREAKING)
    monkeypatch.setattr(sys, "path", [*sys.path])
    bad = table_run(wrappers=["breaking_grid:Breaking"])
    outcomes = run_all([bad, table_run()], tmp_path / "out", jobs=1)
    assert [one.state for one in outcomes] == ["failed", "finished"]
    assert "env 0 raised KeyError: 'broken'" in outcomes[0].error
    assert "Traceback" in (outcomes[0].folder / "console.log").read_text()


def test_runs_are_resumed_beside_each_other(outcomes, tmp_path):
    for point, name in zip(POINTS, "ab"):
        with pytest.raises(KeyboardInterrupt):
            train(point, tmp_path / name, report=stop_at(100))
    train(table_run(), tmp_path / "c")
    train(table_run(), tmp_path / "done")
    with locked(tmp_path / "c"):  # as while another process trains it
        results = resume_all([tmp_path / name for name in ("a", "b", "done", "c")])
    assert [one.state for one in results[:3]] == ["finished"] * 3
    if fcntl is not None:
        assert results[3].state == "skipped"
        assert "c is being trained by another process" in results[3].error
    for outcome, name in zip(outcomes, "ab"):
        assert digest(outcome.folder / "final.npz") == digest(tmp_path / name / "final.npz")


def test_a_program_without_a_guard_gets_one_sentence(tmp_path):
    (tmp_path / "program.py").write_text(
        "from npr.runs import RunConfig, grid, run_all\n"
        "config = RunConfig('QLearning', 'CliffWalking-v1', total_timesteps=50, eval_freq=0)\n"
        "run_all(grid(config, seed=range(3)), 'out', jobs=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[-1].endswith('put the call under `if __name__ == "__main__":`.')
    assert done.stderr.count("Traceback") == 1 and "RuntimeError" not in done.stderr
    assert os.listdir("out") == []


def test_invalid_runs_are_refused_before_any_starts(tmp_path):
    with pytest.raises(ConfigError, match="gamma must be"):
        run_all([table_run(), table_run(settings={"gamma": 2})], tmp_path / "out")
    with pytest.raises(SpaceError, match="QLearning uses a table and needs a Discrete"):
        run_all([table_run(), table_run(env="CartPole-v1")], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run_all([], tmp_path / "out") == []
    with pytest.raises(ConfigError, match="jobs must be a whole number of at least 1, got 0"):
        run_all([table_run()], tmp_path / "out", jobs=0)


# ---- signals

ENDLESS = [
    "train", "q-learning", "CliffWalking-v1", "--total-timesteps", "1e8", "--seed", "0", "1", "2",
    "--jobs", "2", "--eval-freq", "0", "--save-freq", "0", "--max-episode-steps", "30",
]  # fmt: skip


def start_grid(*words):
    """A grid of three runs, two of which have learned for a while."""
    process = subprocess.Popen(
        [sys.executable, "-m", "npr", *ENDLESS, *words], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: len(learning()) == 2 or process.poll() is not None)
    return process


def learning():
    """The folders of runs whose monitor.csv has rows."""
    files = Path("runs").glob("*/monitor.csv")
    return [path.parent for path in files if path.read_text().count("\n") > 50]


def wait_for(condition, seconds=60, interval=0.05):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(interval)


def others_of(process):
    """Processes of the session of a process, without itself."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
        except OSError:
            continue
        state, _, _, session = rest.rpartition(") ")[2].split()[:4]
        if int(session) == process.pid != int(pid) and state != "Z":
            found.append(int(pid))
    return found


on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@on_linux
@pytest.mark.parametrize(
    "number, status",
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_leaves_folders_that_can_be_resumed_and_no_process(number, status):
    """The signal goes to all processes, as from a terminal, and SIGTERM then twice to children."""
    process = start_grid()
    folders = learning()
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    wait_for(lambda: not others_of(process), 5)
    (waited,) = {*Path("runs").iterdir()} - {*folders}
    assert [path.name for path in waited.iterdir()] == ["config.json"]
    assert f"`npr resume {waited}` trains this run, which waited" in err
    for folder in folders:
        agent = npr.load(folder / "checkpoints" / "latest.npz")
        assert 1_000 < agent.num_timesteps < agent.end == 100_000_000
        assert f"`npr resume {folder}` continues this run" in err
        assert "continues this run" in (folder / "console.log").read_text()
    assert "Traceback" not in err


@on_linux
def test_a_signal_at_the_start_leaves_folders_that_can_be_resumed():
    process = subprocess.Popen(
        [sys.executable, "-m", "npr", *ENDLESS], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: any(Path("runs").glob("*")) or process.poll() is not None, interval=0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    for seed in range(3):
        (folder,) = Path("runs").glob(f"*_seed{seed}")
        assert from_plain(read_config(folder))[0].seed == seed
        assert f"npr: `npr resume {folder}` " in err


@on_linux
def test_the_runs_of_a_parent_that_was_killed_stop_and_are_saved():
    process = start_grid()
    folders = learning()
    process.kill()
    wait_for(lambda: not others_of(process), 30)
    process.communicate()
    for folder in folders:
        assert npr.load(folder / "checkpoints" / "latest.npz").num_timesteps > 1_000


SLEEPER = """
import time
import gymnasium

class Sleeping(gymnasium.Wrapper):
    def step(self, action):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps > 3_000:
            open("asleep", "w")
            time.sleep(600)
        return super().step(action)
"""


@on_linux
def test_a_second_signal_kills_runs_that_do_not_stop():
    Path("sleeper.py").write_text(SLEEPER)
    process = start_grid("--wrapper", "sleeper:Sleeping")
    wait_for(lambda: Path("asleep").exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    wait_for(lambda: not others_of(process), 5)


# ---- the lines


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(text):
    """The lines that a terminal shows after a text with cursor movements."""
    lines = [""]
    i = 0
    while i < len(text):
        if text.startswith("\x1b[", i):
            n, _, _ = text[i + 2 :].partition("A")
            if n.isdigit():
                lines = lines[: len(lines) - 1 - int(n)] + [""]
                i += 3 + len(n)
            else:
                i += len("\x1b[J")
        elif text[i] == "\n":
            lines.append("")
            i += 1
        else:
            lines[-1] += text[i]
            i += 1
    return lines[:-1]


@pytest.fixture
def clock(monkeypatch):
    """The time of boards, a list of one number of seconds."""
    now = [1000.0]
    monkeypatch.setattr("npr.runs.board.time.perf_counter", lambda: now[0])
    return now


def board_of_two(stream):
    board = Board(3, stream)
    board.begin(0, "first")
    board.begin(1, "second")
    board.report(0, 500, 1000, None)
    board._due = 0
    board.update()
    return board


def test_a_terminal_shows_a_line_per_run_and_one_for_all_in_place(monkeypatch, clock):
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    board = board_of_two(stream)
    assert [line.split("  ")[0] for line in shown(stream.getvalue())] == [
        "first", "second", "0 of 3 runs ended",
    ]  # fmt: skip
    board.report(1, 900, 1000, -12.34)
    clock[0] += 90
    board.end(0, "finished")
    board._due = 0
    board.update()
    lines = shown(stream.getvalue())
    assert lines[0].startswith("first  500/1,000   50%  no episode yet  finished in 90 s")
    assert lines[1].startswith("second  900/1,000   90%  return -12.3")
    assert lines[2].startswith("1 of 3 runs ended   63%")  # (1 + 0.9 + 0) / 3
    clock[0] += 11 * 3600
    board.end(1, "failed")
    board.close()
    lines = shown(stream.getvalue())
    assert [line.split("  ")[-1] for line in lines[:2]] == ["finished in 90 s", "failed in 11 h"]
    assert lines[2].startswith("2 of 3 runs ended   63%  1 failed") and len(lines) == 3


@pytest.mark.parametrize(
    "columns, expected",
    [
        (120, "SAC_Pendulum-v1_learning_rate=0.001_gamma=0.95_seed0  10,500/20,000   52%  "
              "return -461.3  100 steps/s"),
        (100, "SAC_Pendulum-v1_learning_rate=0.001_gamma=0.95_seed0  10,500/20,000   52%  "
              "return -461.3"),
        (80, "SAC..._learning_rate=0.001_gamma=0.95_seed0  10,500/20,000  return -461.3"),
        (60, "SAC..._gamma=0.95_seed0  10,500/20,000  return -461.3"),
        (50, "SAC..._rate=0.001_gamma=0.95_seed0  return -461.3"),
        (30, "SAC..._seed0  return -461.3"),
    ],
)  # fmt: skip
def test_a_narrow_terminal_shows_less_and_whole_numbers(columns, expected, monkeypatch, clock):
    monkeypatch.setenv("COLUMNS", str(columns))
    board = Board(1, Terminal())
    board.begin(0, "SAC_Pendulum-v1_learning_rate=0.001_gamma=0.95_seed0")
    board.report(0, 10_400, 20_000, None)
    clock[0] += 1
    board.report(0, 10_500, 20_000, -461.3)
    assert board._line(0) == expected and len(expected) < columns


def test_the_line_about_a_signal_is_part_of_the_block():
    stream = Terminal()
    board = board_of_two(stream)
    stream.write("\nnpr: stopping after this update\n")
    board.interrupted()
    board._due = 0
    board.update()
    lines = shown(stream.getvalue())
    assert len(lines) == 3 and lines[-1].endswith("stopping; Ctrl-C stops immediately")


def test_the_speed_is_that_between_reports(clock):
    board = Board(1, Terminal())
    board.begin(0, "one")
    clock[0] += 10
    board.report(0, 100, 1000, 1.0)
    clock[0] += 2
    board.report(0, 300, 1000, 1.0)
    assert board._parts(0)["speed"] == "100 steps/s"


def test_a_block_is_not_higher_than_the_terminal(monkeypatch):
    monkeypatch.setenv("LINES", "10")
    stream = Terminal()
    board = Board(50, stream)
    for number in range(50):
        board.begin(number, f"run {number}")
    board._due = 0
    board.update()
    lines = shown(stream.getvalue())
    assert len(lines) == 9 and lines[-1].startswith("0 of 50 runs ended")


def test_plain_lines_come_at_intervals(clock):
    stream = io.StringIO()
    board = board_of_two(stream)
    assert len(stream.getvalue().splitlines()) == 3 and "\x1b" not in stream.getvalue()
    clock[0] += 9.9
    board.update()  # not due
    assert len(stream.getvalue().splitlines()) == 3
    clock[0] += 0.2
    board.update()
    assert len(stream.getvalue().splitlines()) == 6
