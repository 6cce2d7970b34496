"""npr list."""

import json
import subprocess
import sys

import gymnasium as gym
import pytest
from gymnasium import spaces
from support.small_agents import CASES, RandomEnv

import npr as library
from npr import presets
from npr.cli import listing
from npr.envs.spaces import ACTION_SPACES
from npr.errors import SpaceError

ALGORITHMS = [name for name in library.__all__ if name in presets.PRESETS]


@pytest.fixture(autouse=True)
def algorithms_of_npr_only(monkeypatch):
    """Other tests of this process may have registered classes of their own."""
    own = {name: getattr(library, name) for name in ALGORITHMS}
    monkeypatch.setattr("npr.algorithms.base.REGISTRY", own)
    monkeypatch.setattr("npr.algorithms.base.Algorithm.registry", own)


def table(out):
    return [line.split() for line in out.splitlines()]


def test_every_algorithm_is_listed_in_the_order_of_the_package(npr):
    status, out, _ = npr("list")
    rows = table(out)
    assert status == 0 and [row[0] for row in rows] == ["algorithm", *ALGORITHMS]
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["QLearning"].split()[1:3] == ["Discrete", "Discrete"]
    assert lines["PPO"].split()[1:3] == ["any", "any"]
    assert "Box (bounded) Discrete  any" in lines["SAC"] and "Soft actor-critic" in lines["SAC"]
    assert npr("list", "algorithms")[1] == out


def test_json_has_the_same(npr):
    found = {one["name"]: one for one in json.loads(npr("list", "--json")[1])}
    assert [*found] == ALGORITHMS
    for name, one in found.items():
        kind = getattr(library, name)
        assert one["actions"] == [name for k in kind.action_kinds for name in ACTION_SPACES[k]]
        assert one["observations"] == ("Discrete" if kind.table else "any")


def test_the_algorithms_for_an_environment_are_those_that_can_be_made(npr):
    for env in ("Pendulum-v1", "FrozenLake-v1", "CartPole-v1"):
        found = json.loads(npr("list", "--env", env, "--json")[1])
        for one in found:
            try:
                getattr(library, one["name"])(env, verbose=0).close()
                possible, reason = True, None
            except SpaceError as error:
                possible, reason = False, str(error)
            assert one["supports"] is possible
            assert reason is None or reason == f"{one['name']} {one['reason']}"
            preset = presets.find(one["name"], env)
            assert one["total_timesteps"] == preset.get("total_timesteps")


def test_the_reason_is_shown_for_the_others(npr):
    _, out, _ = npr("list", "--env", "Pendulum-v1")
    before, after = out.split("not for:\n")
    assert "  SAC           preset of 5,000 steps  " in before and "DQN" not in before
    assert "  REINFORCE     no preset " in before
    assert "  DQN        needs a Discrete action space, got Box" in after


def test_unbounded_actions_are_not_for_those_that_squash(monkeypatch):
    space = spaces.Box(-float("inf"), float("inf"), (2,))
    found = listing.why_not(lambda: RandomEnv(spaces.Box(-1, 1, (3,)), space), {})
    assert "squashes actions into finite bounds" in found["SAC"] and found["PPO"] is None


def test_arguments_and_modules_of_an_environment_are_taken(npr, tmp_path, monkeypatch):
    text = (
        "import gymnasium\ngymnasium.register('Listed-v0', 'gymnasium.envs.toy_text:FrozenLakeEnv')"
    )
    (tmp_path / "listed_env.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--env", "Listed-v0", "--import", "listed_env", "--env-kwargs", "map_name=8x8"]
    status, out, _ = npr("list", *words)
    assert status == 0 and out.startswith("Listed-v0 is for:\n  QLearning ")
    gym.registry.pop("Listed-v0")


def test_presets_are_listed_with_their_budgets(npr):
    rows = table(npr("list", "presets")[1])
    expected = [
        [name, env, f"{preset['total_timesteps']:,}"]
        for name, held in presets.PRESETS.items()
        for env, preset in held.items()
    ]
    assert rows[1:-1] == expected and "npr list presets sac" in " ".join(rows[-1])


@pytest.mark.parametrize("word", ["sac", "SAC"])
def test_the_values_of_an_algorithms_presets_are_shown(word, npr):
    lines = npr("list", "presets", word)[1].splitlines()
    assert len(lines) == 1 + len(presets.PRESETS["SAC"])
    assert lines[1].split() == [
        "SAC", "Pendulum-v1", "5,000", "learning_rate=0.001", "net_arch=[64,64]", "batch_size=100",
        "learning_starts=500",
    ]  # fmt: skip
    found = json.loads(npr("list", "presets", word, "--json")[1])
    assert found == {"SAC": presets.PRESETS["SAC"]}


def test_the_presets_for_an_environment(npr):
    rows = table(npr("list", "presets", "--env", "Taxi-v4")[1])
    assert [row[0] for row in rows[1:-1]] == ["QLearning", "Sarsa"]
    assert npr("list", "presets", "sarsa", "--env", "Nothing-v0")[1] == (
        "There is no preset for Nothing-v0: npr uses the defaults.\n"
    )


def test_environments_are_the_latest_versions_and_name_the_algorithms_with_a_preset(npr):
    rows = {row[0]: row[1:] for row in table(npr("list", "envs")[1])}
    assert rows["FrozenLake-v1"] == ["QLearning", "Sarsa"]
    assert "CartPole-v1" in rows and "CartPole-v0" not in rows
    assert {env for held in presets.PRESETS.values() for env in held} <= rows.keys()
    found = json.loads(npr("list", "envs", "--json")[1])
    assert found["Pendulum-v1"]["registered"] is True


@pytest.mark.parametrize(
    "words, message",
    [
        (["sac"], "there is no list 'sac'; there are algorithms, presets, envs"),
        (["env"], "there is no list 'env'; did you mean envs?"),
        (["presets", "sacc"], "There is no algorithm 'sacc'; did you mean SAC?"),
        (["envs", "sac"], "'sac' is one argument too many; for its presets: npr list presets sac"),
        (["envs", "--env", "Taxi-v4"], "npr list envs lists all"),
        (["--env", "Nope-v0"], "Environment `Nope` doesn't exist"),
    ],
)
def test_wrong_usage_is_one_sentence(words, message, npr):
    status, out, err = npr("list", *words)
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err


def test_the_command_runs_in_a_process():
    done = subprocess.run([sys.executable, "-m", "npr", "list"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and len(CASES) > 14 < len(done.stdout)
