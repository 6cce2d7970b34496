"""Exported ONNX models compute in onnxruntime what the policy does."""

import json
import sys

import numpy as np
import pytest
from support import export_cases as cases
from support.export_checks import HOSTILE, KINDS, TOLERANCE, expected, hostile, mutants

import npr
from npr.errors import CheckpointError, ConfigError
from npr.export.onnx import IR_VERSION, OPSET, selftest, source

onnx = pytest.importorskip("onnx", reason="onnx is in the test extra")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is in the test extra")
every_case = pytest.mark.parametrize("case", cases.CASES)


def session(data):
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@every_case
def test_actions_are_the_policys(case):
    want = expected(case)
    graph, run = want.model.graph, session(source(want.model, stochastic=True)).run
    given = {"observation": want.rows} | ({"noise": want.noise} if graph.noise else {})
    given |= {"mask": want.masks > 0} if graph.mask else {}
    (actions,) = run(["action"], given)
    assert actions.dtype == (np.float32 if graph.kind in ("box", "group") else np.int64)
    assert want.error(actions) < TOLERANCE
    if graph.noise:
        assert want.error(run(["sampled"], given)[0], sampled=True) < TOLERANCE


@every_case
def test_inputs_and_outputs_are_named_and_take_any_batch(case):
    graph = expected(case).model.graph
    held = session(source(expected(case).model))
    width = [] if graph.kind == "discrete" else [graph.actions]
    scores = [] if graph.kind == "box" or graph.table is not None else ["scores"]
    assert [(x.name, x.shape) for x in held.get_inputs()] == [
        ("observation", ["batch", graph.numbers]),
        *([("mask", ["batch", graph.mask])] if graph.mask else []),
    ]
    assert [x.name for x in held.get_outputs()] == ["action", *scores]
    assert held.get_outputs()[0].shape == ["batch", *width]
    for n in (1, 3):
        given = {"observation": expected(case).rows[:n]}
        given |= {"mask": expected(case).masks[:n] > 0} if graph.mask else {}
        assert held.run(["action"], given)[0].shape == (n, *width)


@pytest.mark.parametrize("case", cases.MASKED)
def test_a_mask_that_allows_nothing_gives_one_less_than_the_smallest(case):
    want = expected(case).first(4)
    graph = want.model.graph
    run = session(source(want.model, stochastic=True)).run
    given = {"observation": want.rows, "noise": want.noise, "mask": np.zeros((4, graph.mask), bool)}
    for got in run(["action", "sampled"], given):
        whole = got.reshape(4, -1)[:, graph.whole]
        np.testing.assert_array_equal(whole, np.tile(graph.smallest, (4, 1)) - 1)


def test_scores_are_the_outputs_of_the_network():
    want = expected("categorical")
    (scores,) = session(source(want.model)).run(["scores"], {"observation": want.rows[:50]})
    policy = want.model.policy
    outputs = policy.outputs(want.model.graph.encode(want.rows[:50]))
    np.testing.assert_allclose(scores, outputs, rtol=1e-5, atol=1e-5)


def test_versions_are_named():
    model = onnx.load_from_string(source(expected("tanh").model))
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION and model.producer_name == "npr"
    used = {x for node in model.graph.node for x in node.input}
    assert {one.name for one in model.graph.initializer} <= used


@every_case
def test_the_self_test_passes_and_a_mutant_fails_it(case, tmp_path):
    path = tmp_path / "policy.onnx"
    path.write_bytes(source(expected(case).model, stochastic=True))
    assert selftest(path) < TOLERANCE
    for name, mutant in mutants(expected(case).model).items():
        path.write_bytes(source(mutant))
        assert selftest(path) > 10 * TOLERANCE, name
        assert name in KINDS


def test_a_file_without_tests_has_no_self_test(tmp_path):
    path = tmp_path / "other.onnx"
    model = onnx.load_from_string(source(expected("tanh").model))
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="does not hold npr's tests"):
        selftest(path)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_the_policy_are_only_texts(text):
    held = session(source(hostile(expected("categorical").model, text)))
    card = json.loads(held.get_modelmeta().custom_metadata_map["card"])
    assert card["algorithm"] == card["env"] == text


def test_export_writes_it(tmp_path):
    path = tmp_path / "policy.onnx"
    written = npr.export(cases.policy("gaussian"), path, stochastic=True)
    assert path.read_bytes() == source(written.model, stochastic=True)
    assert selftest(path) < TOLERANCE


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package, tmp_path, monkeypatch):
    path = tmp_path / "policy.onnx"
    path.write_bytes(source(expected("tanh").model))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install.*{package}"):
        source(expected("tanh").model) if package == "onnx" else selftest(path)
