"""New agents with the settings of others: clones, and agents that are built again in place."""

import copy
import hashlib
from typing import Any

from npr.backend import to_host
from npr.envs.make import number_of_envs
from npr.envs.remake import EnvOfFile, is_normalizing
from npr.errors import ConfigError, describe_error
from npr.files.parts import arrays_of, parts


def clone(agent: Any, env: Any = None, settings: dict[str, Any] | None = None) -> Any:
    """An agent of the same class, with the same settings and the same seed, that has learned
    nothing.

    env        its environment; None: another one like that of the agent
    settings   values that differ

    Raises ConfigError if a setting is not valid, or if npr cannot make another environment.
    """
    held = agent.get_params()
    del held["env"]
    if env is None:
        env = _source(agent.env, agent.env_description)
    else:
        held |= _arguments_for(env, held)
    new = type(agent)(env, **held | (settings or {}))
    if agent.envs and _share(new.envs, agent.envs):
        raise _impossible("its function returns the same environment again")
    return new


def is_new(agent: Any) -> bool:
    """Whether nothing is lost if an agent is built again: it has learned nothing, and its
    parameters are the initial ones."""
    stepped = agent.num_timesteps or agent.n_updates or int(agent.position().get("steps", 0))
    unused = not (agent._learning or stepped or agent.env is None)
    return unused and fingerprint(agent) == agent._initial


def fingerprint(agent: Any) -> bytes:
    """A hash of what learning changes: parameters, optimizers, buffers and statistics."""
    digest = hashlib.blake2b(digest_size=16)
    for name, part in parts(agent).items():
        for key, array in arrays_of(name, part).items():
            digest.update(key.encode() + to_host(array).tobytes())
    return digest.digest()


def rebuild(agent: Any, given: dict[str, Any]) -> None:
    """Build an agent that is new again, with other arguments of its constructor. Its environments
    are closed if it made them.

    Raises ConfigError or SpaceError if they are not valid, and then the agent is as before.
    """
    held = agent.get_params()
    if given.get("env", agent.env) != agent.env:
        held |= _arguments_for(given["env"], held)
    before = dict(vars(agent))
    vars(agent).clear()
    try:
        type(agent).__init__(agent, **held | given)
    except BaseException:
        vars(agent).clear()
        vars(agent).update(before)
        raise
    agent._outputs = before["_outputs"]
    old = before["envs"]
    if old is not None and old.owned and not _share(agent.envs, old):
        old.close()


def _arguments_for(env: Any, held: dict[str, Any]) -> dict[str, Any]:
    """Arguments for another environment, which may be another number of them."""
    number = number_of_envs(env)
    own = {} if number is None else {"vectorization": None}
    return {"env_kwargs": None, "n_envs": number or held["n_envs"], **own}


def _share(envs: Any, others: Any) -> bool:
    """Whether an environment is in both."""
    return any(one is other for one in envs.bases() for other in others.bases())


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
