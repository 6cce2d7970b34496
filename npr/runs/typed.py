"""Code that the user names: modules that register environments, and wrappers.

The names come from the command line or from Python code, never from a file: `read_config` refuses
names that the user does not repeat. This is the only module that imports by a name.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from npr.errors import ConfigError, describe_error

if TYPE_CHECKING:
    import gymnasium


def import_modules(names: Iterable[str]) -> None:
    """Import modules that register environments or algorithms. Raises ConfigError."""
    for name in names:
        _module(name, f"--import {name}")


def wrapper(name: str) -> Any:
    """The class or function "module:Class" that wraps an environment. Raises ConfigError."""
    where = f"--wrapper {name}"
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ConfigError(f"{where} is not of the form module:Class, e.g. my_wrappers:Scale.")
    found = getattr(_module(module, where), attribute, None)
    if not callable(found):
        raise ConfigError(f"{where}: the module {module} has no class {attribute!r}.")
    return found


def check_registered(id: str, advice: str) -> None:
    """Raise ConfigError if no environment has this id; it has the nearest one and the advice."""
    import gymnasium

    try:
        gymnasium.spec(id)
    except gymnasium.error.Error as error:
        parts = [str(error) if str(error).endswith((".", "?", "!")) else f"{error}."]
        nearest = _nearest_id(id)
        if nearest is not None and "Did you mean" not in parts[0]:
            parts.append(f"Did you mean {nearest}?")
        raise ConfigError(" ".join([*parts, advice])) from None


def _nearest_id(id: str) -> str | None:
    """The registered id that is most like this one: of the same name, the latest version."""
    import gymnasium

    specs: list[Any] = [*gymnasium.registry.values()]
    same = [spec for spec in specs if spec.name.lower() == id.rpartition("/")[2].lower()]
    if same:
        latest = max(same, key=lambda spec: spec.version or 0)
        return str(latest.id)
    close = difflib.get_close_matches(id, [spec.id for spec in specs], 1, 0.7)
    return close[0] if close else None


def _module(name: str, where: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)  # last: it hides no other module
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module may raise anything
        raise ConfigError(
            f"{where}: importing {name!r} from the working folder or the installed packages raised "
            f"{describe_error(error)}."
        ) from error


class WrappedEnv:
    """A function that makes an environment with wrappers; with the environment's name and spec,
    by which the preset is found.

    imports    modules to import before, in a worker process too
    wrappers   "module:Class", the innermost first
    """

    def __init__(self, id: str, wrappers: Iterable[str], imports: Iterable[str]) -> None:
        import gymnasium

        self.id = self.__name__ = id
        self.spec = gymnasium.spec(id)
        self.wrappers, self.imports = [*wrappers], [*imports]
        for name in self.wrappers:
            wrapper(name)

    def __repr__(self) -> str:
        return f"WrappedEnv({self.id!r}, {self.wrappers})"

    def __call__(self, **kwargs: Any) -> "gymnasium.Env[Any, Any]":
        import gymnasium

        import_modules(self.imports)
        env: Any = gymnasium.make(self.id, disable_env_checker=True, **kwargs)
        for name in self.wrappers:
            env = wrapper(name)(env)
        return env  # type: ignore[no-any-return]
