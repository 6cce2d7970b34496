"""Files of older formats are converted one format at a time, and refused if they do not fit it."""

import json

import numpy as np
import pytest
from support import GOLDEN
from support.archive_cases import OLD, same
from support.hostile_files import craft, members_of, refused

from npr import CheckpointError
from npr.files import archive, migrations
from npr.files.archive import write_archive
from npr.files.checkpoint import read

NEW = {"value": "new"}, {"params/x": np.ones((4, 2), np.float32), "params/e": np.zeros((0, 4))}


def test_an_older_format_is_converted_step_by_step(path, monkeypatch):
    def second(manifest, arrays):
        return {**manifest, "steps": [2]}, {"params/y": arrays["params/x"]}

    def third(manifest, arrays):
        return {**manifest, "steps": [*manifest["steps"], 3]}, {"params/z": arrays["params/y"]}

    first = archive.FORMAT
    monkeypatch.setattr(archive, "FORMAT", first + 2)
    monkeypatch.setattr(migrations, "MIGRATIONS", {first: second, first + 1: third})
    manifest, arrays = read(path)
    assert (manifest["format"], manifest["steps"]) == (first + 2, [2, 3])
    np.testing.assert_array_equal(arrays.pop("params/z"), OLD[1]["params/x"])
    assert not arrays
    write_archive(path, *NEW)
    monkeypatch.setattr(migrations, "MIGRATIONS", {})
    assert same(read(path), NEW)  # the current format needs no migration


def test_an_older_file_without_required_entries_is_refused(path, monkeypatch):
    first = archive.FORMAT
    monkeypatch.setattr(archive, "FORMAT", first + 1)
    monkeypatch.setattr(migrations, "MIGRATIONS", {first: lambda m, a: (m["nothing"], a)})
    with pytest.raises(CheckpointError, match=rf"a\.npz has format {first}, but .*'nothing'"):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"has_uint32": 2**70},
        {"uinteger": -1},
        {"uinteger": "x"},
        {"state": "0x" + "f" * 60},
        {"inc": "-0x5"},
        {"inc": 5},
        {"state": None},
    ],
    ids=str,
)
def test_a_generator_of_format_1_whose_numbers_are_out_of_range_is_refused(change, tmp_path):
    path = tmp_path / "a.npz"
    members = members_of(GOLDEN / "format1-DQN.npz")
    manifest = json.loads(members["manifest.json"])
    manifest["rng"]["sample"].update(change)
    craft(path, members, manifest)
    refused(path, "has format 1, but its content does not fit that format")
