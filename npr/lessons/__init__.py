"""Checks of the answers to the exercises in docs/lessons: `check("dqn-2", answer)`.

Each module has the checks of one lesson. Imports all of npr; `import npr` does not import it.
"""

import difflib
from typing import Any

from npr.errors import ConfigError, WrongAnswer
from npr.lessons import (
    ddpg,
    dqn,
    network,
    policy_gradient,
    ppo,
    q_actor_critic,
    replay,
    sac,
    soft_q,
    tape,
    td,
    values,
)

LESSONS = (
    values, td, tape, network, dqn, replay, policy_gradient, q_actor_critic, ppo, ddpg, soft_q, sac,
)  # fmt: skip
CHECKS = {name: test for lesson in LESSONS for name, test in lesson.CHECKS.items()}

__all__ = ["CHECKS", "check"]


def check(exercise: str, answer: Any) -> None:
    """Print whether the answer to an exercise is right.

    Raises WrongAnswer with a hint if it is wrong. An answer `...` is one that is still to be given.
    """
    if exercise not in CHECKS:
        raise ConfigError(f"There is no exercise {exercise!r}{_instead(exercise)}.")
    if answer is ...:
        print(f"{exercise}: not answered yet.")
        return
    if fault := CHECKS[exercise](answer):
        raise WrongAnswer(f"{exercise}: {fault}")
    print(f"{exercise}: correct.")


def _instead(exercise: Any) -> str:
    """The nearest names of exercises, or those of the lesson, or how names look."""
    name = str(exercise).lower().replace("_", "-").replace(" ", "-")
    if name in CHECKS:
        return f"; the nearest is {name!r}"
    own = [known for known in CHECKS if known.rpartition("-")[0] == name.rpartition("-")[0]]
    if own:
        return f"; this lesson has {', '.join(own)}"
    if close := difflib.get_close_matches(name, CHECKS, 1, cutoff=0.75):
        return f"; the nearest is {close[0]!r}"
    return "; names are those of the headings, such as 'dqn-2'"
