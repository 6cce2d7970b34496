"""Writes pages: template, style and scripts of this folder and the data, in one file."""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from npr.errors import ConfigError
from npr.export import model_of
from npr.export.javascript import source
from npr.files.atomic import check_folder, replacement
from npr.report.content import content
from npr.settings.setting import checked_seed, whole
from npr.training.saving import check_path
from npr.version import __version__

_FOLDER = Path(__file__).parent
_SCRIPTS = ("envs.mjs", "draw.mjs", "charts.mjs", "page.mjs")  # in this order


def write(
    run: Any,
    path: "str | os.PathLike[str]",
    *,
    which: str | None = None,
    env: Any = None,
    episodes: int = 100,
    seed: int | None = 0,
) -> None:
    """Write a page about a run: learning curve, evaluation, settings, and the agent at work.

    run        run folder, file of an agent, or agent. The learning curve is in a run folder, or in
               an agent that has learned in this process
    path       file to write, *.html
    which      the agent of a run folder: "best", "final" or "latest"; None: the first that exists
    env        of the evaluation: id, Env or function; None: one like the agent's
    episodes   of the evaluation; 0: none
    seed       of the evaluation

    In the classic control environments and the grid worlds of Gymnasium the agent acts on the page;
    of others the page says so. Raises ConfigError for arguments that are not valid,
    FileNotFoundError, CheckpointError for a file that is not an agent's, and what `evaluate` raises
    in an environment that is given.
    """
    target = _checked(path)
    whole("episodes", episodes, 0)
    one, agent = content(run, which, env, episodes, checked_seed("report", seed))
    _write(target, "report", one["title"], [(one, agent)])


def gallery(
    runs: Iterable[Any],
    path: "str | os.PathLike[str]",
    *,
    title: str = "Trained agents",
    lead: str = "",
    episodes: int = 100,
    seed: int | None = 0,
) -> None:
    """Write a page with several runs, all of them at work. Arguments and errors as of `write`.

    title, lead   the heading and the sentence below it
    """
    target = _checked(path)
    whole("episodes", episodes, 0)
    seed = checked_seed("report", seed)
    if isinstance(runs, (str, os.PathLike)) or not isinstance(runs, Iterable):
        raise ConfigError(f"A gallery is of a list of runs, got {runs!r}.")
    found = [content(run, None, None, episodes, seed) for run in runs]
    if not found:
        raise ConfigError("A gallery needs at least one run.")
    _write(target, "gallery", title, found, lead=lead)


def _checked(path: Any) -> str:
    check_path("path", path)
    text = os.fsdecode(path)
    if not text.lower().endswith((".html", ".htm")):
        raise ConfigError(f"A report is an HTML file: {text!r} must end with .html.")
    check_folder(text)
    return text


def _write(
    path: str, kind: str, title: str, agents: list[tuple[dict[str, Any], Any]], **data: Any
) -> None:
    policies: list[str] = []
    for one, agent in agents:
        if one["live"] is not None:
            try:
                policies.append(source(model_of(agent, episodes=0)))
                one["live"]["policy"] = len(policies) - 1
            except ConfigError as error:
                one["live"], one["not_live"] = None, f"The agent does not act here. {error}"
    data |= {"kind": kind, "title": title, "agents": [one for one, _ in agents]}
    data["made_by"] = f"Written by npr {__version__}. This file needs no network."
    text = assembled(title, data, policies)
    with replacement(path) as file:
        file.write(text.encode(errors="replace"))  # names of files may not be text


def assembled(title: str, data: dict[str, Any], policies: list[str]) -> str:
    """The text of a page.

    title      of the document
    data       for page.mjs
    policies   sources of ES modules with `meta` and `act`

    The texts of a run may come from others. They are in the page as escaped HTML or JSON only, and
    the content security policy names the one script and the one style sheet by their hashes: the
    browser runs nothing else, and loads nothing.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = _bundle(policies)
    parts = {
        "title": html.escape(title),
        "policy": html.escape(
            "default-src 'none'; base-uri 'none'; form-action 'none'; "
            f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
        ),
        "style": style,
        "script": script,
        # a "<" could end the element
        "data": json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
    }
    template = (_FOLDER / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _bundle(policies: list[str]) -> str:
    """One script of all modules: a page that is a file cannot import others."""
    functions = [f"(() => {{\n{_inlined(one)}\nreturn {{ meta, act }};\n}})()" for one in policies]
    modules = [_inlined((_FOLDER / name).read_text(encoding="utf-8")) for name in _SCRIPTS]
    text = f"const policies = [{', '.join(functions)}];\n" + "\n".join(modules)
    # within strings and comments, the only places where they can be
    return re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)


def _inlined(module: str) -> str:
    """A module without its imports, and with its exports as plain declarations."""
    text = re.sub(r"^import [^;]*;$", "", module, flags=re.MULTILINE)
    return re.sub(r"^export (?=const|function|let|class)", "", text, flags=re.MULTILINE)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
