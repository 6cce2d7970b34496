"""Public names of the package and signatures of the algorithms."""

import inspect

import pytest
from support.small_agents import (
    CASES,
)

import npr

every_case = pytest.mark.parametrize("case", CASES)


def test_the_package_has_the_names_of_all():
    for name in npr.__all__:
        assert getattr(npr, name) is not None
        assert name in dir(npr)
    with pytest.raises(AttributeError, match="module 'npr' has no attribute 'SACK'"):
        _ = npr.SACK


@every_case
def test_the_signature_lists_every_setting_with_its_default(case):
    algorithm = getattr(npr, CASES[case][0])
    listed = inspect.signature(algorithm).parameters
    assert list(listed)[:2] == ["env", "seed"]
    assert {"n_envs", "max_episode_steps", "verbose", "learning_rate", "gamma"} <= set(listed)
    assert all(p.kind is p.KEYWORD_ONLY for p in list(listed.values())[1:])
    assert {n: p.default for n, p in list(listed.items())[2:]} == algorithm.defaults()
