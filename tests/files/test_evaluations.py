"""evaluations.npz: SB3's names, read without pickle."""

import io
import zipfile

import numpy as np
import pytest

from npr.errors import CheckpointError
from npr.files.evaluations import read_evaluations, write_evaluations

ARRAYS = {
    "timesteps": np.array([10, 20]),
    "results": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    "ep_lengths": np.array([[1, 2, 3], [4, 5, 6]]),
}


def test_what_was_written_is_read():
    write_evaluations("e.npz", {**ARRAYS, "successes": np.ones((2, 3), bool)})
    held = read_evaluations("e.npz")
    assert [*held] == ["timesteps", "results", "ep_lengths", "successes"]
    for name, array in ARRAYS.items():
        assert held[name].dtype == array.dtype and np.array_equal(held[name], array)


def test_files_of_numpy_are_read_compressed_or_not():
    np.savez_compressed("e.npz", **ARRAYS, another=np.zeros(3))
    assert [*read_evaluations("e.npz")] == [*ARRAYS]


def member(array, **changes):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    data = file.getvalue()
    for old, new in changes.values():
        data = data.replace(old, new)
    return data


def archive(**members):
    with zipfile.ZipFile("e.npz", "w") as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)


good = {name: member(array) for name, array in ARRAYS.items()}


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"results": member(np.array([[{}]], object))}, "an array claims to be object"),
        (
            {"results": member(ARRAYS["results"], shape=(b"(2, 3)", b"(2, 9)"))},
            "claims to be float",
        ),
        ({"results": member(ARRAYS["results"].T.copy().T)}, "claims to be"),
        ({"results": member(np.zeros(2))}, "it needs timesteps"),
        ({"results": member(np.zeros((3, 2)))}, "it needs timesteps"),
        ({"ep_lengths": member(np.zeros((2, 2)))}, "it needs timesteps"),
        ({"timesteps": b"no array"}, "is not a file of evaluations"),
        ({"timesteps": good["timesteps"][:-1]}, "an array claims to be"),
    ],
)
def test_other_content_is_refused(changed, match):
    archive(**{**good, **changed})
    with pytest.raises(
        CheckpointError, match=f"e.npz is not a file of evaluations.*{match}|{match}"
    ):
        read_evaluations("e.npz")


@pytest.mark.parametrize("missing", sorted(ARRAYS))
def test_a_file_without_one_of_the_arrays_is_refused(missing):
    archive(**{name: data for name, data in good.items() if name != missing})
    with pytest.raises(CheckpointError, match="it needs timesteps"):
        read_evaluations("e.npz")


def test_a_file_that_is_damaged_or_missing():
    archive(**good)
    assert [*read_evaluations("e.npz")] == [*ARRAYS]
    with open("e.npz", "rb") as file:
        data = file.read()
    for end in range(0, len(data), 7):
        with open("short.npz", "wb") as file:
            file.write(data[:end])
        with pytest.raises(CheckpointError, match="is not a file of evaluations"):
            read_evaluations("short.npz")
    with pytest.raises(FileNotFoundError):
        read_evaluations("none.npz")
