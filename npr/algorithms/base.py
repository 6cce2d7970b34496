"""What all algorithms share: agent.py, and the ways in which they learn. The training loop is in
npr/training/run.py; the updates are in the file of each algorithm.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from npr.algorithms.agent import Agent
from npr.callbacks import Callback, as_callback
from npr.capture import capture_methods
from npr.envs.batched import ErrorPolicy
from npr.envs.observed import ObservedEnvs
from npr.errors import ConfigError
from npr.files import replay_file
from npr.files.parts import instances
from npr.loggers import Output, Outputs, configure
from npr.optim import Optimizer
from npr.settings.setting import documentation
from npr.training import imitation, offline, saving
from npr.training.counters import Counters
from npr.training.observing import Observer, nothing_selected
from npr.training.run import DEFAULT_BUDGET, Run, Step

if TYPE_CHECKING:
    import os


REGISTRY: dict[str, type["Algorithm"]] = {}  # name -> class that `npr.load` may create


class Algorithm(Agent):
    """Base class of algorithms."""

    registry = REGISTRY

    if TYPE_CHECKING:  # with the settings of any algorithm

        def __init__(self, *args: Any, seed: int | None = None, **given: Any) -> None: ...

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        kind = inspect.Parameter
        parameters = [
            kind("env", kind.POSITIONAL_OR_KEYWORD, default=None),
            kind("seed", kind.KEYWORD_ONLY, default=None, annotation=int | None),
        ] + [
            kind(name, kind.KEYWORD_ONLY, default=one.default, annotation=one.type)
            for name, one in cls.settings.items()
        ]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        own = [inspect.cleandoc(cls.__doc__)] if cls.__doc__ else []
        cls.__doc__ = "\n\n".join([*own, documentation(cls.settings)])
        REGISTRY[cls.__name__] = cls
        capture_methods(cls)

    # ---- learning

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: "Callable[[Self], Any] | Callback | Iterable[Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        reset_num_timesteps: bool = True,
        save_path: "str | os.PathLike[str] | None" = None,
        save_freq: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> Self:
        """Learn for a number of environment steps and return the agent.

        total_timesteps      None: the preset's budget for this environment, or the rest of an
                             unfinished run
        callback             a function that is called with the agent after every step, a Callback
                             of npr.callbacks, or a list of these; returning False stops, and so
                             does an exception. It must not step the agent's environment
        progress_bar         False: none; None or True: one line, on runs longer than a second
        log_interval         rows of the log are written every so many rollouts (PPO and others
                             that learn from rollouts) or episodes; None: about 100 rows of a log
                             that was asked for. Without a log it prints tables
        reset_num_timesteps  False: continue to count, and continue schedules. An unfinished run
                             always continues: one that was interrupted, or loaded from a file
                             that was saved before its end
        save_path            file that the agent is written to at the end, and if the run fails
        save_freq            env steps between writes to save_path during the run
        log                  outputs by name ("csv", "tensorboard", see npr.loggers.configure) or
                             npr.loggers.Output objects; None: those of set_logger, if any
        log_dir              folder of the files of `log`; None: the working directory

        Ctrl-C and SIGTERM stop the run after the current update: the agent is saved, its
        environments are closed, and the program ends with KeyboardInterrupt or exit status 143. A
        second signal stops it immediately. The agent is also saved after an NprError (an
        environment that violates Gymnasium's API, training that diverged). Without save_path the
        file is named after the agent, in the working directory. After other exceptions, such as
        those of the callback, it is saved to save_path only. Every exception is raised unchanged,
        with a note that names the file.
        """
        run = self._begin(
            total_timesteps, callback, progress_bar, log_interval, reset_num_timesteps, save_path,
            save_freq, log, log_dir,
        )  # fmt: skip
        try:
            run.execute()
        finally:
            self._end(run)
        return self

    def iterate(
        self,
        total_timesteps: int | None = None,
        callback: "Callable[[Self], Any] | Callback | Iterable[Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        reset_num_timesteps: bool = True,
        save_path: "str | os.PathLike[str] | None" = None,
        save_freq: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> Iterator[Step]:
        """Learn as `learn` does with the same arguments, and yield a Step after every step of the
        environments and the updates that followed it.

        The run begins with the first Step that is asked for. Leaving the loop, or closing the
        iterator, ends it as if a callback had returned False. Between two steps the agent may be
        saved, evaluated and changed; it is still learning, so that another run is refused, and
        Ctrl-C takes effect in the next step.
        """
        run = self._begin(
            total_timesteps, callback, progress_bar, log_interval, reset_num_timesteps, save_path,
            save_freq, log, log_dir,
        )  # fmt: skip
        try:
            yield from run.steps()
        finally:
            self._end(run)

    def begin_run(
        self,
        total_timesteps: int | None = None,
        reset_num_timesteps: bool = True,
        log_interval: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> None:
        """Begin a run whose environments the caller steps, with `select_action` and `observe`.

        The arguments are those of `learn`. Schedules follow the budget; steps beyond it are learned
        from too, with the values that they have at its end. Without this call the first
        `select_action` goes on with the agent's last run, or begins one with the preset's budget.
        """
        saving.check_arguments(None, log_interval, reset_num_timesteps)
        outputs = self._outputs_of(log, log_dir, log_interval)
        counters = self._next_counters(total_timesteps, reset_num_timesteps, "begin_run")
        self._observe_envs(counters, outputs, log_interval)

    def select_action(self, observation: Any, action_masks: Any = None) -> Any:
        """The environment's action for an observation, chosen as in `learn`: with exploration.

        observation   of n_envs environments, as a batch, if there are several; then the result is
                      one, too. If it is not the next observation of the last step, a new episode
                      begins
        action_masks  for action_masks=True: 1 or True for each action that is allowed, one mask
                      per environment

        `observe` learns from what follows. Raises EnvContractError for an observation that does not
        fit the space, NumericsError if training has diverged.
        """
        if self._observer is None:
            counters = self._next_counters(None, True, "select_action")
            counters = self.counters if self.counters.end else counters
            self._observe_envs(counters, self._outputs_of(None, None, None), None)
        elif self._learning:
            raise self._is_learning("select_action")
        return self._observer.select(observation, action_masks)  # type: ignore[union-attr]

    def observe(
        self,
        observation: Any,
        action: Any,
        reward: Any,
        next_observation: Any,
        terminated: Any,
        truncated: Any,
        valid: Any = None,
        action_masks: Any = None,
    ) -> None:
        """Learn from one step as `learn` would: after the same steps the agent is the same.

        observation        that of the last `select_action`
        action             what was done: the action that it returned, or another one of the
                           environment's space
        reward             a number; (n_envs,) for several environments, as the flags
        next_observation   the true one, also where the episode ended
        terminated         whether the episode ended there; truncated: whether it was cut, by a time
                           limit or a reset. The next `select_action` then begins a new one
        valid              (n_envs,) False where the step only reset an environment, as in
                           Gymnasium's autoreset mode NEXT_STEP; None: nowhere
        action_masks       as for `select_action`, at the next observation; not needed where the
                           episode terminated

        Updates run here when they are due, and the log is written. A call that raises ConfigError
        or EnvContractError has changed nothing and can be repeated.
        """
        if self._learning:
            raise self._is_learning("observe")
        if self._observer is None:
            raise nothing_selected()
        self._observer.observe(
            observation, action, reward, next_observation, terminated, truncated, valid,
            action_masks,
        )  # fmt: skip

    def _is_learning(self, call: str) -> ConfigError:
        return ConfigError(f"{call}() was called on an agent that is learning; copy it first.")

    def _next_counters(self, total_timesteps: Any, reset: bool, call: str) -> Counters:
        """Those of a run that begins now. Raises ConfigError if the agent is learning."""
        if self._learning:
            raise self._is_learning(call)
        default = self.preset.get("total_timesteps", DEFAULT_BUDGET)
        return self.counters.next_run(total_timesteps, default, reset)

    def _observe_envs(self, counters: Counters, outputs: Outputs, log_interval: Any) -> None:
        """Begin a run in environments that the caller steps."""
        self._end_observation()
        if self.envs is None or not self.envs.observed:
            position = self.position()
            self.envs, self._position = ObservedEnvs(
                self.n_envs, self.observations, self.actions, self.envs,
                self.actions.mask_size if self.action_masks else 0, table=self.table,
                error_policy=ErrorPolicy(self.nan_obs, self.on_env_error),
            ), {}  # fmt: skip
            if position:
                self._resume_episodes(position)
        run = self._open(counters, None, False, log_interval, None, None, outputs)
        self._learning = False
        self._observer = Observer(self, run)

    def _leave_observed_envs(self) -> None:
        """Go back from environments that the caller steps to the agent's own ones, in which new
        episodes begin."""
        self._end_observation()
        if self.envs is None or not self.envs.observed:
            return
        self._position = {**self.envs.state(), "open": np.array(False)}
        self.envs = self.envs.own
        if self.envs is not None:
            self.envs.s = None
            self.envs.resume(self._position)
            self._position = {}

    def _begin(
        self, total_timesteps: Any, callback: Any, progress_bar: Any, log_interval: Any,
        reset_num_timesteps: Any, save_path: Any, save_freq: Any, log: Any, log_dir: Any,
    ) -> Run:  # fmt: skip
        """The run of one call of `learn`, ready to be executed. `_end` must follow."""
        saving.check_target(save_path, save_freq)
        saving.check_arguments(progress_bar, log_interval, reset_num_timesteps)
        callbacks, outputs = as_callback(callback), self._outputs_of(log, log_dir, log_interval)
        counters = self._next_counters(total_timesteps, reset_num_timesteps, "learn")
        self._leave_observed_envs()
        if self.envs is None:
            self._reopen_envs(counters.num_timesteps)
        if callbacks is not None:
            callbacks.init_callback(self)
        return self._open(
            counters, callbacks, progress_bar, log_interval, save_path, save_freq, outputs
        )

    def _open(
        self, counters: Counters, callback: Callback | None, progress_bar: Any, log_interval: Any,
        save_path: Any, save_freq: Any, outputs: Outputs,
    ) -> Run:  # fmt: skip
        own = {name: getattr(self, name) for name in self.settings}
        about = {"algorithm": type(self).__name__, "env": self.env_name, "seed": self.seed, **own}
        title = f"{type(self).__name__} {self.env_name}"
        episodes = self.logger.episode_count if counters.num_timesteps else 0
        outputs.open(title, about, counters.num_timesteps, episodes)
        self.counters = counters
        self._optimizers = instances(self, Optimizer)
        self._describe(counters.end - counters.num_timesteps)
        self.logger.begin(counters.num_timesteps)
        run = Run(self, callback, progress_bar, log_interval, save_path, save_freq, outputs)
        self._learning = True
        return run

    def _end(self, run: Run) -> None:
        """A run of `_begin` has ended, in whatever way."""
        self._learning = False
        run.outputs.close()

    def learn_offline(
        self,
        updates: int,
        callback: "Callable[[Self], Any] | Callback | Iterable[Any] | None" = None,
        progress_bar: bool | None = None,
        log_interval: int | None = None,
        save_path: "str | os.PathLike[str] | None" = None,
        save_freq: int | None = None,
        log: "str | Output | Iterable[str | Output] | None" = None,
        log_dir: "str | os.PathLike[str] | None" = None,
    ) -> Self:
        """Make a number of updates from the replay buffer as it is, without environments, and
        return the agent.

        The arguments are those of `learn`, where every step is an update: schedules go over these
        updates, and target_update_interval, log_interval, save_freq and the intervals of callbacks
        count them. learning_starts, train_freq and gradient_steps have no effect. Callbacks are
        called after every update; num_timesteps of the agent does not change.

        Warns once of extrapolation errors. Raises ConfigError for an algorithm without a replay
        buffer, and for an empty buffer.
        """
        offline.learn_offline(
            self, updates, as_callback(callback), progress_bar, log_interval, save_path, save_freq,
            self._outputs_of(log, log_dir, log_interval),
        )  # fmt: skip
        return self

    def imitate(
        self,
        observations: Any,
        actions: Any,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        action_masks: Any = None,
    ) -> imitation.Imitation:
        """Behavior cloning: let the policy choose the actions of others, as a start for `learn`.

        observations, actions   (B, ...) in the units of the environment
        epochs                  passes through them, in batches in random order
        learning_rate           of an Adam of its own: the optimizers of the agent are not changed
        action_masks            (B, mask_size), for an agent with action_masks=True; None: all
                                actions were allowed

        It maximizes the log-likelihood of the actions; for DDPG and TD3 it minimizes the squared
        error, and for SoftQ's sampler an energy distance (Gneiting and Raftery 2007, eq. 22).
        Critics are not trained. A target network of the actor is set to it, and steps that `learn`
        has kept for its next rollout are dropped. With normalize_obs the first observations that
        the agent gets are those of the data, if it has had none.

        Returns the losses of the epochs, and how close the actions of the policy are to the data.
        Raises ConfigError for an algorithm without an actor (DQN, tables), and for data that are
        not in the spaces; NumericsError if it diverges.
        """
        return imitation.imitate(
            self, observations, actions, epochs, batch_size, learning_rate, action_masks
        )

    def set_logger(self, outputs: "Iterable[Output] | None") -> None:
        """Write the log of every further learn() to these outputs, see npr.loggers.configure.

        None: to none. A `log` of learn() replaces them in that call.
        """
        self._outputs = None if outputs is None else Outputs(configure(None, outputs))

    def _outputs_of(self, log: Any, log_dir: Any, log_interval: Any) -> Outputs:
        """The outputs of one call of learn()."""
        if log is None and log_dir is not None:
            raise ConfigError(
                f"log_dir={log_dir!r} needs a log to write there: learn(log=['csv', 'monitor'], "
                "log_dir=...)."
            )
        if log is not None:
            return Outputs(configure(log_dir, log))
        if self._outputs is not None:
            return self._outputs
        return Outputs(configure(None, "stdout") if log_interval is not None else [])

    def _train(self, run: Run) -> None:
        """The algorithm: iterate over run.interact, transitions, rollouts or episodes."""
        raise NotImplementedError

    def save_replay_buffer(self, path: "str | os.PathLike[str]") -> None:
        """Save the transitions of the replay buffer alone, with the running moments of
        normalize_obs and normalize_reward, to one file without pickle.

        Raises ConfigError for an algorithm without one, or if the path is not one of a file, and
        OSError if the file cannot be written.
        """
        saving.check_path("path", path)
        offline.buffer_of(self, "save_replay_buffer")
        replay_file.save(self, path)

    def load_replay_buffer(self, path: "str | os.PathLike[str]") -> None:
        """Replace the transitions of the replay buffer by those of a file.

        It must be that of an agent with the same spaces, n_step_return and kind of buffer. Its
        buffer_size may be another one, if the transitions fit. The running moments are taken over
        if the agent has none. Episodes that went on do not go on.

        Raises CheckpointError, and changes nothing, if the file is damaged or does not fit.
        """
        saving.check_path("path", path)
        offline.buffer_of(self, "load_replay_buffer")
        replay_file.load(self, path)
