"""Conversion of files in older formats to the current one, one format at a time.

Format 3    arguments and wrappers of the environments, successes of the last episodes,
            the open row of the log
Format 2    position of the environments, state of the generators as arrays, running moments
Format 1    no position of the environments; states of the generators as text in the manifest
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from npr.errors import CheckpointError
from npr.files import archive
from npr.files.archive import Arrays, Manifest
from npr.files.generators import Words, pack


def migrate(path: str, manifest: Manifest, arrays: Arrays) -> tuple[Manifest, Arrays]:
    """The content of a file in the current format.

    Raises CheckpointError if the content lacks what its own format requires.
    """
    if "without_episode" in manifest:  # only the migration of format 1 says so
        raise CheckpointError(f"{path}: unknown manifest keys ['without_episode'].")
    for version in range(manifest["format"], archive.FORMAT):
        try:
            manifest, arrays = MIGRATIONS[version](manifest, arrays)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(
                f"{path} has format {version}, but its content does not fit that format: {error!r}."
            ) from error
    return {**manifest, "format": archive.FORMAT}, arrays


def _from_format_1(manifest: Manifest, arrays: Arrays) -> tuple[Manifest, Arrays]:
    for purpose, held in manifest.pop("rng").items():
        arrays[f"rng/{purpose}"] = _generator_of_format_1(held)
    manifest["made_with"] = {"numpy": manifest.pop("numpy")}
    manifest["counters"]["skipped"] = {
        key.removeprefix("optim/").partition(".")[0]: [0, 0] for key in arrays if "optim/" in key
    }
    manifest["settings"].update(normalize_obs=False, normalize_reward=False)
    manifest["policy"]["normalize"] = False
    manifest["without_episode"] = True
    if "buffer/buffer.next" in arrays:
        arrays["buffer/buffer.newest"] = np.empty((0, 2), np.int64)
    return manifest, arrays


def _from_format_2(manifest: Manifest, arrays: Arrays) -> tuple[Manifest, Arrays]:
    if not manifest.get("without_episode"):
        episodes = arrays["state/logger.episodes"]
        unknown = np.full((len(episodes), 1), np.nan)
        arrays["state/logger.episodes"] = np.concatenate([episodes, unknown], axis=1)
        arrays["state/logger.row"] = np.empty(0, np.uint8)
    id = manifest["env"]
    if id is None:
        manifest["env_description"] = {"unknown": "it has no id, and the file has an older format"}
    else:  # the file does not say whether the environment had other arguments or wrappers
        plain = {"id": id, "kwargs": {}, "wrappers": None, "vector": None}
        manifest["env_description"] = {**plain, "assumed": True}
    return manifest, arrays


def _generator_of_format_1(held: dict[str, Any]) -> Words:
    """The state of a generator as an array; format 1 stored it as numbers and hexadecimal text."""
    return pack({**held, "state": {name: int(held[name], 16) for name in ("state", "inc")}})


Migration = Callable[[Manifest, Arrays], tuple[Manifest, Arrays]]

# format -> conversion to the next format
MIGRATIONS: dict[int, Migration] = {1: _from_format_1, 2: _from_format_2}
