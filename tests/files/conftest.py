"""Fixtures of files."""

import pytest
from support.archive_cases import OLD
from support.small_agents import (
    trained,
)

import npr
from npr.files.archive import write_archive


@pytest.fixture
def path(tmp_path):
    """A file that holds OLD, alone in its folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_archive(folder / "a.npz", *OLD)
    return folder / "a.npz"


@pytest.fixture
def dqn_file(tmp_path):
    """A whole, honest file: a replay that has wrapped, Adam after some steps."""
    path = tmp_path / "agent.npz"
    trained("DQN").save(path)
    npr.load(path), npr.infer.load(path)  # what they import once is imported
    return path
