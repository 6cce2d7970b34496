"""Contents of archives, and how to compare them."""

import os

import numpy as np

from npr.files.archive import read_archive

OLD = {"value": "old"}, {"params/x": np.arange(6.0).reshape(2, 3), "params/n": np.array(7)}


def same(content, written):
    """Whether the result of read_archive equals the arguments of write_archive."""
    manifest, arrays = content
    return manifest["value"] == written[0]["value"] and {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()
    } == {name: (array.dtype, array.shape, array.tobytes()) for name, array in written[1].items()}


def assert_old_and_alone(path, others=()):
    assert sorted(os.listdir(path.parent)) == sorted([path.name, *others])
    assert same(read_archive(path), OLD)
