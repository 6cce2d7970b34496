"""Exported Python computes what the policy does, without an import."""

import ast
import io
import tokenize

import numpy as np
import pytest
from support import export_cases as cases
from support.export_checks import HOSTILE, KINDS, TOLERANCE, expected, hostile, mutants
from support.proof_size import n_trials

import npr
from npr.export.python import source

every_case = pytest.mark.parametrize("case", cases.CASES)
N = n_trials(1_000, 10_000)


def load(text):
    """The names of a module with this text."""
    names = {}
    exec(compile(text, "policy.py", "exec"), names)
    return names


@every_case
def test_actions_are_the_policys(case):
    want = expected(case).first(N)
    policy = load(source(want.model, stochastic=True))
    rows, graph = want.rows.tolist(), want.model.graph
    masks = [[one] for one in want.masks.tolist()] if graph.mask else [[]] * len(rows)
    acted = [policy["act"](row, *mask) for row, mask in zip(rows, masks)]
    assert want.error(acted) < TOLERANCE
    assert ("sample" in policy) == (graph.noise > 0)
    if graph.noise:
        given = zip(rows, want.noise.tolist(), masks)
        sampled = [policy["sample"](row, noise, *mask) for row, noise, mask in given]
        assert want.error(sampled, sampled=True) < TOLERANCE
    assert policy["selftest"]() < TOLERANCE


def test_a_mutant_fails_its_tests():
    found = set()
    for case in cases.CASES:
        for name, mutant in mutants(expected(case).model).items():
            assert load(source(mutant))["selftest"]() > 10 * TOLERANCE, (case, name)
            found.add(name)
    assert found == KINDS


def test_it_imports_nothing_and_its_lines_are_short():
    text = source(expected("tanh_gaussian").model, stochastic=True)
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr | ast.NamedExpr)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_the_policy_are_only_texts(text):
    written = source(hostile(expected("categorical").model, text))
    assert written.isascii() and "\r" not in written
    assert tokenize.detect_encoding(io.BytesIO(written.encode()).readline)[0] == "utf-8"
    policy = load(written)
    assert policy["META"]["algorithm"] == policy["META"]["env"] == text
    assert policy["selftest"]() < TOLERANCE


def test_an_observation_that_is_not_valid_is_an_error():
    policy = load(source(expected("gaussian").model, stochastic=True))
    with pytest.raises(ValueError, match="has length 6, got 5"):
        policy["act"]([0.0] * 5)
    with pytest.raises(ValueError, match="Number 2 of the observation is not a finite float32"):
        policy["act"]([0.0, 0.0, float("nan"), 0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="Noise has length 3, got 2"):
        policy["sample"]([0.0] * 6, [0.0, 0.0])
    act = load(source(expected("table-started").model))["act"]
    assert act(3) == act([3])
    for state in (2, 40, 3.5):
        with pytest.raises(ValueError, match="a whole number from 3 to 39"):
            act(state)


def test_a_mask_that_is_not_valid_is_an_error():
    want = expected("multi-masked")
    policy, obs = load(source(want.model, stochastic=True)), want.rows[0].tolist()
    assert policy["act"](obs) == policy["act"](obs, None) == policy["act"](obs, [True] * 6)
    allowed = np.array([False, True, False, True, False, True])
    assert policy["act"](obs, allowed) == policy["act"](obs, allowed.tolist()) == [1, 5, -1]
    for act in (policy["act"], lambda obs, mask: policy["sample"](obs, (0.0, 0.0, 0.0), mask)):
        with pytest.raises(ValueError, match="A mask has length 6, got 5"):
            act(obs, [1] * 5)
        with pytest.raises(ValueError, match="allows nothing in its numbers 3 to 4"):
            act(obs, [1, 1, 1, 0, 0, 1])
        with pytest.raises(ValueError, match="1 for what is allowed and 0 for the rest, got -inf"):
            act(obs, [0, 0, float("-inf"), 0, 0, 0])
    assert policy["META"]["mask"] == {"numbers": 6}


@pytest.mark.filterwarnings("error")
def test_numbers_of_numpy_act_without_warnings():
    want = expected("gaussian").first(20)
    act = load(source(want.model))["act"]
    for kind in (np.float32, np.float64):
        assert want.error([act(row) for row in want.rows.astype(kind)]) < TOLERANCE
    largest = np.finfo(np.float32).max
    act(np.full(6, largest))
    for wrong in (np.nan, np.inf, -np.inf, 2.0 * float(largest)):
        with pytest.raises(ValueError, match="Number 5 of the observation is not a finite float32"):
            act([0.0, 0.0, 0.0, 0.0, 0.0, wrong])


def test_export_writes_it(tmp_path):
    path = tmp_path / "policy.py"
    written = npr.export(cases.policy("tanh"), path)
    assert path.read_text() == source(written.model) and written.bytes == path.stat().st_size
    assert load(path.read_text())["META"]["sha256"] == written.model.card.sha256
