"""The one door to Gymnasium: spaces, seeds, time limits, autoreset and contract checks.

Whatever stands behind it (an id, an Env, a factory, a VectorEnv in any autoreset mode), the
learner sees one record per step: (s2, r, terminated, truncated, valid), where s2 is the true
next observation, also where the episode ended. `envs.s` is the observation to act on next.
"""

import math

import numpy as np

from npr.backend import FLOAT
from npr.episodes import EpisodeLog
from npr.errors import ConfigError, EnvContractError, SpaceError
from npr.spaces import ACTION_KINDS, Actions, Observations


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
    if isinstance(space, gs.Box) and space.dtype.kind == "f":
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


def open_environments(env, n_envs, seeds, max_episode_steps=None, table=False):
    """The record interface for whatever the user gave. seeds: a SeedSequence."""
    import gymnasium

    if isinstance(env, gymnasium.vector.VectorEnv):
        if max_episode_steps is not None:
            raise ConfigError(
                f"max_episode_steps={max_episode_steps} cannot be imposed on a VectorEnv; give it "
                "to gymnasium.make_vec, or pass an id with n_envs."
            )
        return VectorEnvironments(env, seeds, table)
    if n_envs > 1 and isinstance(env, gymnasium.Env):
        raise ConfigError(
            f"n_envs={n_envs} needs an id or a function that makes an environment, got one Env."
        )
    return EnvironmentList([make_env(env, max_episode_steps) for _ in range(n_envs)], seeds, table)


def finite(x) -> bool:
    """Whether all numbers of an array of the host are finite."""
    return 0 not in np.isfinite(x).tobytes()  # on a few numbers five times faster than .all()


class _Records:
    """What both kinds share: encoding, episode statistics and checks."""

    def __init__(self, n, observation_space, action_space, seeds, table):
        self.n, self.table = n, table
        self.observations = Observations(observation_spec(observation_space))
        actions = action_spec(action_space)
        self.actions = Actions(actions) if actions["kind"] in ACTION_KINDS else None
        self.action_space = action_space
        self.seeds = [int(child.generate_state(1)[0]) for child in seeds.spawn(n)]
        self.s = None
        self.all_valid, self._never = np.ones(n, bool), np.zeros(n, bool)
        self._never.flags.writeable = False  # handed out in every step that ends no episode
        self.steps = 0
        self._next_episode = 0
        self._start_counting()
        self.finished = []  # (return, length) of the episodes that ended in the last step

    def _blank(self):
        if self.table:
            return np.empty(self.n, np.int64)
        return np.empty((self.n, self.observations.size), FLOAT)

    def _write(self, rows, i, observation):
        if self.table:
            rows[i] = self.observations.index(observation)
        else:
            self.observations.row(observation, rows[i])

    def _start_counting(self):
        self.returns, self.lengths = [0.0] * self.n, [0] * self.n
        # the number of the episode that each environment is in
        self.episode = np.arange(self._next_episode, self._next_episode + self.n)
        self._next_episode += self.n

    def _check_start(self, s):
        """First observations of episodes, all (n, ...) of them."""
        if not self.table and not finite(s):
            self._refuse_observation(s, np.zeros(self.n, bool))

    def _check_step(self, s2, rewards, valid):
        """What a step returned, rewards as a list; rows that are not valid begin an episode."""
        if not self.table and not finite(s2):
            self._refuse_observation(s2, valid)
        if not all(map(math.isfinite, rewards)):
            i = [math.isfinite(r) for r in rewards].index(False)
            self._refuse(i, f"reward ({rewards[i]})", valid)

    def _refuse_observation(self, s, stepped):
        i, j = np.argwhere(~np.isfinite(s))[0]
        self._refuse(i, f"observation (index {j} = {s[i, j]})", stepped)

    def _refuse(self, i, what, stepped):
        raise EnvContractError(
            f"env {i} returned a non-finite {what} at step {self.steps}, "
            f"{self.lengths[i] + int(stepped[i])} steps into its episode. Nothing of it was "
            "stored. Fix the environment."
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
        return "a VectorEnv does not tell what its episodes began with"

    def _finish(self, i):
        self.finished.append((self.returns[i], self.lengths[i]))
        self.returns[i], self.lengths[i] = 0.0, 0
        self.episode = self.episode.copy()  # the old array may have been handed out
        self.episode[i] = self._next_episode
        self._next_episode += 1


class EnvironmentList(_Records):
    """Single environments, stepped in turn and reset in the step that ends an episode."""

    def __init__(self, envs, seeds, table):
        self.envs, self.logs = envs, [EpisodeLog(env) for env in envs]
        super().__init__(len(envs), envs[0].observation_space, envs[0].action_space, seeds, table)

    def reset(self):
        """Start every environment; the seeds count the first time only."""
        self._start_counting()
        s = self._blank()
        for i, env in enumerate(self.envs):
            self.logs[i].begin(self.seeds[i])
            result = env.reset(seed=self.seeds[i])
            self.seeds[i] = None
            if not isinstance(result, tuple) or len(result) != 2:
                raise EnvContractError(
                    f"env {i}: reset() must return (observation, info), got {type(result).__name__}"
                    ". This is the API of old Gym; wrap the environment, or return the pair."
                )
            self._write(s, i, result[0])
        self._check_start(s)
        self.s = s

    def step(self, a):
        s2, self.s = self._blank(), None  # if this step breaks off, the next one starts anew
        r, ends = np.empty(self.n, FLOAT), []
        self.finished = []
        self.steps += 1
        actions = self.actions.to_env_batch(a)
        if self.actions.kind == "discrete":
            actions = actions.tolist()  # whole numbers of Python's own
        for i, (env, action) in enumerate(zip(self.envs, actions)):
            self.logs[i].actions.append(action)
            try:
                observation, reward, ended, cut, _ = env.step(action)
            except ValueError as error:
                if "unpack" not in str(error):
                    raise
                raise EnvContractError(
                    f"env {i}: step() must return (observation, reward, terminated, truncated, "
                    "info). Four values are the API of old Gym: return both flags."
                ) from error
            self._write(s2, i, observation)
            r[i] = reward
            if ended or cut:
                ends.append((i, ended, cut))
        rewards = r.tolist()
        self._check_step(s2, rewards, self.all_valid)
        self._count(rewards)
        s, terminated, truncated = s2, self._never, self._never
        if ends:
            s, (terminated, truncated) = s2.copy(), np.zeros((2, self.n), bool)
            for i, ended, cut in ends:
                terminated[i], truncated[i] = ended, cut
                self._finish(i)
                self.logs[i].begin(None)
                self._write(s, i, self.envs[i].reset()[0])
            self._check_start(s)
        self.s = s
        return s2, r, terminated, truncated, self.all_valid

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
    """A gymnasium VectorEnv, in the autoreset mode that it declares."""

    def __init__(self, env, seeds, table):
        mode = env.metadata.get("autoreset_mode")
        self.mode = getattr(mode, "name", mode)
        if self.mode not in ("NEXT_STEP", "SAME_STEP", "DISABLED"):
            raise EnvContractError(
                "This vector environment does not declare metadata['autoreset_mode'] (NEXT_STEP, "
                "SAME_STEP or DISABLED), so where an episode ends cannot be known. Set it, or "
                "pass an id with n_envs."
            )
        self.env = env
        super().__init__(
            env.num_envs, env.single_observation_space, env.single_action_space, seeds, table
        )
        self._dead = np.zeros(self.n, bool)  # NEXT_STEP: the coming step only resets

    def _encode(self, observation):
        if self.table:
            return np.array([self.observations.index(one) for one in observation])
        return self.observations.encode(observation)

    def reset(self):
        # only Gymnasium's own lists of environments take a seed for each
        many = hasattr(self.env.unwrapped, "env_fns") or self.seeds is None
        observation, _ = self.env.reset(seed=self.seeds if many else self.seeds[0])
        self.seeds = None
        self._start_counting()
        self._dead = np.zeros(self.n, bool)
        s = self._encode(observation)
        self._check_start(s)
        self.s = s

    def step(self, a):
        self.steps += 1
        self.s = None  # if this step breaks off, the next one starts anew
        observation, r, terminated, truncated, info = self.env.step(self.actions.to_env_batch(a))
        r = np.asarray(r, FLOAT)
        valid = ~self._dead if self._dead.any() else self.all_valid
        done = terminated | truncated
        self.finished = []
        s = s2 = self._encode(observation)
        if done.any():
            if self.mode == "SAME_STEP":
                s2 = s.copy()
                for i in np.flatnonzero(done):
                    self._write(s2, i, info["final_obs"][i])
            elif self.mode == "DISABLED":
                s = self._encode(self.env.reset(options={"reset_mask": done.copy()})[0])
                s = np.where(done if self.table else done[:, None], s, s2)
        if self.mode == "NEXT_STEP":
            self._dead = done
        rewards = r.tolist()
        self._check_step(s2, rewards, valid)
        self._count(rewards, None if valid is self.all_valid else valid)
        for i in np.flatnonzero(valid & done):
            self._finish(i)
        if s is not s2:
            self._check_start(s)
        self.s = s
        return s2, r, terminated, truncated, valid

    def close(self):
        self.env.close()
