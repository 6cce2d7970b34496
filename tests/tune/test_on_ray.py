"""Trials over Ray, without Ray: the threads that ask for them, and what is lost on the way."""

import contextlib
import threading
import time
import types

import pytest

import npr
from npr import ConfigError, NumericsError
from npr.training.interrupts import Interrupts
from npr.tune import on_ray
from npr.tune import search as search_module
from npr.tune.trials import Objective, trained

pytest.importorskip("optuna")

OBJECTIVE = Objective(
    npr.QLearning, "CliffWalking-v1", 40, 20, 1, 1, 2, {"max_episode_steps": 5, "verbose": 0},
    {"gamma": ("float", 0.0, 1.0)},
)  # fmt: skip


class Errors:
    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        def __init__(self, cause):
            self.cause = cause


class Trials(on_ray.Trials):
    """Trials in this process, after the errors in a list."""

    def __init__(self, *errors):
        self.ray, self.errors = types.SimpleNamespace(exceptions=Errors), [*errors]

    def _evaluations(self, objective, settings, seeds, watch, report):
        def once(step, median):
            report(step, median)
            if self.errors:
                raise self.errors.pop()

        return trained(objective, settings, seeds, watch, once)


def evaluations(trials, reports):
    return trials.evaluations(
        OBJECTIVE, OBJECTIVE.fixed, range(2), int, lambda *one: reports.append(one)
    )


def test_a_trial_whose_node_is_lost_begins_again_and_reports_each_step_once():
    expected, again = [], []
    scores, _ = trained(OBJECTIVE, OBJECTIVE.fixed, range(2), int, lambda *x: expected.append(x))
    lost = [Errors.RayError("lost")] * on_ray.RETRIES
    found, _ = evaluations(Trials(*lost), again)
    assert found.tolist() == scores.tolist()
    assert again == expected and [step for step, _ in again] == [20, 40]
    with pytest.raises(Errors.RayError, match="lost"):
        evaluations(Trials(*lost, *lost), [])


def test_an_error_of_training_is_raised_as_it_is():
    with pytest.raises(NumericsError, match="no number"):
        evaluations(Trials(Errors.RayTaskError(NumericsError("no number"))), [])


def test_jobs_are_threads_that_share_the_study(monkeypatch, tmp_path):
    """Exactly so many trials, and none is lost; the result has the fresh seeds of all threads."""

    @contextlib.contextmanager
    def trials(settings):
        assert settings == {"max_episode_steps": 5, "verbose": 0}
        yield Trials()

    monkeypatch.setattr(on_ray, "trials", trials)
    monkeypatch.setattr(search_module, "check_engine", lambda engine: None)
    result = npr.tune.tune(
        "QLearning", "CliffWalking-v1", trials=5, total_timesteps=40, seeds=2, eval_freq=20,
        eval_episodes=1, top=2, jobs=3, engine="ray", space={"gamma": ("float", 0.0, 1.0)},
        max_episode_steps=5, verbose=0,
    )  # fmt: skip
    assert result.counts == {"complete": 5, "pruned": 0, "failed": 0} and result.finished
    assert [len(one.fresh) for one in result.candidates] == [2, 2]


def test_a_request_and_an_error_stop_all_threads():
    ended = []

    def work(n, stopped):
        while not stopped():
            time.sleep(0.01)
        ended.append(n)

    began = time.monotonic()
    on_ray.in_threads(3, work, lambda: time.monotonic() > began + 0.2)
    assert sorted(ended) == [0, 1, 2]

    def failing(n, stopped):
        if n == 1:
            raise ConfigError("wrong")
        work(n, stopped)

    with pytest.raises(ConfigError, match="wrong"):
        on_ray.in_threads(3, failing, lambda: False)

    def second():
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Interrupts():
        on_ray.in_threads(2, work, second)
    assert threading.active_count() == before
