import pytest


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path, monkeypatch):
    """A run that breaks off saves into the working folder: not into the repository's."""
    monkeypatch.chdir(tmp_path)
