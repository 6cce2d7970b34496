"""Agents that were trained with masks of actions are exported with them, in every form."""

import json
import warnings

import numpy as np
import pytest
from support.export_checks import TOLERANCE
from support.masked_envs import Hand
from support.small_agents import small_agent

import npr
from npr.errors import ConfigWarning
from npr.export import model_of
from npr.export.policy_file import selftest
from npr.export.python import source


@pytest.fixture(scope="module")
def agents():
    """An agent for every kind of actions, trained for a few steps."""
    return {
        kind: small_agent("PPO", env=lambda kind=kind: Hand(kind), action_masks=True).learn(64)
        for kind in ("discrete", "multidiscrete", "multibinary")
    }


@pytest.mark.parametrize("kind", ["discrete", "multidiscrete", "multibinary"])
def test_episodes_of_an_export_have_masks(kind, agents):
    """The environment fails at a forbidden action."""
    agent = agents[kind]
    model = model_of(agent, episodes=20)
    assert model.card.episodes == 20
    assert model.card.mean == pytest.approx(agent.evaluate(episodes=20, seed=0).mean)
    for dtype in ("int8", "q15"):
        integer = model_of(agent, episodes=20, dtype=dtype, max_error=1.0, max_return_loss=9.0)
        assert integer.card.quantized.mean - integer.card.quantized.near < 0.02


def test_an_exported_policy_plays_in_the_environment(agents):
    written = {}
    exec(compile(source(model_of(agents["discrete"], episodes=0)), "policy.py", "exec"), written)
    env, total = Hand(), []
    for seed in range(20):
        obs, info = env.reset(seed=seed)
        terminated = truncated = False
        while not (terminated or truncated):
            action = written["act"](obs, info["action_mask"])
            assert action == agents["discrete"].act(obs, action_masks=info["action_mask"])
            obs, reward, terminated, truncated, info = env.step(action)
            total.append(reward)
    assert len(total) > 40


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("kind", ["discrete", "multidiscrete", "multibinary"])
def test_files_of_policies_have_masks_in_their_tests(kind, suffix, agents, tmp_path):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is in the test extra")
    path = tmp_path / f"policy{suffix}"
    npr.export(agents[kind], path, episodes=2)
    assert selftest(path) < TOLERANCE
    policy = npr.infer.load(path)
    assert policy.masked
    obs = np.ones((200, 4), np.float32)
    masks = np.random.default_rng(0).random((200, policy.actions.mask_size)) < 0.5
    masks[:, :: 4 if kind == "discrete" else 2] = True
    if kind == "multidiscrete":
        masks[:, 0] = masks[:, 4] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for deterministic in (True, False):
            got = policy(obs, deterministic, np.random.default_rng(1), action_masks=masks)
            want = agents[kind].policy(obs, deterministic, np.random.default_rng(1), masks)
            np.testing.assert_array_equal(got, want)
    with pytest.warns(ConfigWarning, match="trained with masks"):
        policy(obs[0])


def test_the_card_says_that_a_policy_takes_masks(agents, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is in the test extra")
    pytest.importorskip("onnxruntime", reason="onnxruntime is in the test extra")
    path = tmp_path / "policy.onnx"
    npr.export(agents["discrete"], path, episodes=2)
    props = {one.key: one.value for one in onnx.load(path).metadata_props}
    assert json.loads(props["card"])["mask"] == {"numbers": 4}
