"""What the `_train` of an algorithm is given in place of one agent and its run: all agents of an
ensemble, which do every step together.
"""

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from npr.capture import METHODS
from npr.capture.joined import Joined, caught
from npr.ensemble.each import Each, per_agent, together
from npr.ensemble.norms import ObservationNorms, RewardNorms, can_join
from npr.envs.contract import all_finite
from npr.errors import NprError
from npr.training.run import Run

# of agents at the same step, with the same settings
_SAME = ("now", "num_timesteps", "end", "progress", "epsilon")

Actions = Callable[[Any], Any]


class Agents:
    """Several agents of one class, used by its `_train` as if they were one.

    Attributes are those of the agents, see Each, but for the settings, which are the same. A method
    runs for each agent; `update` and `choose` of all of them are one call, and `explore`, which
    calls `choose`, runs once. The epochs of PPO are a method, too: many updates of one agent in a
    row find its parameters in the processor's cache, which gains more than to join them.
    """

    def __init__(self, run: "Together") -> None:
        self._run = run
        self.refresh_attributes()

    def refresh_attributes(self) -> None:
        """Use the agents of the run, with their attributes as they are now."""
        agents = [run.agent for run in self._run.runs]
        held = vars(self)
        run = self._run
        held.clear()
        held.update(_run=run, _agents=agents, _type=type(agents[0]), _rates=None)
        public = [name for name in vars(agents[0]) if name[0] != "_"]
        held.update({name: together([vars(one)[name] for one in agents]) for name in public})
        for name in METHODS:
            if hasattr(self._type, name):
                held[name] = self._checked(self._run.joined(agents, name))
        explore = inspect.getattr_static(self._type, "explore", None)
        if is_own(explore):  # another one may do anything
            held["explore"] = types.MethodType(explore, self)

    def set_learning_rate(self) -> None:
        """As `Algorithm.set_learning_rate`, where a rate has changed."""
        first, names = self._agents[0], ("learning_rate", *self._type.rates.values())
        values = [getattr(first, name) for name in names]
        rates = [None if value is None else first.now(value) for value in values]
        if rates != vars(self)["_rates"]:
            vars(self)["_rates"] = rates
            for agent in self._agents:
                agent.set_learning_rate()

    def __getattr__(self, name: str) -> Any:
        if name[0] == "_":
            raise AttributeError(name)
        if name in _SAME:
            return getattr(self._agents[0], name)
        static = _static(self._type, name)
        if not isinstance(static, types.FunctionType):
            return together([getattr(agent, name) for agent in self._agents])
        method = vars(self)[name] = self._checked(self._one_by_one(name))
        return method

    def _one_by_one(self, name: str) -> Callable[..., list[Any]]:
        methods = [getattr(agent, name) for agent in self._agents]
        return lambda rows: [caught(method, *row) for method, row in zip(methods, rows)]

    def _checked(self, calls: Callable[..., list[Any]]) -> Callable[..., Any]:
        """A method of all agents, from one that takes the arguments of each."""
        run = self._run

        def method(*args: Any) -> Any:
            own = [Each(run.runs) if x is run else x for x in args]
            results = calls([*per_agent(own, len(run.runs))])
            if any(issubclass(kind, NprError) for kind in {*map(type, results)}):
                results = run.without_errors(results)
            return together(results)

        return method


_static = functools.cache(inspect.getattr_static)  # of a class, which takes some time


def is_own(method: Any) -> bool:
    """Whether a method is one of npr's algorithms."""
    return isinstance(method, types.FunctionType) and method.__module__.startswith("npr.")


class Together:
    """The runs of several agents, used by `_train` as if they were one.

    runs      of the agents that learn; all are at the same step
    after     called after every step of all environments; whether to go on
    lose      called with a run whose agent has failed, and its error: the others go on without it
    """

    def __init__(
        self, runs: list[Run], after: Callable[[], bool], lose: Callable[[Run, NprError], None]
    ) -> None:
        self.runs, self._after, self._lose = runs, after, lose
        self._lost: list[Run] = []
        self._joined: dict[str, Joined] = {}
        self._norms: tuple[ObservationNorms | None, RewardNorms | None] = None, None
        first = runs[0].agent
        self._expected = runs[0].envs.n, *first.actions.columns()[0]  # the shape of actions
        self.agents = Agents(self)

    def joined(self, agents: list[Any], name: str) -> Joined:
        """The joined calls of a method of the agents, which may have changed."""
        held = self._joined.get(name)
        if held is None or held.agents != agents:
            held = self._joined[name] = Joined(agents, name)
        held.check()
        return held

    # ---- agents that fail

    def lose(self, run: Run, error: NprError) -> None:
        """Go on without an agent after this step. Raises the error if it is the last one."""
        if run in self._lost:
            return
        self._lose(run, error)
        self._lost.append(run)
        if len(self._lost) == len(self.runs):
            raise error

    def without_errors(self, results: list[Any]) -> list[Any]:
        """The results of agents, where one that has failed gets that of another."""
        for run, result in zip(self.runs, results):
            if isinstance(result, NprError):
                self.lose(run, result)
        known = next(result for result in results if not isinstance(result, NprError))
        return [known if isinstance(result, NprError) else result for result in results]

    def drop_lost(self) -> None:
        """Go on without the agents that have failed."""
        if self._lost:
            self.runs[:] = [run for run in self.runs if run not in self._lost]
            self._lost.clear()
            self.agents.refresh_attributes()
            if any(self._norms):
                self._join_norms()

    # ---- as in Run, for all agents

    def every(self, interval: int) -> int:
        return self.runs[0].every(interval)

    def updates_due(self) -> int:
        return self.runs[0].updates_due()

    def updated(self, metrics: Any) -> None:
        for run, (own,) in zip(self.runs, per_agent([metrics], len(self.runs))):
            if run not in self._lost:
                run.updated(own)

    @property
    def logger(self) -> Each:
        return Each([run.logger for run in self.runs])

    def interact(self, choose: Actions) -> Iterator[list[Any]]:
        self._join_norms()
        for steps in self._steps(choose):
            s, a, r, s2, terminated, truncated, valid, episode = zip(*steps)
            obs_norms, reward_norms = self._norms
            if reward_norms is not None:
                done = np.concatenate(terminated) | np.concatenate(truncated)
                reward_norms.add(np.concatenate(r), done)
            elif self.runs[0].agent.reward_norm:
                for i, run in enumerate(self.runs):
                    run.agent.reward_norm.add(r[i], terminated[i] | truncated[i], valid[i])
            if obs_norms is not None:
                obs_norms.add(np.concatenate(s))
            elif self.runs[0].agent.obs_norm:
                for i, run in enumerate(self.runs):
                    run.agent.obs_norm.add(s[i])
            yield [Each(x) for x in (s, a, r, s2, terminated, episode)]

    def _join_norms(self) -> None:
        """Join the normalizations of the agents, where it can be done."""
        agents, n = [run.agent for run in self.runs], self.runs[0].envs.n
        obs_norms = [agent.obs_norm for agent in agents]
        reward_norms = [agent.reward_norm for agent in agents]
        self._norms = (
            ObservationNorms(obs_norms) if can_join(obs_norms, n) else None,
            RewardNorms(reward_norms) if can_join(reward_norms, n) else None,
        )

    def rollouts(self, n_steps: int, choose: Actions) -> Iterator[Any]:
        for run in self.runs:
            run.by_rollout = True
        for steps in self._steps(choose):
            for run, step in zip(self.runs, steps):
                run.agent.steps.append(step[:-1])
            if len(self.runs[0].agent.steps) >= n_steps:
                rollouts = [run._normalized(run._rollout()) for run in self.runs]
                yield Each([next(one) for one in rollouts])
                for one in rollouts:
                    next(one, None)  # what follows the update
        for run in self.runs[:1]:
            run._warn_of_no_update(f"{n_steps:,} steps of each environment", "n_steps", 7)

    def _steps(self, choose: Actions) -> Iterator[list[Any]]:
        """The steps of `Run.steps`, of every agent."""
        runs = self.runs
        while runs and runs[0].counters.num_timesteps < runs[0].counters.end:
            self._begin_episodes()
            chosen = choose(Each(self._observed()))
            actions = chosen.values if type(chosen) is Each else [chosen] * len(runs)
            yield from self._stepped(actions)
            self.drop_lost()
            for run in runs:
                if run.envs.finished:
                    run._log_episodes()
                if run.iterated:
                    run.iterated = False
                    run._log_if_due(run.logger.iterations)
            if not self._after():
                return

    def _begin_episodes(self) -> None:
        """Reset environments that are not within episodes."""
        begins = [run for run in self.runs if run.envs.s is None]
        for run in begins:
            run.agent.steps.end_episodes(whole=False)
            run.reset()
        if begins and any(self._norms):
            self._join_norms()  # the returns of rewards begin anew

    def _observed(self) -> list[Any]:
        """What the agents act on next."""
        observed = [run.envs.s for run in self.runs]
        norms, _ = self._norms
        if norms is not None:
            return [*norms(np.concatenate(observed))[:, None]]
        if self.runs[0].agent.obs_norm is not None:
            return [run.agent.obs_norm(s) for run, s in zip(self.runs, observed)]
        return observed

    def _stepped(self, actions: Sequence[Any]) -> Iterator[list[Any]]:
        steps = []
        for run, a in zip(self.runs, actions):
            envs = run.envs
            s, episode = envs.s, envs.episode
            try:
                if a.shape != self._expected:
                    raise run._bad_shape(a.shape, self._expected)
                if a.dtype.kind == "f" and not all_finite(a):
                    raise run._bad_action()
                s2, r, terminated, truncated, valid = envs.step(a)
            except NprError as error:
                self.lose(run, error)
                continue
            run.last_steps = envs.n
            run.counters.num_timesteps += envs.n
            steps.append((s, a, r, s2, terminated, truncated, valid, episode))
        self.drop_lost()
        yield steps
