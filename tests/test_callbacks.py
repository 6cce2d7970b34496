"""Callbacks of learn()."""

import os
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from support.small_agents import CASES, small_agent

import npr
from npr.callbacks import (
    Callback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
    StopTrainingOnTime,
)
from npr.errors import CheckpointWarning, ConfigError, ConfigWarning
from npr.files.evaluations import read_evaluations
from npr.training.evaluation import Evaluation

every_case = pytest.mark.parametrize("case", CASES)


class Recorder(Callback):
    """Notes the hooks that are called, and the env steps."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _note(self, hook):
        self.seen.append((hook, self.num_timesteps))

    def _init_callback(self):
        self._note("init")

    def _on_training_start(self):
        self._note("start")

    def _on_rollout_start(self):
        self._note("rollout")

    def _on_step(self):
        self._note("step")

    def _on_rollout_end(self):
        self._note("update")

    def _on_training_end(self):
        self._note("end")


# ---- hooks


def test_hooks_of_an_algorithm_that_learns_from_rollouts():
    recorder = Recorder()
    small_agent("PPO", n_envs=2, n_steps=3).learn(12, recorder)
    first = [("rollout", 0), ("step", 2), ("step", 4), ("update", 6), ("step", 6)]
    second = [(hook, t + 6) for hook, t in first]
    assert recorder.seen == [("init", 0), ("start", 0), *first, *second, ("end", 12)]
    assert recorder.n_calls == 6


def test_hooks_of_an_algorithm_with_replay():
    recorder = Recorder()
    small_agent("DQN", train_freq=2).learn(5, recorder)
    assert recorder.seen == [
        ("init", 0), ("start", 0), ("rollout", 0), ("step", 1), ("update", 2), ("step", 2),
        ("rollout", 2), ("step", 3), ("update", 4), ("step", 4), ("rollout", 4), ("step", 5),
        ("end", 5),
    ]  # fmt: skip


@every_case
def test_every_algorithm_calls_all_hooks_and_sees_its_steps(case):
    agent, recorder = small_agent(case), Recorder()
    agent.learn(60, [recorder, lambda agent: None])
    hooks = [hook for hook, _ in recorder.seen]
    assert {*hooks} == {"init", "start", "rollout", "step", "update", "end"}
    assert hooks.count("step") == recorder.n_calls == -(-agent.num_timesteps // agent.envs.n)
    assert recorder.model is agent and recorder.logger is agent.logger
    assert recorder.training_env is agent.envs and isinstance(recorder.parent, CallbackList)
    assert recorder.locals["rewards"].shape == recorder.locals["dones"].shape == (agent.envs.n,)
    assert len(recorder.locals["obs"]) == len(recorder.locals["actions"]) == agent.envs.n


def test_any_callback_of_a_list_stops_the_run_and_all_are_called():
    calls = []
    agent = small_agent("DQN").learn(
        60, [lambda agent: agent.num_timesteps < 7, lambda agent: calls.append(1), [Recorder()]]
    )
    assert agent.num_timesteps == len(calls) == 7


def test_a_callback_can_add_values_to_the_log(tmp_path):
    class Custom(Callback):
        def _on_step(self):
            self.logger.record("my/steps", self.num_timesteps)
            self.logger.record_mean("my/mean", self.num_timesteps)

    small_agent("DQN").learn(20, Custom(), log="csv", log_dir=tmp_path)
    header, *rows = (tmp_path / "progress.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(",")))
    assert last["my/steps"] == "20"


def test_a_call_at_multiples_of_env_steps():
    seen = []
    agent = small_agent("DQN", n_envs=3)
    agent.learn(31, EveryNTimesteps(10, lambda agent: seen.append(agent.num_timesteps)))
    assert seen == [12, 21, 30]
    agent.learn(10, EveryNTimesteps(10, lambda agent: seen.append(agent.num_timesteps)),
                reset_num_timesteps=False)  # fmt: skip
    assert seen == [12, 21, 30, 42], "the multiples are those of the whole run"
    stop = EveryNTimesteps(10, lambda agent: False)
    assert small_agent("DQN").learn(30, stop).num_timesteps == 10


def test_a_run_with_callbacks_ends_them_when_a_signal_stops_it():
    import signal

    recorder = Recorder()
    agent = small_agent("DQN")
    with pytest.raises(KeyboardInterrupt):
        agent.learn(60, [recorder, lambda agent: agent.num_timesteps != 7
                         or signal.raise_signal(signal.SIGINT)])  # fmt: skip
    assert recorder.seen[-1] == ("end", 7)


@pytest.mark.parametrize("result, steps", [(False, 1), (np.False_, 1), (None, 9), (0, 9)])
def test_false_of_any_kind_stops_a_run_and_nothing_else_does(result, steps):
    class Returns(Callback):
        def _on_step(self):
            return result

    for callback in (Returns(), lambda agent: result):
        assert small_agent("DQN").learn(9, callback).num_timesteps == steps


def test_a_callback_that_fails_when_a_signal_stops_the_run_does_not_keep_the_agent_from_its_file():
    import signal

    class Fails(Callback):
        def _on_training_end(self):
            raise ValueError("half a plot")

    agent = small_agent("DQN")
    callbacks = [Fails(), lambda agent: agent.num_timesteps != 7 or signal.raise_signal(2)]
    with (
        pytest.warns(ConfigWarning, match="failed at the end of the run: ValueError: half a plot"),
        pytest.raises(KeyboardInterrupt),
    ):
        agent.learn(60, callbacks, save_path="a.npz")
    assert npr.load("a.npz").num_timesteps == 7


def test_the_callbacks_of_an_evaluation_are_told_of_the_start_and_the_end():
    best, after = Recorder(), Recorder()
    callback = EvalCallback(None, best, after, n_eval_episodes=1, eval_freq=10, verbose=0)
    small_agent("DQN").learn(20, callback)
    for recorder in (best, after):
        hooks = [hook for hook, _ in recorder.seen if hook in ("init", "start", "end")]
        assert hooks == ["init", "start", "end"]
    assert best.parent is after.parent is callback


# ---- evaluation


def learn_with_evaluation(tmp_path, case="DQN", budget=90, freq=30, **settings):
    callback = EvalCallback(
        n_eval_episodes=2, eval_freq=freq, log_path=tmp_path, best_model_save_path=tmp_path,
        verbose=0,
    )  # fmt: skip
    return small_agent(case, **settings).learn(budget, callback), callback


@every_case
def test_evaluating_changes_no_bit_of_the_run(case, tmp_path):
    agent, callback = learn_with_evaluation(tmp_path, case, max_episode_steps=20)
    assert len(callback.evaluations_timesteps) == 3
    agent.save("evaluated.npz")
    small_agent(case, max_episode_steps=20).learn(90).save("alone.npz")
    with open("evaluated.npz", "rb") as one, open("alone.npz", "rb") as other:
        assert one.read() == other.read()


def test_evaluations_are_written_with_the_names_of_stable_baselines3(tmp_path):
    agent, callback = learn_with_evaluation(tmp_path, n_envs=4)
    held = read_evaluations(tmp_path / "evaluations.npz")
    assert held["timesteps"].tolist() == [32, 60, 92] == callback.evaluations_timesteps
    assert held["results"].tolist() == callback.evaluations_results
    assert held["ep_lengths"].tolist() == callback.evaluations_length
    assert held["results"].shape == held["ep_lengths"].shape == (3, 2)
    assert held["results"].dtype == np.float64 and "successes" not in held
    with np.load(tmp_path / "evaluations.npz") as file:  # as plotting tools read it
        assert sorted(file) == sorted(held)
    means = held["results"].mean(axis=1)
    assert callback.last_mean_reward == means[-1] and callback.best_mean_reward == means.max()
    assert agent.num_timesteps == 92


def test_the_best_model_is_the_one_with_the_best_mean_return(tmp_path):
    _, callback = learn_with_evaluation(tmp_path, budget=300, seed=3)
    best = npr.load(tmp_path / "best_model.npz")
    means = np.mean(callback.evaluations_results, axis=1)
    assert best.num_timesteps == callback.evaluations_timesteps[int(means.argmax())]


def test_a_file_name_is_taken_for_the_best_model(tmp_path):
    callback = EvalCallback(
        n_eval_episodes=1, eval_freq=30, best_model_save_path=tmp_path / "new" / "best.npz"
    )
    small_agent("DQN").learn(30, callback)
    assert os.listdir(tmp_path / "new") == ["best.npz"]


def test_a_resumed_run_has_the_evaluations_of_a_run_that_was_not_cut(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn_with_evaluation(whole, budget=120)
    agent = small_agent("DQN")
    make = lambda: EvalCallback(n_eval_episodes=2, eval_freq=30, log_path=cut,  # noqa: E731
                                best_model_save_path=cut, verbose=0)  # fmt: skip

    def saves(agent):
        if agent.num_timesteps == 70:
            agent.save(tmp_path / "latest.npz")

    agent.learn(120, [make(), saves])  # evaluations at 90 and 120 are of a future that is lost
    agent = npr.load(tmp_path / "latest.npz")
    agent.learn(callback=make())
    for name in ("evaluations.npz", "best_model.npz"):
        assert Path(whole / name).read_bytes() == Path(cut / name).read_bytes()


def test_a_seed_gives_every_evaluation_the_same_episodes(tmp_path):
    for seed, distinct in ((7, 1), (None, 3)):
        callback = EvalCallback(n_eval_episodes=4, eval_freq=10, seed=seed, verbose=0)
        small_agent("DQN", learning_starts=1_000).learn(30, callback)
        assert len({tuple(row) for row in callback.evaluations_results}) == distinct


def test_evaluation_in_another_environment():
    env = gymnasium.make("CartPole-v1", max_episode_steps=5)
    callback = EvalCallback(env, n_eval_episodes=2, eval_freq=30, verbose=0)
    small_agent("DQN").learn(30, callback)
    assert callback.evaluations_length == [[5, 5]]


def test_results_are_in_the_log_and_printed(tmp_path, capsys):
    callback = EvalCallback(n_eval_episodes=2, eval_freq=30)
    small_agent("DQN").learn(60, callback, log="jsonl", log_dir=tmp_path)
    text = (tmp_path / "progress.jsonl").read_text()
    assert text.count('"eval/mean_reward"') == text.count('"eval/mean_ep_length"') == 2
    assert capsys.readouterr().out.count("30 steps: mean return ") == 1


def test_the_success_rate_of_an_evaluation_is_written(tmp_path):
    class Fortunate(CartPoleEnv):
        def step(self, action):
            *result, _ = super().step(action)
            return *result, {"is_success": True}

    _, callback = learn_with_evaluation(tmp_path, env=Fortunate)
    assert callback.evaluations_successes == [[True, True]] * 3
    assert read_evaluations(tmp_path / "evaluations.npz")["successes"].all()


def test_a_full_disk_does_not_stop_a_run_that_is_evaluated(tmp_path, monkeypatch):
    import npr.callbacks

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npr.callbacks, "write_evaluations", full)
    with pytest.warns(CheckpointWarning, match=r"evaluations.npz could not be written .*space"):
        agent, callback = learn_with_evaluation(tmp_path)
    assert agent.num_timesteps == 90 and len(callback.evaluations_timesteps) == 3


def test_a_damaged_file_of_evaluations_is_reported(tmp_path):
    agent, _ = learn_with_evaluation(tmp_path)
    (tmp_path / "evaluations.npz").write_bytes(b"PK")
    callback = EvalCallback(n_eval_episodes=1, eval_freq=30, log_path=tmp_path, verbose=0)
    with pytest.warns(ConfigWarning, match=r"evaluations anew, .*evaluations.npz is not "):
        agent.learn(30, callback, reset_num_timesteps=False)
    assert len(callback.evaluations_timesteps) == 1


@pytest.mark.parametrize("number", [3, 1])
def test_a_run_with_another_number_of_episodes_begins_its_evaluations_anew(tmp_path, number):
    agent, _ = learn_with_evaluation(tmp_path)
    callback = EvalCallback(n_eval_episodes=number, eval_freq=30, log_path=tmp_path, verbose=0)
    with pytest.warns(ConfigWarning, match="begins its evaluations anew, .* has 2 episodes per"):
        agent.learn(60, callback, reset_num_timesteps=False)
    assert read_evaluations(tmp_path / "evaluations.npz")["results"].shape == (2, number)


@pytest.mark.parametrize("how", ["given", "function", "vector"])
def test_an_environment_that_the_agent_learns_in_is_refused(how):
    if how == "vector":
        env = gymnasium.vector.SyncVectorEnv([CartPoleEnv, CartPoleEnv],
                                             autoreset_mode="SameStep")  # fmt: skip
    else:
        env = gymnasium.make("CartPole-v1")
    agent = small_agent("DQN", env=(lambda: env) if how == "function" else env)
    callback = EvalCallback(None if how == "function" else env, eval_freq=10)
    with pytest.raises(ConfigError, match="an environment that the agent learns in"):
        agent.learn(60, callback)
    assert agent.num_timesteps == 0


def test_arguments_of_stable_baselines3_are_accepted_where_they_do_no_harm(tmp_path):
    EvalCallback(None, log_path=str(tmp_path), eval_freq=500, deterministic=True, render=False,
                 warn=False)  # fmt: skip
    CheckpointCallback(500, tmp_path, save_replay_buffer=True, save_vecnormalize=True)
    with pytest.raises(ConfigError, match="EvalCallback does not render; use RecordVideo"):
        EvalCallback(render=True)


def test_a_line_of_a_callback_is_not_joined_to_the_progress_line(monkeypatch, capsys):
    class Terminal:
        encoding = "utf-8"

        def isatty(self):
            return True

        def write(self, text):
            print(text, end="")

        def flush(self):
            pass

    monkeypatch.setattr("sys.stderr", Terminal())
    for name in ("DELAY", "INTERVAL"):
        monkeypatch.setattr(f"npr.training.progress.{name}", 0.0)
    callback = EvalCallback(n_eval_episodes=1, eval_freq=10)
    small_agent("DQN", max_episode_steps=5).learn(40, callback, progress_bar=True)
    text = capsys.readouterr().out
    assert text.count(" steps/s") == 41
    assert re.findall(r"(.)\d0 steps: mean return", text, re.DOTALL) == 4 * ["\r"]


# ---- stopping


def evaluations(*means):
    """Lets an agent's evaluations have these mean returns."""
    left = list(means)

    def evaluate(*_, **__):
        return Evaluation(np.full(2, left.pop(0), np.float64), np.array([1, 1]))

    return evaluate


def stops_at(callback, *means, case="DQN"):
    agent = small_agent(case)
    vars(agent)["evaluate"] = evaluations(*means)
    agent.learn(10 * len(means), callback)
    return agent.num_timesteps


def test_stop_at_a_return(capsys):
    stop = StopTrainingOnRewardThreshold(20)
    assert stops_at(EvalCallback(callback_on_new_best=stop, eval_freq=10), 5, 10, 20, 30) == 30
    assert "stopping, since the mean return 20.00 has reached the threshold 20" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "most, first, means, step",
    [
        (1, 0, [5, 4, 4, 9], 30),
        (1, 0, [5, 4, 6, 4, 9], 50),
        (1, 3, [5, 4, 4, 4, 4, 9], 50),
        (2, 0, [5, 4, 4, 4], 40),
    ],
)
def test_stop_without_improvement(most, first, means, step):
    stop = StopTrainingOnNoModelImprovement(most, first, verbose=0)
    callback = EvalCallback(callback_after_eval=[stop], eval_freq=10, verbose=0)
    assert stops_at(callback, *means) == step


@pytest.mark.parametrize(
    "callback", [StopTrainingOnRewardThreshold(1), StopTrainingOnNoModelImprovement(1)]
)
def test_callbacks_of_evaluations_alone_are_refused(callback):
    with pytest.raises(ConfigError, match="needs evaluations: pass it to an EvalCallback"):
        small_agent("DQN").learn(10, callback)


def test_stop_after_episodes():
    agent = small_agent("DQN", max_episode_steps=5)
    agent.learn(60, StopTrainingOnMaxEpisodes(3))
    assert agent.num_timesteps == 15
    agent.learn(60, StopTrainingOnMaxEpisodes(2), reset_num_timesteps=False)
    assert agent.num_timesteps == 25
    pair = small_agent("DQN", n_envs=2, max_episode_steps=5)
    assert pair.learn(60, StopTrainingOnMaxEpisodes(2, verbose=0)).num_timesteps == 20


def test_stop_after_seconds(monkeypatch, capsys):
    now = iter(range(100))
    monkeypatch.setattr(npr.callbacks.time, "monotonic", lambda: next(now))
    assert small_agent("DQN").learn(60, StopTrainingOnTime(4)).num_timesteps == 4
    assert "4 steps: stopping after 4 seconds" in capsys.readouterr().out


# ---- files


def test_checkpoints_are_kept_as_asked(tmp_path):
    callback = CheckpointCallback(20, tmp_path / "new", keep=2, latest="latest.npz")
    agent = small_agent("DQN", n_envs=3).learn(101, callback)
    names = sorted(os.listdir(tmp_path / "new"))
    assert names == ["latest.npz", "rl_model_102_steps.npz", "rl_model_81_steps.npz"]
    assert npr.load(tmp_path / "new" / "latest.npz").num_timesteps == 102
    agent.learn(30, CheckpointCallback(20, tmp_path / "new", "rl_model"), reset_num_timesteps=False)
    assert len(os.listdir(tmp_path / "new")) == 4, "without keep all are kept"


def test_other_files_of_a_folder_are_not_removed(tmp_path):
    for name in ("rl_model_x_steps.npz", "other_5_steps.npz", "rl_model_9_steps.txt"):
        (tmp_path / name).touch()
    small_agent("DQN").learn(60, CheckpointCallback(10, tmp_path, keep=1))
    assert len(os.listdir(tmp_path)) == 4


def test_the_latest_checkpoint_continues_to_the_bit(tmp_path):
    small_agent("PPO").learn(200, CheckpointCallback(70, tmp_path, latest="latest.npz"))
    agent = npr.load(tmp_path / "latest.npz")
    assert agent.num_timesteps == 140
    agent.learn()
    agent.save("resumed.npz")
    small_agent("PPO").learn(200).save("whole.npz")
    assert Path("resumed.npz").read_bytes() == Path("whole.npz").read_bytes()


def test_a_checkpoint_that_cannot_be_written_keeps_the_earlier_ones(tmp_path, monkeypatch):
    from npr.files import checkpoint

    original = checkpoint.save

    def full(agent, *others, **named):
        if agent.num_timesteps > 20:
            raise OSError(28, "No space left on device")
        original(agent, *others, **named)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.warns(CheckpointWarning, match="could not be saved .*No space left"):
        small_agent("DQN").learn(60, CheckpointCallback(10, tmp_path, keep=1, latest="l.npz"))
    assert sorted(os.listdir(tmp_path)) == ["l.npz", "rl_model_20_steps.npz"]
    assert npr.load(tmp_path / "l.npz").num_timesteps == 20


def test_where_there_are_no_hard_links_the_latest_file_is_a_copy(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(npr.callbacks.os, "link", unsupported)
    small_agent("DQN").learn(10, CheckpointCallback(10, tmp_path, latest="latest.npz"))
    one, other = tmp_path / "latest.npz", tmp_path / "rl_model_10_steps.npz"
    assert one.read_bytes() == other.read_bytes() and not one.samefile(other)


def test_files_of_a_longer_run_in_the_folder_are_left_alone(tmp_path):
    small_agent("DQN").learn(80, CheckpointCallback(40, tmp_path))
    small_agent("DQN").learn(30, CheckpointCallback(10, tmp_path, keep=2))
    assert sorted(os.listdir(tmp_path)) == [f"rl_model_{n}_steps.npz" for n in (20, 30, 40, 80)]


def test_a_disk_that_is_full_for_the_latest_file_does_not_stop_a_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npr.callbacks.os, "link", full)
    monkeypatch.setattr(npr.callbacks.shutil, "copyfile", full)
    with pytest.warns(CheckpointWarning, match="was saved, but the other checkpoints .*No space"):
        agent = small_agent("DQN").learn(20, CheckpointCallback(20, tmp_path, latest="l.npz"))
    assert agent.num_timesteps == 20 and os.listdir(tmp_path) == ["rl_model_20_steps.npz"]


def test_an_environment_of_a_wrong_type_is_refused():
    with pytest.raises(ConfigError, match="An environment must be an id, .* got 3"):
        small_agent("DQN").learn(20, EvalCallback(3))


# ---- arguments


@pytest.mark.parametrize(
    "make, match",
    [
        (
            lambda: EvalCallback(eval_freq=0),
            "eval_freq must be a whole .* of at least 1, got 0",
        ),
        (lambda: EvalCallback(n_eval_episodes=1.5), "n_eval_episodes must be"),
        (lambda: CheckpointCallback(-1, "."), "save_freq must be"),
        (lambda: CheckpointCallback(1, ".", keep=0), "keep must be"),
        (lambda: EveryNTimesteps("2", print), "n_steps must be"),
        (lambda: StopTrainingOnMaxEpisodes(True), "max_episodes must be"),
        (lambda: CallbackList([3]), "callback must be a function .* or a list of these; got 3"),
        (lambda: EvalCallback(callback_after_eval="x"), "callback must be a function .* got 'x'"),
    ],
)
def test_invalid_arguments_are_refused(make, match):
    with pytest.raises(ConfigError, match=match):
        make()


def test_callbacks_have_a_short_repr():
    callbacks = CallbackList([Recorder(), print])
    assert repr(callbacks) == (
        "CallbackList([Recorder(), FunctionCallback(<built-in function print>)])"
    )


# ---- tqdm


def test_the_bar_shows_the_steps(capsys):
    pytest.importorskip("tqdm")
    small_agent("DQN", n_envs=2).learn(41, ProgressBarCallback(), progress_bar=False)
    assert "DQN: 42step" in capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]


def test_the_bar_needs_tqdm(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ConfigError, match=r"needs tqdm: pip install 'npr-rl\[progress\]'"):
        ProgressBarCallback()
