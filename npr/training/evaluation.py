"""Evaluation of a fixed policy in a separate environment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npr.envs.contract import checked_reset, checked_step
from npr.envs.make import make_env
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, describe_error
from npr.policy import Policy

EPISODE_LIMIT = 10_000  # steps, for environments without a time limit


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns and lengths of complete episodes."""

    returns: np.ndarray  # (episodes,)
    lengths: np.ndarray  # (episodes,)

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        return float(self.returns.std())

    def __repr__(self) -> str:
        return (
            f"Evaluation(mean={self.mean:.2f}, std={self.std:.2f}, "
            f"min={self.returns.min():.2f}, max={self.returns.max():.2f}, "
            f"episodes={len(self.returns)})"
        )


def evaluate(
    policy: Policy,
    env: Any,
    episodes: int = 100,
    seed: int | None = None,
    deterministic: bool = True,
    max_episode_steps: int | None = None,
) -> Evaluation:
    """Run a policy for complete episodes.

    policy             observation, deterministic, rng -> action of the environment
    env                id, Env or factory; an Env is used as it is, and not closed
    seed               for the first reset and for sampled actions: same seed, same episodes

    Raises EnvCrashedError if the environment raises, and EnvContractError if it violates
    Gymnasium's API; both name the episode and the step.
    """
    seeds = np.random.SeedSequence(seed)
    env_seed, rng = int(seeds.generate_state(1)[0]), np.random.default_rng(seeds.spawn(1)[0])
    own = make_env(env, max_episode_steps)
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)

    def call(
        method: Callable[..., Any], check: Callable[[Any], Any], *args: Any, **kwargs: Any
    ) -> Any:
        try:
            return check(method(*args, **kwargs))
        except Exception as error:
            where = f"evaluation, episode {episode}, step {lengths[episode]}"
            if isinstance(error, EnvContractError):
                raise EnvContractError(f"{where}: {error}") from None
            raise EnvCrashedError(
                f"{where}: the environment raised {describe_error(error)}. Fix it; the "
                "agent is unchanged."
            ) from error

    try:
        for episode in range(episodes):
            observation = call(own.reset, checked_reset, seed=env_seed if episode == 0 else None)
            while lengths[episode] < EPISODE_LIMIT:
                action = policy(observation, deterministic, rng)
                lengths[episode] += 1
                observation, reward, terminated, truncated = call(own.step, checked_step, action)
                returns[episode] += reward
                if terminated or truncated:
                    break
    finally:
        if own is not env:
            own.close()
    return Evaluation(returns, lengths)


def separate(env: Any) -> Any:
    """An id, or a function that makes an environment for evaluation like the agent's own.

    Raises ConfigError if no such environment can be made.
    """
    import gymnasium

    spec = getattr(env, "spec", None)
    if isinstance(env, gymnasium.vector.VectorEnv) and spec is not None:
        vector = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers")
        kwargs = {k: v for k, v in spec.kwargs.items() if k not in vector}
        return lambda: gymnasium.make(spec.id, disable_env_checker=True, **kwargs)
    if isinstance(env, gymnasium.Env) and spec is not None:
        return lambda: gymnasium.make(spec, disable_env_checker=True)
    if isinstance(env, str) or callable(env):
        return env
    raise ConfigError("evaluate() needs a separate environment; pass one: evaluate(env=...).")
