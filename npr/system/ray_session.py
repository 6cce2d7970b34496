"""Ray for the time of a call, and mail between its tasks and this program.

Ray is imported when a session begins; it is in the extra `ray`.
"""

import collections
import contextlib
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from npr.errors import ConfigError
from npr.system.blas import THREAD_VARIABLES
from npr.system.machine import usable_cores
from npr.version import __version__

OBJECT_STORE = 256 << 20  # bytes of shared memory of a local session


def module() -> Any:
    """The module `ray`. Raises ConfigError if it is not installed."""
    try:
        import ray
    except ImportError:
        raise ConfigError("engine='ray' needs Ray: pip install 'npr-rl[ray]'") from None
    return ray


@contextlib.contextmanager
def session(cpus: int = 0) -> Iterator[Any]:
    """Within it Ray is initialized; yields the module `ray`. See `acquire`."""
    ray = acquire(cpus)
    try:
        yield ray
    finally:
        release(ray)


def acquire(cpus: int = 0) -> Any:
    """Initialize Ray, until `release`; returns the module `ray`.

    cpus   how many a session on this computer has at least

    A Ray that this program has initialized is used as it is. Otherwise this program joins the
    cluster that the variable RAY_ADDRESS names, or starts Ray on this computer, with a CPU for each
    core that this process may use; this ends with the last session. SIGTERM keeps its handler.

    Raises ConfigError without Ray, and if no cluster answers at RAY_ADDRESS.
    """
    ray = module()
    with _lock:
        if not ray.is_initialized():
            _begin(ray, cpus)
            _sessions.clear()
            _sessions.append(ray)
        elif _sessions:
            _sessions.append(ray)
    return ray


def release(ray: Any) -> None:
    """End a session of `acquire`. Ray ends with the last one, if one of them has begun it."""
    with _lock:
        if _sessions:
            _sessions.pop()
            if not _sessions:
                ray.shutdown()


_lock = threading.Lock()
_sessions: list[Any] = []  # an entry for each session that uses a Ray which a session has begun


def _begin(ray: Any, cpus: int) -> None:
    with keeping_sigterm():
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address := os.environ.get("RAY_ADDRESS"):
            try:
                ray.init(address, **quiet)
            except (ConnectionError, ValueError) as error:
                raise ConfigError(
                    f"RAY_ADDRESS={address}: no Ray cluster answers there ({error}). Start it with "
                    "`ray start`, or unset RAY_ADDRESS to use this computer alone."
                ) from None
            return
        # else Ray sends statistics to its makers
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            "local", num_cpus=max(usable_cores(), cpus), include_dashboard=False,
            object_store_memory=OBJECT_STORE, **quiet,
        )  # fmt: skip


@contextlib.contextmanager
def keeping_sigterm(default: bool = False) -> Iterator[None]:
    """At its end, SIGTERM has the handler of before.

    default   within it SIGTERM has the default handler in the place of Ray's, which exits and saves
              nothing
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if default and str(getattr(before, "__module__", "")).partition(".")[0] == "ray":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def cpus(ray: Any) -> list[float]:
    """The CPUs of each node that is alive."""
    return [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]


def cpus_of(settings: Mapping[str, Any]) -> int:
    """CPUs that an agent with these settings uses: one, and one for each process of its own."""
    workers = settings.get("n_workers", 0)
    return 1 + workers if settings.get("engine") != "ray" else 1


def check_cpus(given: Any) -> None:
    """Raise ConfigError unless it is None or a number of CPUs above 0."""
    if given is None:
        return
    valid = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not (valid and 0 < given < float("inf")):
        raise ConfigError(f"num_cpus must be None or a number above 0, got {given!r}.")


def environment(**changed: str) -> dict[str, Any]:
    """Options of a task or an actor: it has npr's variables of this process, and those changed."""
    ours = {name: held for name, held in os.environ.items() if name.startswith("NPR_")} | changed
    return {"runtime_env": {"env_vars": ours}} if ours else {}


# ---- mail


class _Mailbox:
    """Boxes of messages, by name. An actor, whose methods run beside each other."""

    def __init__(self) -> None:
        import asyncio

        self.boxes: dict[Any, list[Any]] = collections.defaultdict(list)
        self.filled: dict[Any, Any] = collections.defaultdict(asyncio.Event)

    async def put(self, name: Any, message: Any) -> None:
        """Add a message to a box."""
        self.boxes[name].append(message)
        self.filled[name].set()

    async def take(self, name: Any) -> list[Any]:
        """Empty a box, as soon as it has a message."""
        await self.filled[name].wait()
        del self.filled[name]
        return self.boxes.pop(name)


def mailbox(ray: Any) -> Any:
    """A new actor with methods put(name, message) and take(name) -> messages.

    It is on the node of this program, and needs no CPU.
    """
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    return ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()


# ---- in a task


class Home(NamedTuple):
    """Where a program runs.

    folder    its working folder
    path      its sys.path
    version   its npr
    """

    folder: str
    path: list[str]
    version: str

    @classmethod
    def here(cls) -> "Home":
        """Of this program."""
        return cls(os.getcwd(), [*sys.path], __version__)


def settle(home: Home) -> None:
    """Make the process of a task like one that the program has started itself.

    It works in the folder of the program if its node has that, imports what the program imports,
    and forgets the number of threads that Ray has set: npr limits those of BLAS. Raises ConfigError
    if the node has another npr.
    """
    if home.version != __version__:
        raise ConfigError(
            f"The node {platform.node()} has npr {__version__}, this program {home.version}: "
            "install the same version on all nodes."
        )
    sys.path += [one for one in home.path if one not in sys.path]
    with contextlib.suppress(OSError):
        os.chdir(home.folder)
    for name in THREAD_VARIABLES:
        os.environ.pop(name, None)
