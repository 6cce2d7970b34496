"""A run whose environments the caller of an agent steps: `select_action` and `observe`.

The run is that of `learn`, entered again for every step.
"""

from typing import Any

import numpy as np

from npr.envs.observed import ObservedEnvs
from npr.errors import ConfigError
from npr.system import memory
from npr.system.blas import blas_threads, keep_freed_memory, threads_for
from npr.training.advice import warn_of_settings, widest
from npr.training.run import Run

NOTHING_SELECTED = ConfigError(
    "observe() needs a call of select_action() before it, with the same observation: what it "
    "chooses next depends on it. The action that was done may be another one."
)


class Observer:
    """The open run of an agent in environments that are stepped by its caller.

    agent   an Algorithm
    run     its Run, which was not executed; the agent's environments are ObservedEnvs
    """

    def __init__(self, agent: Any, run: Run) -> None:
        self.agent, self.run = agent, run
        self.envs: ObservedEnvs = run.envs
        self.threads = threads_for(widest(agent))
        self.bounded = run.start < run.counters.end  # whether the budget ends in this run
        self.chosen: tuple[np.ndarray, Any] | None = None  # the agent's actions, as returned
        warn_of_settings(agent, stacklevel=4)
        keep_freed_memory()
        self._learn()  # from no step: the algorithm says how it chooses actions

    def select(self, observation: Any, masks: Any) -> Any:
        """The environment's action, see `Algorithm.select_action`."""
        envs, agent, run = self.envs, self.agent, self.run
        s = envs.rows(observation, masks, ~envs.all_valid)
        envs.check_first(s)
        if envs.s is None:
            agent.steps.end_episodes(whole=run.whole_episodes)
            run.reset()
        elif (cut := envs.cut(s)) is not None:
            agent.steps.end_episodes(run.whole_episodes, cut)
            if agent.reward_norm and not agent.steps:  # else it takes the cut from these
                agent.reward_norm.returns[cut] = 0.0
        envs.see(s)
        with blas_threads(self.threads):
            a = run.action_at(s)
        if envs.is_batch(observation):
            action = agent.actions.to_env_batch(a)
        else:
            action = agent.actions.to_envs(a)[0]
        self.chosen = a, _copied(action)
        return action

    def observe(
        self, observation: Any, action: Any, reward: Any, next_observation: Any, terminated: Any,
        truncated: Any, valid: Any, masks: Any,
    ) -> None:  # fmt: skip
        """Learn from one step, see `Algorithm.observe`."""
        envs, run = self.envs, self.run
        if self.chosen is None:
            raise NOTHING_SELECTED
        if not envs.is_seen(observation):
            raise ConfigError(
                "observe() got another observation than the last select_action(). Pass the one "
                "that was acted on first, and the next one after the reward."
            )
        a = self._agents(action, envs.is_batch(observation))
        envs.take(a, reward, next_observation, terminated, truncated, valid, masks)
        self.chosen = None
        self._learn()
        if self.bounded and run.counters.num_timesteps >= run.counters.end:
            run.check_policy()
            self.agent._end_observation()

    def _agents(self, action: Any, batched: bool) -> np.ndarray:
        """The agent's actions (n, ...) for those of the environments. Where these are what it has
        chosen, they are its own numbers, which may be beyond the bounds of a Box.

        Raises ConfigError for an action outside of the space.
        """
        own, chosen = self.chosen  # type: ignore[misc]
        if _equal(action, chosen):
            return own
        convert = self.agent.actions.from_env_batch
        if batched:
            given, mine = convert(action), convert(chosen)
        else:
            one = self.agent.actions.from_env
            given, mine = np.asarray(one(action))[None], np.asarray(one(chosen))[None]
        if given.shape != own.shape:
            raise ConfigError(
                f"observe() needs {len(own)} actions, as many as environments; got {len(given)}."
            )
        table, s = self.envs.masks, self.envs.s
        mask = self.agent.mask(s) if table is None else table.allowed[s]
        if mask is not None and not (allowed := self.agent.actions.allowed(given, mask)).all():
            raise ConfigError(
                f"observe() got an action that the mask forbids, in environment "
                f"{int(allowed.argmin())}: {action!r:.80}."
            )
        same = (given == mine).reshape(len(own), -1).all(axis=1)
        return np.where(same.reshape(-1, *[1] * (own.ndim - 1)), own, given)

    def _learn(self) -> None:
        """Enter the algorithm for the step that waits, if there is one."""
        agent, run = self.agent, self.run
        agent._learning = True
        try:
            with blas_threads(self.threads), memory.explain_full_device(vars(agent)):
                run.guard.run(agent._train, run)
        except BaseException:
            agent._observer, self.bounded = None, False
            self.end()
            raise
        finally:
            agent._learning = False

    def end(self) -> None:
        """End the run: its log is complete."""
        run = self.run
        run.guard.__exit__(None, None, None)
        try:
            run.finish()
        finally:
            run.outputs.close()


def _copied(action: Any) -> Any:
    """An environment's action that its caller does not change."""
    if isinstance(action, dict):
        return {key: _copied(part) for key, part in action.items()}
    if isinstance(action, tuple):
        return tuple(map(_copied, action))
    return action.copy() if isinstance(action, np.ndarray) else action


def _equal(one: Any, other: Any) -> bool:
    """Whether two actions of an environment are equal, in type and shape too."""
    if isinstance(other, dict):
        return (
            isinstance(one, dict)
            and one.keys() == other.keys()
            and all(_equal(one[key], part) for key, part in other.items())
        )
    if isinstance(other, tuple):
        return isinstance(one, tuple) and len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(other, int):
        return isinstance(one, (int, np.integer)) and one == other
    return isinstance(one, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
