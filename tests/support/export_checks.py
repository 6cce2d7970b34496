"""What exported policies must compute: observations of every case with the policy's own actions,
mutants that a form must not pass, and hostile texts."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from npr.export import model_of
from npr.export.graph import ranges
from npr.export.meta import largest_error
from npr.export.model import decided, draw_noise
from support import export_cases as cases

TOLERANCE = 1e-5  # of the action's range
OBSERVATIONS = 10_000  # in episodes' usual range, and far beyond it
# texts that would end a string, a comment or a script element, or name the encoding of a file
HOSTILE = (
    '"; throw 1; //', "'; raise SystemExit(3) #", "</script><script>throw 1</script>",
    "<!--<script", "\u2028throw 1", "\nraise SystemExit(3)\n", "*/ throw 1 /*", "coding: utf-7",
    '"""', "'''", "\\", "\0", "\ud800", "$POLICY", "${1/0}", "%s%d", "{0}", "+AGEAYg-",
)  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """Observations (n, numbers) of a case and what its policy does: the oracle.

    actions, sampled   (n, actions), by the policy, and by the graph for the noise (n, noise)
    masks              (n, mask) of these actions, None for policies without
    slack, slack_sampled    (n, actions): how far float32 may be from the same sums in float64
    units                   (actions,): what errors are divided by, the range of the space, or of
                            these actions where the space has no end
    """

    case: str
    model: object
    rows: np.ndarray
    noise: np.ndarray
    actions: np.ndarray
    sampled: np.ndarray
    masks: np.ndarray | None
    slack: np.ndarray
    slack_sampled: np.ndarray
    units: np.ndarray

    def first(self, n):
        """The same with n observations, spread over all."""
        every = np.linspace(0, len(self.rows) - 1, min(n, len(self.rows))).astype(int)
        names = "rows", "noise", "actions", "sampled", "masks", "slack", "slack_sampled"
        held = {name: getattr(self, name) for name in names}
        return replace(self, **{name: x if x is None else x[every] for name, x in held.items()})

    def error(self, got, sampled=False):
        """The largest error of actions, in units, beyond what float32 leaves open; infinite if a
        mask forbids one of them."""
        if cases.forbidden(self.model.graph, got, self.masks):
            return np.inf
        want, slack = (self.sampled, self.slack_sampled) if sampled else (self.actions, self.slack)
        got = np.asarray(got, np.float64).reshape(want.shape)
        error = (abs(got - want) - slack) / self.units
        return float(np.where(np.isnan(error), np.inf, error).max())


@functools.cache
def expected(case):
    policy = cases.policy(case)
    model = model_of(policy)
    graph = model.graph
    usual = cases.rows(policy, OBSERVATIONS - OBSERVATIONS // 4)
    rows = np.concatenate([usual, cases.corners(policy, OBSERVATIONS // 4)])
    masks = cases.masks(graph, rows)
    sure = decided(graph, rows, masks)
    rows, masks = rows[sure].astype(np.float32), None if masks is None else masks[sure]
    noise = draw_noise(graph, len(rows), np.random.default_rng(3))
    actions = _flat(cases.actions(policy, rows, masks))
    sampled = _flat(graph(rows, noise, masks)) if graph.noise else actions
    # where float32 and float64 choose different indices, both are right
    slack = _slack(graph, actions, rows, None, masks)
    slack_sampled = _slack(graph, sampled, rows, noise, masks) if graph.noise else slack
    units = [np.inf if unit is None else unit for unit in cases.widths(graph)]
    units = np.where(np.isfinite(units), units, np.ptp(actions, axis=0))
    return Expected(
        case, model, rows, noise, actions, sampled, masks, slack, slack_sampled, units
    )  # fmt: skip


def _slack(graph, actions, rows, noise, masks):
    """How far other sums of float32 may be from these actions (n, actions)."""
    own = abs(actions - cases.exact(graph, rows, noise, masks))
    if graph.kind not in ("box", "group"):
        return own
    return np.maximum(own, cases.rounding(graph, rows, noise, masks))


def mutants(model):
    """What is wrong -> a model whose graph is wrong while its tests are right, for the kinds that
    change an action of the tests."""
    graph, found = model.graph, {}
    if graph.table is not None:
        table = np.sort(graph.table, axis=-1) if graph.mask else graph.table[::-1].copy()
        found["an action of the table"] = replace(graph, table=table)
    else:
        first = (*graph.hidden, graph.output)[0]
        W = first.W.copy()
        W[np.unravel_index(abs(W).argmax(), W.shape)] *= -1
        b = first.b.copy()
        b[0] += 1
        found["a weight"] = _first(graph, replace(first, W=W))
        found["a bias"] = _first(graph, replace(first, b=b))
        found["the order"] = _first(graph, replace(first, W=np.roll(first.W, 1, axis=1)))
    if any(layer.gain is not None for layer in graph.hidden):
        hidden = tuple(replace(layer, gain=None) for layer in graph.hidden)
        found["no layer normalization"] = replace(graph, hidden=hidden)
    if graph.norm is not None:
        found["no clip of observations"] = replace(graph, norm=replace(graph.norm, clip=1e9))
        found["no normalization"] = replace(graph, norm=None)
    if graph.kind == "box":
        free = np.full_like(graph.high, np.inf)
        found["no clip of actions"] = replace(graph, low=-free, high=free)
        found["another scale"] = replace(graph, half=graph.half * 1.01)
    if any(graph.start):
        found["another start"] = replace(graph, start=tuple(n + 1 for n in graph.start))
    if graph.members and not graph.mask:
        found["another order of parts"] = replace(graph, members=graph.members[::-1])
    changed = {}
    for name, wrong in found.items():
        mask = model.masks if graph.mask else None
        got = wrong(model.observations, None, mask)
        error = largest_error(got, model.actions, ranges(graph))
        if error > 10 * TOLERANCE:
            changed[name] = replace(model, graph=wrong)
    return changed


KINDS = {
    "an action of the table", "a weight", "a bias", "the order", "no clip of observations",
    "no normalization", "no clip of actions", "another scale", "another start",
    "no layer normalization", "another order of parts",
}  # fmt: skip


def hostile(model, text):
    """A model whose card and parts have this text for all their names."""
    parts = tuple(replace(part, name=text) for part in model.graph.parts)
    card = replace(model.card, algorithm=text, env=text, note=text, npr=text)
    graph = replace(model.graph, parts=parts)
    return replace(model, graph=graph, card=card)


def _first(graph, layer):
    """A graph with another first layer."""
    if graph.hidden:
        return replace(graph, hidden=(layer, *graph.hidden[1:]))
    return replace(graph, output=layer)


def _flat(actions):
    actions = np.asarray(actions)
    return actions.reshape(len(actions), -1).astype(np.float64)
