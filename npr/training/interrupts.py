"""Ctrl-C and SIGTERM while an agent learns: the first asks for a stop, the second stops at once."""

import os
import signal
import threading


class Interrupts:
    """A context in which the first SIGINT or SIGTERM is only noted, in `asked`.

    Where the program has handlers of its own they stay, and outside of the main thread there are
    none. The handlers from before are back after the context.
    """

    _DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def __init__(self):
        self.asked: int | None = None  # number of the first signal
        self.now = False  # whether there was a second one
        self._previous: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number, default in self._DEFAULTS.items():
                if signal.getsignal(number) is default:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.asked is not None:
            self.now = True
            raise stopped_by(number)
        self.asked = number
        # print is not safe in a handler: it may have interrupted another print
        os.write(2, b"\nnpr: stopping after this update; once more stops at once.\n")


def stopped_by(number: int) -> BaseException:
    """What ends a program after this signal: the shell sees 130 for SIGINT, 143 for SIGTERM."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
