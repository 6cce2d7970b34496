"""Exact resume: a run that is saved in its middle, loaded and continued is the run that never
stopped, to the last bit. Weights, targets, optimisers, replay, generators, episodes and the next
actions are compared, by comparing whole files.
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
from support.proof_size import FULL
from support.small_agents import BUDGET, CASES, parameters, small_agent, trained
from support.toy_envs import CountingEnv, RandomObservation

import npr
from npr import ResumeWarning
from npr.envs.episode_log import EpisodeLog
from npr.files import checkpoint
from npr.files.archive import read_archive, write_archive
from npr.files.generators import generator_state, set_generator_state


class Cut(Exception):
    """What ends a run at its cut point: the program is gone, the file is there."""


def cut_at(step, path):
    """A callback that saves at the first step from `step` on, and ends the run."""

    def callback(agent):
        if agent.num_timesteps >= step:
            agent.save(path)
            raise Cut

    return callback


CUTS = (13, 40, "episode", 77, 91)
TOTAL = 132  # env steps of one environment; four of them take four times as many
CELLS = [(case, n, cut) for case in CASES for n in (1, 4) for cut in CUTS]
NORMALISED = [(case, n, cut) for case in CASES for n in (1, 4) for cut in (40, 77)]


def chosen(cells):
    """A third of the cells, every case and number of environments among them; all under
    `make prove`."""
    if FULL:
        return cells
    order = list(CASES)
    return [
        (case, n, cut)
        for case, n, cut in cells
        if (order.index(case) + (n > 1) + CUTS.index(cut)) % 3 == 0
    ]


def settings_of(case, n_envs, normalize):
    given = {"n_envs": n_envs}
    for name in ("learning_starts", "buffer_size"):  # so that the cuts mean the same for four
        if name in CASES[case][2]:
            given[name] = CASES[case][2][name] * n_envs
    if normalize:
        table = case in ("QLearning", "Sarsa")
        given |= {"normalize_obs": not table, "normalize_reward": True}
    return given


def next_actions(agent, n=500):
    """What reaches the environments in the next n steps, as bytes; the agent goes on learning."""
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
    """The run that never stopped: its file, its next actions, and the steps at which an episode
    had just ended."""
    agent, ends = small_agent(case, **settings_of(case, n_envs, normalize)), []

    def watch(agent):
        if agent.envs.finished:
            ends.append(agent.num_timesteps)

    agent.learn(TOTAL * n_envs, callback=watch)
    with tempfile.TemporaryDirectory() as folder:
        file = content(agent, Path(folder) / "whole.npz")
    return file, next_actions(agent), ends


def resumed(case, n_envs, cut, normalize, path):
    """The same run, cut off, loaded from its file and continued."""
    *_, ends = uninterrupted(case, n_envs, normalize)
    if cut == "episode":
        cut = next((end for end in ends if end > 30 * n_envs), 50 * n_envs)
    else:
        cut *= n_envs
    with pytest.raises(Cut):
        small_agent(case, **settings_of(case, n_envs, normalize)).learn(
            TOTAL * n_envs, callback=cut_at(cut, path)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResumeWarning)
        loaded = npr.load(path)
        assert cut <= loaded.num_timesteps < TOTAL * n_envs
        return loaded.learn()  # the rest of its budget


def assert_never_stopped(case, n_envs, cut, normalize, folder):
    whole, actions, _ = uninterrupted(case, n_envs, normalize)
    agent = resumed(case, n_envs, cut, normalize, folder / "cut.npz")
    manifest, arrays, file = content(agent, folder / "end.npz")
    assert manifest | {"sha256": {}} == whole[0] | {"sha256": {}}
    assert arrays.keys() == whole[1].keys()
    assert [name for name in arrays if arrays[name].tobytes() != whole[1][name].tobytes()] == []
    assert file == whole[2]
    assert next_actions(agent) == actions


@pytest.mark.parametrize("case, n_envs, cut", chosen(CELLS))
def test_a_run_that_was_cut_is_the_run_that_never_stopped(case, n_envs, cut, tmp_path):
    assert_never_stopped(case, n_envs, cut, False, tmp_path)


@pytest.mark.parametrize("case, n_envs, cut", chosen(NORMALISED))
def test_normalised_runs_resume_exactly_too(case, n_envs, cut, tmp_path):
    assert_never_stopped(case, n_envs, cut, True, tmp_path)


def test_a_third_of_the_cells_is_sampled_with_three_cuts_of_every_case():
    cells = chosen(CELLS)
    assert {(case, n) for case, n, _ in cells} == {(case, n) for case in CASES for n in (1, 4)}
    assert FULL or len(cells) == len(CELLS) / 3
    for case in CASES:
        assert len({cut for one, _, cut in cells if one == case}) >= 3


@pytest.mark.parametrize("n_envs", [1, 4])
def test_the_cuts_are_where_they_are_meant_to_be(n_envs, tmp_path):
    """In the warm-up, mid-episode with a replay that is not full, just after an episode's end, in
    the middle of n steps, after the replay has wrapped."""
    states = {}
    for cut in CUTS:
        *_, ends = uninterrupted("DQN-n", n_envs, False)
        step = next(end for end in ends if end > 30 * n_envs) if cut == "episode" else cut * n_envs
        with pytest.raises(Cut):
            small_agent("DQN-n", **settings_of("DQN-n", n_envs, False)).learn(
                TOTAL * n_envs, callback=cut_at(step, tmp_path / "a.npz")
            )
        states[cut] = npr.load(tmp_path / "a.npz")
    assert states[13].n_updates == 0 < states[40].n_updates
    for cut in (13, 40):
        assert states[cut].buffer.size == cut * n_envs < states[cut].buffer.capacity
    assert all(states[40]._position["lengths"] > 0)
    assert any(states["episode"]._position["lengths"] == 0)
    assert len(states[77].buffer._newest) == n_envs
    for cut in (77, 91):
        assert states[cut].buffer.size == states[cut].buffer.capacity


@pytest.mark.parametrize("case", ["Sarsa", "PERDQN", "PPO-Box", "SAC"])
def test_a_run_is_resumed_exactly_in_another_process(case, tmp_path):
    whole, *_ = uninterrupted(case, 1, False)
    with pytest.raises(Cut):
        small_agent(case).learn(TOTAL, callback=cut_at(77, tmp_path / "cut.npz"))
    program = "import npr; npr.load('cut.npz').learn().save('end.npz')"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    assert (tmp_path / "end.npz").read_bytes() == whole[2]


@pytest.mark.parametrize("case", ["QLearning", "DQN-n", "REINFORCE", "DDPG"])
def test_saving_on_the_way_changes_nothing(case, tmp_path):
    agent = small_agent(case).learn(TOTAL, save_path=tmp_path / "a.npz", save_freq=17)
    assert content(agent, tmp_path / "b.npz")[2] == uninterrupted(case, 1, False)[0][2]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("case", ["Sarsa", "DQN", "REINFORCE", "PPO", "DDPG"])
def test_closed_environments_are_opened_where_they_were(case, tmp_path):
    whole, closed = (small_agent(case).learn(50) for _ in range(2))
    closed.close()
    for agent in (whole, closed):
        agent.learn(50, reset_num_timesteps=False)
    assert content(whole, tmp_path / "a.npz")[2] == content(closed, tmp_path / "b.npz")[2]


@pytest.mark.parametrize("case", ["QLearning", "DQN", "PPO", "SAC"])
def test_an_agent_that_was_saved_before_its_first_step_begins_as_it_would_have(case, tmp_path):
    small_agent(case).save(tmp_path / "a.npz")
    loaded = npr.load(tmp_path / "a.npz").learn(BUDGET)
    assert content(loaded, tmp_path / "b.npz")[2] == content(trained(case), tmp_path / "c.npz")[2]


def test_a_noise_that_wanders_is_resumed(tmp_path):
    def ou():
        return small_agent("DDPG", action_noise="ou")

    with pytest.raises(Cut):
        ou().learn(100, callback=cut_at(60, tmp_path / "a.npz"))
    loaded, whole = npr.load(tmp_path / "a.npz").learn(), ou().learn(100)
    assert content(loaded, tmp_path / "b.npz")[2] == content(whole, tmp_path / "c.npz")[2]
    assert loaded.disturbance.x.any()


# ---- what learn() does with an unfinished file


def test_a_run_that_was_cut_goes_on_counting_and_a_finished_one_starts_anew(tmp_path):
    with pytest.raises(Cut):
        small_agent("DQN").learn(100, callback=cut_at(60, tmp_path / "a.npz"))
    loaded = npr.load(tmp_path / "a.npz")
    assert loaded.learn(10).num_timesteps == 70
    assert loaded.learn(10).num_timesteps == 10, "only the first run of a loaded agent"
    trained("DQN").save(tmp_path / "b.npz")
    assert npr.load(tmp_path / "b.npz").learn(10).num_timesteps == 10


# ---- environments that cannot be brought back


class Secretive(RandomObservation):
    """Draws from a generator that nobody knows of."""

    def __init__(self):
        super().__init__()
        self.secret = np.random.default_rng()

    def _observe(self):
        return self.secret.random(2, np.float32)


def fails_to_resume(env, path, **settings):
    with pytest.raises(Cut):
        small_agent("DQN", env=env(), **settings).learn(100, callback=cut_at(61, path))
    loaded = npr.load(path, env=env())
    with pytest.warns(ResumeWarning) as caught:
        loaded.learn()
    assert loaded.num_timesteps in (100, 101)  # two environments step together
    (warning,) = [one for one in caught if one.category is ResumeWarning]
    text = str(warning.message)
    assert text.startswith("DQN cannot go on in the middle of its episodes: ")
    assert text.endswith("They begin anew; everything that was learnt is as it was saved."), text
    return loaded, text


def test_an_environment_with_randomness_of_its_own_begins_anew_with_a_warning(tmp_path):
    _, text = fails_to_resume(Secretive, tmp_path / "a.npz")
    assert "uses randomness or memory besides np_random" in text


def test_an_environment_that_remembers_earlier_episodes_begins_anew_with_a_warning(tmp_path):
    """Its observations tell the number of the episode, and a new one has seen none."""
    _, text = fails_to_resume(lambda: CountingEnv(plan=((4, "truncated"),)), tmp_path / "a.npz")
    assert "uses randomness or memory besides np_random" in text


def test_a_vector_environment_begins_anew_with_a_warning(tmp_path):
    def env():
        return gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")

    _, text = fails_to_resume(env, tmp_path / "a.npz")
    assert "a VectorEnv and of worker processes (env_timeout) cannot be read" in text
    loaded = npr.load(tmp_path / "a.npz")  # in two environments of its own
    with pytest.warns(ResumeWarning, match="cannot be read, so their episodes cannot be repeated"):
        loaded.learn()


def test_another_number_of_environments_begins_anew_with_a_warning(tmp_path):
    with pytest.raises(Cut):
        small_agent("PPO", n_envs=2, normalize_reward=True, max_episode_steps=None).learn(
            200, callback=cut_at(70, tmp_path / "a.npz")
        )
    env = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    with pytest.warns(ResumeWarning, match="it had 2 environments, now there are 3"):
        assert npr.load(tmp_path / "a.npz", env=env).learn().num_timesteps >= 200


class Breaking(RandomObservation):
    """Raises when it is played again."""

    broken = False

    def step(self, action):
        if self.broken:
            raise OSError("the robot is gone")
        return super().step(action)


def test_an_environment_that_raises_when_played_again_begins_anew_with_a_warning(tmp_path):
    with pytest.raises(Cut):
        small_agent("DQN", env=Breaking()).learn(100, callback=cut_at(62, tmp_path / "a.npz"))
    env = Breaking()
    env.broken = True
    loaded = npr.load(tmp_path / "a.npz", env=env)
    with pytest.warns(ResumeWarning, match="playing them again ended with OSError"), \
            pytest.raises(Exception, match="the robot is gone"):  # fmt: skip
        loaded.learn()


def test_steps_before_a_fresh_episode_are_not_joined_to_it(tmp_path):
    """Half a rollout was collected in an episode that cannot be brought back."""
    with pytest.raises(Cut):
        small_agent("PPO", env=Secretive()).learn(100, callback=cut_at(59, tmp_path / "a.npz"))
    loaded = npr.load(tmp_path / "a.npz", env=Secretive())
    assert len(loaded.steps) == 59 % 16
    seen = []
    loaded.update = lambda *batch: seen.append(len(batch[0])) or {}
    with pytest.warns(ResumeWarning):
        loaded.learn(16)
    assert sum(seen) == 2 * 16, "two epochs over sixteen new steps"


@pytest.mark.parametrize("name", ["numpy", "numba", "machine", "backend", "threads of BLAS"])
def test_another_machine_goes_on_with_a_warning_that_names_what_changed(
    name, tmp_path, monkeypatch
):
    with pytest.raises(Cut):
        small_agent("DQN").learn(100, callback=cut_at(61, tmp_path / "a.npz"))
    loaded = npr.load(tmp_path / "a.npz")
    here = {**checkpoint.made_with(), name: "something else"}
    monkeypatch.setattr(checkpoint, "made_with", lambda: here)
    with pytest.warns(ResumeWarning, match=f"not to the last bit: {name} was .*something else"):
        loaded.learn()


# ---- files with true checksums, whose account of the run is nonsense


def nonsense(array):
    """Other contents for an array of a file: shapes, types and numbers that it cannot have."""
    huge = 10**15 if array.dtype.kind in "iu" else 1
    yield array[:0] if array.ndim else array.astype(np.int8)
    yield np.zeros((3, 3))
    yield np.full(array.shape, huge)
    yield np.zeros(array.shape, np.float32)
    yield -np.ones(array.shape, np.int64)
    yield np.full(array.shape, np.nan)
    yield np.full(array.shape, huge, array.dtype)


@pytest.mark.parametrize("case", CASES if FULL else ["Sarsa", "DQN-n", "PPO", "DDPG"])
def test_a_nonsensical_account_of_a_run_is_refused_or_begins_anew(case, tmp_path):
    path, strange = tmp_path / "a.npz", tmp_path / "b.npz"
    noise = {"action_noise": "ou"} if case == "DDPG" else {}
    with pytest.raises(Cut):
        small_agent(case, **settings_of(case, 1, True), **noise).learn(
            TOTAL, callback=cut_at(77, path)
        )
    manifest, arrays = read_archive(path)
    del manifest["format"], manifest["npr"]
    outcomes = []
    for name in [name for name in arrays if name.startswith(("state/", "rng/", "buffer/"))]:
        for other in nonsense(arrays[name]):
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


def test_a_generator_goes_on_where_it_was():
    rng = np.random.default_rng(5)
    rng.random(3), rng.integers(10, dtype=np.int32)  # half a word is left over
    words, other = generator_state(rng), np.random.default_rng(0)
    set_generator_state(other, words)
    assert other.bit_generator.state == rng.bit_generator.state
    assert generator_state(np.random.Generator(np.random.MT19937(0))) is None


def test_an_episode_that_began_with_another_kind_of_generator_is_not_replayed():
    env = RandomObservation()
    env.np_random = np.random.Generator(np.random.MT19937(0))
    log = EpisodeLog(env)
    log.begin(None)
    assert log.replay(log.seed, log.start, []) is None


@pytest.mark.parametrize("case", CASES)
def test_files_of_format_2_are_read_for_ever(case):
    """In the middle of a run, some of four environments, normalised, or with noise that wanders.
    They resume to the bit where they were made; elsewhere with a warning that says so."""
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


@pytest.mark.parametrize("case", CASES)
def test_files_of_format_1_are_read_for_ever(case):
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
