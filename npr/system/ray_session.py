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
def session() -> Iterator[Any]:
    """Within it Ray is initialized; yields the module `ray`.

    A Ray that this program has initialized is used as it is. Otherwise this program joins the
    cluster that the variable RAY_ADDRESS names, or starts Ray on this computer, with a CPU for each
    core that this process may use; both end with the context.

    SIGTERM has the handler of before, or the default one, and not that of Ray, which exits.

    Raises ConfigError without Ray, and if no cluster answers at RAY_ADDRESS.
    """
    ray = module()
    ours = not ray.is_initialized()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_main else None
    try:
        if ours:
            _begin(ray)
        if in_main:
            _replace_handler(before)
        yield ray
    finally:
        if ours:
            ray.shutdown()
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _begin(ray: Any) -> None:
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
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray sends statistics to its makers
    ray.init(
        "local", num_cpus=usable_cores(), include_dashboard=False, object_store_memory=OBJECT_STORE,
        **quiet,
    )  # fmt: skip


def _replace_handler(before: Any) -> None:
    """Put the handler of SIGTERM of before, or the default one, in the place of Ray's."""
    if _is_of_ray(signal.getsignal(signal.SIGTERM)):
        signal.signal(signal.SIGTERM, signal.SIG_DFL if _is_of_ray(before) else before)


def _is_of_ray(handler: Any) -> bool:
    return str(getattr(handler, "__module__", "")).partition(".")[0] == "ray"


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
