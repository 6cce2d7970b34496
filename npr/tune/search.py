"""The search: processes that run trials of one study, and the choice among the best."""

import contextlib
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import numpy as np

from npr import presets
from npr.algorithms.base import Algorithm
from npr.envs.make import env_id, env_name, number_of_envs
from npr.errors import ConfigError, NprError, NumericsError, describe_error
from npr.runs import config
from npr.runs.parallel import Engine, check_engine
from npr.settings.setting import check_names, checked_seed, whole
from npr.system import streams
from npr.system.blas import THREAD_VARIABLES
from npr.training.interrupts import Interrupts, stopped_by
from npr.training.run import DEFAULT_BUDGET
from npr.tune import on_ray, spaces
from npr.tune.result import Candidate, TuneResult
from npr.tune.trials import Interrupted, Objective, Watch, final, trained

if TYPE_CHECKING:
    from npr.envs.make import EnvSource

SAMPLERS, PRUNERS = ("tpe", "random"), ("median", "none")
LOST = 600.0  # seconds without a sign of life, after which a running trial is given up
POLL = 0.1  # seconds between looks at the processes


@dataclass(frozen=True)
class Search:
    """A study and how to search it; sent to the processes."""

    objective: Objective
    storage: str
    name: str
    trials: int
    sampler: str
    pruner: str
    seed: int | None
    deadline: float  # as time.time()
    first: dict[str, Any]  # what the first trial draws: the settings of the preset
    verbose: int
    kept: bool  # the storage stays after the search


def tune(
    algorithm: "str | type[Algorithm]",
    env: "EnvSource",
    *,
    trials: int = 50,
    total_timesteps: int | None = None,
    seeds: int = 3,
    eval_freq: int | None = None,
    eval_episodes: int = 10,
    last: int = 1,
    top: int = 3,
    jobs: int | None = None,
    engine: Engine = "processes",
    storage: "str | os.PathLike[str] | None" = None,
    study: str | None = None,
    space: Mapping[str, Any] | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    timeout: float | None = None,
    seed: int | None = None,
    verbose: int = 1,
    on_stop: Callable[[TuneResult], object] | None = None,
    **settings: Any,
) -> TuneResult:
    """Search for settings with Optuna, and train the best again with fresh seeds.

    algorithm        class or name
    env              id, or a function that returns an Env; with processes one that can be imported
    trials           of the study in all, by all processes that share it
    total_timesteps  env steps per agent; None: the preset's budget
    seeds            agents per trial. The objective is the median over them
    eval_freq        env steps between evaluations; None: a tenth of the budget
    eval_episodes    episodes per evaluation
    last             the score of an agent is the mean of so many last evaluations
    top              so many of the best trials are trained again, with the seeds `seeds` to
                     2 seeds - 1; the best median wins. 0: the best trial wins
    jobs             trials beside each other in this call, one BLAS thread each. None: one, in this
                     process; with Ray as many as the cluster has CPUs. More processes than one need
                     `if __name__ == "__main__":` in the program, as for all of multiprocessing
    engine           "processes" of this computer, or "ray": each trial is a task of Ray, as the
                     runs of `npr.runs.run_all`; a trial whose node is lost begins again elsewhere.
                     The study stays with this program
    storage          journal file of the study. Calls that name the same one share the study, also
                     on other machines, and a later call goes on with it. None: a temporary one
    study            name in the storage; None: "SAC Pendulum-v1"
    space            setting -> dimension, see `npr.tune.SPACES`; None: that of the algorithm
    sampler          "tpe" or "random"
    pruner           "median": end a trial whose best evaluation so far is below the median of the
                     others at that step, after a third of the budget and five trials; or "none"
    timeout          seconds, after which no trial starts
    seed             of the sampler. With one job and without a timeout the search can be repeated.
                     Leave it out where several machines share a study
    verbose          0: silent; 1: a line per trial on the standard error stream
    on_stop          called with the result so far if the search is interrupted and has one
    settings         fixed for all trials; they are taken out of the space

    The first trial has the settings of the preset, or the defaults, where the space holds them.
    A trial whose training diverges (NumericsError) or whose settings do not fit each other
    (ConfigError) counts as pruned, and one that fails otherwise as failed; the search goes on.
    Ctrl-C gives up the trials that run, which do not count, and raises KeyboardInterrupt: with a
    storage the same call goes on with the study.

    Raises ConfigError for invalid arguments, if the study in the storage has another objective, and
    without Optuna; NprError if no trial is complete.
    """
    optuna()
    kind = _class_of(algorithm)
    objective, preset = _objective(
        kind, env, total_timesteps, seeds, eval_freq, eval_episodes, last, space, settings
    )
    if jobs is not None:
        whole("jobs", jobs)
    for name, number, least in (("trials", trials, 1), ("top", top, 0)):
        whole(name, number, least)
    check_engine(engine)
    _one_of("sampler", sampler, SAMPLERS)
    _one_of("pruner", pruner, PRUNERS)
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be a number of seconds above 0 or None, got {timeout!r}.")
    deadline = float("inf") if timeout is None else time.time() + timeout
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        kept = storage is not None
        if storage is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="npr-tune-"))
            storage = os.path.join(folder, "study.log")
        title = study or f"{kind.__name__} {env_name(env) or 'a function'}"
        search = Search(
            objective, _storage_path(storage), title, int(trials), sampler, pruner,
            checked_seed("tune", seed), deadline, spaces.located(objective.space, preset), verbose,
            kept,
        )  # fmt: skip
        remote = None
        if engine == "ray":
            remote = stack.enter_context(on_ray.trials(objective.fixed))
        jobs = jobs or (remote.cpus if remote else 1)
        return _run(search, int(jobs), int(top), on_stop, remote)


# ---- arguments


def optuna() -> Any:
    """The module. Raises ConfigError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("Tuning needs Optuna: pip install 'npr-rl[tune]'") from None
    return optuna


def _class_of(algorithm: "str | type[Algorithm]") -> type[Algorithm]:
    if isinstance(algorithm, type) and issubclass(algorithm, Algorithm):
        return algorithm
    return config.algorithm(algorithm)


def _objective(
    kind: type[Algorithm],
    env: Any,
    total_timesteps: Any,
    seeds: Any,
    eval_freq: Any,
    eval_episodes: Any,
    last: Any,
    space: Mapping[str, Any] | None,
    settings: dict[str, Any],
) -> tuple[Objective, dict[str, Any]]:
    """The objective from checked arguments, and the settings without a search."""
    if not (isinstance(env, str) or (callable(env) and number_of_envs(env) is None)):
        raise ConfigError(
            f"tune() makes environments for every agent: env must be an id or a function that "
            f"returns an Env, got {env!r}."
        )
    if total_timesteps is None:
        preset = presets.find(kind.__name__, env_id(env))
        budget = int(preset.get("total_timesteps", DEFAULT_BUDGET))
    else:
        budget = whole("total_timesteps", total_timesteps)
    freq = max(1, budget // 10) if eval_freq is None else whole("eval_freq", eval_freq)
    check_names(kind.__name__, settings, kind.settings)
    owner, networks = kind.__name__, kind.networks
    fixed = {k: kind.settings[k].checked(owner, v, networks) for k, v in settings.items()}
    wanted = spaces.space_of(kind) if space is None else space
    free = {name: one for name, one in wanted.items() if name not in fixed}
    objective = Objective(
        kind, env, budget, freq, whole("eval_episodes", eval_episodes),
        whole("last", last), whole("seeds", seeds),
        {**fixed, "verbose": 0}, spaces.checked(kind, free),
    )  # fmt: skip
    if not free:
        raise ConfigError(
            f"There is nothing to search: {owner} has no search space, or all of its settings are "
            'fixed. Pass one: space={"learning_rate": ("log", 1e-5, 1e-2)}.'
        )
    if objective.last > len(objective.steps):
        raise ConfigError(
            f"last={last} evaluations, but a run of {budget:,} steps has {len(objective.steps)} at "
            f"eval_freq={freq:,}. Lower one of them."
        )
    agent = kind(env, seed=0, **objective.fixed)  # what is wrong in every trial is an error here
    agent.close()
    return objective, {name: getattr(agent, name) for name in free}


def _one_of(name: str, given: Any, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ConfigError(f"{name} must be {' or '.join(map(repr, choices))}, got {given!r}.")


def _storage_path(storage: Any) -> str:
    path = os.path.abspath(os.fsdecode(storage))
    folder = os.path.dirname(path)
    if "://" in os.fsdecode(storage):
        raise ConfigError(f"storage must be the path of a journal file, got {storage!r}.")
    if os.path.isdir(path) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder!r}"
        raise ConfigError(f"storage={os.fsdecode(storage)!r}: {reason}.")
    return path


# ---- the study


def open_study(search: Search, process: int = 0) -> Any:
    """The study, which is created if the storage does not hold it.

    process   number of this process: with a seed, each has a sampler of its own

    Raises ConfigError if it has another objective, or the file is not a journal.
    """
    o = optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    # the default lock is a symbolic link, which Windows does not let everyone make
    backend = JournalFileBackend(search.storage, JournalFileOpenLock(search.storage))
    try:
        storage = JournalStorage(backend)
        study = o.create_study(
            storage=storage, study_name=search.name, direction="maximize", load_if_exists=True,
            pruner=_pruner(search),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{search.storage} is not a journal of Optuna ({describe_error(error)}); name another "
            "file."
        ) from None
    study.sampler = _sampler(search, process, len(study.get_trials(deepcopy=False)))
    _check_definition(study, search)
    return study


def _sampler(search: Search, process: int, n_trials: int) -> Any:
    samplers = optuna().samplers
    seed = None
    if search.seed is not None:
        (word,) = np.random.SeedSequence([search.seed, process, n_trials]).generate_state(1)
        seed = int(word)
    if search.sampler == "random":
        return samplers.RandomSampler(seed)
    return samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _pruner(search: Search) -> Any:
    pruners = optuna().pruners
    if search.pruner == "none":
        return pruners.NopPruner()
    return pruners.MedianPruner(5, search.objective.total_timesteps // 3)


def _check_definition(study: Any, search: Search) -> None:
    """Raise ConfigError if the trials in the study do something else."""
    mine = json.loads(json.dumps(search.objective.definition()))
    theirs = study.user_attrs.get("definition")
    if theirs is None:
        study.set_user_attr("definition", mine)
        return
    different = {key for key in mine if mine[key] != theirs.get(key)}
    if different:
        changes = "; ".join(f"{k}={theirs.get(k)!r}, not {mine[k]!r}" for k in sorted(different))
        raise ConfigError(
            f"The study {search.name!r} in {search.storage} has {changes}. Give the search another "
            "name (study=...) or storage, or use the same values."
        )


def _counts(trial: Any) -> bool:
    """Whether a trial is one of `trials`: those that were interrupted are not."""
    return trial.state.name != "FAIL" or "error" in trial.user_attrs


def _trials(study: Any, *states: str) -> list[Any]:
    """The trials that count, in one of these states; all that have begun if none is given."""
    found = [trial for trial in study.get_trials(deepcopy=False) if _counts(trial)]
    states = states or ("RUNNING", "COMPLETE", "PRUNED", "FAIL")
    return [trial for trial in found if trial.state.name in states]


def _give_up_lost(study: Any, processes: tuple[str, ...] = ()) -> None:
    """Fail running trials of these processes, and those that show no sign of life."""
    for trial in _trials(study, "RUNNING"):
        alive = trial.user_attrs.get("alive", trial.datetime_start.timestamp())
        if trial.user_attrs.get("process") in processes or time.time() - alive > LOST:
            with contextlib.suppress(ValueError, RuntimeError):  # it has ended meanwhile
                study.tell(trial.number, state=optuna().trial.TrialState.FAIL)


# ---- the work of one process


def _process(pid: int | None) -> str:
    return f"{platform.node()} {pid}"


Train = Callable[..., tuple[np.ndarray, list[str]]]  # as npr.tune.trials.trained


def run_trials(
    search: Search,
    process: int,
    stopped: Callable[[], bool],
    *,
    train: Train = trained,
    **watch: Any,
) -> None:
    """Run trials until the study has enough, the deadline or a request to stop."""
    study = open_study(search, process)
    while not stopped() and time.time() < search.deadline:
        _give_up_lost(study)
        if len(_trials(study)) >= search.trials:
            return
        trial = study.ask()
        if sum(one.number < trial.number for one in _trials(study)) >= search.trials:
            study.tell(trial, state=optuna().trial.TrialState.FAIL)  # others asked meanwhile
            return
        _run_trial(search, study, trial, stopped, train, watch)


def _run_trial(
    search: Search,
    study: Any,
    trial: Any,
    stopped: Callable[[], bool],
    train: Train,
    watch: dict[str, Any],
) -> None:
    State, objective = optuna().trial.TrialState, search.objective
    given_up = optuna().exceptions.UpdateFinishedTrialError
    began, value = time.perf_counter(), None
    trial.set_user_attr("process", _process(os.getpid()))
    look = Watch(stopped, alive=lambda: trial.set_user_attr("alive", time.time()), **watch)

    def report(step: int, median: float) -> None:
        trial.report(median, step)
        if trial.should_prune():
            raise optuna().TrialPruned

    try:
        try:
            settings = {**objective.fixed, **spaces.suggest(trial, objective.space)}
            scores, warned = train(objective, settings, range(objective.seeds), look, report)
            by_seed = final(scores, objective.last)
            value, state = float(np.median(by_seed)), State.COMPLETE
            trial.set_user_attr("seeds", by_seed.tolist())
            if warned:
                trial.set_user_attr("warnings", warned)
        except optuna().TrialPruned:
            state = State.PRUNED
        except Interrupted:
            state = State.FAIL
        except given_up:
            raise
        except Exception as error:  # an environment may raise anything
            trial.set_user_attr("error", describe_error(error))
            # the sampler learns from pruned trials, not from failed ones
            state = State.PRUNED if isinstance(error, NumericsError | ConfigError) else State.FAIL
        except BaseException:  # a second Ctrl-C
            study.tell(trial, state=State.FAIL)
            raise
        study.tell(trial, value, state)
    except given_up:
        _say(
            search,
            f"trial {trial.number}: its result is dropped, since another process took it "
            f"for lost after {LOST:.0f} seconds without a sign of life",
        )
        return
    if search.verbose:
        _say(search, _line(search, study, trial.number, time.perf_counter() - began))


def _line(search: Search, study: Any, number: int, seconds: float) -> str:
    """The line about a trial that is over."""
    trials = study.get_trials(deepcopy=False)
    trial, state = trials[number], trials[number].state.name
    if state == "FAIL" and not _counts(trial):
        return f"trial {number} interrupted: it does not count, and its number is not used again"
    if "error" in trial.user_attrs:
        result = f"{'pruned' if state == 'PRUNED' else 'failed'}: {trial.user_attrs['error']}"
    elif state == "PRUNED":
        result = f"pruned at step {trial.last_step:,} with {trial.value:.6g}"
    else:
        result = f"return {trial.value:.6g}"
    done = len(_trials(study, "COMPLETE", "PRUNED", "FAIL"))
    complete = _trials(study, "COMPLETE")
    best = max(complete, key=lambda one: one.value, default=None)
    text = f"trial {number} ({done}/{search.trials})  {result}"
    if best is not None:
        text += f"  best {best.value:.6g} (trial {best.number})"
    return f"{text}  {seconds:.0f} s"


def _say(search: Search, text: str) -> None:
    if search.verbose:
        streams.write(sys.stderr, f"{text}\n")


# ---- the best again


def run_fresh(
    search: Search,
    process: int,
    stopped: Callable[[], bool],
    *,
    tasks: list[tuple[int, int]],
    share: int,
    train: Train = trained,
    **watch: Any,
) -> None:
    """Train trials again: every `share`-th of the tasks (trial, seed). The results are attributes
    of the study."""
    study = open_study(search, process)
    trials, look = study.get_trials(deepcopy=False), Watch(stopped, **watch)
    for number, seed in tasks[process::share]:
        settings = _settings(search.objective, trials[number])
        try:
            scores, _ = train(search.objective, settings, [seed], look)
            (score,) = final(scores, search.objective.last).tolist()
        except Interrupted:
            return
        except NumericsError as error:
            score = float("-inf")
            _say(search, f"trial {number} with seed {seed} failed: {describe_error(error)}")
        else:
            _say(search, f"trial {number} with seed {seed}: return {score:.6g}")
        study.set_user_attr(_fresh(number, seed), score)


def _fresh(number: int, seed: int) -> str:
    return f"trial {number} with seed {seed}"


def _settings(objective: Objective, trial: Any) -> dict[str, Any]:
    """The settings of a trial that is over."""
    fixed = optuna().trial.FixedTrial(trial.params)
    return {**objective.fixed, **spaces.suggest(fixed, objective.space)}


# ---- all processes of this call


def _run(
    search: Search,
    jobs: int,
    top: int,
    on_stop: Callable[[TuneResult], object] | None,
    remote: "on_ray.Trials | None" = None,
) -> TuneResult:
    study = open_study(search)  # errors of the storage are raised here
    if not search.kept:
        _say(search, "The study is not kept: storage (--storage FILE) keeps it.")
    before = len(_trials(study))
    if before:
        _say(search, f"{search.name}: {before} trials are in {search.storage}")
    elif search.first:
        study.enqueue_trial(search.first, skip_if_exists=True)
    with Interrupts() as interrupts:
        _everywhere(search, jobs, interrupts, remote, run_trials)
        if interrupts.requested is not None:
            _stop(search, study, max(top, 1), on_stop)
            raise stopped_by(interrupts.requested)
        best = _best(study, search)[: max(top, 1)]
        elsewhere = len(_trials(study, "RUNNING"))
        if elsewhere:
            _say(
                search,
                f"{elsewhere} trials are running in other processes; the last one to end trains "
                f"the best again. If they were killed, repeat the command after {LOST:.0f} seconds",
            )
        elif top:
            seeds = range(search.objective.seeds, 2 * search.objective.seeds)
            tasks = [(one.number, seed) for one in best for seed in seeds]
            tasks = [task for task in tasks if _fresh(*task) not in study.user_attrs]
            _say(search, f"training the best {len(best)} again with {len(seeds)} fresh seeds")
            _everywhere(search, jobs, interrupts, remote, run_fresh, tasks=tasks, share=jobs)
            if interrupts.requested is not None:
                _stop(search, study, top, on_stop)
                raise stopped_by(interrupts.requested)
    return _result(search, study, best, bool(top) and not elsewhere, not elsewhere)


def _stop(
    search: Search, study: Any, top: int, on_stop: Callable[[TuneResult], object] | None
) -> None:
    """Say how far an interrupted search is, and hand over the best trials so far."""
    done = len(_trials(study, "COMPLETE", "PRUNED", "FAIL"))
    goes_on = "; the same command goes on" if search.kept else ""
    _say(search, f"{search.name}: stopped after {done} trials{goes_on}")
    if on_stop is not None and _trials(study, "COMPLETE"):
        on_stop(_result(search, study, _best(study, search)[:top], False, False))


def _best(study: Any, search: Search) -> list[Any]:
    """The complete trials, best first."""
    complete = _trials(study, "COMPLETE")
    if complete:
        return sorted(complete, key=lambda one: (-one.value, one.number))
    errors = [trial.user_attrs["error"] for trial in _trials(study) if "error" in trial.user_attrs]
    why = f"the last error: {errors[-1]}" if errors else "raise trials, or timeout"
    raise NprError(f"No trial of {search.name} is complete; {why}")


def _result(search: Search, study: Any, best: list[Any], again: bool, finished: bool) -> TuneResult:
    objective, candidates = search.objective, []
    seeds = range(objective.seeds, 2 * objective.seeds) if again else []
    for trial in best:
        fresh = [study.user_attrs.get(_fresh(trial.number, seed)) for seed in seeds]
        scores = [float("-inf") if one is None else one for one in fresh]
        median = float(np.median(scores)) if scores else trial.value
        settings = {k: v for k, v in _settings(objective, trial).items() if k != "verbose"}
        candidates.append(Candidate(trial.number, trial.value, scores, median, settings))
    candidates.sort(key=lambda one: (-one.median, -one.value))
    winner = candidates[0]
    states = [trial.state.name for trial in _trials(study)]
    counts = {
        name: states.count(state)
        for name, state in (("complete", "COMPLETE"), ("pruned", "PRUNED"), ("failed", "FAIL"))
    }
    env = objective.env if isinstance(objective.env, str) else None
    settings, env_kwargs = _complete(objective, winner.settings)
    return TuneResult(
        objective.algorithm.__name__, env, objective.total_timesteps, settings, env_kwargs,
        winner.trial, winner.median, candidates, counts, finished,
    )  # fmt: skip


def _complete(objective: Objective, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All settings that are not defaults, so that they do not depend on the preset, and env_kwargs
    apart."""
    agent = objective.algorithm(objective.env, seed=0, **given, verbose=0)
    defaults, held = agent.defaults(), agent.setting_values()
    agent.close()
    apart = ("verbose", "env_kwargs")
    settings = {
        name: held[name]
        for name in held
        if name not in apart
        and (name in given or name in agent.preset or held[name] != defaults[name])
    }
    return settings, given.get("env_kwargs") or {}


def _everywhere(
    search: Search,
    jobs: int,
    interrupts: Interrupts,
    remote: "on_ray.Trials | None",
    work: Callable[..., None],
    **options: Any,
) -> None:
    """Call work(search, n, stopped, **options) `jobs` times beside each other; in this process if
    it is once. They are stopped when `interrupts` has a request."""

    def requested() -> bool:
        return interrupts.requested is not None

    if remote is not None:
        options["train"] = remote.evaluations
    if jobs == 1:
        work(search, 0, requested, **options)
    elif remote is None:
        _in_processes(search, jobs, interrupts, work, **options)
    else:
        on_ray.in_threads(jobs, lambda n, done: work(search, n, done, **options), requested)


def _in_processes(
    search: Search, jobs: int, interrupts: Interrupts, work: Callable[..., None], **options: Any
) -> None:
    """Call work(search, process, stopped, **options) in `jobs` processes, which are stopped when
    `interrupts` has a request, or when this process ends."""
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    told = False
    try:
        with _one_blas_thread():
            for n in range(jobs):
                child = context.Process(target=_child, args=(work, search, n, options))
                child.start()
                processes.append(child)
        while any(process.is_alive() for process in processes):
            if interrupts.requested is not None and not told:
                told = True
                for process in processes:
                    process.terminate()
            time.sleep(POLL)
    except BaseException:  # a second signal, or no process could be started
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()
        ours = tuple(_process(process.pid) for process in processes)
        _give_up_lost(open_study(search), ours)
    for process in processes:
        if process.exitcode and not told:
            _say(search, f"a process ended with exit code {process.exitcode}; its trial is lost")


def _child(work: Callable[..., None], search: Search, n: int, options: dict[str, Any]) -> None:
    """The main function of a process. SIGTERM stops its trial; Ctrl-C is for the parent."""
    requested: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: requested.append(number))
    parent = multiprocessing.parent_process()
    with _quiet():
        work(
            search, n, lambda: bool(requested),
            parted=lambda: parent is not None and not parent.is_alive(), **options,
        )  # fmt: skip


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Processes that are started within have one BLAS thread, whatever BLAS NumPy has."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, one in before.items():
            if one is None:
                del os.environ[name]
            else:
                os.environ[name] = one


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs warnings only."""
    logging = optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
