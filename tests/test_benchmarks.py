"""The scripts of benchmarks/ that time npr and other libraries: what they count and show."""

import json
import sys

import pytest
from support import ROOT

import npr

sys.path.insert(0, str(ROOT / "benchmarks"))
import clock
import peers
import pieces
import store
import table


class Time:
    """A clock that only advances when it is told to."""

    def __init__(self, monkeypatch, tick=0.0):
        self.now, self.tick = 0.0, tick
        monkeypatch.setattr(clock.time, "perf_counter", self.read)

    def read(self):
        self.now += self.tick
        return self.now


def test_the_clock_counts_each_part_without_the_parts_inside(monkeypatch):
    time = Time(monkeypatch)

    class Env:
        def step(self):
            time.now += 5

    class Envs:
        def step(self, env):
            time.now += 1
            env.step()
            time.now += 2

    held = clock.Clock()
    held.watch(Env, "step", "environment")
    held.watch(Envs, "step", "step")
    for _ in range(3):
        Envs().step(Env())
        time.now += 10
    assert held.parts(time.now) == {"environment": 15, "step": 9, "other": 30}


def test_what_the_clock_itself_takes_is_taken_off(monkeypatch):
    time = Time(monkeypatch, tick=1.0)  # each look at the clock takes a second

    class Inner:
        def call(self):
            time.now += 100

    class Outer:
        def call(self):
            Inner().call()

    held = clock.Clock()
    held.watch(Inner, "call", "inner")
    held.watch(Outer, "call", "outer")
    start = time.now
    Outer().call()
    parts = held.parts(time.now - start)
    assert parts["inner"] == pytest.approx(100, abs=0.01)
    assert parts["outer"] == pytest.approx(0, abs=0.01)
    assert parts["other"] == pytest.approx(0, abs=0.01)


def test_an_exception_leaves_the_clock_balanced(monkeypatch):
    time = Time(monkeypatch)

    class Failing:
        def call(self):
            time.now += 1
            raise KeyError

    held = clock.Clock()
    held.watch(Failing, "call", "part")
    for _ in range(2):
        with pytest.raises(KeyError):
            Failing().call()
    assert held.parts(time.now) == {"part": 2, "other": 0}


def test_the_arguments_of_an_update_are_those_of_learn():
    kind = npr.DQN
    before = kind.__dict__["update"]
    agent = kind("CartPole-v1", seed=0, verbose=0, learning_starts=8, batch_size=16)
    s, *_ = peers.with_arguments(agent, 20)
    assert s.shape == (16, 4)
    assert kind.__dict__["update"] is before


def test_the_loop_of_an_agent_has_its_parts(monkeypatch):
    """In a process of its own it would not matter that classes stay watched."""
    import gymnasium

    from npr.buffers import ReplayBuffer
    from npr.envs.env_list import EnvList
    from npr.training.run import Run

    agent = npr.SAC("Pendulum-v1", seed=0, verbose=0, learning_starts=8, batch_size=16)
    layers = clock.layers(agent.envs.envs[0])
    assert gymnasium.wrappers.TimeLimit in layers
    for owner in (npr.SAC, ReplayBuffer, EnvList, Run, *layers):
        for name in ("update", "explore", "noise", "step", "add", "sample", "updated"):
            if hasattr(owner, name):
                monkeypatch.setattr(owner, name, getattr(owner, name))  # to be put back
    held = clock.Clock()
    clock.watch_loop(held, agent)
    npr.SAC("Pendulum-v1", seed=0, verbose=0, learning_starts=8, batch_size=16).learn(20)
    assert set(held.seconds) >= {"update", "act", "step", "add", "sample", "log", "environment"}


def figures(rate, **others):
    return {"rate": rate, **others}


def test_a_side_runs_with_its_better_number_of_threads(monkeypatch):
    """Rates by side and threads: one thread is better for npr, two for SB3."""
    rates = {("npr", 1): 9.0, ("npr", 2): 8.0, ("sb3", 1): 2.0, ("sb3", 2): 3.0}
    calls = []

    def run(side, case, threads):
        calls.append((side, threads))
        rest = {"floor": 1.0} if side == "npr" else {}
        return figures(rates[side, threads] + 0.1 * len(calls), **rest)

    monkeypatch.setattr(peers, "run", run)
    found = peers.measure("case", ["npr", "sb3"], 4, [1, 2])
    first = [("npr", 1), ("sb3", 1), ("npr", 2), ("sb3", 2)]
    assert calls == [*first, *first, *2 * [("npr", 1), ("sb3", 2)]]
    assert found["npr"] == {"rate": pytest.approx(9.0 + 0.1 * (5 + 9) / 2), "threads": 1}
    assert found["sb3"]["threads"] == 2
    assert found["floor"] == {"floor": 1.0}


def test_a_library_without_the_algorithm_is_left_out(monkeypatch):
    def run(side, case, threads):
        return {} if side == "sbx" else figures(1.0, floor=1.0)

    monkeypatch.setattr(peers, "run", run)
    assert "sbx" not in peers.measure("case", ["npr", "sbx"], 1, [1])


def test_products_of_an_update_are_those_of_the_formulas():
    forward = [(64, 4, 8), (64, 8, 2)]
    backward = [(4, 64, 8), (8, 64, 2), (64, 2, 8)]
    found = peers.products("DQN", [8], {"batch_size": 64}, 4, 2)
    assert sorted(found) == sorted([*2 * forward, *backward])


SIDES = {
    "npr": figures(9_000.0, update=50.0, loop=20.0, threads=1, act=9.0, step=5.0, add=2.0,
                   sample=3.0, log=1.0, other=0.0),
    "eager": figures(7_000.0, update=90.0),
    "sb3": figures(900.0),
    "floor": {"floor": 25.0},
}  # fmt: skip


def test_lines_of_a_case_fit_a_terminal():
    lines = peers.shown("DQN 64x64, batch 64", SIDES)
    assert max(map(len, lines)) <= 100
    assert "SB3 900 (10.0x)" in lines[1] and "SBX" not in lines[1]
    assert lines[2].endswith("without capture 90.0, products alone 25.0: 2.00 and 3.60 times these")
    assert lines[3] == (
        "  loop     20.0 us per step: act 9.0, step 5.0, add 2.0, sample 3.0, log 1.0"
    )


def test_published_times_have_their_machine_and_source():
    source, times = pieces.PUBLISHED["SAC"]
    row = {
        "case": "SAC as RLtools", "unit": "s", "rounds": 5, "npr": 4.0, "RLtools": 4.4,
        "published": {"source": source, "times": times},
    }  # fmt: skip
    lines = pieces.shown(row)
    assert lines[1] == "  s: npr 4, RLtools 4.4 (1.10x)"
    assert "1.94 s (AMD Ryzen 9 7945HX, MKL)" in lines[2] and source in lines[3]
    text = table.with_speed("<!-- speed --><!-- /speed -->", {"training": [], "pieces": [row]})
    assert f"RLtools 4.4 s, [RLtools publishes]({source}) 1.94 s on AMD Ryzen 9 7945HX" in text


def test_the_table_shows_updates_without_capture_and_the_parts_of_the_loop():
    results = {"training": [{"case": "DQN", "rounds": 5, **SIDES}], "pieces": []}
    results = json.loads(json.dumps(results))
    text = table.with_speed("<!-- speed --><!-- /speed -->", results)
    assert "| DQN | 9,000 | 900 | - | **10.0** | - | 50 | 90 | 25 | 20 |" in text
    assert "| DQN | 9.0 | 5.0 | 2.0 | 3.0 | 1.0 | 0.0 |" in text


def test_the_readmes_have_the_training_speed_in_their_language():
    results = {"training": [{"case": "SAC 64x64, batch 100", "rounds": 5, **SIDES}]}
    for name, case in (
        ("README.md", "SAC 64x64, batch 100"), ("README.zh-CN.md", "SAC 64x64，批量 100"),
    ):  # fmt: skip
        text = table.with_rates("<!-- speed --><!-- /speed -->", table.READMES[name], results)
        assert text.split("\n")[3] == f"| {case} | 9,000 | 900 | - | **10.0** | - |"


def test_libraries_that_are_not_installed_are_skipped_with_a_sentence(monkeypatch):
    monkeypatch.setattr(pieces.importlib.util, "find_spec", lambda name: None)
    assert pieces.missing()["with EnvPool"] == "with EnvPool is skipped: pip install envpool"


def test_an_rltools_program_that_does_not_exist_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pieces.py", "--only", "nothing", "--rltools", "/nowhere/x"])
    with pytest.raises(SystemExit, match="/nowhere/x is not a program"):
        pieces.main()
    monkeypatch.setattr(sys, "argv", ["pieces.py", "--only", "nothing"])
    monkeypatch.delenv("NPR_RLTOOLS", raising=False)
    pieces.main()
    assert "RLtools is not measured" in capsys.readouterr().out


def test_the_machine_is_shown_first(capsys, monkeypatch):
    monkeypatch.setenv("NPR_CAPTURE", "0")
    store.show_machine()
    text = capsys.readouterr().out
    assert "cores" in text.splitlines()[0] and "NPR_CAPTURE=0" in text
    assert all(len(line) <= 100 for line in text.splitlines())
