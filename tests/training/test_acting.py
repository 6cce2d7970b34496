"""Exploration of an agent on a device: on the host, by which parameters, and exact resume."""

import copy
import tempfile
from pathlib import Path

import numpy as np
import pytest
from support.on_the_double import on_the_double
from support.processes import DOUBLE, run
from support.proof_size import FULL
from support.small_agents import small_agent

import npr
from npr.backend import to_device, to_host, xp
from npr.errors import CheckpointError
from npr.files import archive, checkpoint

OFF_POLICY, ON_POLICY = ("DQN", "PERDQN", "DDPG", "SAC", "SoftQ"), ("A2C", "PPO", "REINFORCE")


def policy(agent):
    """The current parameters of the policy, as bytes."""
    *_, theta = agent.acts_by()
    return to_host(theta).tobytes()


class Watched:
    """The parameters that each action of a run is chosen by, and those after each update."""

    def __init__(self, agent):
        self.acted, self.updated, self.agent = [], [(agent.n_updates, policy(agent))], agent
        explore = agent.explore

        def watched(s):
            *_, theta = agent.acts_by()
            assert type(theta) is np.ndarray and xp.zeros is np.zeros, "this is on the host"
            self.acted.append((agent.n_updates, theta.tobytes()))
            return explore(s)

        agent.explore = watched

    def __call__(self, agent):
        assert type(agent.acts_by()[2]) is not np.ndarray, "callbacks see the device"
        if agent.n_updates != self.updated[-1][0]:
            self.updated.append((agent.n_updates, policy(agent)))

    def learn(self, steps, **options):
        self.agent.learn(steps, callback=self, **options)
        del self.agent.explore
        return self


@pytest.mark.slow
@on_the_double
def test_off_policy_agents_act_by_the_parameters_before_the_last_round():
    for case in OFF_POLICY:
        for settings in ({}, {"gradient_steps": 3, "train_freq": 4}):
            seen = Watched(small_agent(case, **settings)).learn(60)
            numbers, after = zip(*seen.updated)
            assert len(set(after)) > 5, "every round changes the parameters"
            for n_updates, theta in seen.acted:
                last = numbers.index(n_updates)
                assert theta == after[max(0, last - 1)], (case, n_updates)


@on_the_double
def test_on_policy_agents_act_by_the_current_parameters():
    for case in ON_POLICY:
        seen = Watched(small_agent(case)).learn(60)
        after = dict(seen.updated)
        assert len(after) > 2
        for n_updates, theta in seen.acted:
            assert theta == after[n_updates], (case, n_updates)


@on_the_double
def test_a_policy_is_copied_once_per_round_of_updates():
    agent = small_agent("SAC", gradient_steps=4, train_freq=4)
    agent.learn(40)
    xp.counts.reset()
    agent.learn(40, reset_num_timesteps=False)
    assert xp.counts.downloads == 10 + 2, "two checks: at the start, and at the end"


@on_the_double
def test_the_device_has_its_array_again_if_exploring_fails():
    agent = small_agent("DQN")
    theta = agent.theta

    def fails(s):
        assert agent.theta is not theta
        raise KeyError("exploring")

    agent.explore = fails
    try:
        agent.learn(5)
    except KeyError:
        pass
    else:
        raise AssertionError("the error was lost")
    assert agent.theta is theta and xp.zeros is not np.zeros


@on_the_double
def test_parameters_that_are_changed_between_two_runs_act_at_once():
    agent = small_agent("SAC").learn(60)
    agent.phi[...] = to_device(np.full(agent.phi.shape, 0.5, np.float32))
    changed = policy(agent)
    seen = Watched(agent).learn(1, reset_num_timesteps=False)
    assert seen.acted[0][1] == changed
    agent.phi = agent.phi.copy()  # another array
    assert Watched(agent).learn(3, reset_num_timesteps=False).acted


@on_the_double
def test_nothing_that_looks_at_a_run_changes_it():
    """Predictions, evaluations, saving and copies in a callback."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"

        def look(agent):
            agent.predict(np.zeros(agent.observations.size, np.float32), deterministic=True)
            if agent.num_timesteps % 7 == 0:
                agent.save(path)
                agent.evaluate(episodes=1, episode_limit=3)
                copy.deepcopy(agent)

        for case in ("PERDQN", "SAC", "PPO"):
            plain, watched = small_agent(case).learn(80), small_agent(case).learn(80, look)
            assert bits(plain) == bits(watched), case


def bits(agent):
    """All that is learned, as bytes, and the generators."""
    held = {name: to_host(x) for name, x in vars(agent).items() if isinstance(x, xp.ndarray)}
    random = {name: rng.bit_generator.state for name, rng in agent.rng.items()}
    return {name: x.tobytes() for name, x in held.items()}, repr(random)


class Stop:
    def __init__(self, step):
        self.step = step

    def __call__(self, agent):
        return agent.num_timesteps < self.step


@on_the_double
def test_runs_in_pieces_and_from_files_are_the_same_to_the_bit():
    """Cuts are before the first update, between two rounds and right after one."""
    for k, case in enumerate(("DQN", "PERDQN", "SAC", "A2C")):
        settings = {"n_envs": 1} | ({"train_freq": 4} if case in OFF_POLICY else {})
        whole = small_agent(case, **settings).learn(90)
        cuts = (20, 48, 45, 50)
        for cut in cuts if FULL else cuts[k % 2 :: 2]:
            first = small_agent(case, **settings)
            first.learn(90, Stop(cut))
            assert first.num_timesteps == cut
            with tempfile.TemporaryDirectory() as folder:
                first.save(Path(folder) / "a.npz")
                loaded = npr.load(Path(folder) / "a.npz")
            copied = copy.deepcopy(first)
            for each in (first, loaded, copied):
                each.learn(90 - cut, reset_num_timesteps=False)
                assert bits(each) == bits(whole), (case, cut)


@on_the_double
def test_a_run_that_failed_within_a_round_of_updates_goes_on_as_its_file():
    for case in ("DQN", "SAC"):
        agent = small_agent(case, gradient_steps=3)
        update, calls = agent.update, []

        def fails(*batch, update=update, calls=calls):
            calls.append(batch)
            if len(calls) == 11:  # the second of a round
                raise KeyError("updating")
            return update(*batch)

        agent.update = fails
        try:
            agent.learn(90)
        except KeyError:
            del agent.update
        with tempfile.TemporaryDirectory() as folder:
            agent.save(Path(folder) / "a.npz")
            assert agent.n_updates == 10
            loaded = npr.load(Path(folder) / "a.npz")
        for each in (agent, loaded):
            each.learn(20, reset_num_timesteps=False)
        assert bits(agent) == bits(loaded), case


@on_the_double
def test_a_file_has_the_parameters_that_act_only_where_they_differ():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        for case, steps, lags in (("SAC", 30, False), ("SAC", 40, True), ("PPO", 40, False)):
            agent = small_agent(case).learn(steps)
            agent.save(path)
            _, arrays = checkpoint.read(path)
            assert ("state/acting.theta" in arrays) is lags, (case, steps)
            if lags:
                assert arrays["state/acting.theta"].tobytes() != policy(agent)
                again = npr.load(path)
                again.save(path)
                assert checkpoint.read(path)[1].keys() == arrays.keys()


# ---- files of the other backend; without a device nothing lags


SAVE = """
import sys
from support.small_agents import small_agent
small_agent("SAC").learn(60).save(sys.argv[1])
"""
LOAD = """
import sys, npr
agent = npr.load(sys.argv[1])
assert "state/acting.theta" not in npr.files.checkpoint.read(sys.argv[1])[1]
agent.learn(40, reset_num_timesteps=False)
assert agent.n_updates > 20
"""


def in_another_process(code, path, **variables):
    ran = run("-c", code, str(path), path=[DOUBLE], **variables)
    assert ran.returncode == 0, ran.stderr


def test_files_load_on_the_other_backend(tmp_path):
    path = tmp_path / "a.npz"
    in_another_process(SAVE, path, NPR_BACKEND="cupy")
    _, arrays = checkpoint.read(path)
    assert "state/acting.theta" in arrays
    agent = npr.load(path)
    assert agent.phi.tobytes() == arrays["params/phi"].tobytes()
    assert agent.acting_parameters() is None
    agent.learn(40, reset_num_timesteps=False)
    agent.save(path)
    in_another_process(LOAD, path, NPR_BACKEND="cupy")


@pytest.mark.parametrize(
    "acting, message",
    [
        (
            np.zeros(3, np.float32),
            r"array of parameters that act must be float32\(50,\), got float32\(3,",
        ),
        (np.zeros(50), r"got float64\(50,"),
        (np.full(50, np.nan, np.float32), "parameters that act holds numbers that are not finite"),
        (np.ones(50, np.float32), None),
    ],
)
def test_parameters_that_act_and_do_not_fit_are_refused(tmp_path, acting, message):
    path = tmp_path / "a.npz"
    small_agent("SAC").save(path)
    manifest, arrays = archive.read_archive(path)
    archive.write_archive(path, manifest, {**arrays, "state/acting.theta": acting})
    if message is None:
        npr.load(path)
        return
    with pytest.raises(CheckpointError, match=message):
        npr.load(path)
