"""Files of a policy alone, .npz and .safetensors: they give it back to the bit, or are refused."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from support import export_cases as cases
from support.export_checks import HOSTILE, TOLERANCE, expected, hostile
from support.hostile_files import craft, load_watched, members_of
from support.small_agents import CASES as AGENTS
from support.small_agents import trained

import npr
from npr.errors import CheckpointError, ConfigError
from npr.export.policy_file import archive, selftest, tensors
from npr.normalize import EPS

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is in the test extra")
safe_open = pytest.importorskip("safetensors").safe_open
every_case = pytest.mark.parametrize("case", cases.CASES)
WRITERS = {".npz": archive, ".safetensors": tensors}
every_form = pytest.mark.parametrize("suffix", WRITERS)


def written(folder, suffix, model):
    path = folder / f"policy{suffix}"
    path.write_bytes(WRITERS[suffix](model))
    return path


# ---- what is written is read back


@every_form
@every_case
def test_the_policy_is_the_same_to_the_bit(case, suffix, tmp_path):
    want = expected(case)
    policy = want.model.policy
    path = written(tmp_path, suffix, want.model)
    read = npr.infer.load(path)
    assert read.spec == policy.spec and read.theta.dtype == policy.theta.dtype
    assert read.theta.tobytes() == policy.theta.tobytes()
    encoded = want.model.graph.encode(want.rows)
    for deterministic in (True, False):
        rngs = np.random.default_rng(0), np.random.default_rng(0)
        a, b = (one.choose(encoded, deterministic, rng) for one, rng in zip((read, policy), rngs))
        np.testing.assert_array_equal(a, b)
    if policy.norm is not None:
        for a, b in zip(read.norm.scaling, policy.norm.scaling):
            np.testing.assert_array_equal(a, b)
    assert selftest(path) < TOLERANCE


@every_form
@pytest.mark.parametrize("case", AGENTS)
def test_every_algorithm_is_exported_without_its_optimizer_and_replay(case, suffix, tmp_path):
    agent = trained(case)
    path, whole = tmp_path / f"policy{suffix}", tmp_path / "agent.npz"
    agent.save(whole)
    done = npr.export(agent, path, episodes=0)
    read = npr.infer.load(path)
    assert read.spec == agent.policy.spec
    assert read.theta.tobytes() == agent.policy.theta.tobytes()
    if agent.policy.sizes is not None:
        assert done.bytes < whole.stat().st_size
    again = npr.export(path, tmp_path / f"again{suffix}", episodes=0)
    card, first = again.model.card, done.model.card
    assert (card.algorithm, card.env, card.num_timesteps) == AGENTS[case][:2] + (
        agent.num_timesteps,
    )
    assert card.sha256 == first.sha256


@every_form
@every_case
def test_another_policy_fails_the_self_test(case, suffix, tmp_path):
    model = expected(case).model
    other = replace(model, policy=cases.policy(case, seed=1))
    error = selftest(written(tmp_path, suffix, other))
    assert error > 10 * TOLERANCE or case == "argmax-one"  # which has one action


@every_form
@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_the_policy_are_only_texts(text, suffix, tmp_path):
    path = written(tmp_path, suffix, hostile(expected("categorical").model, text))
    _, manifest, _ = npr.infer.read(path)
    assert manifest["card"]["algorithm"] == manifest["card"]["env"] == text


# ---- .npz


def test_npr_load_says_that_a_policy_cannot_learn_on(tmp_path):
    path = written(tmp_path, ".npz", expected("tanh").model)
    with pytest.raises(CheckpointError, match=r"the policy alone.*npr\.infer\.load.*agent\.save"):
        npr.load(path)


def _without(key):
    return lambda manifest, members: manifest.pop(key)


def _card(**values):
    return lambda manifest, members: manifest["card"].update(values)


CHANGES = {
    "another key": lambda manifest, members: manifest.update(settings={}),
    "no spec": _without("policy"),
    "another array": lambda manifest, members: members.update(
        {"tests/other.npy": members["tests/actions.npy"]}
    ),
    "no tests": lambda manifest, members: members.pop("tests/actions.npy"),
    "no moments": lambda manifest, members: members.pop("state/obs_norm.mean.npy"),
    "a card that is text": lambda manifest, members: manifest.update(card="SAC"),
    "a card without a name": lambda manifest, members: manifest["card"].pop("env"),
    "a name that is a list": _card(algorithm=["SAC"]),
    "a name of a mile": _card(env="x" * 10_000),
    "steps that are text": _card(num_timesteps="1,000"),
    "steps below zero": _card(num_timesteps=-1),
    "steps that are true": _card(num_timesteps=True),
}


def _space(case, which, **values):
    return case, lambda manifest, members: manifest["policy"][which].update(values)


SPACES = {
    "keys that are a number": _space("categorical", "observations", keys=3),
    "a key too few": _space("categorical", "observations", keys=["goal"]),
    "a key twice": _space("categorical", "observations", keys=["goal", "goal"]),
    "no parts": _space("categorical", "observations", keys=[], parts=[]),
    "starts of another shape": _space("multi", "observations", start=0),
    "starts that are objects": _space("multi", "observations", start={"kind": "box"}),
    "a start that is null": _space("multi", "actions", start=[None, 5, -1]),
    "choices that are not whole": _space("multi", "actions", nvec=[3.0, 2, 1]),
    "a large start": _space("argmax", "actions", start=1e308),
    "a start that is true": _space("argmax", "actions", start=True),
    "turned bounds": _space("tanh", "actions", low=[3.0, 0.0, -1.0]),
    "bounds too few": _space("tanh", "actions", low=[-2.0]),
    "bounds that are too large": _space("tanh", "actions", high=[2.0, 1e300, 0.5]),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_space_that_is_not_one_is_refused(name, tmp_path):
    case, change = SPACES[name]
    path = written(tmp_path, ".npz", expected(case).model)
    members = members_of(path)
    manifest = json.loads(members["manifest.json"])
    change(manifest, members)
    craft(path, members, manifest)
    assert load_watched(npr.infer.load, path) is None


@pytest.mark.parametrize("name", CHANGES)
def test_another_content_is_refused(name, tmp_path):
    path = written(tmp_path, ".npz", expected("gaussian").model)
    members = members_of(path)
    manifest = json.loads(members["manifest.json"])
    craft(path, members, manifest)
    assert load_watched(npr.infer.load, path) is not None
    CHANGES[name](manifest, members)
    craft(path, members, manifest)
    assert load_watched(npr.infer.load, path) is None


# ---- .safetensors


def test_the_layers_are_those_of_pytorch(tmp_path):
    want = expected("gaussian")
    named = safetensors.load_file(written(tmp_path, ".safetensors", want.model))
    x = want.rows.astype(np.float32)
    scale = 1 / np.sqrt(named["norm.squares"] / named["norm.count"] + EPS)
    np.testing.assert_allclose(named["norm.scale"], scale, rtol=1e-6)
    x = np.clip((x - named["norm.mean"].astype(np.float32)) * named["norm.scale"], -10, 10)
    for i in range(3):  # as torch.nn.Linear computes: x @ weight.T + bias
        x = x @ named[f"layers.{i}.weight"].T + named[f"layers.{i}.bias"]
        x = np.tanh(x) if i < 2 else x
    graph = want.model.graph
    actions = np.clip(graph.middle + graph.half * x, graph.low, graph.high)
    assert want.error(actions) < TOLERANCE
    assert named["log_std"].shape == (3,)


def _rewrite(path, change):
    with safe_open(path, framework="numpy") as file:
        held = json.loads(file.metadata()["npr"])
    named = safetensors.load_file(path)
    metadata = {"npr": None}
    change(held, named, metadata)
    text = metadata.pop("npr") or json.dumps(held)
    safetensors.save_file(named, path, {"npr": text, **metadata})


def _tensor(name, change):
    def apply(held, named, metadata):
        named[name] = np.ascontiguousarray(change(named[name]))

    return apply


def _spec(**values):
    return lambda held, named, metadata: held["policy"].update(values)


TENSORS = {
    "a tensor is missing": lambda held, named, metadata: named.pop("layers.1.bias"),
    "a tensor too many": lambda held, named, metadata: named.update(other=np.zeros(3, "f4")),
    "a transposed tensor": _tensor("layers.0.weight", np.transpose),
    "a tensor of another type": _tensor("layers.0.weight", lambda x: x.astype("f8")),
    "whole numbers": _tensor("layers.0.weight", lambda x: x.astype("i4")),
    "NaN": _tensor("layers.0.weight", lambda x: x * np.nan),
    "infinite moments": _tensor("norm.mean", lambda x: x + np.inf),
    "negative squares": _tensor("norm.squares", lambda x: -x),
    "another scale": _tensor("norm.scale", lambda x: x * 2),
    "a count of another shape": _tensor("norm.count", lambda x: np.zeros(2, "i8")),
    "other widths": _spec(sizes=[6, 1 << 40, 16, 3]),
    "widths that are text": _spec(sizes="abcd"),
    "widths that are not whole": _spec(sizes=[6.0, 16.0, 16.0, 3.0]),
    "an unknown head": _spec(head="__import__"),
    "a huge space": _spec(observations={"kind": "box", "shape": [1 << 30, 1 << 30]}),
    "another key": lambda held, named, metadata: held.update(settings={}),
    "another format": lambda held, named, metadata: held.update(format=99),
    "no card": lambda held, named, metadata: held.pop("card"),
    "text": lambda held, named, metadata: metadata.update(npr="__import__('os')"),
    "deep": lambda held, named, metadata: metadata.update(npr="[" * 9_000 + "]" * 9_000),
    "NaN in the text": lambda held, named, metadata: metadata.update(npr='{"format": NaN}'),
    "a list": lambda held, named, metadata: metadata.update(npr="[]"),
    "long": lambda held, named, metadata: metadata.update(npr='"' + "x" * (1 << 21) + '"'),
}


@pytest.mark.parametrize("name", TENSORS)
def test_other_tensors_are_refused(name, tmp_path):
    path = written(tmp_path, ".safetensors", expected("gaussian").model)
    _rewrite(path, lambda *held: None)
    npr.infer.load(path)
    _rewrite(path, TENSORS[name])
    with pytest.raises(CheckpointError):
        npr.infer.load(path)


def test_a_file_that_npr_did_not_write_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="was not written by npr"):
        npr.infer.load(path)
    path.write_bytes(b"\x80\x04" * 50)
    with pytest.raises(CheckpointError, match="damaged or is not safetensors"):
        npr.infer.load(path)
    with pytest.raises(FileNotFoundError):
        npr.infer.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, tmp_path):
    path = written(tmp_path, ".safetensors", expected("gaussian").model)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError):
        npr.infer.load(path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = written(tmp_path, ".safetensors", expected("tanh").model)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for run in (lambda: npr.infer.load(path), lambda: tensors(expected("tanh").model)):
        with pytest.raises(ConfigError, match=r"pip install 'npr-rl\[safetensors\]'"):
            run()


# ---- self-tests


def test_an_agents_file_has_no_tests(tmp_path):
    trained("SAC").save(tmp_path / "agent.npz")
    with pytest.raises(CheckpointError, match="has no tests: npr.export writes them"):
        selftest(tmp_path / "agent.npz")
