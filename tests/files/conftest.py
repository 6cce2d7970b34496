"""Files for the tests of this folder."""

import pytest
from support.archive_cases import OLD
from support.small_agents import (
    trained,
)

import npr
from npr.files.archive import write_archive


@pytest.fixture
def path(tmp_path):
    """A file that contains OLD, alone in its folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_archive(folder / "a.npz", *OLD)
    return folder / "a.npz"


@pytest.fixture
def dqn_file(tmp_path):
    """A valid file: a replay that has wrapped around, Adam after some steps."""
    path = tmp_path / "agent.npz"
    trained("DQN").save(path)
    npr.load(path), npr.infer.load(path)  # imports of the first call are done
    return path
