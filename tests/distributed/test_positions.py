"""Where the actors are in their episodes after a run that has stopped anywhere. They are in this
process here, see LocalEngine."""

import random
import warnings

import numpy as np
import pytest
from support.agent_files import without_workers
from support.local_actors import LocalEngine
from support.processes import run
from support.small_agents import small_agent
from support.toy_envs import CountingEnv, RandomObservation

import npr
from npr.distributed import actors as module
from npr.errors import ConfigError, ResumeWarning


@pytest.fixture(autouse=True)
def local(monkeypatch):
    monkeypatch.setattr(module, "_new_engine", lambda name, *args: LocalEngine(*args))


def stop_at(step):
    return lambda agent: agent.num_timesteps < step


def test_a_position_where_some_actors_have_no_actions_of_a_box(tmp_path):
    """The episodes of one actor have just begun: it has no rows of actions, of no shape."""
    found = []
    for n_workers in (0, 3):
        agent = small_agent("PPO-Box", n_envs=3, n_workers=n_workers, max_episode_steps=3)
        agent.learn(100, callback=stop_at(9))
        found.append(without_workers(agent, tmp_path / "a.npz"))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("case", "lower"), [("PPO", {"n_steps": 4}), ("REINFORCE", {"n_episodes": 1})]
)
def test_rollouts_that_are_lowered_below_the_steps_at_hand(case, lower, tmp_path):
    found = []
    for n_workers in (0, 2):
        more = {"n_episodes": 6} if case == "REINFORCE" else {}
        agent = small_agent(case, n_envs=3, n_workers=n_workers, **more)
        agent.learn(100, callback=stop_at(36))
        vars(agent).update(lower)
        agent.learn(100, reset_num_timesteps=False)
        assert agent.n_updates > 0
        found.append(without_workers(agent, tmp_path / "a.npz"))
    assert found[0] == found[1]


def test_a_file_after_an_actor_was_replaced_has_its_position(tmp_path):
    agent = small_agent("PPO", n_envs=4, n_workers=2)
    agent.learn(64)
    agent.envs.actors._engine.lost.add(1)
    with pytest.warns(RuntimeWarning, match="actor 1 .* was lost"):
        agent.learn(100, reset_num_timesteps=False, callback=stop_at(90))
    agent.save(tmp_path / "a.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResumeWarning)
        npr.load(tmp_path / "a.npz", n_workers=0).learn(100, reset_num_timesteps=False)


def lose_actor(agent):
    agent.envs.actors._engine.lost.add(1)


@pytest.mark.parametrize(
    ("settings", "then"), [({}, lose_actor), ({"vectorization": "entry_point"}, lambda agent: None)]
)
def test_actors_that_cannot_go_back_begin_new_episodes(settings, then):
    agent = small_agent("PPO", n_envs=4, n_workers=2, **settings)
    agent.learn(1_000, callback=stop_at(90))
    agent.theta *= 0.5
    then(agent)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.learn(100, reset_num_timesteps=False)
    assert any("cannot go back" in str(one.message) for one in caught)
    assert agent.num_timesteps > 180


class Stop(Exception):
    pass


@pytest.mark.parametrize(("case", "saves"), [("PPO", False), ("REINFORCE", True)])
def test_a_run_that_stops_while_it_waits_can_go_on(case, saves, tmp_path):
    """With the bytes of one that did not stop: the answers that it had are collected again."""
    more = {"n_episodes": 7} if case == "REINFORCE" else {}

    def learn(stop_after):
        agent = small_agent(case, n_envs=4, n_workers=2, seed=1, **more)
        left = [stop_after]

        def before(i):
            left[0] -= 1
            if left[0] == 0:
                raise Stop

        agent.envs.actors._engine.before_receive = before
        try:
            agent.learn(200)
        except Stop:
            if saves:
                agent.save(tmp_path / "b.npz")
            agent.learn(200 - agent.num_timesteps, reset_num_timesteps=False)
        return left[0] <= 0, without_workers(agent, tmp_path / "a.npz")[1]

    _, expected = learn(0)
    stops = 0
    for k in range(1, 30):
        stopped, found = learn(k)
        assert {name for name in expected if found.get(name) != expected[name]} <= {"state/end"}
        stops += stopped
    assert stops >= 5


def test_a_position_that_one_actor_cannot_resume_is_dropped_by_all(tmp_path):
    """Then the new episodes are those of one process."""
    agent = small_agent("PPO", env=RandomObservation, n_envs=2)
    agent.learn(100, callback=stop_at(9))
    agent.envs.logs[1].seed = -2  # unknown
    agent.save(tmp_path / "a.npz")
    found = []
    for n_workers in (0, 2):
        agent = npr.load(tmp_path / "a.npz", env=RandomObservation, n_workers=n_workers)
        with pytest.warns(ResumeWarning, match="New episodes start"):
            agent.learn(100, reset_num_timesteps=False)
        found.append(without_workers(agent, tmp_path / "b.npz"))
    assert found[0] == found[1]


def test_random_runs_have_the_bytes_of_one_process(tmp_path):
    """Budgets, stops, saves, closed environments and other settings at random."""
    rng = random.Random(3)
    for _ in range(6):
        case = rng.choice(["PPO", "PPO-Box", "A2C", "REINFORCE"])
        n_envs, seed, n_workers = rng.randint(3, 6), rng.randrange(100), rng.randint(1, 3)
        normalize, calls = rng.random() < 0.5, []
        for _ in range(4):
            budget, last = rng.randint(1, 150), rng.randint(1, 40)
            calls.append((budget, rng.random() < 0.4, last, rng.random()))
        found = []
        for workers in (0, n_workers):
            agent = small_agent(
                case, n_envs=n_envs, seed=seed, n_workers=workers, normalize_obs=normalize,
                normalize_reward=normalize,
            )  # fmt: skip
            files = []
            for budget, reset, last, what in calls:
                left = [last]

                def stop(agent, left=left):
                    left[0] -= 1
                    return left[0] > 0

                agent.learn(budget, reset_num_timesteps=reset, callback=stop)
                files.append(without_workers(agent, tmp_path / "a.npz"))
                if what < 0.3:
                    agent.close()
                elif what < 0.6:
                    agent.theta *= np.float32(0.9)
            found.append(files)
        assert found[0] == found[1], (case, n_envs, seed, n_workers, calls)


class Failing(CountingEnv):
    """Its second step raises, or returns a number that is not finite, by turns of its copies."""

    made = 0

    def __init__(self):
        super().__init__()
        self.count, self.kind = 0, Failing.made % 2
        Failing.made += 1

    def step(self, action):
        self.count += 1
        observation, *others = super().step(action)
        if self.count == 2:
            if self.kind:
                raise ValueError("boom")
            observation[0] = np.nan
        return observation, *others


def test_episodes_that_are_dropped_in_one_step_have_the_numbers_of_one_process(tmp_path):
    found = []
    for n_workers in (0, 2):
        Failing.made = n_workers > 0  # the actors' first one is the second that is made
        agent = small_agent(
            "PPO", env=Failing, n_envs=4, n_workers=n_workers, nan_obs="terminate",
            on_env_error="reset",
        )  # fmt: skip
        with pytest.warns(RuntimeWarning, match="boom"):
            agent.learn(40)
        assert agent.envs.dropped == 4
        found.append(agent.envs.episode.tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("train_freq", "gradient_steps", "least"), [(1, 1, 6), (7, -1, 7), (3, 2, 4), (7, 2, 2)]
)
def test_the_lag_is_bounded_though_updates_come_at_once(train_freq, gradient_steps, least):
    settings = {"n_envs": 3, "train_freq": train_freq, "gradient_steps": gradient_steps}
    expected = small_agent("DQN", **settings).learn(200).n_updates
    for max_lag in (least, least + 1, 40):
        agent = small_agent("DQN", n_workers=2, max_lag=max_lag, **settings)
        lags = []

        def note(agent, lags=lags):
            lags.append(agent.n_updates - agent.envs._version)

        agent.learn(200, callback=note)
        assert 0 < max(lags) <= max_lag
        assert agent.n_updates == expected
    with pytest.raises(ConfigError, match=f"Use max_lag={least} or more"):
        small_agent("DQN", n_workers=2, max_lag=least - 1, **settings)


@pytest.mark.slow
def test_a_program_without_a_guard_and_with_a_wide_network_is_told(tmp_path):
    """What a process is made of does not fit into a pipe, and it ends before it has read it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import npr\n"
        "npr.PPO('CartPole-v1', n_workers=1, verbose=0, net_arch=[256, 256]).learn(100)\n"
    )
    result = run(script, seconds=120)
    assert result.returncode == 1
    assert 'put the call under `if __name__ == "__main__":`' in result.stderr
