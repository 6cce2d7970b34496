"""Where an agent on a device chooses the actions of a run: on the host, as on the NumPy backend.

A network of a few rows takes less time there than the launch of its kernels, and nothing waits for
the device. `explore` of the agent runs within `on_host()`, and sees a copy of the policy's
parameters in the attribute that holds them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from npr.backend import ON_HOST, on_host, to_host
from npr.settings import Replay
from npr.system.staging import Download, downloads


class Acting:
    """The parameters that an agent on a device explores with, on the host.

    An agent that learns from rollouts acts by its current parameters. One that learns from a replay
    buffer acts, after a round of updates, by those from before that round: their copy was started
    when the round before had been launched, so that environments step while the device updates.
    This order does not depend on any time, so runs repeat.
    """

    def __init__(self, agent: Any, now: np.ndarray | None = None) -> None:
        """now   parameters to act by until the next updates; None: the current ones"""
        *_, theta = agent.acts_by()
        self.lagged, self.n_updates = isinstance(agent, Replay), agent.n_updates
        self._newest: Download | np.ndarray = to_host(theta)  # after so many updates
        self._now: Download | np.ndarray = self._newest if now is None else now

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_newest": _array(self._newest), "_now": _array(self._now)}

    @classmethod
    def of(cls, agent: Any) -> "Acting | None":
        """That of an agent whose run begins; None if its parameters are on the host."""
        if ON_HOST:
            return None
        *_, theta = agent.acts_by()
        if isinstance(theta, np.ndarray):
            return None
        held: Acting | None = agent._acting
        if held is not None:
            held.updated(agent)
            if held.newest().tobytes() != to_host(theta).tobytes():  # they were changed meanwhile
                held = None
        agent._acting = held or cls(agent)
        return agent._acting  # type: ignore[no-any-return]

    def newest(self) -> np.ndarray:
        """The parameters after the last updates that `updated` knows of."""
        self._newest = _array(self._newest)
        return self._newest

    def upcoming(self, n_updates: int) -> np.ndarray | None:
        """The parameters that the next action is chosen by, after so many updates; None: the
        current ones."""
        if not self.lagged:
            return None
        if n_updates != self.n_updates:
            return self.newest()
        self._now = _array(self._now)
        return self._now

    def updated(self, agent: Any) -> None:
        """Start to copy the parameters, if there were updates. Does not wait."""
        if agent.n_updates == self.n_updates:
            return
        *_, theta = agent.acts_by()
        before, self._newest = self._newest, downloads.ask(theta)
        downloads.start()
        self._now = before if self.lagged else self._newest
        self.n_updates = agent.n_updates

    def on_host(
        self, agent: Any, choose: Callable[[np.ndarray], np.ndarray]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """choose(s) -> a, computed on the host."""
        *_, theta = agent.acts_by()
        held = vars(agent)  # the agent refuses some names, and these are its own
        name = next(name for name, part in held.items() if part is theta)

        def choose_on_host(s: np.ndarray) -> np.ndarray:
            self._now = _array(self._now)
            there, held[name] = held[name], self._now
            try:
                with on_host():
                    return choose(s)
            finally:
                held[name] = there

        return choose_on_host


def _array(x: Download | np.ndarray) -> np.ndarray:
    return x if isinstance(x, np.ndarray) else x.get()
