"""Evaluation of a fixed policy in a separate environment."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from npr.envs import envpool
from npr.envs.batched import EVALUATION, BatchedEnv, Episode
from npr.envs.env_list import EnvList
from npr.envs.make import make_env, not_registered, open_envs
from npr.envs.remake import (
    EnvOfFile,
    fixed_statistics,
    remade,
    share_statistics,
    single_of,
    without_recording,
)  # fmt: skip
from npr.errors import ConfigError, ConfigWarning, EnvContractError, EnvCrashedError
from npr.policy import Policy
from npr.training.space_checks import check_same_spaces

EPISODE_LIMIT = 10_000  # steps, for environments that do not end their episodes


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns and lengths of complete episodes."""

    returns: np.ndarray  # (episodes,)
    lengths: np.ndarray  # (episodes,)
    successes: np.ndarray | None = None  # (episodes,) bools, by info["is_success"]; None: unknown

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        return float(self.returns.std())

    @property
    def success_rate(self) -> float | None:
        """The share of successful episodes; None if the environment does not report success."""
        return None if self.successes is None else float(self.successes.mean())

    def __repr__(self) -> str:
        rate = "" if self.success_rate is None else f", success_rate={self.success_rate:.2f}"
        return (
            f"Evaluation(mean={self.mean:.2f}, std={self.std:.2f}, "
            f"min={self.returns.min():.2f}, max={self.returns.max():.2f}{rate}, "
            f"episodes={len(self.returns)})"
        )


def evaluate(
    policy: Policy,
    env: Any,
    episodes: int,
    seed: int | None,
    deterministic: bool,
    episode_limit: int,
    max_episode_steps: int | None = None,
    action_masks: bool = False,
) -> Evaluation:
    """Run a policy for complete episodes.

    policy             observation, deterministic, rng -> action of the environment
    env                id, Env, VectorEnv or function; an Env or VectorEnv is not closed. Each
                       environment of a VectorEnv contributes the same number of episodes, up to one
    seed               for the first reset and for sampled actions: same seed, same episodes
    episode_limit      steps after which an episode is cut, with a ConfigWarning
    max_episode_steps  steps after which an episode ends, as for the agent; None: no such limit
    action_masks       whether the environment says which actions are allowed

    Raises SpaceError if the spaces are not those of the policy, EnvCrashedError if the environment
    raises, and EnvContractError if it violates Gymnasium's API; both name the step.
    """
    seeds = np.random.SeedSequence(seed)
    rng = np.random.default_rng(seeds.spawn(1)[0])
    replaced = max_episode_steps if isinstance(env, str) else None
    envs = open_envs(
        env, 1, seeds, max_episode_steps=replaced, table=policy.sizes is None,
        scale_images=policy.observations.images,
        error_policy=EVALUATION, action_masks=action_masks,
    )  # fmt: skip
    played: list[Episode] = []
    limit = min(episode_limit, max_episode_steps or episode_limit)
    try:
        check_same_spaces(policy.observations, policy.actions, envs)
        with fixed_statistics(envs.bases()):
            cut = _play(policy, envs, episodes, limit, deterministic, rng, played)
    except (EnvContractError, EnvCrashedError) as error:
        text = f"evaluation, episode {len(played)}: {error} The agent is unchanged."
        raise type(error)(text) from error.__cause__
    finally:
        if envs.owned:
            envs.close()
    if cut and limit != max_episode_steps:
        warnings.warn(
            f"evaluate() cut {cut} of {episodes} episodes after {limit:,} steps, so their returns "
            "are not complete. Raise episode_limit, or give the environment a time limit.",
            ConfigWarning,
            stacklevel=3,
        )
    returns, lengths, known = zip(*played)
    successes = None if None in known else np.array(known)
    return Evaluation(np.array(returns), np.array(lengths, np.int64), successes)


def _play(
    policy: Policy,
    envs: BatchedEnv,
    episodes: int,
    limit: int,
    deterministic: bool,
    rng: np.random.Generator,
    played: list[Episode],
) -> int:
    """Append each episode to `played`. Returns how many were cut."""
    envs.claim()
    # each environment plays the same number: those that end first would favor short episodes
    missing = np.diff(np.arange(envs.n + 1) * episodes // envs.n)
    cut = 0
    while missing.any():
        playing = missing > 0
        s: Any = envs.reset()
        while True in playing.tolist():  # faster than any()
            x = s if policy.norm is None else policy.norm(s)
            masks = () if envs.masks is None else (envs.masks.allowed[s],)
            a = policy.choose(x, deterministic, rng, *masks)
            _, _, terminated, truncated, valid = envs.step(a)
            s = envs.s
            if envs.finished:
                ended = np.flatnonzero((terminated | truncated) & valid).tolist()
                played += [episode for i, episode in zip(ended, envs.finished) if playing[i]]
                missing[ended] -= playing[ended]
                playing &= missing > 0
            if envs.longest() < limit:
                continue
            for i, length in enumerate(envs.lengths):
                if length >= limit and playing[i]:
                    played.append(Episode(float(envs.returns[i]), int(length), None))
                    missing[i] -= 1
                    playing[i] = False  # its other episodes begin with the next reset of all
                    cut += 1
    return cut


def separate(
    env: Any,
    opened: BatchedEnv | None,
    max_episode_steps: int | None,
    env_kwargs: dict[str, Any] | None,
    vectorization: str | None = None,
) -> Any:
    """A new environment for evaluation like the agent's own.

    env      what the agent was given, as its settings max_episode_steps, env_kwargs and
             vectorization
    opened   its environments, if they are open

    Raises ConfigError if no such environment can be made.
    """
    import gymnasium

    if isinstance(env, str) and vectorization == "envpool":
        return envpool.single(env.rpartition(":")[2], max_episode_steps, env_kwargs)
    if isinstance(env, str | EnvOfFile):
        try:
            return make_env(env, max_episode_steps, env_kwargs)
        except gymnasium.error.UnregisteredEnv as error:
            raise ConfigError(not_registered(error)) from None
    try:
        if isinstance(env, gymnasium.vector.VectorEnv):
            return single_of(env)
        if isinstance(env, gymnasium.Env):
            return remade(env)
        made = make_env(env, env_kwargs=env_kwargs)
        held = opened.envs if isinstance(opened, EnvList) else []
        if any(made is one for one in held):
            return made
        share_statistics(made, held[0] if len(held) == 1 else None)
        return without_recording(made)
    except ConfigError as error:
        raise ConfigError(
            "A separate environment is needed; pass one: env=... npr cannot make another like the "
            f"agent's: {str(error).removesuffix('.')}."
        ) from None
