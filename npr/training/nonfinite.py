"""Non-finite gradients: optimizers skip these steps, and ten in a row are an error."""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any

from npr.autodiff import debug_anomaly
from npr.autodiff.anomaly import first_bad
from npr.backend import ON_HOST, to_host
from npr.errors import NumericsError
from npr.files.parts import instances, parts
from npr.optim import Optimizer

INTERVAL = 1 if ON_HOST else 100  # updates between two checks: reading a device waits for it
ALLOWED = 9  # consecutive skipped steps before the next update runs with anomaly detection


class NonFiniteGuard:
    """A context that monitors the optimizers of one agent during a run.

    After nine skipped steps in a row the next update runs under `debug_anomaly`, which raises
    NumericsError at the first non-finite number; `run` adds the optimizers that skipped.
    """

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        self.optimizers = instances(agent, Optimizer)
        # the last update in which each of them is known to have made a step
        self.last_step = dict.fromkeys(self.optimizers, agent.n_updates)
        self._counts = [optimizer.counts for optimizer in self.optimizers.values()]
        self._before = agent.n_updates  # at the last check, if no step was ever skipped by then
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

    def check(self, n_updates: int) -> int:
        """The number of steps skipped so far, after this many updates."""
        if self.searching:  # the update succeeded
            self._search.close()
            self.searching = False
        if n_updates % INTERVAL:
            return 0
        for counts in self._counts:
            if to_host(counts)[1]:
                break
        else:
            self._before = n_updates
            return 0
        if self._before is not None:
            self.last_step = dict.fromkeys(self.optimizers, self._before)
            self._before = None
        total = 0
        for name, optimizer in self.optimizers.items():
            skipped, consecutive = optimizer.skip_counts()
            total += skipped
            if not consecutive:
                self.last_step[name] = n_updates
            elif consecutive >= ALLOWED and not self.searching:
                self._search.enter_context(debug_anomaly())
                self.searching = True
        return total

    def run(self, train: Callable[..., None], *args: Any) -> None:
        """Run train(*args). A NumericsError of anomaly detection then names the optimizers."""
        try:
            train(*args)
        except NumericsError as error:
            if not self.searching:
                raise
            raise NumericsError(f"{self._skipping()} {error} {self._advice()}") from error

    def _skipping(self) -> str:
        """Which parameters were not updated, and since when."""
        held = {id(x): name for name, x in parts(self.agent).items()}
        stuck = [
            f"{held.get(id(part.theta), 'parameters')} ({name}, since update "
            f"{self.last_step[name] + 1:,})"
            for name, part in self.optimizers.items()
            if part.skip_counts()[1] >= ALLOWED
        ]
        return (
            f"{type(self.agent).__name__}: ten steps or more in a row were skipped because of "
            f"non-finite gradients, of {' and '.join(stuck)}."
        )

    def _advice(self) -> str:
        for optimizer in self.optimizers.values():
            bad = first_bad(optimizer.theta)
            if bad:
                return f"The parameters are not finite ({bad}), but not because of an update."
        return (
            "The parameters are finite, as after the last step that was made. Lower learning_rate, "
            "or scale rewards and observations to about 1 (normalize_reward=True, "
            "normalize_obs=True)."
        )
