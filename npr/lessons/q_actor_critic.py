"""The exercises of the lesson q_actor_critic."""

from typing import Any

import numpy as np

from npr.lessons.answers import NO_MASK, RETURNED, array, call, checked, known, near, number, refuse


@checked
def advantages(answer: Any) -> None:
    q = np.array([[1.0, 3.0, -2.0], [0.5, 4.0, 1.0], [2.0, -1.0, 6.0], [0.0, 1.0, 5.0]])
    p = np.array([[0.25, 0.5, 0.25], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    a, rows = np.array([1, 0, 2, 1]), np.arange(4)
    value, taken = (p * q).sum(axis=1), q[rows, a]
    found = array(call(answer, q, p, a), None, RETURNED)
    if found.shape == q.shape:
        refuse("The result has one number per action; take the action a of each row.")
    array(found, (4,), RETURNED)
    known(found, {
        "These are the values of the actions; the mean over the policy is not subtracted.": taken,
        "That is the mean over the policy; it is to be subtracted from Q(s, a).": value,
        "The sign is wrong: an action that is better than the mean has a positive advantage.":
            value - taken,
        "Subtract the mean over the policy: each action counts with its probability.":
            taken - q.mean(axis=1),
        "The largest value is not the baseline; that would make all advantages negative or zero.":
            taken - q.max(axis=1),
        "The value of the action must not be multiplied by its probability.":
            p[rows, a] * taken - value,
        "The mean is over the actions of each row, not over the batch.":
            taken - (p * q).sum(),
    })  # fmt: skip
    if not near(found, taken - value):
        refuse(
            "The advantages are wrong. For Q = [1, 3], pi = [0.25, 0.75] they are -1.5 and 0.5 for "
            "the two actions."
        )


@checked
def backwards(answer: Any) -> None:
    found = array(answer, (3,))
    known(found, {
        "That is the result of a forward pass: Q_0 and Q_1 were updated before Q_2 was known.":
            [0, 0, 0.5],
        "That is in the order Q_2, Q_1, Q_0.": [0.5, 0.25, 0.125],
        "The step size is 0.5, not 1.": [1, 1, 1],
        "Each value moves by half of its TD error, also the first one and the second.":
            [0.5, 0.5, 0.5],
        "The reward comes in the last step only.": [0.875, 0.75, 0.5],
    })  # fmt: skip
    if not near(found[2], 0.5):
        refuse("Begin with Q_2: its target is the reward 1, and it moves half of the way.")
    if not near(found[1], 0.25):
        refuse("The target of Q_1 is the reward 0 plus the new Q_2.")
    if not near(found[0], 0.125):
        refuse("The target of Q_0 is the reward 0 plus the new Q_1.")


@checked
def truncated_error(answer: Any) -> None:
    found = number(answer)
    known(found, {
        "That treats the time limit as a termination: the world would have gone on.": -1.0,
        "That uses the first observation of the next episode, which has nothing to do with it.":
            5.3,
        "gamma is missing.": 4.0,
        "That is the target; the TD error is the target minus V(s).": 5.5,
        "The sign is wrong: it is the target minus V(s).": -3.5,
    })  # fmt: skip
    if not near(found, 3.5, 1e-4):
        refuse("Which observation follows this step, and does its value count?")


def _by_definition(r: Any, v: Any, v_next: Any, terminated: Any, done: Any, gamma: float,
                   lam: float) -> Any:  # fmt: skip
    """Sums of TD errors, each from its own step to the next cut."""
    delta = r + gamma * (1 - terminated) * v_next - v
    A = np.zeros(len(r))
    for t in range(len(r)):
        for k in range(t, len(r)):
            A[t] += (gamma * lam) ** (k - t) * delta[k]
            if done[k]:
                break
    return A


@checked
def gae(answer: Any) -> None:
    r = np.array([1.0, -1.0, 2.0, 0.5, 1.5, 1.0])
    v = np.array([0.5, 1.0, -0.5, 2.0, 0.25, 3.0])
    terminated = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    done = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 0.0])  # the fourth step was cut by a time limit
    v_next = np.array([1.0, 9.0, 2.0, 4.0, 3.0, -1.0])
    none, gamma, lam = np.zeros(6), 0.9, 0.8

    whole = array(call(answer, r, v, v_next, none, none, gamma, lam), (6,), RETURNED)
    right = _by_definition(r, v, v_next, none, none, gamma, lam)
    delta = r + gamma * v_next - v
    known(whole, {
        "These are the TD errors alone; lambda has no effect.": delta,
        "lambda is missing in the recursion.":
            _by_definition(r, v, v_next, none, none, gamma, 1.0),
        "gamma is missing in the recursion: the factor is gamma lambda.":
            _by_definition(delta, none, none, none, none, lam, 1.0),
        "That is the target of the critic, A + v; the advantage is wanted.": right + v,
        "They are in reversed order.": right[::-1],
        "v is not subtracted from the TD target.":
            _by_definition(r, none, v_next, none, none, gamma, lam),
        "gamma is missing in the TD error.":
            _by_definition(r + v_next - v, none, none, none, none, gamma * lam, 1.0),
    })  # fmt: skip
    if not near(whole, right):
        refuse("The advantages are wrong for six steps without an end. Begin with the last step, "
               "whose advantage is its TD error.")  # fmt: skip

    found = array(call(answer, r, v, v_next, terminated, done, gamma, lam), (6,), RETURNED)
    known(found, {
        "terminated and done are not used.": right,
        NO_MASK: _by_definition(r, v, v_next, none, done, gamma, lam),
        "The sum goes on after the end of an episode: where done is 1, what follows belongs to "
        "another one.": _by_definition(r, v, v_next, terminated, none, gamma, lam),
        "A truncated step has lost its future: only terminated masks v_next.":
            _by_definition(r, v, v_next, done, done, gamma, lam),
        "The sum goes on after a truncated step: done cuts it, not only terminated.":
            _by_definition(r, v, v_next, terminated, terminated, gamma, lam),
    })  # fmt: skip
    if not near(found, _by_definition(r, v, v_next, terminated, done, gamma, lam)):
        refuse("The advantages are wrong where episodes end: terminated masks v_next, done cuts "
               "the recursion.")  # fmt: skip


@checked
def three_steps(answer: Any) -> None:
    found = number(answer)
    known(found, {
        "That is the three-step return; the advantage is this minus V(s).": 2.8558,
        "The critic's value after three steps is missing.": 2.21,
        "The critic's value comes after three steps: gamma^3.": 2.71 + 0.81 * 0.2 - 0.5,
        "The critic's value is not discounted.": 2.71 + 0.2 - 0.5,
        "Nothing is discounted.": 2.7,
        "That is the TD error of one step, lambda = 0.": 0.86,
        "That is the advantage for lambda = 0.8.": 1.942592,
    }, 1e-4)  # fmt: skip
    if not near(found, 2.3558, 1e-3):
        refuse("Add 1, 0.9, 0.9^2 and 0.9^3 times 0.2, and subtract 0.5.")


CHECKS = {
    "q_actor_critic-1": advantages,
    "q_actor_critic-2": backwards,
    "q_actor_critic-3": truncated_error,
    "q_actor_critic-4": gae,
    "q_actor_critic-5": three_steps,
}
