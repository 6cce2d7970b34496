"""Optimizers that skip steps with gradients that are not finite: counted, and stopped at the tenth."""

import functools

from npr.autodiff import debug_anomaly
from npr.autodiff.anomaly import first_bad
from npr.backend import ON_HOST
from npr.errors import NumericsError
from npr.optim import Optimizer

EVERY = 1 if ON_HOST else 100  # updates between two looks: a device must be waited for
ALLOWED = 9  # skipped steps in a row before an update is made under scrutiny


class Watch:
    """The optimisers of one agent, by name.

    moved   the last update in which each of them is known to have made its step
    """

    def __init__(self, agent):
        parts = vars(agent).items()
        self.optimisers = {name: part for name, part in parts if isinstance(part, Optimizer)}
        self.moved = dict.fromkeys(self.optimisers, agent.n_updates - EVERY)

    def look(self, agent) -> int:
        """How many steps were skipped; after nine in a row the next update is scrutinised."""
        total = 0
        for name, optimiser in self.optimisers.items():
            skipped, consecutive = optimiser.skip_counts()
            total += skipped
            if not consecutive:
                self.moved[name] = agent.n_updates
            elif consecutive >= ALLOWED:
                agent.update = functools.partial(self._scrutinised, agent)  # once
        return total

    def _scrutinised(self, agent, *batch):
        """`update`, with NumericsError for the first number in it that is not finite."""
        del agent.update
        try:
            with debug_anomaly():
                return agent.update(*batch)
        except NumericsError as error:
            raise NumericsError(f"{self._who(agent)} {error} {self._what_to_do()}") from error

    def _who(self, agent):
        held = {id(x): name for name, x in vars(agent).items()}
        stuck = [
            f"{held.get(id(part.theta), 'parameters')} ({name}, since update "
            f"{self.moved[name] + 1:,})"
            for name, part in self.optimisers.items()
            if part.skip_counts()[1] >= ALLOWED
        ]
        return (
            f"{type(agent).__name__}: ten steps or more in a row were skipped, since their "
            f"gradients are not finite, of {' and '.join(stuck)}."
        )

    def _what_to_do(self):
        for optimiser in self.optimisers.values():
            bad = first_bad(optimiser.theta)
            if bad:
                return f"No step made the parameters so ({bad}): something else wrote into them."
        return (
            "The parameters are finite, as the last good step left them. Lower learning_rate, or "
            "bring rewards and observations near 1 (normalize_reward=True, normalize_obs=True)."
        )
