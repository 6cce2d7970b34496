"""Exported Python computes what the policy does, without an import."""

import ast
import io
import tokenize

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
    assert want.error([policy["act"](row) for row in rows]) < TOLERANCE
    assert ("sample" in policy) == (graph.noise > 0)
    if graph.noise:
        sampled = [policy["sample"](*pair) for pair in zip(rows, want.noise.tolist())]
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


def test_export_writes_it(tmp_path):
    path = tmp_path / "policy.py"
    written = npr.export(cases.policy("tanh"), path)
    assert path.read_text() == source(written.model) and written.bytes == path.stat().st_size
    assert load(path.read_text())["META"]["sha256"] == written.model.card.sha256
