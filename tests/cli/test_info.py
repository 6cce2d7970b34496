"""npr info: on npr's files and folders, and on everything else."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from files.test_hostile_files import CASES as HOSTILE
from support import ROOT
from support.hostile_files import edited, load_watched, put
from support.proof_size import n_trials
from support.small_agents import CASES, small_agent

import npr as library
from npr.cli import info
from npr.files.archive import read_archive, read_headers

GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.npz"))


def topics(out):
    return {line.split(" ")[0]: line[12:] for line in out.splitlines() if line[:1] != " "}


# ---- the file of an agent


def test_what_a_file_holds_is_shown(agents, npr):
    file = agents / "sac.npz"
    status, out, err = npr("info", file)
    found = topics(out)
    agent = library.load(file)
    assert (status, err) == (0, "")
    assert found["file"].startswith(f"{file}, {file.stat().st_size:,} bytes, format 3, written by")
    assert found["agent"] == "SAC on Pendulum-v1, seed 0"
    assert found["trained"] == f"96 of 96 env steps, 4 episodes, {agent.n_updates} updates"
    assert found["policy"] == f"3 -> 8 -> 2, relu, head tanh_gaussian, {agent.phi.size} parameters"
    assert (found["observe"], found["act"]) == ("Box(3)", "Box(1)")
    assert found["env"].startswith("Pendulum-v1")
    assert "checksums not compared: --verify" in found["arrays"]


def test_a_table_and_the_arguments_of_its_environment_are_shown(agents, npr):
    found = topics(npr("info", agents / "lake.npz")[1])
    assert found["policy"].startswith("table, head table, 64 parameters")
    assert found["env"] == "FrozenLake-v1, arguments {'is_slippery': False}"


def test_the_settings_that_differ_from_the_defaults_are_shown(agents, npr):
    found = json.loads(npr("info", agents / "sac.npz", "--json")[1])
    given, defaults = CASES["SAC"][2], library.SAC.defaults()
    expected = {k: v for k, v in {**given, "verbose": 0}.items() if v != defaults[k]}
    assert found["changed_settings"] == expected
    shown = topics(npr("info", agents / "sac.npz")[1])["settings"]
    assert shown.endswith("; the others are SAC's defaults")
    assert all(f"{name}={value}" in shown for name, value in expected.items())


def test_arrays_are_listed_with_their_types_shapes_and_sizes(agents, npr):
    file = agents / "sac.npz"
    found = json.loads(npr("info", file, "--json")[1])["arrays"]
    arrays = read_archive(file)[1]
    assert found == {
        name: {"dtype": str(one.dtype), "shape": [*one.shape], "bytes": one.nbytes}
        for name, one in arrays.items()
    }
    lines = npr("info", file)[1].splitlines()
    phi = arrays["params/phi"]
    assert f"  params/phi float32 ({phi.size}) {phi.nbytes} bytes".split() in map(str.split, lines)


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_files_of_earlier_formats_are_shown(file, npr):
    status, out, err = npr("info", file)
    assert (status, err) == (0, "")
    assert f"format {file.stem[6]}" in topics(out)["file"]
    assert "older format" in topics(out)["env"]


def test_skipped_updates_and_normalization_are_shown(npr):
    agent = small_agent("SAC", normalize_obs=True).learn(64)
    agent.adam_phi.counts[1] = 3
    agent.save("a.npz")
    found = topics(npr("info", "a.npz")[1])
    assert found["trained"].endswith(", 3 updates skipped")
    assert found["policy"].endswith(", normalized observations")


def test_a_policy_alone_is_shown_with_where_it_comes_from(npr, tmp_path):
    agent = small_agent("SAC").learn(64)
    library.export(agent, tmp_path / "policy.npz", episodes=2)
    status, out, err = npr("info", tmp_path / "policy.npz")
    found = topics(out)
    assert (status, err) == (0, "")
    assert found["agent"] == "the policy alone, SAC on Pendulum-v1, trained for 64 env steps"
    assert found["policy"].startswith("3 -> 8 -> 2, relu, head tanh_gaussian")
    assert found["return"].startswith("mean -") and found["return"].endswith(", 2 episodes")
    library.export(agent.policy, tmp_path / "policy.npz")
    found = topics(npr("info", tmp_path / "policy.npz")[1])
    assert found["agent"] == "the policy alone, unknown on an unnamed environment"
    assert found["return"].startswith("not measured: its environment is not known")


def test_verify_compares_the_checksums(agents, npr, tmp_path):
    file = shutil.copy(agents / "sac.npz", tmp_path)
    assert "checksums correct" in topics(npr("info", file, "--verify")[1])["arrays"]
    content = bytearray(Path(file).read_bytes())
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo("params/phi.npy")
    content[info.header_offset + 200] ^= 1  # in its data, which begin after two headers
    Path(file).write_bytes(content)
    assert npr("info", file)[0] == 0
    status, out, err = npr("info", file, "--verify")
    assert (status, out) == (1, "") and "params/phi.npy does not match its checksum" in err


def test_the_agent_is_not_built_and_gymnasium_is_not_imported(agents):
    script = (
        "import sys; from npr import cli; status = cli.main(['info', sys.argv[1]])\n"
        "heavy = {'gymnasium', 'numba'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else status)"
    )
    command = [sys.executable, "-c", script, agents / "sac.npz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# ---- everything else


def refused(npr, *words, expected=1):
    """The one sentence about a file that is refused."""
    status, out, err = npr("info", *words)
    assert (status, out, err.count("\n")) == (expected, "", 1), (status, err)
    assert err.startswith("npr info: ") and err.isprintable() or err[:-1].isprintable()
    return err


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_files_run_nothing_and_give_one_sentence_or_are_shown(npr, tmp_path):
    path = tmp_path / "a.npz"
    small_agent("DQN").learn(96).save(path)
    valid = path.read_bytes()
    npr("info", path)  # what it imports once is imported
    shown = 0
    sample = [*HOSTILE][:: n_trials(4, 1)]
    for name in sample:
        attack, *_ = HOSTILE[name]
        path.write_bytes(valid)
        attack(path)
        status, out, err = load_watched(lambda path: npr("info", path), path)
        assert status in (0, 1), name
        assert err.count("\n") == status and len(err) < 2000, (name, err)
        assert all(line.isprintable() for line in out.splitlines()), name
        shown += status == 0
    assert 0 < shown < len(sample) / 2


def test_random_changes_of_a_manifest_give_no_traceback(npr, tmp_path):
    path = tmp_path / "a.npz"
    small_agent("DQN").learn(64).save(path)
    manifest = read_headers(path)[0]
    valid, rng = path.read_bytes(), random.Random(0)
    values = [None, -1, 10**30, 1.5, "x", "\x1b[2J", [], [[]], {}, {"a": [1]}, True]
    for _ in range(60):
        path.write_bytes(valid)
        way, here = [], manifest
        while isinstance(here, dict) and here and (not way or rng.random() < 0.7):
            way.append(rng.choice([*here]))
            here = here[way[-1]]
        edited(path, put(*way, rng.choice(values)))
        for words in ((), ("--json",)):
            status, out, err = npr("info", path, *words)
            assert status in (0, 1) and "Error" not in err.partition("(")[0], (way, err)
            assert all(line.isprintable() for line in out.splitlines()), way


def test_what_controls_a_terminal_is_escaped(agents, npr, tmp_path):
    file = shutil.copy(agents / "sac.npz", tmp_path)
    edited(file, put("env", "\x1b]0;evil\x07\u202e\ud800"))
    status, out, _ = npr("info", file)
    assert status == 0 and topics(out)["agent"] == (r"SAC on \x1b]0;evil\x07\u202e\ud800, seed 0")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: path.write_bytes(b""), "does not begin like a zip file. It is empty."),
        (lambda path: path.write_bytes(random.Random(0).randbytes(4096)), "is not an npr file"),
        (lambda path: path.write_text("hello"), "It is text: 'hello'."),
        (lambda path: np.savez(path, x=np.ones(3)), "numpy.savez writes such files"),
        (lambda path: zipfile.ZipFile(path, "w").writestr("data", "{}"), "Stable-Baselines3"),
        (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40), "not an npr"),
    ],
    ids=["empty", "random", "text", "numpy", "SB3", "a terabyte of zeros"],
)  # fmt: skip
def test_other_files_are_refused_in_one_sentence(make, message, npr, tmp_path):
    path = tmp_path / "a.npz"
    make(path)
    assert message in refused(npr, path)
    if path.is_file():
        path.unlink()


def test_a_truncated_file_is_refused_at_every_length(agents, npr, tmp_path):
    path, content = tmp_path / "a.npz", (agents / "sac.npz").read_bytes()
    for length in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:length])
        refused(npr, path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_or_a_device_is_not_read(npr):
    os.mkfifo("pipe")
    for path in ("pipe", "/dev/zero"):
        assert f"{path} is neither a file nor a folder." in refused(npr, path, expected=2)


@pytest.mark.parametrize("name", ["nothing.npz", "no/such/file"])
def test_a_missing_file_is_wrong_usage(name, npr):
    status, _, err = npr("info", name)
    assert (status, err) == (2, f"npr info: {name}: No such file or directory\n")


# ---- a run folder


def test_what_a_run_folder_holds_is_shown(trained_runs, npr):
    folder = trained_runs / "small0"
    status, out, err = npr("info", folder)
    found = topics(out)
    assert (status, err) == (0, "")
    assert found["run"] == f"{folder}, finished"
    assert found["agent"] == "SAC on Pendulum-v1, seed 0" and found["budget"] == "80 env steps"
    assert "net_arch=[8]" in found["settings"] and found["final"] == "80 env steps"
    assert found["latest"] == "80 env steps" and "rl_model_60_steps.npz" in found["checkpoints"]
    assert "progress.csv (" in found["files"] and "config.json (" in found["files"]
    assert "  time/total_timesteps         80" in out


def test_json_of_a_run_folder_has_its_configuration_and_last_values(trained_runs, npr):
    folder = trained_runs / "wide0"
    found = json.loads(npr("info", folder, "--json")[1])
    assert found["config"] == json.loads((folder / "config.json").read_text())
    assert found["agents"]["final"] == 80 and found["files"]["monitor.csv"] > 0
    names, *rows = csv.reader((folder / "progress.csv").read_text().splitlines())
    last = {
        name: [row[i] for row in rows if row[i]][-1]
        for i, name in enumerate(names)
        if any(row[i] for row in rows)
    }
    assert found["progress"] == last and "train/actor_loss" in last


def test_the_last_values_are_found_at_the_end_of_a_long_log(tmp_path):
    rows = [f"{i},{'' if i % 3 else i}" for i in range(40_000)]
    (tmp_path / "progress.csv").write_text("\n".join(["a,b", *rows]) + "\n40000,")
    found = info._last_values(tmp_path / "progress.csv")
    assert found == {"a": "40000", "b": "39999"}


def test_a_run_that_is_not_finished_says_how_it_goes_on(trained_runs, npr, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained_runs / "small0", folder)
    (folder / "final.npz").unlink()
    (folder / "best.npz").write_bytes(b"PK")
    (folder / "progress.csv").write_bytes(b'a,b\n1,"\xff\n')
    out = npr("info", folder)[1]
    assert "not finished; npr resume continues it" in out
    assert topics(out)["best"].startswith("cannot be read: ")
    for file in ("progress.csv", "best.npz"):
        (folder / file).unlink()
    assert "no row was logged" in npr("info", folder)[1]


def test_folders_without_a_run_are_wrong_usage(trained_runs, npr, tmp_path):
    text = refused(npr, trained_runs, expected=2)
    assert "it holds run folders (3): name one of them." in text
    assert "is not a run folder: it has no config.json." in refused(npr, tmp_path, expected=2)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{}", '{"algorithm": 1}', "[" * 100_000, "\xff", '{"settings": 3}', "9" * 5000,
     '{"algorithm": [], "env": {}, "seed": [], "settings": []}',
     '{"algorithm": "SAC", "env": 1, "seed": 1, "settings": [1]}', " " * (1 << 20) + "{}"],
    ids=range(12),
)  # fmt: skip
def test_the_configuration_of_a_folder_may_be_anything(text, npr, tmp_path):
    (tmp_path / "config.json").write_text(text)
    status, _, err = npr("info", tmp_path)
    assert status in (0, 1) and err.count("\n") == status


def test_the_command_runs_in_a_process(agents):
    command = [sys.executable, "-m", "npr", "info", agents / "lake.npz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "QLearning" in done.stdout
