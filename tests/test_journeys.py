"""The page on the journeys of data names functions that exist, with the shapes that they have."""

import ast
import functools
import re

import numpy as np
import pytest
from support import ROOT

import npr

PAGE = (ROOT / "docs" / "design" / "journeys.md").read_text()
NAMED = sorted({*re.findall(r"`(npr/[\w/]+\.py)::([\w.]+)`", PAGE)})


@functools.cache
def defined(file):
    """The names of the functions and classes of a file, and of those in its classes."""
    found = set()

    def enter(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                enter(node.body, f"{prefix}{node.name}.")

    enter(ast.parse((ROOT / file).read_text()).body, "")
    return found


def test_every_function_on_the_page_exists():
    assert len(NAMED) > 40
    assert [f"{file}::{name}" for file, name in NAMED if name not in defined(file)] == []


def test_every_reference_to_code_has_this_form():
    assert PAGE.count(".py::") == len(re.findall(r"`npr/[\w/]+\.py::[\w.]+`", PAGE)) + 1


@pytest.mark.parametrize(
    "name, env, learned",
    [
        ("DQN", "CartPole-v1", {"theta": (4610,), "theta_bar": (4610,)}),
        ("PPO", "CartPole-v1", {"theta": (4610,), "phi": (4545,)}),
        ("SAC", "Pendulum-v1", {"phi": (4546,), "theta": (2, 4545), "theta_bar": (2, 4545)}),
    ],
)
def test_the_vectors_have_the_sizes_on_the_page(name, env, learned):
    agent = getattr(npr, name)(env, seed=0, verbose=0)
    assert {key: getattr(agent, key).shape for key in learned} == learned
    for shape in learned.values():
        assert str(shape) in PAGE
    size, batch = agent.batch_size, {"DQN": 128, "PPO": 256, "SAC": 100}
    assert size == batch[name] and f"`batch_size={size}`" in PAGE
    if name == "DQN":
        assert (agent.n_step_return, agent.double, agent.normalize_obs) == (4, True, True)
        assert agent.buffer._rows.dtype == np.float32 and agent.buffer._rows.shape[1] == 11
    if name == "PPO":
        assert (agent.n_envs, agent.n_steps, agent.n_epochs) == (8, 64, 20)
