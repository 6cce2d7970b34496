"""```{public} npr.optim: the reference of a module: its docstring, and all that is public in it.

Public is what `__all__` names, or else what is defined there without an underscore. A body lists
the names instead. ```{agent} DQN is the reference of an algorithm, without what all agents have.
"""

import importlib
import inspect
import types

from settings_table import algorithm
from sphinx.util.docutils import SphinxDirective
from words import word

import npr


def public_names(module):
    """The public names of a module, in its order."""
    if hasattr(module, "__all__"):
        return [*module.__all__]
    return [
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]  # fmt: skip


def entry(path, name, value):
    """The lines of reStructuredText for a name of a module."""
    full = f"{path}.{name}"
    if isinstance(value, types.ModuleType):
        return []  # has a page or a directive of its own
    if inspect.isclass(value):
        options = ["   :members:"]
        if any(base.__module__.startswith("npr") for base in value.__bases__):
            options.append("   :show-inheritance:")
        if issubclass(value, BaseException):
            options = ["   :show-inheritance:", "   :no-members:"]
        return [f".. autoclass:: {full}", *options, ""]
    if callable(value) and hasattr(value, "__code__"):
        return [f".. autofunction:: {full}", ""]
    return [f".. py:data:: {name}", f"   :module: {path}", "", f"   {content(value)}", ""]


def content(value):
    """A constant in words."""
    if isinstance(value, dict | list | tuple | set):
        return f"Has {', '.join(f'``{one}``' for one in value)}."
    return f"``{str(value).replace('typing.', '')}``"


class Public(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        path = self.arguments[0]
        module = importlib.import_module(path)
        names = " ".join(self.content).split()
        lines = [f".. automodule:: {path}", "   :no-members:", ""]
        lines = lines if not names else []
        for name in names or public_names(module):
            if not hasattr(module, name):
                raise self.error(f"public: {path} has no {name}")
            lines += entry(path, name, getattr(module, name))
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


class Agent(SphinxDirective):
    required_arguments = 1

    def run(self):
        kind = algorithm(self)
        name, file = kind.__name__, kind.__module__.rpartition(".")[2]
        page = word(self.config, "[The page of {name}](../algorithms/{file}.md)")
        lines = [
            "```{eval-rst}", f".. autoclass:: npr.{name}", "   :no-members:", "```", "",
            page.format(name=name, file=file) + ".", "",
            f"```{{settings}} {name}", "```",
        ]  # fmt: skip
        return self.parse_text_to_nodes("\n".join(lines))


def signature(app, what, name, found, options, arguments, returned):
    """Algorithms have forty settings, which are in a table."""
    if what == "class" and name.startswith("npr.") and hasattr(found, "settings"):
        return "(env, *, seed=None, **settings)", None
    return None


def setup(app):
    app.add_directive("public", Public)
    app.add_directive("agent", Agent)
    app.connect("autodoc-process-signature", signature)
    return {"version": npr.__version__, "parallel_read_safe": True, "parallel_write_safe": True}
