"""Behavior cloning: the policy of an agent learns to choose the actions of a data set."""

import builtins
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from npr.autodiff import sqrt, sum, tanh, value_and_grad
from npr.backend import FLOAT, Array, to_host
from npr.data.transitions import (
    check_allowed,
    encoded_actions,
    encoded_masks,
    encoded_observations,
)
from npr.errors import ConfigError, NumericsError
from npr.heads import SamplerHead, StochasticHead, TanhHead
from npr.optim import Adam
from npr.settings import Proximal
from npr.settings.setting import is_whole
from npr.system.staging import upload

_ROWS = 4096  # of a batch that is compared with the policy at the end
Loss = Callable[..., Any]


class Imitation(NamedTuple):
    """What `imitate` returns.

    losses     (epochs,) the mean loss of each epoch, in the course of which the policy changes
    accuracy   the share of the actions that the policy chooses too, all their numbers alike; None
               for Box actions. Of a Dict or Tuple, it is of the parts that are none
    error      the mean absolute difference of the actions that the policy chooses, in the units of
               the environment; None for other than Box actions, or without such a part
    """

    losses: np.ndarray
    accuracy: float | None
    error: float | None


def imitate(agent: Any, observations: Any, actions: Any, epochs: Any, batch_size: Any,
            learning_rate: Any, action_masks: Any) -> Imitation:  # fmt: skip
    """Run `agent.imitate`, whose arguments these are."""
    loss, noises = _loss_of(agent)
    for name, number in (("epochs", epochs), ("batch_size", batch_size)):
        if not is_whole(number) or number < 1:
            raise ConfigError(f"{name} must be a whole number above 0, got {number!r}.")
    if (
        learning_rate is True
        or not isinstance(learning_rate, (int, float, np.floating))
        or (not 0 < learning_rate < np.inf)
    ):
        raise ConfigError(f"learning_rate must be a number above 0, got {learning_rate!r}.")
    s = encoded_observations("observations", observations, agent.observations)
    a = encoded_actions("actions", actions, agent.actions)
    if len(s) != len(a) or not len(a):
        raise ConfigError(
            f"imitate() needs one action for each observation, at least one; got {len(a):,} "
            f"actions and {len(s):,} observations."
        )
    masks = encoded_masks("action_masks", action_masks, len(s), agent.actions, agent.mask_size)
    if agent.mask_size:
        check_allowed(a, masks, agent.actions)
        s = np.concatenate([s, masks], axis=1)
    if agent.obs_norm is not None:
        if not agent.obs_norm.moments.count:
            agent.obs_norm.add(s)
        s = agent.obs_norm(s)
    parameters = agent.policy_parameters
    theta = getattr(agent, parameters)
    adam, losses = Adam(theta, float(learning_rate)), np.empty(epochs)
    for epoch in range(epochs):
        index, total = agent.rng["sample"].permutation(len(s)), 0.0
        for rows in np.split(index, range(batch_size, len(s), batch_size)):
            shape = noises, len(rows), agent.actions.size
            noise = agent.rng["noise"].standard_normal(shape, FLOAT)
            value, g = value_and_grad(loss)(theta, *upload(s[rows], a[rows], noise))
            adam.step(theta, g)
            total = total + value * len(rows)
        losses[epoch] = to_host(total) / len(s)
        if not np.isfinite(losses[epoch]):
            raise NumericsError(
                f"imitate() has diverged: the loss of epoch {epoch + 1} is {losses[epoch]}. Lower "
                f"learning_rate={learning_rate}."
            )
    if isinstance(agent, Proximal):
        agent.share_layers()
    target = getattr(agent, f"{parameters}_bar", None)
    if target is not None:  # or it would pull the critic's targets back to the former actor
        target[...] = theta
    if getattr(agent, "vf_share_layers", False):
        agent.share_layers()
    agent.steps.clear()  # they were chosen by the former policy
    agent._acting = None
    return Imitation(losses, *_compared(agent, s, a))


def _loss_of(agent: Any) -> tuple[Loss, int]:
    """The loss (theta, s, a, noise) of an agent's policy, and how many actions it draws per row.

    Raises ConfigError for an agent without an actor.
    """
    head, network, theta = agent.acts_by()
    values, name = agent.values_by(), type(agent).__name__
    if agent._learning:
        raise ConfigError("imitate() was called on an agent that is learning; copy it first.")
    if isinstance(head, StochasticHead) and (values is None or values[1] is not theta):
        return lambda theta, s, a, _: -agent.pi(theta, s).log_prob(a).mean(), 0
    if isinstance(head, SamplerHead):

        def energy(theta: Any, s: Array, a: Array, noise: Array) -> Any:
            one, other = tanh(network(theta, s, noise[0])), tanh(network(theta, s, noise[1]))
            to_data = _distance(one, a) + _distance(other, a)
            return 0.5 * (to_data - _distance(one, other)).mean()

        return energy, 2
    if isinstance(head, TanhHead):
        return lambda theta, s, a, _: sum((network(theta, s) - a) ** 2, axis=-1).mean(), 0
    raise ConfigError(
        f"imitate() needs an algorithm with an actor, and {name} chooses actions by their values: "
        "use PPO, A2C or SAC, or learn_offline() with rewards."
    )


def _distance(x: Any, y: Any) -> Any:
    """Euclidean distances of rows, with a slope where they are equal."""
    return sqrt(sum((x - y) ** 2, axis=-1) + 1e-8)


def _compared(agent: Any, s: np.ndarray, a: np.ndarray) -> tuple[float | None, float | None]:
    """Accuracy and error of the policy: see Imitation."""
    policy, actions, right, off = agent.policy, agent.actions, 0, 0.0
    kinds = [part.kind for part, _ in actions.leaves(a)]
    numbers = builtins.sum(part.size for part, _ in actions.leaves(a) if part.kind == "box")
    for i in range(0, len(s), _ROWS):
        chosen, wanted = policy.choose(s[i : i + _ROWS]), a[i : i + _ROWS]
        alike = np.ones(len(wanted), bool)
        for (part, x), (_, y) in zip(actions.leaves(chosen), actions.leaves(wanted)):
            if part.kind == "box":
                difference = np.abs(part.to_env_batch(x) - part.to_env_batch(y))
                off += float(difference.sum(dtype=np.float64)) / numbers
            else:
                alike &= (x == y).reshape(len(y), -1).all(axis=1)
        right += int(alike.sum())
    n = len(s)
    return None if {*kinds} == {"box"} else right / n, off / n if "box" in kinds else None
