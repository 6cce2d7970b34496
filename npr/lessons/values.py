"""The exercises of the lesson values."""

from typing import Any

import numpy as np

from npr.lessons.answers import RETURNED, array, call, checked, known, near, number, refuse

# the machine of the lesson, new, worn or broken, with gamma = 0.9: its rewards when it runs, and
# the probability that a day changes it
_EARNS, _CHANGES, _REPAIR = (10.0, 6.0, 0.0), (0.3, 0.4, 0.0), -8.0


def _machine(repaired: tuple[bool, bool, bool]) -> list[float]:
    """Values of a policy, by many sweeps."""
    v = [0.0, 0.0, 0.0]
    for _ in range(400):
        after = [*v[1:], 0.0]
        v = [
            _REPAIR + 0.9 * v[0] if repaired[s]
            else _EARNS[s] + 0.9 * ((1 - _CHANGES[s]) * v[s] + _CHANGES[s] * after[s])
            for s in range(3)
        ]  # fmt: skip
    return v


@checked
def mean(answer: Any) -> None:
    rewards, estimate = [3.0, -1.0, 4.0, 10.0, 2.5], 0.0
    for n, reward in enumerate(rewards, 1):
        before, right = estimate, sum(rewards[:n]) / n
        estimate = number(call(answer, before, reward, n), RETURNED)
        if n == 1 and not near(estimate, right):
            refuse(f"The mean of one reward {reward} is this reward; you return {estimate:g}.")
        known(estimate, {
            "You divide by n + 1, but n counts the new reward already.":
                before + (reward - before) / (n + 1),
            "You divide by n - 1, but the new reward is the n-th.":
                before + (reward - before) / max(n - 1, 1),
            "You add the reward without subtracting the old estimate.": before + reward / n,
        } if n > 1 else {})  # fmt: skip
        if not near(estimate, right):
            refuse(
                f"After the rewards {rewards[:n]} the mean is {right:g}; you return {estimate:g} "
                f"for estimate={before:g}, reward={reward:g}, n={n}."
            )
    moved = number(call(answer, 2.0, 6.0, 10, 0.5), f"{RETURNED} for a step of 0.5")
    known(moved, {"The argument step is not used: it replaces 1/n where it is given.": 2.4})
    if not near(moved, 4.0):
        refuse(
            "With step=0.5 the estimate moves half of the way to the reward: from 2 with the "
            f"reward 6 you return {moved:g}."
        )
    still = number(call(answer, 2.0, 6.0, 10, step=0.0), f"{RETURNED} for step=0")
    if not near(still, 2.0):
        refuse("With step=0 the estimate must not move; compare step with None, not with 0.")


@checked
def greedy_probability(answer: Any) -> None:
    p = number(answer)
    known(p, {
        "The random action is drawn from all ten, so it is sometimes the greedy one.": 0.9,
        "That is the probability of each other action.": 0.01,
        "That is the probability that the action is drawn at random.": 0.1,
        "That is the probability that another action is taken.": 0.09,
        "Give a probability, from 0 to 1, not a percentage.": 91.0,
    })  # fmt: skip
    if not near(p, 0.91):
        refuse("Add two cases: the agent does not explore, or it does and draws the greedy action.")


@checked
def machine_values(answer: Any) -> None:
    v = array(answer, (3,))
    right = _machine((False, False, True))
    known(v, {
        "These are the values of a policy that repairs the worn machine.":
            _machine((False, True, True)),
        "These are the values of a policy that never repairs.": _machine((False, False, False)),
        "These are the rewards of the first day; the days after it are missing.":
            [10.0, 6.0, -8.0],
        "Give the values in the order NEW, WORN, BROKEN.": right[::-1],
    }, 0.01)  # fmt: skip
    if not near(v, right, 0.01):
        refuse("Solve the three equations of Bellman; `evaluate` takes one action for each state.")


@checked
def action_values(answer: Any) -> None:
    rng = np.random.default_rng(5)
    P, R = rng.dirichlet(np.ones(4), size=(4, 3)), rng.normal(size=(4, 3))
    v, gamma = rng.normal(size=4), 0.8

    def future(axes: str) -> Any:
        return gamma * np.einsum(axes, P, v)

    right = R + future("sat,t->sa")
    q = call(answer, P, R, v, gamma)
    if np.shape(q) == (4,) and near(q, right.max(axis=1)):
        refuse("That is the maximum over the actions; return a value for each action.")
    q = array(q, (4, 3), RETURNED)
    known(q, {
        "The reward is missing.": right - R,
        "gamma is missing.": R + future("sat,t->sa") / gamma,
        "gamma multiplies the reward, too; only the future is discounted.":
            gamma * R + future("sat,t->sa"),
        "The value of the present state is used; sum over the next states.":
            R + gamma * v[:, None],
    })  # fmt: skip
    if not near(q, right):
        refuse("Some entries are wrong: q(s, a) = r(s, a) + gamma times the mean of v(s').")


@checked
def sweeps(answer: Any) -> None:
    n = number(answer)
    error, right = 100.0, 0
    while error > 0.01:
        error, right = 0.9 * error, right + 1
    if n != int(n):
        refuse("The number of sweeps is a whole number.")
    known(n, {
        "After one sweep less than needed the error may be a little above 0.01.": right - 1,
        "One sweep less is enough.": right + 1,
        "The first error may be larger than 10: a value is a sum of many rewards.": 66,
    })  # fmt: skip
    if n != right:
        refuse("Solve e 0.9^n <= 0.01 for n, where e is the largest possible error of v = 0.")


CHECKS = {
    "values-1": mean,
    "values-2": greedy_probability,
    "values-3": machine_values,
    "values-4": action_values,
    "values-5": sweeps,
}
