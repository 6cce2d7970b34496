import signal

import pytest


def pytest_configure():
    """Background jobs of a shell ignore SIGINT, also in processes that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def run_in_tmp_path(tmp_path, monkeypatch):
    """Interrupted runs save into the working folder, which must not be the repository."""
    monkeypatch.chdir(tmp_path)
