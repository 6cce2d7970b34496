"""Gradients that are not finite: optimizers skip those steps, and ten in a row are an error."""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any

from npr.autodiff import debug_anomaly
from npr.autodiff.anomaly import first_bad
from npr.backend import ON_HOST
from npr.errors import NumericsError
from npr.files.parts import parts
from npr.optim import Optimizer

INTERVAL = 1 if ON_HOST else 100  # updates between two looks: reading a device waits for it
ALLOWED = 9  # consecutive skipped steps before the next update runs with anomaly detection


class NonFiniteGuard:
    """A context that watches the optimizers of one agent during a run.

    After nine skipped steps in a row the next update runs under `debug_anomaly`, which raises
    NumericsError at the first number that is not finite; `explained` adds whose step it was.
    """

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        self.optimizers = {
            name: part for name, part in parts(agent).items() if isinstance(part, Optimizer)
        }
        # the last update in which each of them is known to have made its step
        self.moved = dict.fromkeys(self.optimizers, agent.n_updates)
        self._search = contextlib.ExitStack()
        self.searching = False

    def __enter__(self) -> "NonFiniteGuard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._search.close()

    def look(self, n_updates: int) -> int:
        """The steps that were skipped so far, after this many updates."""
        if self.searching:  # the update went through
            self._search.close()
            self.searching = False
        if n_updates % INTERVAL:
            return 0
        total = 0
        for name, optimizer in self.optimizers.items():
            skipped, consecutive = optimizer.skip_counts()
            total += skipped
            if not consecutive:
                self.moved[name] = n_updates
            elif consecutive >= ALLOWED and not self.searching:
                self._search.enter_context(debug_anomaly())
                self.searching = True
        return total

    def explained(self, train: Callable[..., None], *args: Any) -> None:
        """Run train(*args); a NumericsError of the search says which optimizer was stuck."""
        try:
            train(*args)
        except NumericsError as error:
            if not self.searching:
                raise
            raise NumericsError(f"{self._who()} {error} {self._advice()}") from error

    def _who(self) -> str:
        held = {id(x): name for name, x in parts(self.agent).items()}
        stuck = [
            f"{held.get(id(part.theta), 'parameters')} ({name}, since update "
            f"{self.moved[name] + 1:,})"
            for name, part in self.optimizers.items()
            if part.skip_counts()[1] >= ALLOWED
        ]
        return (
            f"{type(self.agent).__name__}: ten steps or more in a row were skipped, since their "
            f"gradients are not finite, of {' and '.join(stuck)}."
        )

    def _advice(self) -> str:
        for optimizer in self.optimizers.values():
            bad = first_bad(optimizer.theta)
            if bad:
                return f"No step made the parameters so ({bad}): something else wrote into them."
        return (
            "The parameters are finite, as the last good step left them. Lower learning_rate, or "
            "bring rewards and observations near 1 (normalize_reward=True, normalize_obs=True)."
        )
