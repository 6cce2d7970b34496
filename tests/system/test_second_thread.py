"""Advice on a second BLAS thread: measured once per machine, and never used without being asked."""

import json
import threading

import pytest
from support.small_agents import small_agent

from npr.cli import doctor
from npr.system import blas, machine, second_thread


class Library:
    """OpenBLAS with a number of threads."""

    def __init__(self, threads):
        self.threads = threads

    def scipy_openblas_get_num_threads64_(self):
        return self.threads

    def scipy_openblas_set_num_threads64_(self, threads):
        self.threads = threads


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A machine with an idle second core; the (rows, width) that were measured on it."""
    found = []

    def measured(rows, width):
        found.append((rows, width))
        return 1.75

    for name in blas.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    library = Library(2)
    monkeypatch.setattr(blas, "openblas", lambda: library)
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path / "cache" / "npr")
    monkeypatch.setattr(machine, "idle_cores", lambda: 1)
    monkeypatch.setattr(second_thread, "measured", measured)
    return found


def cache(tmp_path):
    return json.loads((tmp_path / "cache" / "npr" / "second_thread.json").read_text())


def test_a_size_is_measured_once_and_kept_for_later_processes(calls, tmp_path):
    assert [second_thread.gain(*size) for size in ((256, 256), (511, 400))] == [1.75] * 2
    assert second_thread.gain(100, 130) == 1.75
    assert calls == [(256, 256), (64, 128)]
    ((machine_of_it, kept),) = cache(tmp_path).items()
    assert kept == {"256 x 256": 1.75, "64 x 128": 1.75}
    for part in (machine.cpu_name(), f"{machine.usable_cores()} cores", blas.blas_name()):
        assert part in machine_of_it


@pytest.mark.parametrize("what", ["cpu_name", "usable_cores", "blas_name"])
def test_another_machine_is_measured_again(what, calls, tmp_path, monkeypatch):
    second_thread.gain(256, 256)
    monkeypatch.setattr(blas if what == "blas_name" else machine, what, lambda: "other")
    second_thread.gain(256, 256)
    assert calls == [(256, 256)] * 2
    assert len(cache(tmp_path)) == 2


def test_narrow_networks_and_threads_set_by_the_user_are_not_measured(calls, monkeypatch):
    assert second_thread.gain(256, 64) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert second_thread.gain(256, 256) is None
    monkeypatch.delenv("OMP_NUM_THREADS")
    blas.openblas().threads = 1  # limited by others, as in a run folder
    assert second_thread.gain(256, 256) is None
    monkeypatch.setattr(blas, "openblas", lambda: None)
    assert second_thread.gain(256, 256) is None
    assert calls == []


@pytest.mark.parametrize("idle", [0, None])
def test_nothing_is_measured_or_advised_while_the_other_cores_are_busy(idle, calls, monkeypatch):
    monkeypatch.setattr(machine, "idle_cores", lambda: idle)
    assert second_thread.gain(256, 256) is None and calls == []
    monkeypatch.setattr(machine, "idle_cores", lambda: 1)
    assert second_thread.advice(256, 256)
    monkeypatch.setattr(machine, "idle_cores", lambda: idle)
    assert second_thread.gain(256, 256) == 1.75  # as measured before
    assert second_thread.advice(256, 256) == ""


def test_nothing_is_measured_while_a_run_limits_the_threads(calls):
    with blas.blas_threads(2):  # as one in another thread, on two of its own
        assert second_thread.gain(256, 256) is None and calls == []
    assert second_thread.gain(256, 256) == 1.75


def test_a_run_does_not_begin_within_a_measurement(calls, monkeypatch):
    entered = threading.Event()

    def run():
        with blas.blas_threads(1):
            entered.set()

    other = threading.Thread(target=run)

    def measured(rows, width):
        other.start()
        assert not entered.wait(0.2)
        return 1.5

    monkeypatch.setattr(second_thread, "measured", measured)
    assert second_thread.gain(256, 256) == 1.5
    other.join(30)
    assert entered.is_set()


def test_a_measurement_that_others_disturbed_is_not_kept(calls, monkeypatch):
    monkeypatch.setattr(second_thread, "measured", lambda rows, width: 0.02)
    assert second_thread.gain(256, 256) is None
    monkeypatch.setattr(second_thread, "measured", lambda rows, width: 0.9)
    assert second_thread.gain(256, 256) == 0.9
    assert second_thread.advice(256, 256) == ""


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", '{"here": 3}', '{"here": {"256 x 256": "2"}}']
    + [f'{{"here": {{"256 x 256": {value}}}}}' for value in ("NaN", "Infinity", "-1.5", "1e9")],
)
def test_a_damaged_cache_is_replaced(content, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(second_thread, "_here", lambda: "here")
    path = tmp_path / "cache" / "npr" / "second_thread.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert second_thread.gain(256, 256) == 1.75
    assert cache(tmp_path)["here"] == {"256 x 256": 1.75}
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", [True, False])
def test_a_cache_that_cannot_be_written_to_is_no_error(home, calls, tmp_path, monkeypatch):
    if not home:
        monkeypatch.setattr(machine, "cache_folder", no_home)
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert [second_thread.gain(256, 256) for _ in range(2)] == [1.75] * 2
    assert calls == [(256, 256)] * 2


def test_a_verbose_run_says_once_that_a_second_thread_would_pay(calls, capsys):
    agent = small_agent("DQN", net_arch=[256], batch_size=64, verbose=1)
    agent.learn(3, progress_bar=False)
    agent.learn(3, progress_bar=False)
    headline, line = capsys.readouterr().out.splitlines()
    assert "3 steps: " in headline
    assert line.startswith("DQN: a second core is idle: OPENBLAS_NUM_THREADS=2 would make ")
    assert " 1.8 times as fast" in line
    for settings in ({"net_arch": [256], "verbose": 0}, {"net_arch": [64], "verbose": 1}):
        small_agent("DQN", **settings).learn(3, progress_bar=False)
    assert "second" not in capsys.readouterr().out
    assert calls == [(64, 256)]


def test_wide_networks_that_have_two_threads_get_no_advice(calls):
    assert blas.threads_for(1024) == 2
    assert second_thread.advice(256, 1024) == ""
    assert calls == []


def test_the_advice_changes_no_bit_of_a_run(calls):
    """It is never followed by npr itself: products differ in the last bits with two threads."""
    runs = []
    for verbose in (0, 1):
        seen = set()
        agent = small_agent("DQN", net_arch=[256], batch_size=64, verbose=verbose)
        agent.learn(
            40, progress_bar=False,
            callback=lambda _, seen=seen: seen.add(blas.openblas().threads),
        )  # fmt: skip
        assert seen == {1}
        runs.append(agent.theta.tobytes())
    assert runs[0] == runs[1]


def test_doctor_reports_a_second_thread(calls, monkeypatch):
    assert doctor.threads().endswith("a second one makes products of width 256 1.75 times as fast")
    monkeypatch.setattr(second_thread, "gain", lambda rows, width: None)
    assert doctor.threads().endswith("a second one cannot be measured now")
    blas.openblas().threads = 1
    assert doctor.threads().endswith("OPENBLAS_NUM_THREADS overrides this")


def test_a_measurement_leaves_the_number_of_threads():
    library = blas.openblas()
    if library is None:
        pytest.skip("this NumPy does not bring its own OpenBLAS")
    before = library.scipy_openblas_get_num_threads64_()
    assert second_thread.measured(32, 32) > 0
    assert library.scipy_openblas_get_num_threads64_() == before


# ---- the machine


def files(root, **contents):
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_idle_cores_are_those_without_a_thread_at_the_busiest_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda root: 4)
    moments = iter(["1/90", "3/90", "0/90"])
    monkeypatch.setattr(machine, "_text", lambda path: f"0.1 0.2 0.3 {next(moments)} 7")
    assert machine.idle_cores(samples=3) == 1
    monkeypatch.setattr(machine, "_text", lambda path: "0.1 0.2 0.3 9/90 7")
    assert machine.idle_cores(samples=1) == 0


@pytest.mark.parametrize("text", ["", "0.1 0.2 0.3", "0.1 0.2 0.3 4 5"])
def test_idle_cores_are_unknown_where_the_system_does_not_report_them(text, tmp_path):
    assert machine.idle_cores(root=files(tmp_path, **{"proc/loadavg": text})) is None


@pytest.mark.parametrize(
    "quota, cores",
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_a_quota_of_a_container_limits_the_cores(quota, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    version_1, version_2 = tmp_path / "1", tmp_path / "2"
    files(version_2, **{"sys/fs/cgroup/cpu.max": quota})
    assert machine.usable_cores(version_2) == cores
    for name, value in zip(("cpu.cfs_quota_us", "cpu.cfs_period_us"), quota.split()):
        files(version_1, **{f"sys/fs/cgroup/cpu/{name}": value.replace("max", "-1")})
    assert machine.usable_cores(version_1) == cores
    assert machine.usable_cores(tmp_path / "nothing") == 8


def test_the_name_of_the_processor(tmp_path):
    text = "processor : 0\nmodel name\t: Some CPU: 3 GHz\nmodel name : other\n"
    assert machine.cpu_name(files(tmp_path, **{"proc/cpuinfo": text})) == "Some CPU: 3 GHz"
    assert isinstance(machine.cpu_name(tmp_path / "nothing"), str)


def test_the_cache_is_a_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "name", "posix")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine.cache_folder() == tmp_path / "npr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert machine.cache_folder().parts[-2:] == (".cache", "npr")
