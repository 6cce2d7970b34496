"""Helpers of the tests: small agents, toy environments, reference implementations."""

from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent  # of the checkout
GOLDEN = TESTS / "golden"  # files of every format version
