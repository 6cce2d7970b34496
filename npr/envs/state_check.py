"""Whether an environment is still in the state in which an agent left it.

Between two calls of learn() anybody may step or reset an environment: the user, an evaluation, or
another agent. The next step of the agent would then be a transition that never happened.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_MAX_OBJECTS, _MAX_BYTES = 300, 1 << 24  # that are looked at
_NUMBERS = (bool, int, float, complex, np.generic)
_COLLECTIONS = (list, tuple, deque)
_CACHED = {
    "spec", "_cached_spec", "action_space", "_action_space", "observation_space",
    "_observation_space", "single_action_space", "single_observation_space", "metadata",
    "_metadata",
}  # fmt: skip
_FOREIGN = {"npr", *sys.stdlib_module_names} - {"types"}  # types.SimpleNamespace may hold a state

_users: weakref.WeakKeyDictionary[Any, weakref.ref[object]] = weakref.WeakKeyDictionary()
_latest_user: weakref.ref[object] | None = None


def claim(envs: Iterable[Any], user: object) -> None:
    """Record that `user` is the last to step or reset these environments."""
    global _latest_user
    _latest_user = weakref.ref(user)
    for env in envs:
        with contextlib.suppress(TypeError):  # an environment that is not hashable
            _users[env.unwrapped] = _latest_user


def are_claimed_by(envs: Iterable[Any], user: object) -> bool:
    """Whether nobody else has claimed one of these environments since `user` did."""
    if _latest_user is not None and _latest_user() is user:
        return True
    return all(held is None or held() is user for held in map(_user_of, envs))


def in_use(env: Any) -> bool:
    """Whether an environment has been claimed by anybody who still exists."""
    held = _user_of(env)
    return held is not None and held() is not None


def _user_of(env: Any) -> weakref.ref[object] | None:
    try:
        return _users.get(env.unwrapped)
    except TypeError:
        return None


def fingerprint(envs: Iterable[Any]) -> bytes:
    """A hash of the numbers, arrays and generators in the attributes of environments and of the
    objects that they hold.

    What is rendered, and the state of objects without attributes (simulators in C), is not part of
    it; the step counter of a time limit and the environment's generator are.
    """
    digest, room = hashlib.blake2b(digest_size=16), _MAX_BYTES
    queue, seen = deque(envs), dict[int, Any]()
    while queue:  # breadth first: what is deep inside may be left out
        value = queue.popleft()
        if isinstance(value, (*_NUMBERS, str, bytes)):
            digest.update(repr(value).encode(errors="surrogatepass") + b",")
        elif isinstance(value, np.ndarray):
            if value.dtype.kind in "fiubc" and value.nbytes <= room:
                room -= value.nbytes
                digest.update(value.tobytes() + b",")
        elif id(value) not in seen and len(seen) < _MAX_OBJECTS:
            seen[id(value)] = value  # alive, so that its id is not used twice
            queue.extend(_members(value))
    return digest.digest()


def _members(value: Any) -> Iterable[Any]:
    """What may be part of the state of an object."""
    if isinstance(value, np.random.Generator):
        return [value.bit_generator.state]
    package = (type(value).__module__ or "").partition(".")[0]
    if package in ("random", "numpy"):  # random.Random and numpy.random.RandomState
        state = getattr(value, "getstate", None) or getattr(value, "get_state", None)
        return [repr(state())] if state else []
    if isinstance(value, Mapping):
        return [x for name, held in value.items() if not _is_ignored(name) for x in (name, held)]
    if isinstance(value, _COLLECTIONS):
        return value
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, type) or package in _FOREIGN:
        return []
    slots = {name: getattr(value, name, None) for name in getattr(value, "__slots__", ())}
    return [{**slots, **getattr(value, "__dict__", {})}]


def _is_ignored(name: object) -> bool:
    """Whether an attribute is changed by rendering, or by asking for a spec or a space."""
    return isinstance(name, str) and ("render" in name or name in _CACHED)
