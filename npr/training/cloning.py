"""A new agent with the settings of another one, that has learned nothing."""

import copy
from typing import Any

from npr.envs.make import number_of_envs
from npr.envs.remake import EnvOfFile, is_normalizing
from npr.errors import ConfigError, describe_error


def clone(agent: Any, env: Any = None, settings: dict[str, Any] | None = None) -> Any:
    """An agent of the same class, with the same settings and the same seed.

    env        its environment; None: another one like that of the agent
    settings   values that differ

    Raises ConfigError if a setting is not valid, or if npr cannot make another environment.
    """
    held = agent.get_params()
    del held["env"]
    if env is None:
        env = _source(agent.env, agent.env_description)
    else:  # which may be another number of them, with arguments of its own
        held |= {"env_kwargs": None, "n_envs": number_of_envs(env) or held["n_envs"]}
    new = type(agent)(env, **held | (settings or {}))
    shared = agent.envs and any(one is other for one in new.envs.bases()
                                for other in agent.envs.bases())  # fmt: skip
    if shared:
        raise _impossible("its function returns the same environment again")
    return new


def _source(env: Any, described: dict[str, Any]) -> Any:
    """What a clone makes its environments from: nothing that the agent itself steps.

    env         what the agent was given
    described   its description in a file
    """
    import gymnasium

    if env is not None and number_of_envs(env) is None:  # an id or a function
        return env
    if "unknown" not in described:
        return EnvOfFile(described)
    reason = described["unknown"]
    if isinstance(env, gymnasium.Env) and not is_normalizing(env):
        try:
            return copy.deepcopy(env)
        except Exception as error:  # an environment may raise anything
            reason += f", and copying it raised {describe_error(error)}"
    raise _impossible(reason)


def _impossible(reason: str) -> ConfigError:
    return ConfigError(
        f"npr cannot make another environment like the agent's: {reason}. Pass one: "
        "npr.clone(agent, env=...)."
    )
