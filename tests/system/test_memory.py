"""Memory: available memory, checks before allocation, no reference cycles, no growth."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, TESTS
from support.proof_size import FULL
from support.small_agents import CASES, small_agent

from npr import ConfigError, buffers
from npr.buffers import INDEX_DTYPE, PrioritizedReplayBuffer, ReplayBuffer
from npr.system import memory

GB = 10**9


def system(root, **files):
    """A folder with system files: path with __ for / -> text."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return root


def machine(root, available):
    text = f"MemTotal: 99999999 kB\nMemAvailable:   {available // 1000 * 1000 // 1024} kB\n"
    return system(root, proc__meminfo=text)


def group(root, folder, files, limit, used, cache=0):
    """The files of a control group: its limit, usage and page cache."""
    folder = root / "sys/fs/cgroup" / folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(files, (limit, used)):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{files[2]} {cache}\n")


def nearly(size):
    return pytest.approx(size, rel=1e-5)


# ---- available memory


def test_the_available_memory_is_that_of_the_machine(tmp_path):
    machine(tmp_path, 12 * GB)
    assert memory.available(tmp_path) == nearly(12 * GB)
    assert memory.container(tmp_path) is None


@pytest.mark.parametrize(
    "line, base, files",
    [
        ("0::/", "", memory._VERSION_2),
        ("4:cpu,memory:/docker/abc", "memory", memory._VERSION_1),  # seen as / in the container
    ],
)
def test_a_smaller_limit_of_a_container_counts(tmp_path, line, base, files):
    system(machine(tmp_path, 12 * GB), proc__self__cgroup=f"9:pids:/docker/abc\n{line}\n")
    group(tmp_path, base, files, 4 * GB, 3 * GB)
    assert memory.available(tmp_path) == memory.container(tmp_path) == 1 * GB
    group(tmp_path, base, files, 4 * GB, 3 * GB, cache=2 * GB)  # the cache can be freed
    assert memory.available(tmp_path) == 3 * GB
    group(tmp_path, base, files, 40 * GB, 3 * GB)
    assert memory.available(tmp_path) == nearly(12 * GB)
    group(tmp_path, base, files, 4 * GB, 5 * GB)
    assert memory.available(tmp_path) == 0


@pytest.mark.parametrize("limits", [(9, 2, 5), (2, 9, 5), (5, 9, 2)])
def test_the_tightest_limit_of_nested_groups_counts(tmp_path, limits):
    system(machine(tmp_path, 12 * GB), proc__self__cgroup="0::/user/job/step\n")
    for folder, limit in zip(("user", "user/job", "user/job/step"), limits):
        group(tmp_path, folder, memory._VERSION_2, limit * GB, GB)
    assert memory.available(tmp_path) == 1 * GB


@pytest.mark.parametrize(
    "line, base, files, unlimited",
    [
        ("0::/", "", memory._VERSION_2, "max"),
        ("4:memory:/", "memory", memory._VERSION_1, 9223372036854771712),
    ],
)
def test_a_group_without_a_limit_is_ignored(tmp_path, line, base, files, unlimited):
    system(machine(tmp_path, 12 * GB), proc__self__cgroup=line)
    group(tmp_path, base, files, unlimited, GB)
    assert memory.container(tmp_path) is None
    assert memory.available(tmp_path) == nearly(12 * GB)


def test_without_system_files_the_total_memory_counts_if_known(tmp_path, monkeypatch):
    if hasattr(os, "sysconf"):
        assert memory.available(tmp_path) > GB / 4
    monkeypatch.setattr(os, "sysconf_names", {}, raising=False)
    assert memory.available(tmp_path) is None


def test_the_memory_of_this_machine_is_plausible():
    assert memory.available() is None or 0 <= memory.available() < 2**60


# ---- a replay buffer


@pytest.fixture
def twelve(monkeypatch):
    """Simulate 12.1 GB of available memory."""
    monkeypatch.setattr(memory, "available", lambda: int(12.1 * GB))


def test_a_replay_that_does_not_fit_is_refused_with_a_size_that_fits(twelve):
    wanted = "1,000,000 transitions needs 56.4 GB, 12.1 GB are available; buffer_size <= 171,000 "
    with pytest.raises(ConfigError, match=wanted + "fits"):
        memory.check_replay(1_000_000, 56_400)
    memory.check_replay(171_000, 56_400)
    with pytest.raises(ConfigError, match="172,000 transitions needs 9.7 GB"):
        memory.check_replay(172_000, 56_400)  # above 80 %


def test_nothing_is_refused_if_the_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check_replay(10**12, 10**6)


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("shape", [(), (4,)])
@pytest.mark.parametrize("capacity", [1, 2, 64, 65, 1000])
@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
def test_the_estimate_equals_the_allocated_memory(kind, capacity, shape, n_step, monkeypatch):
    counted = []
    monkeypatch.setattr(buffers, "check_replay", lambda *size: counted.append(size))
    buffer = kind(capacity, 5, shape, INDEX_DTYPE, n_step=n_step)
    [(rows, row)] = counted
    taken = buffer._rows.nbytes + (buffer.next.nbytes if n_step > 1 else 0)
    if kind is ReplayBuffer:
        assert rows * row == taken
    else:  # the tree has a power of two leaves; the estimate is an upper bound
        tree = buffer.tree._tree.nbytes
        assert taken + tree <= rows * row <= taken + 2 * tree


def test_the_estimate_includes_the_tree_of_a_prioritized_replay(monkeypatch):
    size = 200_000 * (2 * 4 + 3) * 4
    monkeypatch.setattr(memory, "available", lambda: int(1.3 * size))
    assert ReplayBuffer(200_000, 4).capacity == 200_000
    with pytest.raises(ConfigError, match="buffer_size <= 120,000 fits"):
        PrioritizedReplayBuffer(200_000, 4)


REPLAYS = [case for case, (_, _, given) in CASES.items() if "buffer_size" in given]


def test_a_replay_that_is_too_large_is_refused_within_50_ms():
    began = time.perf_counter()
    with pytest.raises(ConfigError, match=r"needs [\d,.]+ GB, .* are available; buffer_size <= "):
        ReplayBuffer(10**15, 4)
    assert time.perf_counter() - began < 0.05


@pytest.mark.parametrize("case", REPLAYS)
def test_every_agent_refuses_a_large_replay_before_allocation(case):
    resident = peak()
    with pytest.raises(ConfigError, match="buffer_size <= [1-9]"):
        small_agent(case, buffer_size=10**15)
    assert peak() - resident < 100e6


def test_the_advised_size_is_accepted(twelve):
    with pytest.raises(ConfigError) as caught:
        small_agent("PERDQN", buffer_size=10**12)
    advised = int(str(caught.value).split("<= ")[1].split()[0].replace(",", ""))
    assert advised > 10**6
    counted = 2 * 4 + 3
    memory.check_replay(advised, counted * 4 + 32)
    with pytest.raises(ConfigError):
        memory.check_replay(int(advised * 1.02), counted * 4 + 32)


def peak():
    """The largest resident size of this process so far in bytes, 0 if unknown."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM")), 0)


# ---- over time


@pytest.fixture
def uncollected():
    """Switch off Python's garbage collector."""
    gc.collect()
    gc.freeze()  # what is there already is not looked through again and again
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("case", CASES)
def test_updates_leave_no_reference_cycles(case, uncollected):
    """The memory of an update is freed without the garbage collector."""
    agent, garbage = small_agent(case, **{"train_freq": 1} if case in REPLAYS else {}).learn(96), []
    gc.collect()
    for steps in (100, 400):
        agent.learn(steps, reset_num_timesteps=False)
        garbage.append(gc.collect())
    few, many = garbage
    assert many <= few, f"{few} objects after 100 steps, {many} after 400"


DRIFT = """
import gc, os, sys
from support.small_agents import small_agent

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

agent = small_agent(sys.argv[1], **{settings}).learn(200_000)
before = resident()
agent.learn(1_000_000, reset_num_timesteps=False)
print(resident() - before)
"""
RARELY = {"train_freq": 50}
ENDLESS = {**RARELY, "max_episode_steps": 10**9}  # Pendulum-v1 never ends an episode
PPO = {"n_steps": 128, "batch_size": 128, "n_envs": 4}


@pytest.mark.skipif(not FULL, reason="a million steps each: NPR_PROOFS=full")
@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc"
)
@pytest.mark.parametrize(
    "case, given",
    [
        ("QLearning", {}),
        ("DQN", RARELY),
        ("PERDQN", RARELY),
        ("SAC", RARELY),
        ("SAC", ENDLESS),
        ("PPO", PPO),
    ],
)
def test_a_million_steps_do_not_increase_memory(case, given):
    path = os.pathsep.join([str(TESTS), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-c", DRIFT.replace("{settings}", repr(given)), case],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    print(f"{case}: {int(run.stdout) / 1e3:+.0f} kB in 1,000,000 steps")
    assert int(run.stdout) <= 1e6
