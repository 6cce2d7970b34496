"""Ctrl-C and SIGTERM during learn(): the first requests a stop, the second stops immediately."""

import contextlib
import os
import signal
import threading
from typing import Any


class Interrupts:
    """A context in which the first SIGINT or SIGTERM is only recorded, in `requested`.

    Handlers that the program installed stay in place, and only the main thread installs any. The
    previous handlers are restored at the end of the context.

    repeats   whether a second signal stops immediately. False in a process that is stopped by
              another one: there a signal may arrive twice, from that and from a terminal, and what
              follows the first must not be cut
    """

    repeats = True

    _DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def __init__(self) -> None:
        self.requested: int | None = None  # number of the first signal
        self.repeated = False  # whether there was a second one
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number, default in self._DEFAULTS.items():
                if signal.getsignal(number) is default:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        ends = self.requested is not None and not self.repeats
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if ends else handler)

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested is not None:
            if not self.repeats:
                return
            self.repeated = True
            raise stopped_by(number)
        self.requested = number
        # print is not safe in a handler: it may have interrupted another print
        with contextlib.suppress(OSError):  # a program without a console
            again = b"; press again to stop immediately" if self.repeats else b""
            os.write(2, b"\nnpr: stopping after this update" + again + b".\n")


def stopped_by(number: int) -> BaseException:
    """The exception that ends the program after this signal: exit status 130 for SIGINT, 143 for
    SIGTERM."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
