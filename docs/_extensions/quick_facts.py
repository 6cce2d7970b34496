"""```{facts} DQN: a table of quick facts, with up to three rows of the page's own."""

import functools

from docutils import nodes
from settings_table import algorithm, table
from sphinx.util.docutils import SphinxDirective
from words import word

import npr
from npr.envs.spaces import ACTION_SPACES
from npr.export import FORMS
from npr.presets import PRESETS
from npr.settings import Replay

OWN_ROWS = 3


def observations(kind, say):
    """The observation spaces of a class, as [(text, whether it is code)]."""
    if kind.table:
        return [("Discrete", True)]
    spaces = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple")
    images = say("images only with {}").format("flatten_images=True")
    return [*((space, True) for space in spaces), (images, False)]


def actions(kind, say):
    found = []
    for name in kind.action_kinds:
        for space in ACTION_SPACES[name]:
            bounded = space == "Box" and kind.needs_bounds
            found.append((say("{} (bounded)").format(space) if bounded else space, not bounded))
    return found


def policy(kind):
    if issubclass(kind, Replay):
        return "off-policy, with a replay buffer"
    return "off-policy" if kind.off_policy else "on-policy"


def presets(kind, say):
    envs = [*PRESETS.get(kind.__name__, {})]
    if not envs:
        return say("none")
    text = "1 environment: {}" if len(envs) == 1 else "{} environments: {}"
    names = say(", ").join(envs)
    return say(text).format(names) if len(envs) == 1 else say(text).format(len(envs), names)


class Facts(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        kind = algorithm(self)

        say = functools.partial(word, self.config)

        def joined(parts):
            cell = []
            for text, code in parts:
                cell += [nodes.Text(say(", "))] if cell else []
                cell.append(nodes.literal("", text) if code else nodes.Text(text))
            return cell

        networks = [(say(name), False) for name in kind.networks] or [(say("none: a table"), False)]
        cells = {
            say("Observations"): joined(observations(kind, say)),
            say("Actions"): joined(actions(kind, say)),
            say("Policy"): [nodes.Text(say(policy(kind)))],
            say("Networks"): joined(networks),
            say("Exports"): joined([(suffix, True) for suffix in FORMS]),
            say("Presets"): [nodes.Text(presets(kind, say))],
        }
        rows = [[[nodes.strong("", label)], cell] for label, cell in cells.items()]
        return [table([[[], []], *rows, *self.own_rows()], (20, 80), ["facts"])]

    def own_rows(self):
        rows = []
        for line in filter(str.strip, self.content):
            label, colon, text = line.replace("：", ": ", 1).partition(":")
            if not (colon and text.strip()):
                raise self.error(f"facts: write a row as 'label: text', got {line!r}")
            inline, messages = self.parse_inline(text.strip(), lineno=self.lineno)
            rows.append([[nodes.strong("", capital(label.strip()))], inline + messages])
        if len(rows) > OWN_ROWS:
            raise self.error(f"facts: at most {OWN_ROWS} rows of your own, got {len(rows)}")
        return rows


def capital(label):
    return label[:1].upper() + label[1:]


def setup(app):
    app.add_directive("facts", Facts)
    return {"version": npr.__version__, "parallel_read_safe": True, "parallel_write_safe": True}
