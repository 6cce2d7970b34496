"""Contents of archives, and how to compare them."""

import os

import numpy as np

from npr.files.archive import read_archive

OLD = {"value": "old"}, {"params/x": np.arange(6.0).reshape(2, 3), "params/n": np.array(7)}


def same(content, held):
    """Whether what read_archive gave holds what was given to write_archive."""
    manifest, arrays = content
    return manifest["value"] == held[0]["value"] and {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()
    } == {name: (array.dtype, array.shape, array.tobytes()) for name, array in held[1].items()}


def assert_old_and_alone(path, others=()):
    assert sorted(os.listdir(path.parent)) == sorted([path.name, *others])
    assert same(read_archive(path), OLD)
