"""```{settings} DQN: a table of the settings of an algorithm."""

import functools
import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from words import word

import npr

CHINESE = Path(__file__).resolve().parents[1] / "zh" / "settings.toml"


@functools.cache
def chinese():
    """English meaning -> Chinese."""
    return tomllib.loads(CHINESE.read_text(encoding="utf-8"))


def algorithm(directive):
    """The class that is the argument of a directive."""
    name = directive.arguments[0]
    found = getattr(npr, name, None) if name in npr.__all__ else None
    if not hasattr(found, "settings"):
        raise directive.error(f"{directive.name}: npr.{name} is no algorithm")
    return found


def own_first(kind):
    """The settings of a class: its own, then those of its bases from the nearest to the last."""
    declared = {}
    for i, base in enumerate(kind.__mro__):
        for name in vars(base):
            if name in kind.settings and "settings" in vars(base):
                declared[name] = i  # the last one is the class that declares it
    return sorted(kind.settings.values(), key=lambda setting: declared[setting.name])


def limits(setting, config):
    """The limits of a setting in words."""
    parts = [repr(choice) for choice in setting.choices]
    if setting.within:
        parts.append(_limit(setting.limits, config))
    if setting.fixed:
        parts.append(word(config, "fixed"))
    return parts


def _limit(text, config):
    interval, *others = text.split(" or ")
    pattern, value = re.fullmatch(r"(at least|above|in) (.*)", interval).groups()
    shown = word(config, f"{pattern} {{}}").format(value)
    for other in others:
        shown = word(config, "{} or {}").format(shown, other)
    return shown


def table(rows, widths, classes=()):
    """A table whose first row is its head; a cell is a list of inline nodes."""
    group = nodes.tgroup("", cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, *body = (
        nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in row))
        for row in rows
    )
    if any(cell for cell in rows[0]):
        group += nodes.thead("", head)
    group += nodes.tbody("", *body)
    return nodes.table("", group, classes=["docutils", *classes])


class SettingsTable(SphinxDirective):
    required_arguments = 1

    def run(self):
        kind = algorithm(self)
        heads = ("Setting", "Default", "Meaning", "Limits")
        rows = [[[nodes.Text(word(self.config, head))] for head in heads]]
        for one in own_first(kind):
            name = nodes.literal("", one.name, ids=[f"{kind.__name__}.{one.name}"])
            shown = []
            for part in limits(one, self.config):
                shown += [nodes.Text(word(self.config, "; "))] if shown else []
                literal = part in map(repr, one.choices)
                shown.append(nodes.literal("", part) if literal else nodes.Text(part))
            rows.append([
                [name], [nodes.literal("", default_text(one.default))],
                [nodes.Text(self.meaning(one))], shown,
            ])  # fmt: skip
        return [table(rows, (20, 15, 45, 20), ["settings"])]

    def meaning(self, setting):
        if not self.config.language.startswith("zh"):
            return setting.doc
        self.env.note_dependency(str(CHINESE))
        if setting.doc not in chinese():
            raise self.error(
                f"settings: {setting.name} has no Chinese meaning: add to docs/zh/settings.toml "
                f'"{setting.doc}" = "..."'
            )
        return chinese()[setting.doc]


def default_text(value):
    """A default as it would be typed: 50_000."""
    return f"{value:_}" if type(value) is int and value >= 10_000 else repr(value)


def setup(app):
    app.add_directive("settings", SettingsTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
