"""Learning from a replay buffer that does not change: a run without environments, whose clock
counts updates.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npr.backend import FLOAT
from npr.errors import ConfigError, ConfigWarning
from npr.files.parts import instances
from npr.loggers import Outputs
from npr.optim import Optimizer
from npr.settings import Replay
from npr.settings.setting import is_whole
from npr.training import saving
from npr.training.counters import Counters
from npr.training.run import Run, Stopped, Transition

_EXTRAPOLATION = (
    "learn_offline() updates from transitions that are not its own: nothing corrects the values of "
    "actions that they do not have, and the policy prefers actions whose values are too high "
    "(extrapolation error, Fujimoto et al. 2019). Use data of varied actions, and compare "
    "evaluate() after few and many updates."
)


def buffer_of(agent: Any, call: str) -> Any:
    """The replay buffer of an agent. Raises ConfigError if it has none, or is learning."""
    if not (issubclass(type(agent), Replay) and hasattr(agent, "buffer")):
        raise ConfigError(
            f"{call}() needs an algorithm with a replay buffer, such as DQN, DDPG, TD3, SoftQ or "
            f"SAC; {type(agent).__name__} learns from its own steps only."
        )
    if agent._learning:
        raise ConfigError(f"{call}() was called on an agent that is learning; copy it first.")
    return agent.buffer


@dataclass(slots=True)
class OfflineCounters(Counters):
    """Counts of an agent in a run whose clock counts updates.

    updates   the clock: from 0 to the updates of the run
    """

    updates: Counters = field(default_factory=Counters)

    @property
    def clock(self) -> Counters:
        return self.updates

    @property
    def progress(self) -> float:
        return self.updates.progress


class NoEnvs:
    """What a run asks its environments for, where it has none."""

    n, owned, masks, observed = 0, False, None, False

    def claim(self) -> None:
        """There is nothing to use."""

    def leave(self) -> None:
        """There is nothing to leave."""

    def metrics(self) -> dict[str, float]:
        """Nothing to log."""
        return {}


class OfflineRun(Run):
    """A run of a number of updates: each step of its clock has no transitions, and one update."""

    def __init__(self, agent: Any, *args: Any) -> None:
        super().__init__(agent, *args)
        self.last_steps = 1

    def environments(self) -> NoEnvs:
        return NoEnvs()

    def interact(self, choose: Callable[[np.ndarray], np.ndarray]) -> Iterator[Transition]:
        clock, nothing = self.counters, self._nothing()
        while clock.num_timesteps < clock.end:
            clock.num_timesteps += 1
            yield nothing
            self._log_if_due(clock.num_timesteps)
            self.progress.update()
            if self.callback is not None and not self.callback.on_step():
                return
            if self.save_freq and self.every(self.save_freq):
                self.progress.clear()
                saving.save_or_warn(self.agent, self.save_path)
            if self.interrupts.requested and clock.num_timesteps < clock.end:
                raise Stopped

    def _nothing(self) -> Transition:
        """The transitions of no environment."""
        shape, dtype = self.agent.actions.columns()
        s = np.empty((0, self.agent.row_size), FLOAT)
        r, flags = np.empty(0, FLOAT), np.empty(0, bool)
        return Transition(s, np.empty((0, *shape), dtype), r, s, flags, np.empty(0, np.int64))

    def updates_due(self) -> int:
        return 1

    def updated(self, metrics: dict[str, Any]) -> None:
        self.agent.counters.updated()
        super().updated(metrics)  # which counts on the clock

    def _warn_if_idle(self) -> None:
        """Warn once of what learning from a fixed buffer cannot do."""
        agent = self.agent
        if _EXTRAPOLATION not in agent._advised:
            agent._advised.add(_EXTRAPOLATION)
            text = f"{type(agent).__name__}: {_EXTRAPOLATION}"
            warnings.warn(text, ConfigWarning, stacklevel=6)


def learn_offline(agent: Any, updates: Any, callbacks: Any, progress_bar: Any, log_interval: Any,
                  save_path: Any, save_freq: Any, outputs: Outputs) -> None:  # fmt: skip
    """Run `agent.learn_offline`, whose arguments these are; callbacks and outputs are made."""
    saving.check_target(save_path, save_freq)
    saving.check_arguments(progress_bar, log_interval, False)
    buffer = buffer_of(agent, "learn_offline")
    if not is_whole(updates) or updates < 0:
        raise ConfigError(f"updates must be a whole number of at least 0, got {updates!r}.")
    if not buffer.size:
        raise ConfigError(
            "learn_offline() needs transitions: agent.buffer.add_batch(...) or "
            "agent.load_replay_buffer(path)."
        )
    for name, norm in (("obs", agent.obs_norm), ("reward", agent.reward_norm)):
        if norm is not None and not norm.moments.count:
            raise ConfigError(
                f"normalize_{name}=True has no statistics yet. Fill the buffer with "
                "agent.buffer.add_batch(...), which computes them."
            )
    agent._end_observation()
    if callbacks is not None:
        callbacks.init_callback(agent)
    name, before, logger = type(agent).__name__, agent.counters, agent.logger
    about = {"algorithm": name, "env": agent.env_name, "seed": agent.seed}
    about |= {key: getattr(agent, key) for key in agent.settings}
    outputs.open(f"{name} {agent.env_name}", about, 0, logger.episode_count)
    held = before.num_timesteps, before.end, before.n_updates, before.unfinished
    agent.counters = OfflineCounters(*held, Counters(0, int(updates), before.n_updates))
    agent._optimizers = instances(agent, Optimizer)
    agent._say(f"{updates:,} updates from {buffer.size:,} transitions")
    last_row, logger.last_row = logger.last_row, 0  # rows of this run have its clock
    logger.start_row()
    agent._learning = True
    try:
        OfflineRun(
            agent, callbacks, progress_bar, log_interval, save_path, save_freq, outputs
        ).execute()
    finally:
        agent._learning = False
        outputs.close()
        logger.start_row()
        logger.last_row = last_row
        agent._acting = None  # on a device: the next action is chosen by what was learned here
        before.n_updates = agent.n_updates
        agent.counters = before
