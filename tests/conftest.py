import pytest


@pytest.fixture(autouse=True)
def run_in_tmp_path(tmp_path, monkeypatch):
    """Interrupted runs save into the working folder, which must not be the repository."""
    monkeypatch.chdir(tmp_path)
