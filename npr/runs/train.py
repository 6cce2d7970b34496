"""Trains one run in its folder, and continues it."""

import contextlib
import dataclasses
import datetime
import json
import math
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from npr.algorithms.base import Algorithm
from npr.callbacks import CheckpointCallback, EvalCallback
from npr.errors import ConfigError, ConfigWarning, NprError
from npr.files import archive, checkpoint
from npr.files import run_folder as names
from npr.loading import load
from npr.loggers import configure
from npr.runs import git
from npr.runs.config import (
    N_CHECKPOINTS,
    N_EVALUATIONS,
    RunConfig,
    from_plain,
    read_config,
    write_json,
)
from npr.runs.console import copied_to
from npr.runs.folder import FolderInUse, check_is_run, locked, make
from npr.runs.typed import WrappedEnv, check_registered, import_modules
from npr.system import streams
from npr.system.blas import blas_threads
from npr.version import __version__

Report = Callable[[Any], None]  # called with the agent after every step


def train(
    config: RunConfig,
    folder: "str | Path",
    *,
    command: Sequence[str] = (),
    report: Report | None = None,
) -> Algorithm:
    """Train one run in a new folder, and return the agent.

    folder    made here; if it exists, folder_2 or the next free number
    command   the words of the command line, for config.json
    report    called with the agent after every step

    Raises ConfigError or SpaceError if the agent cannot be made. An error before the end of the
    first step leaves no folder. After Ctrl-C, SIGTERM and later errors `resume` continues the run.
    """
    config = config.checked()
    check_log(config)
    folder = prepare(config, Path(folder), command)
    begun = False

    def note(agent: Any) -> None:
        nonlocal begun
        begun = True
        if report is not None:
            report(agent)

    try:
        return start(config, folder, command=command, report=note)
    except Exception as error:
        if not begun and not isinstance(error, FolderInUse):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def prepare(config: RunConfig, folder: Path, command: Sequence[str] = ()) -> Path:
    """Make a new folder with config.json, which `start` and `resume` train; returns it."""
    record = _record(config, command)
    folder = make(folder.parent, folder.name)
    write_json(folder / names.CONFIG, config.plain() | record)
    return folder


def start(
    config: RunConfig,
    folder: Path,
    *,
    command: Sequence[str] = (),
    report: Report | None = None,
    copy: bool = True,
) -> Algorithm:
    """Train a run in a folder of `prepare`.

    copy   whether what is printed is to be copied to console.log
    """
    with locked(folder), _recorded(folder, copy):
        return _begin(config, folder, command, report)


def resume(
    folder: "str | Path",
    *,
    total_timesteps: int | None = None,
    wrappers: Iterable[str] = (),
    imports: Iterable[str] = (),
    report: Report | None = None,
    copy: bool = True,
) -> Algorithm:
    """Continue a run from its latest checkpoint, and return the agent.

    total_timesteps     env steps of the whole run, to extend one that is finished
    wrappers, imports   those of the run: a file alone does not decide which code is imported

    The files in the folder become those of a run that was not stopped, up to times. A finished run
    is only loaded. Raises ConfigError if the folder has no run, or if it is being trained.
    """
    folder = Path(folder)
    check_is_run(folder)
    with locked(folder):
        config, record = _config_of(folder, [*wrappers], [*imports])
        path = _newest(folder)
        if path is None and (folder / names.FINAL).is_file():
            raise ConfigError(f"{folder} has no checkpoint to go on from, only {names.FINAL}.")
        if path is None and total_timesteps is not None:
            raise ConfigError(
                f"{folder} has no checkpoint, so it begins at step 0. Resume it without "
                "total_timesteps first, or train another run."
            )
        with _recorded(folder, copy):
            if path is None:  # it was stopped before the first checkpoint
                _say(f"{folder} has no checkpoint: it begins at step 0.")
                _remove_logs(folder, config)
                return _begin(config, folder, record.get("command", ()), report)
            agent = load(path, env=source(config) if config.wrappers else None)
            done = agent.num_timesteps
            unfinished = done < agent.end
            if total_timesteps is None:
                if not unfinished and (folder / names.FINAL).exists():
                    _say(f"{folder} is finished: {done:,} steps.")
                    return agent
            elif unfinished:
                raise ConfigError(
                    f"{folder} has {done:,} of {agent.end:,} steps. Resume it without "
                    "total_timesteps first: schedules depend on the length of a run."
                )
            elif total_timesteps <= done:
                raise ConfigError(
                    f"{folder} has {done:,} steps; total_timesteps must be more, got "
                    f"{total_timesteps}."
                )
            else:
                (folder / names.FINAL).unlink(missing_ok=True)
                record["total_timesteps"] = int(total_timesteps)
                write_json(folder / names.CONFIG, record)
            _warn_of_changes(folder, config, agent)
            _say(f"{folder} goes on at step {done:,}.")
            goal = max(done, agent.end) if total_timesteps is None else int(total_timesteps)
            return _learn(agent, config, folder, goal - done, report)


def steps_if_finished(folder: Path) -> int | None:
    """The env steps of a run that is finished, from its files alone; None: it is not."""
    path = _newest(folder)
    if path is None or not (folder / names.FINAL).is_file():
        return None
    try:
        counters = archive.read_headers(path)[0]["counters"]
        steps, end = (checkpoint.count(counters[name]) for name in ("num_timesteps", "end"))
    except (NprError, LookupError, TypeError, ValueError):  # `resume` says what is wrong
        return None
    return steps if steps >= end else None


def check(configs: Iterable[RunConfig]) -> None:
    """Make the agent of each run once, seeds aside. Raises ConfigError or SpaceError."""
    seen: list[RunConfig] = []
    for config in configs:
        alike = dataclasses.replace(config, seed=0)
        if alike not in seen:
            seen.append(alike)
            check_log(config)
            build(config).close()


def check_log(config: RunConfig) -> None:
    """Raise ConfigError if an output of the log needs a package that is missing."""
    for output in configure(None, config.log):
        output.check()


def build(config: RunConfig) -> Algorithm:
    """The agent of a run that begins. Raises ConfigError or SpaceError."""
    import_modules(config.imports)
    env = source(config)
    kwargs = {"env_kwargs": config.env_kwargs} if config.env_kwargs else {}
    return config.kind(env, seed=config.seed, **config.settings, **kwargs)


def source(config: RunConfig) -> str | WrappedEnv:
    """What the agent takes as its environment. Raises ConfigError if there is no such id."""
    check_registered(config.env, "If a package registers it, name the package: --import PACKAGE.")
    if not config.wrappers:
        return config.env
    return WrappedEnv(config.env, config.wrappers, config.imports)


def resolved(config: RunConfig, agent: Algorithm) -> RunConfig:
    """The run with every value as it is trained, in place of None and of what was left out."""
    held = config.plain()
    del held["format"]
    budget = config.budget
    settings = {name: getattr(agent, name) for name in agent.settings if name != "env_kwargs"}
    held |= {"settings": settings, "total_timesteps": budget}
    if config.eval_freq is None:
        held["eval_freq"] = max(1, budget // N_EVALUATIONS)
    if config.save_freq is None:
        held["save_freq"] = max(1, budget // N_CHECKPOINTS)
    return RunConfig(**held).checked()


def _learn(
    agent: Algorithm, config: RunConfig, folder: Path, budget: int | None, report: Report | None
) -> Algorithm:
    """Learn for `budget` more steps, or for the rest of the run, and write final.npz."""
    checkpoints = folder / names.CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    # not the latest checkpoint: what an error leaves may not continue to the bit
    agent._crash_file = checkpoints / names.CRASH
    callbacks: list[Any] = []
    evaluation = EvalCallback(
        n_eval_episodes=config.eval_episodes, eval_freq=config.eval_freq or 1,
        log_path=str(folder), best_model_save_path=str(folder / names.BEST), verbose=0,
    )  # fmt: skip
    if config.eval_freq:  # before the checkpoint of the same step
        callbacks.append(evaluation)
    if config.save_freq:
        callbacks.append(
            CheckpointCallback(
                config.save_freq, str(checkpoints), keep=config.keep, latest=names.LATEST
            )
        )
    callbacks += [report] if report else []
    try:
        agent.learn(
            budget, callbacks, log_interval=config.log_interval, reset_num_timesteps=False,
            log=_outputs(config), log_dir=str(folder),
            save_path=checkpoints / names.LATEST,
        )  # fmt: skip
    finally:
        agent._crash_file = None
    agent.save(folder / names.FINAL)
    if agent.verbose:
        _say(_result(agent, evaluation, folder))
    agent.close()
    return agent


def _result(agent: Algorithm, evaluation: EvalCallback, folder: Path) -> str:
    """A line about a run that is finished."""
    parts = ["no episode ended"]
    if (mean := agent.logger.mean_return()) is not None:
        n = len(agent.logger.episodes)
        parts = [f"return {mean:.1f} (last {n} episode{'s' if n > 1 else ''})"]
    if math.isfinite(evaluation.best_mean_reward):
        parts.append(f"best evaluation {evaluation.best_mean_reward:.1f}")
    return f"{', '.join(parts)}, written to {folder}"


def _begin(
    config: RunConfig, folder: Path, command: Sequence[str], report: Report | None
) -> Algorithm:
    """Train a run from its first step."""
    record = _record(config, command)
    write_json(folder / names.CONFIG, config.plain() | record)
    agent = build(config)
    config = resolved(config, agent)
    write_json(folder / names.CONFIG, config.plain() | record)
    return _learn(agent, config, folder, config.budget, report)


def _record(config: RunConfig, command: Sequence[str]) -> dict[str, Any]:
    """What config.json says about how a run was made."""
    return {
        "preset": config.preset,
        "npr": __version__,
        "versions": checkpoint.made_with(),
        "git": git.head(Path.cwd()),
        "command": [*command],
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _outputs(config: RunConfig) -> list[str]:
    return [*dict.fromkeys([*config.log, "monitor"])]


def _config_of(
    folder: Path, wrappers: list[str], imports: list[str]
) -> tuple[RunConfig, dict[str, Any]]:
    """The run in a folder, and the content of its config.json. Raises ConfigError."""
    path = folder / names.CONFIG
    data = read_config(path, wrappers, imports)
    record = json.loads(path.read_text())
    held = record.get("wrappers", [])
    if wrappers != held:
        given = f"with --wrapper {' '.join(held)}" if held else "without --wrapper"
        raise ConfigError(
            f"{path} was made {given}, got --wrapper {' '.join(wrappers)}: a run continues with "
            "the same wrappers in the same order."
        )
    import_modules(data.get("imports", []))
    configs = from_plain(data)
    if len(configs) != 1:
        raise ConfigError(
            f"{path} describes {len(configs)} runs, and the folder of a run has one. Train them: "
            f"npr train --config {path}."
        )
    return configs[0], record


def _newest(folder: Path) -> Path | None:
    """The latest checkpoint, or else the numbered one with most steps; None: there is none."""
    checkpoints = folder / names.CHECKPOINTS
    if (checkpoints / names.LATEST).is_file():
        return checkpoints / names.LATEST
    found = {
        int(match[1]): path
        for path in checkpoints.glob("*.npz")
        if (match := re.fullmatch(r"rl_model_(\d+)_steps\.npz", path.name))
    }
    return found[max(found)] if found else None


@contextlib.contextmanager
def _recorded(folder: Path, copy: bool) -> Iterator[None]:
    """Within it a run is trained: one BLAS thread, whether alone or beside others, so that its
    bytes are the same, and what it prints in console.log."""
    with contextlib.ExitStack() as stack:
        log: TextIO = sys.stderr
        if copy:
            log = stack.enter_context(copied_to(folder / names.CONSOLE))
        stack.enter_context(blas_threads(1))
        try:
            yield
        except Exception:
            streams.write(log, traceback.format_exc())
            raise
        except (KeyboardInterrupt, SystemExit):
            _say(f"`npr resume {folder}` continues this run.")
            raise


def _warn_of_changes(folder: Path, config: RunConfig, agent: Algorithm) -> None:
    """Warn if config.json has been edited: the agent's file is what counts."""
    changed = [k for k, v in config.settings.items() if getattr(agent, k) != v]
    if changed:
        warnings.warn(
            f"{folder / names.CONFIG} has other settings than the checkpoint, which are used: "
            f"{', '.join(f'{k}={getattr(agent, k)!r}' for k in changed)}. To change settings, "
            "begin a new run: npr train --config.",
            ConfigWarning,
            stacklevel=3,
        )


def _say(text: str) -> None:
    streams.write(sys.stderr, f"npr: {text}\n")


def _remove_logs(folder: Path, config: RunConfig) -> None:
    """Remove what a run has logged that was stopped before its first checkpoint."""
    for output in configure(folder, _outputs(config)):
        for path in output.held():
            Path(path).unlink(missing_ok=True)
    for name in (names.EVALUATIONS, names.BEST):
        (folder / name).unlink(missing_ok=True)
