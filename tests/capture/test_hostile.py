"""Plans hold addresses: none of them comes from a file or a copy, or goes there."""

import copy
import io
import pickle
import pickletools
import zipfile

import numpy as np
import pytest
from support.captured import bits, eager, replays, saved_arrays
from support.small_agents import CASES, TABLES, small_agent

import npr
from npr.capture import plans, report

LEARNED = [case for case in CASES if case not in TABLES]


def learned(agent):
    return {name: bits(x) for name, x in saved_arrays(agent).items()}


@pytest.mark.parametrize("case", LEARNED)
def test_a_file_of_a_captured_agent_has_the_entries_of_any_other(case, tmp_path):
    with eager():
        small_agent(case).learn(96).save(tmp_path / "eager.npz")
    agent = small_agent(case).learn(96)
    agent.save(tmp_path / "captured.npz")
    names = [
        set(zipfile.ZipFile(tmp_path / f"{name}.npz").namelist()) for name in ("eager", "captured")
    ]
    assert names[0] == names[1]
    assert not [name for name in names[1] if "captured" in name or "plan" in name]
    loaded = npr.load(tmp_path / "captured.npz")
    assert report(loaded) == [] and vars(loaded).get("_captured") is None


@pytest.mark.parametrize("name", ["params/_captured", "state/_captured", "optim/_captured.theta"])
def test_an_entry_of_a_file_is_not_taken_for_plans(name, tmp_path):
    agent = small_agent("DQN").learn(96)
    agent.save(tmp_path / "agent.npz")
    with np.load(tmp_path / "agent.npz") as file:
        held = {key: file[key] for key in file.files}
    held[name] = np.full((3, 8), id(agent), np.int64)
    np.savez(tmp_path / "other.npz", **held)
    try:
        loaded = npr.load(tmp_path / "other.npz")
    except npr.CheckpointError:
        return
    assert report(loaded) == [] and not isinstance(vars(loaded).get("_captured"), np.ndarray)


@pytest.mark.parametrize("case", LEARNED)
def test_pickled_and_copied_agents_have_no_plans(case):
    agent = small_agent(case).learn(96)
    assert report(agent)
    text = pickle.dumps(agent)
    for one in (pickle.loads(text), copy.deepcopy(agent)):
        held = vars(one).get("_captured")
        assert held is None or (not held.signatures and not held.ready and not held.traces)
        assert report(one) == []
    words = {str(arg) for _, arg, _ in pickletools.genops(io.BytesIO(text)) if arg is not None}
    assert not [word for word in words if "npr.capture.table" in word or "Traced" in word]


def test_pickled_plans_are_empty():
    agent = small_agent("DQN").learn(96)
    held = vars(agent)["_captured"]
    assert held.signatures
    for one in (pickle.loads(pickle.dumps(held)), copy.deepcopy(held), copy.copy(held)):
        assert type(one) is plans.Plans and not one.signatures and not one.ready


def test_a_shallow_copy_learns_as_without_capture():
    def run():
        agent = small_agent("DQN").learn(96)
        other = copy.copy(agent)
        other.theta = agent.theta + 1
        other.learn(60, reset_num_timesteps=False)
        agent.learn(60, reset_num_timesteps=False)
        return learned(agent), learned(other)

    with eager():
        expected = run()
    same = run() == expected
    assert same


def test_an_agent_that_is_not_used_any_more_is_freed_with_its_plans():
    import gc
    import weakref

    agent = small_agent("DQN").learn(96)
    assert replays(agent) > 0
    theta = weakref.ref(agent.theta)
    plan = weakref.ref(next(iter(vars(agent)["_captured"].ready.values())))
    gc.collect()
    gc.disable()
    try:
        agent.close()
        del agent
        gc.collect()
        assert plan() is None and theta() is None
    finally:
        gc.enable()
