"""Capture: the pure methods of an agent, `update` and `choose`, are recorded once and replayed.

On the host a replay is one call of a native function (plans.py), on a device the launch of a CUDA
graph (graphs.py). No algorithm knows of it. Public: `capture_methods` for a class of agents, and
`report`.
"""

import functools
import inspect
from typing import Any

from npr.autodiff import anomaly
from npr.backend import CAPTURE, ON_HOST, on_device
from npr.capture.calls import Method, NotCapturableError, Report, thread
from npr.capture.graphs import Graphs
from npr.capture.plans import Plans
from npr.kernels.jit import available

METHODS = ("update", "choose") if ON_HOST else ("update",)  # a device does not choose actions

__all__ = ["METHODS", "NotCapturableError", "Report", "capture_methods", "report"]


def capture_methods(algorithm: Any) -> None:
    """Let the pure methods of a class of agents be captured, unless it learns a table."""
    if algorithm.table or (ON_HOST and not CAPTURE):
        return
    for name in METHODS:
        method = getattr(algorithm, name, None)
        if inspect.isfunction(method) and not hasattr(method, "captured"):
            setattr(algorithm, name, _captured(method))


def _captured(method: Method) -> Method:
    kind: Any = Plans if ON_HOST else Graphs

    @functools.wraps(method)
    def run(agent: Any, *args: Any, **options: Any) -> Any:
        if thread.inside:  # what a captured method calls is a part of it
            return method(agent, *args, **options)
        held = vars(agent)
        calls = held.get("_captured")
        if calls is None:
            calls = held["_captured"] = kind()
        elif ON_HOST and not anomaly.on and not options:  # the usual case first
            plan = calls.ready.get(method)
            if plan is not None and calls.lock.acquire(blocking=False):
                try:
                    if plan.fits(agent, args):
                        return plan.replay()
                finally:
                    calls.lock.release()
        if not _usable():
            return method(agent, *args, **options)
        thread.inside = True
        try:
            return calls.run(method, agent, args, options)
        finally:
            thread.inside = False

    run.captured = True  # type: ignore[attr-defined]  # a subclass inherits it as it is
    return run


def _usable() -> bool:
    """Whether calls are captured now."""
    if ON_HOST:
        return not anomaly.on and available()
    return on_device()


def report(agent: object) -> list[Report]:
    """What was captured of the agent's calls, by signature; empty before the first one."""
    calls = vars(agent).get("_captured")
    return [] if calls is None else [one.report() for one in calls.signatures.values()]
