"""Tests do not wait for kernels that another process compiles."""

import pytest

from npr.capture import table


@pytest.fixture(autouse=True)
def compiled_here(monkeypatch):
    monkeypatch.setattr(table, "is_ready", lambda kernel, args: True)
