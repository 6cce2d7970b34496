import os
import signal

import pytest

SKIPS_FAIL = os.environ.get("NPR_SKIPS") == "error"  # make test-services: every package is there


def pytest_configure():
    """Background jobs of a shell ignore SIGINT, also in processes that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _without_skip(report):
    if SKIPS_FAIL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, with NPR_SKIPS=error: {report.longrepr[-1]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _without_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _without_skip((yield))


@pytest.fixture(autouse=True)
def run_in_tmp_path(tmp_path, monkeypatch):
    """Interrupted runs save into the working folder, which must not be the repository."""
    monkeypatch.chdir(tmp_path)
