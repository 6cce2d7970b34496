"""The one door to Gymnasium: spaces, seeds, time limits, autoreset and contract checks.

Whatever stands behind it (an id, an Env, a factory, a VectorEnv in any autoreset mode), the
learner sees one record per step: (s2, r, terminated, truncated, valid), where s2 is the true
next observation, also where the episode ended. `envs.s` is the observation to act on next.
"""

import collections
import functools
import math
import numbers
import reprlib
import time
import warnings

import numpy as np

from npr import workers
from npr.backend import FLOAT
from npr.episodes import EpisodeLog
from npr.errors import (
    ConfigError,
    ConfigWarning,
    EnvContractError,
    EnvCrashedError,
    SpaceError,
)
from npr.spaces import ACTION_KINDS, Actions, Observations

RESETS = 3  # further ones where a first observation is not finite and nan_obs="terminate"
LARGE = 1e6  # a mean reward beyond is warned of
CRASHES, HOUR = 10, 3600.0  # so many within so many seconds are let pass by on_env_error="reset"


def observation_spec(space) -> dict:
    """A Gymnasium observation space as the plain data that `Observations` takes."""
    import gymnasium.spaces as gs

    if isinstance(space, gs.Box):
        return {"kind": "box", "shape": list(space.shape)}
    if isinstance(space, gs.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, gs.MultiDiscrete):
        return {"kind": "multidiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, gs.MultiBinary):
        return {"kind": "multibinary", "shape": list(space.shape)}
    if isinstance(space, gs.Dict):
        keys, parts = list(space.spaces), list(space.spaces.values())
    elif isinstance(space, gs.Tuple):
        keys, parts = [*range(len(space.spaces))], list(space.spaces)
    else:
        raise SpaceError(
            f"npr's networks need observations of fixed size, got {space}; wrap the environment "
            "with gymnasium.wrappers.TransformObservation to make them a Box."
        )
    return {"kind": "group", "keys": keys, "parts": [observation_spec(part) for part in parts]}


def action_spec(space) -> dict:
    """A Gymnasium action space as the plain data that `Actions` takes."""
    import gymnasium.spaces as gs

    if isinstance(space, gs.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, gs.Box) and space.dtype.kind == "f" and space.low.size:
        bounds = {
            name: [x if math.isfinite(x) else None for x in bound.ravel().tolist()]
            for name, bound in (("low", space.low), ("high", space.high))
        }
        return {"kind": "box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, gs.MultiDiscrete):
        return {"kind": "multidiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, gs.MultiBinary):
        return {"kind": "multibinary", "shape": list(space.shape)}
    dtype = f" of {space.dtype}" if isinstance(space, gs.Box) else ""
    return {"kind": type(space).__name__.lower() + dtype}


def make_env(env, max_episode_steps=None):
    """One Gymnasium environment from an id, a factory or an Env, with its time limit."""
    import gymnasium

    if isinstance(env, str):
        # the contract is checked in `step`, every time; Gymnasium's checker looks once
        env = gymnasium.make(env, disable_env_checker=True)
    elif not isinstance(env, gymnasium.Env):
        made = env() if callable(env) else None
        if not isinstance(made, gymnasium.Env):
            got = (
                f"the function returned {type(made).__name__}" if callable(env) else f"got {env!r}"
            )
            raise ConfigError(
                "env must be an id, a gymnasium.Env, a VectorEnv or a function that returns an "
                f"Env; {got}."
            )
        env = made
    if max_episode_steps is not None:
        env = gymnasium.wrappers.TimeLimit(env, max_episode_steps)
    return env


def env_id(env) -> str | None:
    """The registered id of an environment, where it has one."""
    spec = getattr(env, "spec", None)
    return env if isinstance(env, str) else getattr(spec, "id", None)


def open_environments(
    env,
    n_envs,
    seeds,
    max_episode_steps=None,
    table=False,
    nan_obs="raise",
    on_env_error="raise",
    env_timeout=None,
):
    """The record interface for whatever the user gave. seeds: a SeedSequence.

    nan_obs       of a number that is not finite: "raise", or "terminate" the open episode
    on_env_error  of an environment that raises: "raise", or "reset" it and drop the open episode
    env_timeout   seconds that one call may take; each environment gets a process of its own
    """
    import gymnasium

    rules = {"table": table, "nan_obs": nan_obs, "on_env_error": on_env_error}
    if isinstance(env, gymnasium.vector.VectorEnv):
        if max_episode_steps is not None:
            raise ConfigError(
                f"max_episode_steps={max_episode_steps} cannot be imposed on a VectorEnv; give it "
                "to gymnasium.make_vec, or pass an id with n_envs."
            )
        if isinstance(env.unwrapped, gymnasium.vector.AsyncVectorEnv):
            workers.watch(env.unwrapped, env_timeout)
        elif env_timeout is not None:
            raise ConfigError(
                f"env_timeout={env_timeout:g} needs environments in processes of their own, got "
                f"{type(env).__name__}; pass an id with n_envs, or an AsyncVectorEnv."
            )
        return VectorEnvironments(env, seeds, **rules)
    single = isinstance(env, gymnasium.Env)
    if n_envs > 1 and single:
        raise ConfigError(
            f"n_envs={n_envs} needs an id or a function that makes an environment, got one Env."
        )
    if env_timeout is None:
        envs = [make_env(env, max_episode_steps) for _ in range(n_envs)]
        return EnvironmentList(envs, seeds, owned=not single, **rules)
    if single:
        raise ConfigError(
            f"env_timeout={env_timeout:g} needs an id or a function that makes an environment: "
            "an Env cannot be moved to a process of its own."
        )
    make = functools.partial(_make_checked, env, max_episode_steps)
    reopen = functools.partial(workers.open_workers, make, n_envs, env_timeout)
    opened = reopen()
    try:
        return VectorEnvironments(opened, seeds, reopen=reopen, **rules)
    except BaseException:
        opened.close()
        raise


def _make_checked(env, max_episode_steps):
    """An environment for a worker: what it returns is checked before Gymnasium converts it."""
    import gymnasium

    class Checked(gymnasium.Wrapper):
        def reset(self, **kwargs):
            result = self.env.reset(**kwargs)
            observations.row(first(result), row)
            return result

        def step(self, action):
            observation, *others = transition(self.env.step(action))
            observations.row(observation, row)
            return observation, *others, {}

    checked = Checked(make_env(env, max_episode_steps))
    observations = Observations(observation_spec(checked.observation_space))
    row = np.empty(observations.size, FLOAT)
    return checked


def finite(x) -> bool:
    """Whether all numbers of an array of the host are finite."""
    return 0 not in np.isfinite(x).tobytes()  # on a few numbers five times faster than .all()


def first(result):
    """The observation of what reset() returned, after a look at the rest."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise EnvContractError(
            f"reset() must return (observation, info), got {type(result).__name__}. This is the "
            "API of old Gym; wrap the environment, or return the pair."
        )
    _check_info("reset", result[1])
    return result[0]


def transition(result):
    """(observation, reward, terminated, truncated) of what step() returned, the reward a float."""
    if not isinstance(result, tuple) or len(result) != 5:
        got = type(result).__name__
        if isinstance(result, tuple):
            got += f" of {len(result)}"
        raise EnvContractError(
            "step() must return (observation, reward, terminated, truncated, info), got "
            f"{got}. Four values are the API of old Gym: return both flags."
        )
    observation, reward, terminated, truncated, info = result
    if not isinstance(reward, float):
        reward = _reward(reward)
    if terminated.__class__ is not bool or truncated.__class__ is not bool:
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, (bool, np.bool_)):
                raise EnvContractError(
                    f"step() returned {reprlib.repr(flag)} ({type(flag).__name__}) as {name}, "
                    "which must be a bool. Return bool(...) of what you mean."
                )
    if info.__class__ is not dict:
        _check_info("step", info)
    return observation, reward, terminated, truncated


def _reward(reward) -> float:
    """A reward that is no plain float: any one real number will do, in an array of one too."""
    one = (
        reward.item() if isinstance(reward, (np.ndarray, np.bool_)) and reward.size == 1 else reward
    )
    if isinstance(one, numbers.Real):
        try:
            return float(one)
        except OverflowError:
            pass
    raise EnvContractError(
        f"step() returned {reprlib.repr(reward)} ({type(reward).__name__}) as the reward, which "
        "must be one number. Return float(...) of what you mean."
    )


def _check_info(call, info):
    if not isinstance(info, dict):
        raise EnvContractError(
            f"{call}() must return a dict as info, got {reprlib.repr(info)} "
            f"({type(info).__name__}). Return {{}} where there is nothing to tell."
        )


class _Records:
    """What both kinds share: encoding, episode statistics and checks.

    dropped    episodes that were broken off and not counted, by nan_obs or on_env_error
    owned      whether npr made the environments, and so closes them
    """

    resets = True  # whether npr can reset one environment at will
    replaces = True  # whether it can go on after one has crashed

    def __init__(
        self, n, observation_space, action_space, seeds, table, nan_obs, on_env_error, owned
    ):
        self.n, self.table, self.owned = n, table, owned
        self.nan_obs, self.on_env_error = nan_obs, on_env_error
        self.observations = Observations(observation_spec(observation_space))
        if not self.observations.size:
            raise SpaceError(
                f"An observation must hold a number at least, got {observation_space}; wrap the "
                "environment with gymnasium.wrappers.TransformObservation to make it a Box."
            )
        actions = action_spec(action_space)
        self.actions = Actions(actions) if actions["kind"] in ACTION_KINDS else None
        self.action_space = action_space
        self._seed_source = seeds
        self._draw_seeds()
        self.s = None
        self.all_valid, self._never = np.ones(n, bool), np.zeros(n, bool)
        self._never.flags.writeable = False  # handed out in every step that ends no episode
        self.steps, self.dropped = 0, 0
        self._next_episode = 0
        self._start_counting()
        self.finished = []  # (return, length) of the episodes that ended in the last step
        self._sent = None  # the environments' last actions
        self._crashes = collections.deque(maxlen=CRASHES + 1)  # when they were
        self._warned = self._warned_of_rewards = False

    def _draw_seeds(self):
        self.seeds = [int(one.generate_state(1)[0]) for one in self._seed_source.spawn(self.n)]

    def _blank(self):
        if self.table:
            return np.empty(self.n, np.int64)
        return np.empty((self.n, self.observations.size), FLOAT)

    def _write(self, rows, i, observation):
        try:
            if self.table:
                rows[i] = self.observations.index(observation)
            else:
                self.observations.row(observation, rows[i])
        except EnvContractError as error:
            raise self._named(i, error) from None

    def _named(self, i, error):
        """A breach of the contract, with where it happened; i is None where that is not known."""
        who = "vector environment" if i is None else f"env {i}"
        return EnvContractError(f"{who}, step {self.steps:,}: {error}")

    def _start_counting(self):
        self.returns, self.lengths = [0.0] * self.n, [0] * self.n
        # the number of the episode that each environment is in
        self.episode = np.arange(self._next_episode, self._next_episode + self.n)
        self._next_episode += self.n

    def _not_finite(self, s, rewards=None, stepped=None):
        """Rows to drop since a number in them is not finite; without nan_obs="terminate" refused.

        rewards, stepped    of a step: as a list, and which rows do not begin an episode
        """
        fine = self.table or finite(s)
        if fine and (rewards is None or all(map(math.isfinite, rewards))):
            return []
        bad = []
        for i in range(self.n):
            if not fine and not finite(s[i]):
                j = int(np.isfinite(s[i]).argmin())
                name, value = "observation", s[i, j]
                at = f"index {j} = {value}"
            elif rewards is not None and not math.isfinite(rewards[i]):
                name = "reward"
                at = value = rewards[i]
            else:
                continue
            bad.append(i)
            where = self._where(i, rewards is not None and bool(stepped[i]))
            large = " It may be a number too large for float32." if math.isinf(value) else ""
            text = f"env {i} returned a non-finite {name} ({at}) {where}.{large}"
            if self.nan_obs == "raise" or rewards is None:
                other = ", or pass nan_obs='terminate'" if self.nan_obs == "raise" else ""
                raise EnvContractError(
                    f"{text} Nothing of it was stored. Fix the environment"
                    f"{other if self.resets else ''}."
                )
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{text} Its episode was dropped and the environment reset, as "
                    "nan_obs='terminate' asks; what follows is counted in envs.dropped.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return bad

    def _where(self, i, stepping):
        """When env i did what an error tells; stepping: in a step, which is not counted yet."""
        text = f"at step {self.steps:,}"
        if i is None:
            return text
        steps = self.lengths[i] + stepping
        action = "" if not steps else f"; its last action was {_brief(self._sent[i])}"
        return f"{text}, {steps:,} steps into its episode{action}"

    def _crashed(self, i, stepping, what, error):
        """Refuse a crash of env i, or count it and return where on_env_error="reset"."""
        text = f"{what} {self._where(i, stepping)}. Nothing of that step was stored."
        if self.on_env_error == "raise":
            other = ", or pass on_env_error='reset'" if self.replaces else ""
            raise EnvCrashedError(f"{text} Fix the environment{other}.") from error
        self._crashes.append(time.monotonic())
        if len(self._crashes) > CRASHES and self._crashes[-1] - self._crashes[0] < HOUR:
            raise EnvCrashedError(
                f"{text} on_env_error='reset' lets {CRASHES} crashes within an hour pass, and this "
                "is one more. Fix the environment."
            ) from error
        warnings.warn(
            f"{text} Its episode was dropped and the environment reset.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _count(self, rewards, valid=None):
        for i, reward in enumerate(rewards):
            if valid is None or valid[i]:
                self.returns[i] += reward
                self.lengths[i] += 1

    def state(self) -> dict:
        """Arrays that say where the environments are: counters and, where it can be told, how
        each came into the middle of its episode. `open` is 0 where the next step begins anew."""
        return {
            "open": np.array(self.s is not None),
            "episode": self.episode,
            "next_episode": np.array(self._next_episode),
            "steps": np.array(self.steps),
            "returns": np.array(self.returns, np.float64),
            "lengths": np.array(self.lengths, np.int64),
        }

    def resume(self, state: dict) -> str | None:
        """Go back to where a state was taken; returns why that cannot be, None where it could.

        Where it cannot, new episodes are to begin, whose numbers were never used.
        """
        self.steps, self._next_episode = int(state["steps"]), int(state["next_episode"])
        if not state["open"]:
            return None
        if len(state["episode"]) != self.n:
            return f"it had {len(state['episode'])} environments, now there are {self.n}"
        why = self._replay(state)
        if why is None:
            self.episode = state["episode"].copy()
            self._next_episode = int(state["next_episode"])
            self.returns, self.lengths = state["returns"].tolist(), state["lengths"].tolist()
        return why

    def _replay(self, state) -> str | None:
        return "a VectorEnv, and workers (env_timeout), do not tell what their episodes began with"

    def _finish(self, i):
        self.finished.append((self.returns[i], self.lengths[i]))
        if abs(self.returns[i]) > LARGE * self.lengths[i] and not self._warned_of_rewards:
            self._warned_of_rewards = True
            warnings.warn(
                f"env {i} gives rewards of {self.returns[i] / self.lengths[i]:.3g} a step; beyond "
                f"{LARGE:.0e} a loss in float32 loses its precision, and overflows in the end. Use "
                "normalize_reward=True, or divide the rewards in the environment.",
                ConfigWarning,
                stacklevel=2,
            )
        self._turn_page(i)

    def _drop(self, i):
        self.dropped += 1
        self._turn_page(i)

    def _turn_page(self, i):
        """Env i goes on to another episode."""
        self.returns[i], self.lengths[i] = 0.0, 0
        self.episode = self.episode.copy()  # the old array may have been handed out
        self.episode[i] = self._next_episode
        self._next_episode += 1


def _brief(action):
    return np.array2string(np.asarray(action), threshold=10, precision=4)


class EnvironmentList(_Records):
    """Single environments, stepped in turn and reset in the step that ends an episode."""

    def __init__(
        self, envs, seeds, table=False, nan_obs="raise", on_env_error="raise", owned=False
    ):
        one, *others = self.envs = envs
        self.logs = [EpisodeLog(env) for env in envs]
        seen, done = one.observation_space, one.action_space
        if any(other is one for other in others):
            raise ConfigError(
                f"n_envs={len(envs)} needs as many environments, but the function returned the "
                "same one again. Make a new one in every call."
            )
        for i, other in enumerate(others, 1):
            if other.observation_space != seen or other.action_space != done:
                raise SpaceError(
                    f"env {i} has the spaces {other.observation_space} and {other.action_space}, "
                    f"env 0 has {seen} and {done}. Give all the same."
                )
        super().__init__(len(envs), seen, done, seeds, table, nan_obs, on_env_error, owned)

    def reset(self):
        """Start every environment; the seeds count the first time only."""
        self._start_counting()
        s, self.s = self._blank(), None
        for i in range(self.n):
            self._begin(s, i)
        self.s = s

    def _begin(self, s, i):
        """Reset env i and write its first observation to its row of s."""
        resets = 0
        while True:
            self.logs[i].begin(self.seeds[i])
            try:
                result = self.envs[i].reset(seed=self.seeds[i])
            except Exception as error:
                if isinstance(error, TypeError) and "argument 'seed'" in str(error):
                    raise EnvContractError(
                        f"env {i}: reset() does not take a seed ({error}). This is the API of old "
                        "Gym; define reset(self, *, seed=None, options=None)."
                    ) from error
                self._crashed(i, 0, f"env {i} raised {workers.named(error)},", error)
                continue
            self.seeds[i] = None
            try:
                observation = first(result)
            except EnvContractError as error:
                raise self._named(i, error) from None
            self._write(s, i, observation)
            resets += 1
            if self.table or finite(s[i]):
                return
            if self.nan_obs == "raise" or resets > RESETS:
                self._not_finite(np.where(np.arange(self.n)[:, None] == i, s, 0))

    def step(self, a):
        s2, self.s = self._blank(), None  # if this step breaks off, the next one starts anew
        r, ends, lost = np.zeros(self.n, FLOAT), [], []
        self.finished = []
        self.steps += 1
        actions = self._sent = self.actions.to_env_batch(a)
        if self.actions.kind == "discrete":
            actions = actions.tolist()  # whole numbers of Python's own
        for i, (env, action) in enumerate(zip(self.envs, actions)):
            self.logs[i].actions.append(action)
            try:
                result = env.step(action)
            except Exception as error:
                self._crashed(i, 1, f"env {i} raised {workers.named(error)},", error)
                s2[i] = 0
                lost.append(i)
                continue
            try:
                observation, r[i], ended, cut = transition(result)
            except EnvContractError as error:
                raise self._named(i, error) from None
            self._write(s2, i, observation)
            if ended or cut:
                ends.append((i, ended, cut))
        rewards = r.tolist()
        lost += self._not_finite(s2, rewards, self.all_valid)
        s, terminated, truncated, valid = s2, self._never, self._never, self.all_valid
        if lost:
            valid = valid.copy()
            valid[lost], r[lost] = False, 0
        self._count(rewards, valid if lost else None)
        if ends or lost:
            s, (terminated, truncated) = s2.copy(), np.zeros((2, self.n), bool)
            for i, ended, cut in ends:
                if valid[i]:
                    terminated[i], truncated[i] = ended, cut
                    self._finish(i)
                    self._begin(s, i)
            for i in lost:
                self._drop(i)
                self._begin(s, i)
                s2[i] = s[i]
        self.s = s
        return s2, r, terminated, truncated, valid

    def state(self):
        state, logs = super().state(), self.logs
        if self.s is None:
            return state
        return {
            **state,
            "s": self.s,
            "seed": np.array([log.seed for log in logs], np.int64),
            "start": np.array([log.start for log in logs]),
            "taken": np.array([len(log.actions) for log in logs]),  # actions since, of each
            "actions": np.array([action for log in logs for action in log.actions]),
        }

    def _replay(self, state):
        s, ends = self._blank(), np.cumsum(state["taken"])
        actions = state["actions"]
        if self.actions.kind == "discrete":
            actions = actions.tolist()
        for i, (log, end) in enumerate(zip(self.logs, ends)):
            taken = actions[end - state["taken"][i] : end]
            observation = log.replay(int(state["seed"][i]), state["start"][i], taken)
            if observation is None:
                return f"the episode of env {i} does not lead where it led"
            self._write(s, i, observation)
        if s.tobytes() != state["s"].tobytes():
            return (
                "its episodes look different when they are played again: it uses randomness "
                "or memory besides np_random"
            )
        self.s, self.seeds = s, [None] * self.n
        return None

    def close(self):
        for env in self.envs:
            env.close()


class VectorEnvironments(_Records):
    """A gymnasium VectorEnv, in the autoreset mode that it declares.

    reopen    makes another one after a crash; None: the user's own, which cannot be replaced
    """

    def __init__(self, env, seeds, table=False, nan_obs="raise", on_env_error="raise", reopen=None):
        mode = env.metadata.get("autoreset_mode")
        self.mode = getattr(mode, "name", mode)
        if self.mode not in ("NEXT_STEP", "SAME_STEP", "DISABLED"):
            raise EnvContractError(
                "This vector environment does not declare metadata['autoreset_mode'] (NEXT_STEP, "
                "SAME_STEP or DISABLED), so where an episode ends cannot be known. Set it, or "
                "pass an id with n_envs."
            )
        self.resets = self.mode == "DISABLED"
        if nan_obs == "terminate" and not self.resets:
            raise ConfigError(
                "nan_obs='terminate' needs environments that npr resets, but this VectorEnv resets "
                f"them itself (autoreset mode {self.mode}). Pass an id or a function with n_envs, "
                "or make it with AutoresetMode.DISABLED."
            )
        if on_env_error == "reset" and reopen is None:
            raise ConfigError(
                "on_env_error='reset' needs environments that npr makes, got a VectorEnv. Pass an "
                "id or a function with n_envs."
            )
        self.env, self._reopen, self.replaces = env, reopen, reopen is not None
        super().__init__(
            env.num_envs, env.single_observation_space, env.single_action_space, seeds, table,
            nan_obs, on_env_error, owned=self.replaces,
        )  # fmt: skip
        self._dead = np.zeros(self.n, bool)  # NEXT_STEP: the coming step only resets

    def _encode(self, observation):
        """Rows (n, ...) of a batch of observations."""
        if self.observations.kind == "box":
            try:
                s = self.observations.encode(observation)
            except EnvContractError as error:
                raise self._named(None, error) from None
            count = len(s)
        else:
            ones = self.observations.rows(observation)
            s, count = self._blank(), len(ones)
            for i, one in enumerate(ones[: self.n]):
                self._write(s, i, one)
        if count != self.n:
            raise self._named(
                None,
                f"Got observations of {count} environments, it has {self.n}. "
                "Fix what its reset() and step() return.",
            )
        return s

    def reset(self):
        """Start every environment; the seeds count the first time only."""
        self.s = None
        while True:
            self._start_counting()
            base = self.env.unwrapped
            if getattr(base, "closed", False):
                if self._reopen is None:
                    raise EnvCrashedError(
                        "This vector environment is closed, and npr cannot make another. Save the "
                        "agent and go on with a new one: npr.load(path, env=...)."
                    )
                self.env = base = self._reopen()
                self._draw_seeds()
            try:
                if workers.is_watched(base):
                    base.settle()
                # only Gymnasium's own lists of environments take a seed for each
                many = hasattr(base, "env_fns") or self.seeds is None
                result = self.env.reset(seed=self.seeds if many else self.seeds[0])
                self.seeds = None
                # such a worker remembers, beyond a reset, that it has to reset itself
                if getattr(base, "shared_memory", True):
                    self._dead = np.zeros(self.n, bool)
                self.s = self._usable(self._encode(first(result)))
                return
            except Exception as error:
                self._broke_off(error, 0)

    def step(self, a):
        self.steps += 1
        self.s = None  # if this step breaks off, the next one starts anew
        self.finished = []
        self._sent = self.actions.to_env_batch(a)
        try:
            result = self.env.step(self._sent)
        except Exception as error:
            return self._anew(error, 1)
        observation, r, terminated, truncated, info = self._checked(result)
        valid = ~self._dead if self._dead.any() else self.all_valid
        done = terminated | truncated
        if self.mode == "NEXT_STEP":
            self._dead = done
        s = s2 = self._encode(observation)
        if self.mode == "SAME_STEP" and done.any():
            s2 = s.copy()
            for i in np.flatnonzero(done):
                self._write(s2, i, info["final_obs"][i] if "final_obs" in info else None)
        rewards = r.tolist()
        lost = self._not_finite(s2, rewards, valid)
        if lost:
            valid, r = valid.copy(), r.copy()
            valid[lost], r[lost] = False, 0
            terminated, truncated = terminated & valid, truncated & valid
        self._count(rewards, None if valid is self.all_valid else valid)
        for i in np.flatnonzero(valid & done):
            self._finish(i)
        for i in lost:
            self._drop(i)
        if self.mode == "DISABLED" and (done.any() or lost):
            try:
                s = self._usable(self._begun(s2, done | ~valid))
            except Exception as error:
                return self._anew(error, 0)
            s2[lost] = s[lost]
        elif s is not s2:
            self._not_finite(s)
        self.s = s
        return s2, r, terminated, truncated, valid

    def _checked(self, result):
        """What step() returned, with its columns as arrays."""
        if not isinstance(result, tuple) or len(result) != 5:
            raise self._named(None, "step() must return five values; fix it.")
        observation, *columns, info = result
        columns = [np.asarray(column) for column in columns]
        names = ("rewards", "terminated", "truncated")
        for name, column, kinds in zip(names, columns, ("fiub", "b", "b")):
            if column.shape != (self.n,) or column.dtype.kind not in kinds:
                kind = "numbers" if name == "rewards" else "bools"
                raise self._named(
                    None,
                    f"step() must return {name} as {kind} of shape ({self.n},), got "
                    f"{column.dtype}{column.shape}. Fix the vector environment.",
                )
        r, *flags = columns
        return observation, r.astype(FLOAT, copy=False), *flags, info

    def _begun(self, s, over):
        """s with the first observations of new episodes where `over`, (n,) bools."""
        first_ones = self._encode(first(self.env.reset(options={"reset_mask": over.copy()})))
        return np.where(over if self.table else over[:, None], first_ones, s)

    def _usable(self, s):
        """First observations; where nan_obs="terminate", those that are not finite anew."""
        for _ in range(RESETS if self.nan_obs == "terminate" and not self.table else 0):
            bad = ~np.isfinite(s).all(axis=1)
            if not bad.any():
                break
            s = self._begun(s, bad)
        self._not_finite(s)
        return s

    def _anew(self, error, stepping):
        """The record of a step that broke off, where learning may go on: nothing valid in it."""
        self._broke_off(error, stepping)
        self.dropped += self.n
        self.reset()
        return self.s, np.zeros(self.n, FLOAT), self._never, self._never, ~self.all_valid

    def _broke_off(self, error, stepping):
        """Name the environment that an error came from: see _crashed."""
        if isinstance(error, (EnvContractError, ConfigError)):
            raise error
        if isinstance(error, workers.WorkerFault):
            cause = error.__cause__
            if isinstance(cause, EnvContractError):
                raise self._named(error.env, cause) from cause
            self._crashed(error.env, stepping, f"{error},", cause)
            return
        text = workers.named(error)
        i, raised = self._origin(error)
        if not raised:
            raise self._named(i, f"What step() returned cannot be used: {text}.") from error
        who = "the vector environment" if i is None else f"env {i}"
        self._crashed(i, stepping, f"{who} raised {text},", error)

    def _origin(self, error):
        """(i, whether its own code raised) of an environment in a SyncVectorEnv; (None, True)."""
        trace, base = error.__traceback__, self.env.unwrapped
        while trace is not None:
            frame, trace = trace.tb_frame, trace.tb_next
            if frame.f_locals.get("self") is base and "env_fns" in vars(base):
                inner = trace.tb_frame.f_code.co_name if trace else None
                if inner in ("step", "reset", None):
                    return frame.f_locals.get("i"), inner is not None
                for i, one in enumerate(getattr(base, "_env_obs", ())):  # they do not fit together
                    self._write(self._blank(), i, one)
        return None, True

    def close(self):
        self.env.close()
