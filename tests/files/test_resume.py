"""Exact resume: a run that is saved, loaded and continued equals an uninterrupted run bit for bit.

Weights, targets, optimizers, replay, generators, episodes and the next actions are compared, by
comparing whole files.
"""

import functools
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from support import GOLDEN
from support.proof_size import FULL, n_trials
from support.small_agents import BUDGET, CASES, TABLES, parameters, small_agent, trained
from support.toy_envs import CountingEnv, RandomObservation

import npr
from npr import ResumeWarning
from npr.envs.episode_log import EpisodeLog
from npr.files import checkpoint
from npr.files.archive import read_archive, write_archive
from npr.files.generators import generator_state, set_generator_state


class Stopped(Exception):
    """Ends a run after it was saved."""


def stop_at(step, path):
    """A callback that saves and ends the run at the first step >= `step`."""

    def callback(agent):
        if agent.num_timesteps >= step:
            agent.save(path)
            raise Stopped

    return callback


STOPS = (13, 40, "episode", 77, 91)
NEXT = n_trials(100, 500)  # steps whose actions are compared
TOTAL = 132  # env steps of one environment; four environments make four times as many
COMBINATIONS = [(case, n, stop) for case in CASES for n in (1, 4) for stop in STOPS]
NORMALIZED = [(case, n, stop) for case in CASES for n in (1, 4) for stop in (40, 77)]


def sampled(combinations):
    """A third of the combinations, with every case and number of environments; all under
    `make prove`."""
    if FULL:
        return combinations
    order = list(CASES)
    return [
        (case, n, stop)
        for case, n, stop in combinations
        if (order.index(case) + (n > 1) + STOPS.index(stop)) % 3 == 0
    ]


def settings_of(case, n_envs, normalize):
    given = {"n_envs": n_envs}
    for name in ("learning_starts", "buffer_size"):  # so that the stops are equivalent for four
        if name in CASES[case][2]:
            given[name] = CASES[case][2][name] * n_envs
    if normalize:
        table = case in TABLES
        given |= {"normalize_obs": not table, "normalize_reward": True}
    return given


def next_actions(agent, n=NEXT):
    """The actions of the next n steps as bytes, while the agent continues to learn."""
    taken, step = [], agent.envs.step

    def recorded(a):
        taken.append(a.tobytes())
        return step(a)

    agent.envs.step = recorded
    agent.learn(n, reset_num_timesteps=False)
    return b"".join(taken)


def content(agent, path):
    """(manifest, arrays, bytes) of an agent's file."""
    agent.save(path)
    return *read_archive(path), path.read_bytes()


@functools.cache
def uninterrupted(case, n_envs, normalize):
    """A run that is not stopped: its file, its next actions, and the steps at which an episode
    ended."""
    agent, ends = small_agent(case, **settings_of(case, n_envs, normalize)), []

    def watch(agent):
        if agent.envs.finished:
            ends.append(agent.num_timesteps)

    agent.learn(TOTAL * n_envs, callback=watch)
    with tempfile.TemporaryDirectory() as folder:
        file = content(agent, Path(folder) / "whole.npz")
    return file, next_actions(agent), ends


def resumed(case, n_envs, stop, normalize, path):
    """The same run, stopped, loaded from its file and continued."""
    *_, ends = uninterrupted(case, n_envs, normalize)
    if stop == "episode":
        stop = next((end for end in ends if end > 30 * n_envs), 50 * n_envs)
    else:
        stop *= n_envs
    with pytest.raises(Stopped):
        small_agent(case, **settings_of(case, n_envs, normalize)).learn(
            TOTAL * n_envs, callback=stop_at(stop, path)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResumeWarning)
        loaded = npr.load(path)
        assert stop <= loaded.num_timesteps < TOTAL * n_envs
        return loaded.learn()  # the rest of its budget


def assert_equals_uninterrupted(case, n_envs, stop, normalize, folder):
    reference, actions, _ = uninterrupted(case, n_envs, normalize)
    agent = resumed(case, n_envs, stop, normalize, folder / "stopped.npz")
    manifest, arrays, file = content(agent, folder / "end.npz")
    assert manifest | {"sha256": {}} == reference[0] | {"sha256": {}}
    assert arrays.keys() == reference[1].keys()
    assert [name for name in arrays if arrays[name].tobytes() != reference[1][name].tobytes()] == []
    assert file == reference[2]
    assert next_actions(agent) == actions


@pytest.mark.parametrize("case, n_envs, stop", sampled(COMBINATIONS))
def test_a_resumed_run_equals_an_uninterrupted_run(case, n_envs, stop, tmp_path):
    assert_equals_uninterrupted(case, n_envs, stop, False, tmp_path)


@pytest.mark.parametrize("case, n_envs, stop", sampled(NORMALIZED))
def test_normalized_runs_resume_exactly(case, n_envs, stop, tmp_path):
    assert_equals_uninterrupted(case, n_envs, stop, True, tmp_path)


def test_a_third_of_the_combinations_is_sampled():
    combinations = sampled(COMBINATIONS)
    assert {(case, n) for case, n, _ in combinations} == {
        (case, n) for case in CASES for n in (1, 4)
    }
    assert FULL or len(combinations) == len(COMBINATIONS) // 3
    for case in CASES:
        assert len({stop for one, _, stop in combinations if one == case}) >= 3


@pytest.mark.parametrize("n_envs", [1, 4])
def test_the_stops_cover_the_phases_of_a_run(n_envs, tmp_path):
    """In the warm-up, mid-episode with a partly filled replay, after the end of an episode, within
    n steps, after the replay has wrapped around."""
    states = {}
    for stop in STOPS:
        *_, ends = uninterrupted("DQN-n", n_envs, False)
        step = (
            next(end for end in ends if end > 30 * n_envs) if stop == "episode" else stop * n_envs
        )
        with pytest.raises(Stopped):
            small_agent("DQN-n", **settings_of("DQN-n", n_envs, False)).learn(
                TOTAL * n_envs, callback=stop_at(step, tmp_path / "a.npz")
            )
        states[stop] = npr.load(tmp_path / "a.npz")
    assert states[13].n_updates == 0 < states[40].n_updates
    for stop in (13, 40):
        assert states[stop].buffer.size == stop * n_envs < states[stop].buffer.capacity
    assert all(states[40]._position["lengths"] > 0)
    assert any(states["episode"]._position["lengths"] == 0)
    assert len(states[77].buffer._newest) == n_envs
    for stop in (77, 91):
        assert states[stop].buffer.size == states[stop].buffer.capacity


@pytest.mark.parametrize("case", ["Sarsa", "PERDQN", "PPO-Box", "SAC"])
def test_a_run_is_resumed_exactly_in_another_process(case, tmp_path):
    reference, *_ = uninterrupted(case, 1, False)
    with pytest.raises(Stopped):
        small_agent(case).learn(TOTAL, callback=stop_at(77, tmp_path / "stopped.npz"))
    program = "import npr; npr.load('stopped.npz').learn().save('end.npz')"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    assert (tmp_path / "end.npz").read_bytes() == reference[2]


@pytest.mark.parametrize("case", ["QLearning", "DQN-n", "REINFORCE", "DDPG"])
def test_saving_during_a_run_does_not_change_it(case, tmp_path):
    agent = small_agent(case).learn(TOTAL, save_path=tmp_path / "a.npz", save_freq=17)
    assert content(agent, tmp_path / "b.npz")[2] == uninterrupted(case, 1, False)[0][2]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("case", ["Sarsa", "DQN", "REINFORCE", "PPO", "DDPG"])
def test_closed_environments_are_reopened_in_their_state(case, tmp_path):
    reference, closed = (small_agent(case).learn(50) for _ in range(2))
    closed.close()
    for agent in (reference, closed):
        agent.learn(50, reset_num_timesteps=False)
    assert content(reference, tmp_path / "a.npz")[2] == content(closed, tmp_path / "b.npz")[2]


@pytest.mark.parametrize("case", ["QLearning", "DQN", "PPO", "SAC"])
def test_an_agent_saved_before_its_first_step_learns_the_same(case, tmp_path):
    small_agent(case).save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz").learn(BUDGET)
    assert content(loaded, tmp_path / "b.npz")[2] == content(trained(case), tmp_path / "c.npz")[2]


def test_ornstein_uhlenbeck_noise_is_resumed(tmp_path):
    def ou():
        return small_agent("DDPG", action_noise="ou")

    with pytest.raises(Stopped):
        ou().learn(100, callback=stop_at(60, tmp_path / "a.npz"))
    loaded, reference = npr.load(tmp_path / "a.npz").learn(), ou().learn(100)
    assert content(loaded, tmp_path / "b.npz")[2] == content(reference, tmp_path / "c.npz")[2]
    assert loaded.disturbance.x.any()


# ---- what learn() does with an unfinished file


def test_learn_continues_an_unfinished_run_and_restarts_a_finished_one(tmp_path):
    with pytest.raises(Stopped):
        small_agent("DQN").learn(100, callback=stop_at(60, tmp_path / "a.npz"))
    loaded = npr.load(tmp_path / "a.npz")
    assert loaded.learn(10).num_timesteps == 70
    assert loaded.learn(10).num_timesteps == 10, "only the first run of a loaded agent"
    trained("DQN").save(tmp_path / "b.npz")
    assert npr.load(tmp_path / "b.npz").learn(10).num_timesteps == 10


# ---- environments that cannot be resumed


class HiddenRandomness(RandomObservation):
    """Draws from a generator that is not accessible."""

    def __init__(self):
        super().__init__()
        self.secret = np.random.default_rng()

    def _observe(self):
        return self.secret.random(2, np.float32)


def fails_to_resume(env, path, **settings):
    with pytest.raises(Stopped):
        small_agent("DQN", env=env(), **settings).learn(100, callback=stop_at(61, path))
    loaded = npr.load(path, env=env())
    with pytest.warns(ResumeWarning) as caught:
        loaded.learn()
    assert loaded.num_timesteps in (100, 101)  # two environments make a step together
    (warning,) = [one for one in caught if one.category is ResumeWarning]
    text = str(warning.message)
    assert text.startswith("DQN cannot continue its episodes: ")
    assert text.endswith("New episodes start; everything that was learned is restored."), text
    return loaded, text


def test_an_environment_with_hidden_randomness_restarts_with_a_warning(tmp_path):
    _, text = fails_to_resume(HiddenRandomness, tmp_path / "a.npz")
    assert "uses randomness or state besides np_random" in text


def test_an_environment_with_memory_of_earlier_episodes_restarts_with_a_warning(tmp_path):
    """Its observations contain the number of the episode, which is zero in a new environment."""
    _, text = fails_to_resume(lambda: CountingEnv(plan=((4, "truncated"),)), tmp_path / "a.npz")
    assert "uses randomness or state besides np_random" in text


def test_a_vector_env_restarts_with_a_warning(tmp_path):
    def env():
        return gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")

    _, text = fails_to_resume(env, tmp_path / "a.npz")
    assert "a VectorEnv, of worker processes and of actors" in text
    loaded = npr.load(tmp_path / "a.npz")  # in two separate environments
    with pytest.warns(ResumeWarning, match="cannot be read, so their episodes cannot be repeated"):
        loaded.learn()


def test_another_number_of_environments_restarts_with_a_warning(tmp_path):
    with pytest.raises(Stopped):
        small_agent("PPO", n_envs=2, normalize_reward=True, max_episode_steps=None).learn(
            200, callback=stop_at(70, tmp_path / "a.npz")
        )
    env = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    with pytest.warns(ResumeWarning, match="it had 2 environments, now there are 3"):
        assert npr.load(tmp_path / "a.npz", env=env).learn().num_timesteps >= 200


class RaisesInReplay(RandomObservation):
    """Raises when its episode is replayed."""

    broken = False

    def step(self, action):
        if self.broken:
            raise OSError("the robot is gone")
        return super().step(action)


def test_an_environment_that_raises_in_the_replay_restarts_with_a_warning(tmp_path):
    with pytest.raises(Stopped):
        small_agent("DQN", env=RaisesInReplay()).learn(
            100, callback=stop_at(62, tmp_path / "a.npz")
        )
    env = RaisesInReplay()
    env.broken = True
    loaded = npr.load(tmp_path / "a.npz", env=env)
    with pytest.warns(ResumeWarning, match="repeating them raised OSError"), \
            pytest.raises(Exception, match="the robot is gone"):  # fmt: skip
        loaded.learn()


def test_steps_before_a_restarted_episode_are_dropped(tmp_path):
    """Half a rollout was collected in an episode that cannot be resumed."""
    with pytest.raises(Stopped):
        small_agent("PPO", env=HiddenRandomness()).learn(
            100, callback=stop_at(59, tmp_path / "a.npz")
        )
    loaded = npr.load(tmp_path / "a.npz", env=HiddenRandomness())
    assert len(loaded.steps) == 59 % 16
    seen = []
    loaded.update = lambda *batch: seen.append(len(batch[0])) or {}
    with pytest.warns(ResumeWarning):
        loaded.learn(16)
    assert sum(seen) == 2 * 16, "two epochs over sixteen new steps"


@pytest.mark.parametrize("name", ["numpy", "numba", "machine", "backend", "threads of BLAS"])
def test_another_machine_resumes_with_a_warning_that_names_the_change(name, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        small_agent("DQN").learn(100, callback=stop_at(61, tmp_path / "a.npz"))
    loaded = npr.load(tmp_path / "a.npz")
    here = {**checkpoint.made_with(), name: "something else"}
    monkeypatch.setattr(checkpoint, "made_with", lambda: here)
    with pytest.warns(ResumeWarning, match=f"differ in the last bits: {name} was .*something else"):
        loaded.learn()


# ---- files with valid checksums and an invalid state of the run


def invalid_versions(array):
    """Versions of an array with invalid shapes, dtypes and numbers."""
    huge = 10**15 if array.dtype.kind in "iu" else 1
    yield array[:0] if array.ndim else array.astype(np.int8)
    yield np.zeros((3, 3))
    yield np.full(array.shape, huge)
    yield np.zeros(array.shape, np.float32)
    yield -np.ones(array.shape, np.int64)
    yield np.full(array.shape, np.nan)
    largest = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else huge
    yield np.full(array.shape, min(huge, largest), array.dtype)


@pytest.mark.parametrize("case", CASES if FULL else ["Sarsa", "DQN-n", "PPO", "DDPG"])
def test_an_invalid_state_of_a_run_is_refused_or_restarts(case, tmp_path):
    path, strange = tmp_path / "a.npz", tmp_path / "b.npz"
    noise = {"action_noise": "ou"} if case == "DDPG" else {}
    with pytest.raises(Stopped):
        small_agent(case, **settings_of(case, 1, True), **noise).learn(
            TOTAL, callback=stop_at(77, path)
        )
    manifest, arrays = read_archive(path)
    del manifest["format"], manifest["npr"]
    outcomes = []
    for name in [name for name in arrays if name.startswith(("state/", "rng/", "buffer/"))]:
        for other in invalid_versions(arrays[name]):
            write_archive(strange, manifest, {**arrays, name: other})
            try:
                agent = npr.load(strange)
            except npr.CheckpointError as error:
                outcomes.append("refused")
                assert str(strange) in str(error)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResumeWarning)
                agent.learn(4)
            outcomes.append("taken")
            assert all(np.isfinite(array).all() for array in parameters(agent).values())
    assert outcomes.count("refused") > outcomes.count("taken")


# ---- generators and old files


def test_the_state_of_a_generator_is_restored():
    rng = np.random.default_rng(5)
    rng.random(3), rng.integers(10, dtype=np.int32)  # half a word is buffered
    words, other = generator_state(rng), np.random.default_rng(0)
    set_generator_state(other, words)
    assert other.bit_generator.state == rng.bit_generator.state
    assert generator_state(np.random.Generator(np.random.MT19937(0))) is None


def test_an_episode_of_another_kind_of_generator_is_not_replayed():
    env = RandomObservation()
    env.np_random = np.random.Generator(np.random.MT19937(0))
    log = EpisodeLog(env)
    log.begin(None)
    assert log.replay(log.seed, log.start, []) is None


def saved_in_format(version):
    """The cases with a golden file; an algorithm that is newer than the format has none."""
    return [case for case in CASES if (GOLDEN / f"format{version}-{case}.npz").exists()]


@pytest.mark.parametrize("case", saved_in_format(2))
def test_files_of_format_2_are_read(case):
    """Saved during a run, some of four environments, normalized, or with Ornstein-Uhlenbeck noise.
    They resume bit for bit on the machine that wrote them, and elsewhere with a warning."""
    path = GOLDEN / f"format2-{case}.npz"
    agent, policy = npr.load(path), npr.infer.load(path)
    assert agent.num_timesteps * 132 == agent.end * 77
    with np.load(path, allow_pickle=False) as file:
        for name, array in parameters(agent).items():
            assert array.tobytes() == file[f"params/{name}"].tobytes()
    seen = np.zeros((3, agent.observations.size))
    if agent.observations.kind == "box":
        np.testing.assert_array_equal(agent.act(seen), policy(seen))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResumeWarning)
        agent.learn()
    assert agent.num_timesteps == agent.end


@pytest.mark.parametrize("case", saved_in_format(1))
def test_files_of_format_1_are_read(case):
    path = GOLDEN / f"format1-{case}.npz"
    agent, policy = npr.load(path), npr.infer.load(path)
    assert (type(agent).__name__, agent.num_timesteps) == (CASES[case][0], BUDGET)
    with np.load(path, allow_pickle=False) as file:
        for name, array in parameters(agent).items():
            assert array.tobytes() == file[f"params/{name}"].tobytes()
        state = json.loads(file["manifest.json"])["rng"]["sample"]["state"]
    assert hex(agent.rng["sample"].bit_generator.state["state"]["state"]) == state
    assert policy.theta.tobytes() == agent.policy.theta.tobytes()
    assert agent.learn(BUDGET, reset_num_timesteps=False).num_timesteps == 2 * BUDGET
