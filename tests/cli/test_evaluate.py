"""npr eval, and how commands find the agent in a file or folder."""

import json
import re
import shutil
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import npr as library
from npr.cli import flags


def numbers(out):
    """{"return": [mean, std, min, max], "length": ...} as they were printed."""
    lines = [line for line in out.splitlines() if line.startswith(("return", "length"))]
    return {line.split()[0]: [*map(float, re.findall(r"-?\d+\.\d\d", line))] for line in lines}


def test_the_numbers_are_those_of_evaluate(agents, npr):
    status, out, err = npr("eval", agents / "sac.npz", "--episodes", 3, "--seed", 4)
    result = library.load(agents / "sac.npz").evaluate(episodes=3, seed=4)
    returns, lengths = result.returns, result.lengths
    assert (status, err) == (0, "")
    for name, values in (("return", returns), ("length", lengths)):
        expected = [values.mean(), values.std(), values.min(), values.max()]
        np.testing.assert_allclose(numbers(out)[name], expected, atol=0.005)


def test_what_is_evaluated_is_said_first(agents, npr):
    _, out, _ = npr("eval", agents / "sac.npz", "--episodes", 1)
    assert out.splitlines()[:2] == [
        f"SAC of {agents / 'sac.npz'}, trained on Pendulum-v1 for 96 steps",
        "1 episodes, deterministic actions, seed 0",
    ]


def test_json_has_every_episode(agents, npr):
    status, out, _ = npr("eval", agents / "lake.npz", "--episodes", 2, "--stochastic", "--json")
    found = json.loads(out)
    result = library.load(agents / "lake.npz").evaluate(episodes=2, seed=0, deterministic=False)
    assert status == 0 and found["returns"] == result.returns.tolist()
    assert found["lengths"] == result.lengths.tolist()
    assert (found["algorithm"], found["env"], found["num_timesteps"]) == (
        "QLearning", "FrozenLake-v1", 500,
    )  # fmt: skip
    assert (found["episodes"], found["seed"], found["deterministic"]) == (2, 0, False)
    assert found["mean"] == result.mean and found["mean_length"] == result.lengths.mean()


SUCCESS = """
import gymnasium

class Success(gymnasium.Wrapper):
    def reset(self, **options):
        self.steps = 0
        return super().reset(**options)

    def step(self, action):
        self.steps += 1
        s, r, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            info["is_success"] = self.steps % 2 == 0
        return s, r, terminated, truncated, info
"""


def test_the_share_of_successes_is_shown_where_it_is_known(agents, npr, tmp_path, monkeypatch):
    (tmp_path / "success_envs.py").write_text(SUCCESS)
    monkeypatch.syspath_prepend(tmp_path)
    words = [agents / "lake.npz", "--episodes", 20, "--stochastic"]
    assert "success" not in "".join(npr("eval", *words, "--json")[1])
    words += ["--wrapper", "success_envs:Success", "--env-kwargs", "is_slippery=true"]
    found = json.loads(npr("eval", *words, "--json")[1])
    assert found["successes"] == [n % 2 == 0 for n in found["lengths"]]
    assert 0 < sum(found["successes"]) < 20
    assert found["success_rate"] == np.mean(found["successes"])
    assert f"success  {found['success_rate']:.2f}\n" in npr("eval", *words)[1]


# ---- which file


def test_the_agent_of_a_run_folder_is_the_best_the_final_or_the_latest(trained_runs, npr, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained_runs / "small0", folder)
    names = {"best": "best.npz", "final": "final.npz", "latest": "checkpoints/latest.npz"}
    for which, name in names.items():
        _, out, _ = npr("eval", folder, "--episodes", 1, "--which", which)
        assert out.startswith(f"SAC of {folder / name}, trained on Pendulum-v1 for ")
    for name in [*names.values()]:  # without --which the first that is there
        _, out, _ = npr("eval", folder, "--episodes", 1)
        assert out.startswith(f"SAC of {folder / name},")
        (folder / name).unlink()
    status, _, err = npr("eval", folder)
    assert status == 2
    assert f"The run folder {folder} has no best.npz, final.npz, checkpoints/latest.npz" in err


def test_how_far_an_agent_was_trained_is_said(trained_runs, npr):
    _, out, _ = npr("eval", trained_runs / "small0", "--which", "latest", "--episodes", 1)
    assert "trained on Pendulum-v1 for 80 steps" in out
    checkpoint = trained_runs / "small0" / "checkpoints" / "rl_model_30_steps.npz"
    _, out, _ = npr("eval", checkpoint, "--episodes", 1)
    assert "trained on Pendulum-v1 for 30 of 80 steps" in out


@pytest.mark.parametrize(
    "words, status, message",
    [
        (["nothing.npz"], 2, r"nothing\.npz: No such file or directory"),
        (["sac"], 2, r"sac: There is no such file; did you mean .*sac\.npz\?"),
        (["."], 2, r"The folder \. has no best\.npz, final\.npz, checkpoints/latest\.npz"),
        (["sac.npz", "--which", "best"], 2, "which='best' needs a run folder, sac.npz is not"),
        (["sac.npz", "--episodes", "0"], 2, "argument --episodes: '0' is not above 0"),
        (["sac.npz", "--episodes", "2.5"], 2, "'2.5' is not a whole number"),
        (
            ["sac.npz", "--episodes", "many"],
            2,
            "argument --episodes: 'many' is not a whole number",
        ),
        (["sac.npz", "--seed", "-1"], 2, "seed must be a whole number >= 0"),
        (["sac.npz", "--episode"], 2, r"there is no --episode; did you mean --episodes\?"),
        (["sac.npz", "--env", "Pendlum-v1"], 2, "Environment `Pendlum` doesn't exist"),
        (["sac.npz", "--env", "CartPole-v1"], 2, "This is not an environment of the agent"),
        (["sac.npz", "--env-kwargs", "g"], 2, "'g' must be name=value"),
        (["sac.npz", "--wrapper", "Scale"], 2, "--wrapper Scale is not of the form module:Class"),
        (["sac.npz", "--import", "nothing_here"], 2, "--import nothing_here: "),
        ([], 2, "the following arguments are required: FILE"),
        (["text.npz"], 1, "is damaged or is not an npr file.* It is text: 'hello'"),
    ],
)
def test_errors_are_one_sentence(words, status, message, agents, npr, monkeypatch, tmp_path):
    shutil.copy(agents / "sac.npz", tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    got, _, err = npr("eval", *words)
    assert (got, err.count("\n")) == (status, 1), err
    assert re.search(message, err)


# ---- the environment


@pytest.mark.parametrize("slippery", ["is_slippery=true", "is_slippery=True"])
def test_another_environment_and_arguments_can_be_given(slippery, agents, npr):
    file = agents / "lake.npz"
    words = ["--env", "FrozenLake-v1", "--env-kwargs", slippery, "--episodes", 20, "--json"]
    found = json.loads(npr("eval", file, *words)[1])
    env = gym.make("FrozenLake-v1", is_slippery=True)
    result = library.load(file).evaluate(env, episodes=20, seed=0)
    assert found["lengths"] == result.lengths.tolist() and len(set(found["lengths"])) > 1


def test_false_and_none_may_be_written_as_in_python():
    words = ["a=False", "b=None", "c=false", "d=null", "e=Falsch", "f=1e3", "g=[1,2]"]
    assert flags.pairs(words) == {
        "a": False, "b": None, "c": False, "d": None, "e": "Falsch", "f": 1000.0, "g": [1, 2],
    }  # fmt: skip


def test_arguments_are_added_to_those_of_the_agents_environment(agents, npr):
    words = ["--env-kwargs", "success_rate=0.1", "--episodes", 20, "--json"]
    found = json.loads(npr("eval", agents / "lake.npz", *words)[1])
    assert len(set(found["lengths"])) == 1  # still not slippery


WRAPPER = """
import gymnasium

gymnasium.register("Typed-v0", "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=7)


class Double(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 2 * reward
"""


def test_code_that_the_user_names_makes_the_environment(agents, npr, tmp_path, monkeypatch):
    (tmp_path / "typed_envs.py").write_text(WRAPPER)
    monkeypatch.syspath_prepend(tmp_path)
    file, words = agents / "sac.npz", ["--episodes", 2, "--json"]
    names = ["--import", "typed_envs", "--env", "Typed-v0"]
    plain = json.loads(npr("eval", file, *names, *words)[1])
    double = json.loads(npr("eval", file, *names, "--wrapper", "typed_envs:Double", *words)[1])
    assert plain["lengths"] == [20, 20] and plain["env"] == "Typed-v0"
    # a function that makes an environment keeps its own time limit, as in `evaluate`
    expected = library.load(file).evaluate(lambda: gym.make("Typed-v0"), episodes=2, seed=0)
    assert double["lengths"] == [7, 7] and double["returns"] == [*(2 * expected.returns)]


@pytest.mark.parametrize(
    "command", [["eval"], ["export", "-o", "policy.py"], ["report"]], ids=lambda words: words[0]
)
def test_the_module_of_an_environment_is_named_if_the_run_folder_has_it(
    command, trained_runs, npr, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(trained_runs / "small0", folder)
    words = [command[0], folder, *command[1:], "--episodes", 1]
    spec = gym.registry.pop("Pendulum-v1")
    try:
        status, out, err = npr(*words)
        assert (status, out) == (2, "")
        assert "If a module registers it, name the module: --import MODULE." in err
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "imports": ["my_envs"]}))
        for more in ([], ["--which", "latest"], ["--env-kwargs", "g=9"]):
            status, _, err = npr(*words, *more)
            assert status == 2 and "It was trained with --import my_envs." in err
    finally:
        gym.registry["Pendulum-v1"] = spec


def test_a_folder_of_run_folders_says_so(trained_runs, npr):
    status, _, err = npr("eval", trained_runs)
    assert status == 2
    assert f"{trained_runs} is not a run folder: it holds run folders (3): name one of them." in err


def test_an_unknown_environment_is_asked_for(agents, npr, tmp_path):
    agent = library.load(agents / "sac.npz", env=lambda: gym.make("Pendulum-v1"))
    agent.save(tmp_path / "unknown.npz")
    status, _, err = npr("eval", "unknown.npz", "--episodes", 1)
    assert status == 2
    assert "The file does not hold how its environment" in err and "Give it with --env" in err
    assert npr("eval", "unknown.npz", "--episodes", 1, "--env", "Pendulum-v1")[0] == 0


def test_the_command_runs_in_a_process(agents):
    done = subprocess.run(
        [sys.executable, "-m", "npr", "eval", agents / "sac.npz", "--episodes", "1"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "") and "return   mean -" in done.stdout
