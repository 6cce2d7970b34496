"""Datasets of other packages as Transitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npr.data.transitions import Transitions
from npr.errors import ConfigError


def minari(dataset: Any, episodes: Sequence[int] | None = None) -> Transitions:
    """The transitions of a dataset of Minari, in the order of its episodes.

    dataset    an id, which must have been downloaded (minari download ID) or created on this
               machine, or a minari.MinariDataset
    episodes   the numbers of the episodes to take; None: all

    Text and other observations that are no arrays are not supported. Raises ConfigError for an id
    if Minari is not installed or does not have it, and for a dataset without episodes.
    """
    if isinstance(dataset, str):
        try:
            from minari import load_dataset
        except ImportError:
            raise ConfigError(
                f"npr.data.minari({dataset!r}) needs Minari: pip install 'npr-rl[minari]'"
            ) from None
        try:
            dataset = load_dataset(dataset)
        except FileNotFoundError:
            raise ConfigError(
                f"Minari has no dataset {dataset!r} on this machine: minari download {dataset}; "
                "minari list remote has the ids."
            ) from None
    read = list(dataset.iterate_episodes(episodes))
    if not read:
        raise ConfigError(f"{dataset!r} has no episodes.")
    observations = [one.observations for one in read]  # each with one more row than actions
    return Transitions(
        _joined([_rows(x, slice(None, -1)) for x in observations]),
        _joined([one.actions for one in read]),
        _joined([one.rewards for one in read]),
        _joined([_rows(x, slice(1, None)) for x in observations]),
        _joined([one.terminations for one in read]),
        _joined([one.truncations for one in read]),
    )


def _rows(tree: Any, rows: slice) -> Any:
    """These rows of an array, or of each array in a dict or tuple."""
    if isinstance(tree, dict):
        return {key: _rows(part, rows) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_rows(part, rows) for part in tree)
    return tree[rows]


def _joined(trees: Sequence[Any]) -> Any:
    """Arrays, or dicts or tuples of arrays, one after the other."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: _joined([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(_joined, zip(*trees)))
    return np.concatenate(trees)
