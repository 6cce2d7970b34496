"""What can be exported: an agent, the file of one, the file of a policy, or a policy."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from npr import infer
from npr.envs.make import env_id
from npr.envs.remake import EnvOfFile, changing_wrappers
from npr.errors import CheckpointError, ConfigError
from npr.files import checkpoint
from npr.files.policy_file import is_policy
from npr.policy import Policy
from npr.training import evaluation


@dataclass(frozen=True)
class Source:
    """A policy and where it comes from.

    env        what its environment is called, and wrappers between this and the policy
    make_env   makes an environment like that of the training; raises ConfigError if it is not known
    """

    policy: Policy
    algorithm: str | None
    env: str | None
    num_timesteps: int | None
    max_episode_steps: int | None
    make_env: Callable[[], Any]


def source_of(agent: Any) -> Source:
    """The source that an agent, a policy, or the path of a file is.

    Raises ConfigError for anything else, FileNotFoundError, and CheckpointError for a file that is
    not valid.
    """
    if isinstance(agent, str | bytes | os.PathLike):
        return _of_file(agent)
    if isinstance(agent, Policy):
        return Source(agent, None, None, None, None, _unknown("a policy has none"))
    if not isinstance(getattr(agent, "policy", None), Policy):
        raise ConfigError(
            f"An agent, the path of its file, or a policy is needed, got {agent!r}; e.g. "
            "npr.export(agent, 'policy.h')."
        )
    described = agent.env_description
    opened = ((agent.envs and agent.envs.bases()) or [agent.env])[-1]
    name = agent.env_id or described.get("id") or env_id(opened)
    return Source(
        agent.policy, type(agent).__name__,
        _named(name, changing_wrappers(described, opened)), agent.num_timesteps,
        agent.max_episode_steps, agent.evaluation_env,
    )  # fmt: skip


def _of_file(path: Any) -> Source:
    policy, manifest, _ = infer.read(path)
    if is_policy(manifest):
        card = manifest["card"]
        return Source(
            policy, card["algorithm"], card["env"], card["num_timesteps"], None,
            _unknown(f"{os.fsdecode(path)} holds the policy alone"),
        )  # fmt: skip
    try:
        settings = manifest["settings"]
        steps, described = settings["max_episode_steps"], {**manifest["env_description"]}
        described.pop("assumed", None)
        if "unknown" in described:
            made = _unknown(str(described["unknown"]))
        else:
            env = EnvOfFile(described)

            def made() -> Any:
                kwargs = env.kwargs if isinstance(env.source, str) else None
                return evaluation.separate(env.source, None, steps, kwargs)

        name = _named(manifest["env"] or described.get("id"), changing_wrappers(described))
        return Source(
            policy, str(manifest["algorithm"]), name,
            checkpoint.count(manifest["counters"]["num_timesteps"]), steps, made,
        )  # fmt: skip
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{os.fsdecode(path)} does not hold a valid policy: {error!r}."
        ) from error


def _named(env: str | None, wrappers: list[str]) -> str | None:
    """Pendulum-v1 with RescaleAction: the observations and actions are those of the outermost."""
    if not wrappers:
        return env
    return f"{env or 'an unnamed environment'} with {', '.join(wrappers)}"


def _unknown(reason: str) -> Callable[[], Any]:
    def make_env() -> Any:
        raise ConfigError(f"its environment is not known ({reason}); pass env=")

    return make_env
