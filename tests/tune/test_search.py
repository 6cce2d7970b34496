"""The search: trials, pruning, failures, resumption, sharing, and the choice among the best."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time

import gymnasium
import numpy as np
import pytest

import npr
from npr import ConfigError, NprError, NumericsError
from npr.tune import search as search_module
from npr.tune import trials as trials_module
from npr.tune import tune
from npr.tune.trials import Objective, evaluations, final

optuna = pytest.importorskip("optuna")

SPACE = {"gamma": ("float", 0.0, 1.0)}
SMALL = {
    "total_timesteps": 30, "seeds": 2, "eval_freq": 10, "eval_episodes": 1, "max_episode_steps": 5,
    "space": SPACE, "seed": 0, "storage": "study.log",
}  # fmt: skip


def small(algorithm="QLearning", env="CliffWalking-v1", **options):
    return tune(algorithm, env, **{**SMALL, "trials": 3, "top": 1, **options})


def load(name="QLearning CliffWalking-v1", path="study.log"):
    backend = optuna.storages.journal.JournalFileBackend(path)
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=name, storage=storage)


def states(study):
    return [trial.state.name for trial in study.get_trials()]


class Line(gymnasium.Env):
    """Episodes of five steps; the return is the number that `score` gives to the agent."""

    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return 0, {}

    def step(self, action):
        self.t += 1
        return 0, 0.0, False, self.t == 5, {}


@pytest.fixture
def scored(monkeypatch):
    """scored(f) replaces the mean return of evaluations by f(agent)."""

    def scored(score):
        def evaluate(self, episodes, seed):
            mean = float(score(self))
            return type("Evaluation", (), {"mean": mean})

        monkeypatch.setattr(npr.QLearning, "evaluate", evaluate)

    return scored


# ---- one trial


def objective(algorithm, env, **changed):
    values = {
        "total_timesteps": 60, "eval_freq": 25, "eval_episodes": 1, "last": 1, "seeds": 2,
        "fixed": {}, "space": {},
    }  # fmt: skip
    return Objective(algorithm, env, **{**values, **changed})


@pytest.mark.parametrize(
    "algorithm, env, settings",
    [
        ("QLearning", "CliffWalking-v1", {"learning_rate": "linear:0.5"}),
        ("DQN", "CartPole-v1", {"learning_starts": 10, "net_arch": [8], "train_freq": 1}),
        ("PPO", "CartPole-v1", {"n_envs": 2, "n_steps": 8, "batch_size": 8, "net_arch": [8]}),
        ("REINFORCE", "CartPole-v1", {"n_envs": 1, "n_episodes": 1, "net_arch": [8]}),
    ],
)
def test_agents_that_take_turns_learn_as_one_that_learns_alone(algorithm, env, settings):
    settings = {**settings, "max_episode_steps": 10, "verbose": 0}
    task = objective(getattr(npr, algorithm), env)
    scores = evaluations(task, settings, [0, 3], lambda: None)
    for seed, row in zip([0, 3], scores):
        agent, alone = getattr(npr, algorithm)(env, seed=seed, **settings), []

        def evaluate(agent, alone=alone, due=[25, 50, 60]):  # noqa: B006
            if agent.num_timesteps >= due[len(alone)]:
                alone.append(agent.evaluate(episodes=1, seed=agent.seed).mean)

        agent.learn(60, callback=evaluate)
        assert row.tolist() == alone


def test_a_report_is_the_median_over_seeds_at_a_step(scored):
    scored(lambda agent: agent.seed**2 * agent.num_timesteps)
    reports = []
    task = objective(npr.QLearning, Line, seeds=3)
    scores = evaluations(task, {"verbose": 0}, [1, 2, 5], int, lambda *one: reports.append(one))
    assert reports == [(25, 4 * 25), (50, 4 * 50), (60, 4 * 60)]
    assert scores.tolist() == [[one * t for t in (25, 50, 60)] for one in (1, 4, 25)]


def test_the_score_of_an_agent_is_the_mean_of_its_last_evaluations():
    scores = np.array([[1.0, 2.0, 6.0], [0.0, 10.0, 20.0]])
    assert final(scores, 1).tolist() == [6.0, 20.0]
    assert final(scores, 2).tolist() == [4.0, 15.0]


def test_an_agent_that_made_no_update_is_an_error():
    task = objective(npr.PPO, "CartPole-v1")
    with pytest.raises(ConfigError, match="PPO made no update in 60 "):
        evaluations(task, {"n_steps": 128, "n_envs": 1, "verbose": 0}, [0], lambda: None)


# ---- a search


def test_a_search_finds_the_best_setting_and_trains_it_again(scored, capsys):
    scored(lambda agent: -abs(agent.gamma - 0.3) + (10 if agent.seed >= 2 else 0))
    result = small(trials=8, top=2, learning_rate=0.25, env_kwargs={})
    values = {trial.number: trial.params["gamma"] for trial in load().get_trials()}
    nearest = sorted(values, key=lambda n: abs(values[n] - 0.3))
    assert [one.trial for one in result.candidates] == nearest[:2]
    assert result.trial == nearest[0] and result.finished
    assert result.value == pytest.approx(10 - abs(values[nearest[0]] - 0.3))
    assert result.settings["gamma"] == values[nearest[0]]
    assert result.settings["learning_rate"] == 0.25
    assert result.settings["exploration_final_eps"] == 0.1, "of the preset"
    assert "verbose" not in result.settings
    assert result.candidates[0].fresh == [result.value] * 2
    assert sum(result.counts.values()) == 8
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8 + 1 + 4 and lines[0].startswith("trial 0 (1/8)  return ")
    assert "  best " in lines[0] and lines[8] == "training the best 2 again with 2 fresh seeds"


def test_fresh_seeds_choose_the_winner(scored):
    """The best trial of the search is the worst with fresh seeds."""
    scored(lambda agent: agent.gamma if agent.seed < 2 else -agent.gamma)
    result = small(top=3, pruner="none")
    gammas = [one.settings["gamma"] for one in result.candidates]
    assert gammas == sorted(gammas) and len(gammas) == 3
    assert result.value == -gammas[0]
    assert small(top=0).settings["gamma"] == max(gammas), "without fresh seeds the best trial wins"


def test_the_first_trial_has_the_settings_of_the_preset():
    small(trials=2, top=0, space={"gamma": ("float", 0.0, 1.0), "learning_rate": ("log", 0.1, 1.0)})
    first, second = load().get_trials()
    assert first.params == {"gamma": 1.0, "learning_rate": 0.5}, "of QLearning on CliffWalking-v1"
    assert second.params["gamma"] != 1.0


def test_a_search_with_a_seed_can_be_repeated(capsys):
    options = {"top": 3, "seeds": 1, "total_timesteps": 10}
    assert small(storage="one.log", **options) == small(storage="two.log", verbose=0, **options)
    assert small(storage=None, seed=1, **options) != small(storage="two.log", **options)
    assert not [name for name in os.listdir() if name not in ("one.log", "two.log")]


def test_a_study_goes_on_where_it_ended(capsys):
    small(trials=2)
    before = [trial.params for trial in load().get_trials()]
    capsys.readouterr()
    small(trials=3)
    after = [trial.params for trial in load().get_trials()]
    assert after[:2] == before and len(after) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("QLearning CliffWalking-v1: 2 trials are in ")
    assert lines[1].startswith("trial 2 (3/3)  return ")
    small(trials=3)
    assert "trial" not in "".join(capsys.readouterr().err.splitlines()[1:]).replace("training", "")


def test_another_objective_in_the_same_study_is_refused():
    small(trials=1, top=0)
    with pytest.raises(ConfigError, match=r"has seeds=2, not 3. Give the search another name"):
        small(trials=1, top=0, seeds=3)
    with pytest.raises(ConfigError, match=r"has settings={'max_.*; total_timesteps=30, not 40"):
        small(trials=1, top=0, total_timesteps=40, learning_rate=0.1)
    small(trials=1, top=0, seeds=3, study="other")
    assert len(load("other").get_trials()) == 1


def test_bad_trials_are_pruned(scored):
    """The first five are good; the others are below the median from the first third on."""
    count = []

    def score(agent):
        number = len(count) // 6
        count.append(agent)
        return 1.0 if number < 5 else -1.0

    scored(score)
    result = small(trials=6, top=0)
    study = load()
    assert states(study) == ["COMPLETE"] * 5 + ["PRUNED"]
    assert study.get_trials()[-1].intermediate_values == {10: -1.0}
    assert result.counts == {"complete": 5, "pruned": 1, "failed": 0}
    count.clear()
    small(trials=6, top=0, pruner="none", storage="other.log")
    assert states(load(path="other.log")) == ["COMPLETE"] * 6


def test_trials_that_fail_are_counted(monkeypatch, capsys):
    update, calls = npr.QLearning.update, []

    def fails(self, *step):
        calls.append(self)
        if len(calls) == 2:
            raise NumericsError("values diverged.")
        if len(calls) == 3:
            raise OSError("no licence left")
        update(self, *step)

    monkeypatch.setattr(npr.QLearning, "update", fails)
    result = small(trials=3, top=0)
    assert states(load()) == ["PRUNED", "FAIL", "COMPLETE"]
    assert result.counts == {"complete": 1, "pruned": 1, "failed": 1} and result.trial == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("trial 0 (1/3)  pruned: NumericsError: values diverged.  ")
    assert lines[1].startswith("trial 1 (2/3)  failed: OSError: no licence left  ")
    assert os.listdir() == ["study.log"], "no agent of a trial that crashed is saved"


def test_settings_that_do_not_fit_each_other_prune_a_trial():
    space = {"n_particles": ("choice", [4]), "kernel_update_ratio": ("choice", [0.9, 0.5])}
    options = {"learning_starts": 5, "net_arch": [8], "sampler": "random", "buffer_size": 100}
    small("SoftQ", "CartPole-v1", trials=6, top=0, space=space, **options)
    found = load("SoftQ CartPole-v1").get_trials()
    for trial in found:
        fits = trial.params["kernel_update_ratio"] == 0.5
        assert ("ConfigError: SoftQ: n_particles=4" in trial.user_attrs.get("error", "")) != fits
        assert trial.state.name == ("COMPLETE" if fits else "PRUNED")
    assert {trial.state.name for trial in found} == {"COMPLETE", "PRUNED"}


def test_warnings_of_a_trial_are_in_the_study():
    options = {"learning_starts": 5, "net_arch": [8], "buffer_size": 20, "space": SPACE}
    small("DQN", "CartPole-v1", trials=1, top=0, batch_size=21, **options)
    (text,) = load("DQN CartPole-v1").get_trials()[0].user_attrs["warnings"]
    assert "batch_size=21 is more than buffer_size=20" in text


def test_a_search_without_a_complete_trial_shows_the_last_error(scored):
    def score(agent):
        raise NumericsError("no number")

    scored(score)
    with pytest.raises(NprError, match="No trial of .* is complete; the last error: .*no number"):
        small(trials=2)
    with pytest.raises(NprError, match="is complete; raise trials, or timeout"):
        small(trials=2, timeout=1e-9, storage=None)


def test_fresh_seeds_that_diverge_count_as_minus_infinity(scored, capsys):
    def score(agent):
        if agent.seed == 3:
            raise NumericsError("no number")
        return 1.0

    scored(score)
    result = small(trials=1)
    assert result.candidates[0].fresh == [1.0, -math.inf] and result.value == -math.inf
    assert "trial 0 with seed 3 failed: NumericsError: no number" in capsys.readouterr().err


def test_trained_fresh_seeds_are_kept(scored):
    trained = []
    scored(lambda agent: trained.append(agent.seed) or 1.0)
    small(trials=1)
    assert sorted(set(trained)) == [0, 1, 2, 3]
    trained.clear()
    small(trials=1)
    assert trained == []


# ---- interruptions


@pytest.fixture
def interrupts(scored):
    """interrupts(n) sends SIGINT to this process in the n-th evaluation."""

    def interrupts(n, number=signal.SIGINT):
        calls = []

        def score(agent):
            calls.append(agent)
            if len(calls) == n:
                signal.raise_signal(number)
            return 1.0

        scored(score)

    return interrupts


def test_ctrl_c_ends_the_search_which_can_go_on(interrupts, capsys):
    interrupts(9)
    with pytest.raises(KeyboardInterrupt):
        small()
    assert states(load()) == ["COMPLETE", "FAIL"] and os.listdir() == ["study.log"]
    lines = capsys.readouterr().err.splitlines()
    text = "trial 1 interrupted: it does not count, and its number is not used again"
    assert lines[-2] == text
    assert lines[-1].endswith("stopped after 1 trials; the same command goes on")
    interrupts(0)
    assert small().counts == {"complete": 3, "pruned": 0, "failed": 0}
    assert states(load()) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_sigterm_ends_the_search_with_its_status(interrupts):
    interrupts(2, signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        small()
    assert stop.value.code == 143


def test_ctrl_c_while_the_best_is_trained_again(interrupts):
    interrupts(7)
    with pytest.raises(KeyboardInterrupt):
        small(trials=1)
    interrupts(0)
    assert small(trials=1).value == 1.0


def test_a_second_ctrl_c_stops_at_once(scored):
    def score(agent):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    scored(score)
    with pytest.raises(KeyboardInterrupt):
        small()
    assert states(load()) == ["FAIL"]


# ---- several processes


def asked(name="QLearning CliffWalking-v1", **attributes):
    """A trial that another process runs."""
    trial = load(name).ask()
    trial.suggest_float("gamma", 0.0, 1.0)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    return trial


def test_while_other_processes_run_trials_the_search_has_no_winner(scored, capsys):
    scored(lambda agent: 1.0)
    small(trials=1, top=0)
    trial = asked(alive=time.time())
    result = small(trials=3)
    assert not result.finished and result.value == 1.0 and result.candidates[0].fresh == []
    assert states(load()) == ["COMPLETE", "RUNNING", "COMPLETE"]
    assert "1 trials are running in other processes; the last one to end" in capsys.readouterr().err
    load().tell(trial.number, 2.0)
    assert small(trials=3).finished


def test_a_trial_without_a_sign_of_life_is_given_up(scored):
    scored(lambda agent: 1.0)
    small(trials=1, top=0)
    asked(alive=time.time() - search_module.LOST - 1)
    assert small(trials=2).finished
    assert states(load()) == ["COMPLETE", "FAIL", "COMPLETE"]


def test_a_result_of_a_trial_that_was_given_up_is_dropped(scored, capsys):
    def score(agent):
        study = load()
        if states(study) == ["RUNNING"]:
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        return 1.0

    scored(score)
    small(trials=1, top=0, pruner="none")
    assert states(load()) == ["FAIL", "COMPLETE"]
    assert (
        "trial 0: its result is dropped, since another process took it for lost"
        in capsys.readouterr().err
    )


def test_processes_that_ask_at_the_same_time_do_not_exceed_the_number_of_trials(
    scored, monkeypatch
):
    scored(lambda agent: 1.0)
    small(trials=1, top=0)
    ask = optuna.study.Study.ask

    def second(study):
        """Another process asks first, after this one has counted the trials."""
        ask(study).set_user_attr("alive", time.time())
        return ask(study)

    monkeypatch.setattr(optuna.study.Study, "ask", second)
    assert not small(trials=2, top=0).finished
    assert states(load()) == ["COMPLETE", "RUNNING", "FAIL"]


def test_two_processes_share_a_study(capfd):
    """jobs=2, while this test looks on: exactly so many trials, and none is lost."""
    result = small(trials=5, top=1, jobs=2)
    study = load()
    assert states(study) == ["COMPLETE"] * 5 and result.finished
    assert len({trial.params["gamma"] for trial in study.get_trials()}) == 5
    assert len(result.candidates[0].fresh) == 2
    lines = capfd.readouterr().err.splitlines()
    assert sum(line.startswith("trial ") and " return " in line for line in lines) == 5 + 2


def slow():
    env = gymnasium.make("CliffWalking-v1")
    env.unwrapped.step = lambda action: time.sleep(0.01) or (0, 0.0, False, False, {})
    return env


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C")
def test_ctrl_c_ends_all_processes(capfd):
    def interrupt():
        running = []
        while running != ["RUNNING"] * 2:
            time.sleep(0.05)
            with contextlib.suppress(KeyError, FileNotFoundError):
                running = states(load("slow"))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    endless = {**SMALL, "total_timesteps": 10**6}
    with pytest.raises(KeyboardInterrupt):
        tune("QLearning", slow, trials=4, jobs=2, study="slow", **endless)
    thread.join()
    assert states(load("slow")) == ["FAIL"] * 2
    assert multiprocessing.active_children() == []
    assert "the same command goes on" in capfd.readouterr().err


def dies():
    env = gymnasium.make("CliffWalking-v1")
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return env


def test_a_process_that_dies_gives_up_its_trial(capfd):
    with pytest.raises(NprError, match="No trial of .* is complete"):
        tune("QLearning", dies, trials=2, jobs=2, study="dies", **SMALL)
    assert states(load("dies")) == ["FAIL", "FAIL"]
    assert "a process ended with exit code 9; its trial is lost" in capfd.readouterr().err


def test_a_watch_stops_the_trial_of_a_process_whose_parent_has_ended():
    parted = []
    watch = trials_module.Watch(lambda: False, parted=lambda: bool(parted))
    watch()
    parted.append(True)
    watch()  # looks once a second
    watch._look = 0.0
    with pytest.raises(trials_module.Interrupted):
        watch()


def test_a_watch_shows_signs_of_life_once_a_minute():
    signs = []
    watch = trials_module.Watch(lambda: False, alive=lambda: signs.append(True))
    watch(), watch()
    assert len(signs) == 1
    watch._look = watch._sign = 0.0
    watch()
    assert len(signs) == 2


# ---- arguments


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"algorithm": "SACK"}, "There is no algorithm 'SACK'; did you mean SAC"),
        ({"algorithm": 3}, "There is no algorithm 3; npr has "),
        ({"trials": 0}, "trials must be a whole number of at least 1, got 0"),
        ({"seeds": 1.5}, "seeds must be a whole number of at least 1, got 1.5"),
        ({"top": -1}, "top must be a whole number of at least 0, got -1"),
        ({"total_timesteps": 0}, "total_timesteps must be a whole number of at least 1"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0 or None, got 0"),
        ({"last": 4}, "last=4 evaluations, but a run of 30 steps has 3 at eval_freq=10"),
        ({"sampler": "grid"}, "sampler must be 'tpe' or 'random', got 'grid'"),
        ({"pruner": "best"}, "pruner must be 'median' or 'none', got 'best'"),
        ({"seed": -1}, "tune: seed must be a whole number"),
        ({"learning_rat": 1}, "no setting 'learning_rat'; did you mean learning_rate"),
        ({"gamma": 1.5}, r"gamma must be in \[0, 1\], got 1.5"),
        ({"gamma": 0.5}, "There is nothing to search: QLearning has no search space, or all of"),
        ({"space": {"gamma": ("log", 0.5, 2.0)}}, r"gamma must be in \[0, 1\], got 2"),
        ({"env": "Pendulum-v1"}, "QLearning"),
        ({"storage": "sqlite:///a.db"}, "storage must be the path of a journal file"),
        ({"storage": "nowhere/a.log"}, "there is no folder"),
        ({"storage": "."}, "it is a folder"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises((ConfigError, npr.SpaceError), match=message):
        small(**arguments)
    assert os.listdir() == []


def test_an_environment_that_exists_is_refused():
    env = gymnasium.make("CliffWalking-v1")
    with pytest.raises(ConfigError, match="env must be an id or a function that returns an Env"):
        small(env=env)


def test_a_file_that_is_no_journal_is_refused():
    with open("study.log", "w") as file:
        file.write("settings: 3\n[1]\n")
    with pytest.raises(ConfigError, match="study.log is not a journal of Optuna"):
        small()


def test_without_optuna_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"Tuning needs Optuna: pip install 'npr-rl\[tune\]'"):
        small()


def test_names_of_algorithms_are_found_in_any_case():
    assert search_module._class_of("per-dqn") is npr.PERDQN
    assert search_module._class_of(npr.SAC) is npr.SAC


def test_optuna_logs_as_before_after_a_search():
    optuna.logging.set_verbosity(optuna.logging.INFO)
    small(trials=1, top=0)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
