"""What is in a page, and that texts of others are only data in it."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import gymnasium
import numpy as np
import pytest
from support import ROOT, node
from support.node import needs_node
from support.pages import CONTROL, GRIDS, HOSTILE, Parts, data_of
from support.small_agents import small_agent

import npr
from npr import report, runs
from npr.errors import ConfigError, SpaceError
from npr.files import run_folder
from npr.report.content import curve
from npr.report.live import live
from npr.report.page import assembled


class OwnEnv(gymnasium.Env):
    """An environment that Gymnasium has not made."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run of Q-learning."""
    folder = tmp_path_factory.mktemp("runs") / "lake"
    config = runs.RunConfig(
        "QLearning", "FrozenLake-v1", settings={"verbose": 0, "gamma": 0.97}, seed=3,
        env_kwargs={"is_slippery": False}, total_timesteps=3_000, eval_freq=1_000,
        eval_episodes=4,
    )  # fmt: skip
    runs.train(config, folder)
    return folder


def test_a_page_has_the_results_of_the_run(run, tmp_path):
    path = tmp_path / "page.html"
    report.write(run, path, which="final", episodes=7, seed=5)
    (one,) = data_of(path)["agents"]
    agent = npr.load(run / "final.npz")
    result = agent.evaluate(episodes=7, seed=5)
    assert one["title"] == "QLearning on FrozenLake-v1"
    assert one["trained"] == "3,000 env steps, seed 3"
    assert one["evaluation"]["returns"] == result.returns.tolist()
    assert one["evaluation"]["mean"] == result.mean and one["evaluation"]["std"] == result.std
    held = run_folder.read(run)
    assert one["evaluations"]["x"] == held.evaluations["timesteps"].tolist()
    np.testing.assert_allclose(
        one["evaluations"]["mean"], held.evaluations["results"].mean(axis=1), rtol=1e-4
    )
    settings = {name: (value, changed) for name, value, changed in one["settings"]}
    assert settings["gamma"] == ("0.97", True)
    assert settings["learning_rate"][1] is (
        agent.defaults()["learning_rate"] != agent.learning_rate
    )
    facts = dict(one["facts"])
    assert facts["file"] == "final.npz" and facts["run folder"] == "lake" and "started" in facts
    assert one["live"] == {
        "env": "FrozenLake-v1", "kwargs": {"is_slippery": False}, "limit": None, "policy": 0,
    }  # fmt: skip


def test_an_environment_may_have_no_name(tmp_path):
    small_agent("PPO", OwnEnv()).save(tmp_path / "own.npz")
    report.write(tmp_path / "own.npz", tmp_path / "page.html")
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["title"] == "PPO on an unnamed environment"
    assert "environment" not in dict(one["facts"])
    assert "how its environment is made: OwnEnv was not made" in one["not_evaluated"]


@needs_node
def test_the_texts_of_an_axis_differ(tmp_path):
    spans = [(-200.5, -199.5), (-1700, 0), (0, 5000), (9990, 10020), (0, 3e6), (-1e-3, 1e-3)]
    charts = (ROOT / "npr" / "report" / "charts.mjs").as_uri()
    got = node.run(
        tmp_path,
        f'import {{ ticks }} from "{charts}"; console.log(JSON.stringify('
        f"{json.dumps(spans)}.map(([low, high]) => ticks(low, high, 4))))",
    )
    for (low, high), axis in zip(spans, got, strict=True):
        texts = [text for _, text in axis]
        assert 3 <= len(axis) == len(set(texts)), texts
        for x, text in axis:
            scale = {"k": 1e3, "M": 1e6}.get(text[-1], 1)
            shown = float(text.rstrip("kM").replace("−", "-")) * scale
            assert shown == pytest.approx(x, abs=1e-9) and low <= x <= high
    assert [text for _, text in got[0]] == ["−200.5", "−200", "−199.5"]


def test_a_curve_has_the_episodes_near_each_point():
    rng = np.random.default_rng(0)
    steps = np.sort(rng.choice(50_000, 3_000, replace=False)) + 1.0
    returns = rng.normal(size=3_000)
    got = curve(np.column_stack([steps, returns, steps, steps]))
    edges = np.linspace(0, steps[-1], 121)
    assert len(got["x"]) == 120
    for i in range(120):
        last = i == 119
        near = (steps >= edges[i]) & ((steps < edges[i + 1]) | last)
        expected = [
            steps[near].mean(), returns[near].mean(), *np.percentile(returns[near], [10, 90])
        ]  # fmt: skip
        here = [got[name][i] for name in ("x", "mean", "low", "high")]
        np.testing.assert_allclose(here, expected, rtol=1e-4)


def test_a_curve_leaves_out_what_is_not_finite_and_may_be_empty():
    rows = np.array([[10, 1, 0, 0], [20, np.nan, 0, 0], [30, np.inf, 0, 0], [40, 3, 0, 0]])
    assert curve(rows)["mean"] == [1, 3]
    assert curve(np.empty((0, 4))) == {"x": [], "mean": [], "low": [], "high": []}


def test_agents_and_their_files_have_pages_too(tmp_path):
    agent = small_agent("SAC").learn(450)
    agent.save(tmp_path / "sac.npz")
    for source in (agent, tmp_path / "sac.npz"):
        report.write(source, tmp_path / "page.html", episodes=2)
        (one,) = data_of(tmp_path / "page.html")["agents"]
        assert one["live"]["env"] == "Pendulum-v1"
        # a file does not hold the episodes of the training
        assert bool(one["curve"]["x"]) is (source is agent)
    report.write(agent, tmp_path / "page.html", episodes=0)
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["evaluation"] is None and "was not evaluated" in one["not_evaluated"]


def test_a_run_without_an_agent_has_a_page(run, tmp_path):
    folder = tmp_path / "begun"
    folder.mkdir()
    for name in ("config.json", "monitor.csv"):
        shutil.copy(run / name, folder)
    report.write(folder, tmp_path / "page.html")
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["curve"]["x"] and one["live"] is None
    assert one["not_live"] == one["not_evaluated"] == "The run has no agent yet."
    assert ["gamma", "0.97", True] in one["settings"]


class Elsewhere(gymnasium.Env):
    """An environment that no page has."""

    observation_space = gymnasium.spaces.Discrete(3)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 1, 1.0, True, False, {}


def test_of_an_environment_without_a_javascript_version_the_rest_is_shown(tmp_path):
    agent = npr.QLearning(Elsewhere, verbose=0).learn(20)
    report.write(agent, tmp_path / "page.html", episodes=3)
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["live"] is None and one["not_live"].startswith("The environment is not known here")
    assert one["evaluation"]["returns"] == [1, 1, 1] and one["curve"]["x"]
    agent.save(tmp_path / "agent.npz")
    report.write(tmp_path / "agent.npz", tmp_path / "page.html", episodes=3)
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["evaluation"] is None and one["not_evaluated"].startswith("The agent could not be")
    report.write(tmp_path / "agent.npz", tmp_path / "page.html", env=Elsewhere, episodes=3)
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["evaluation"]["returns"] == [1, 1, 1]


# ---- which environments act


def described(id="Pendulum-v1", wrappers=None, **kwargs):
    return {"id": id, "kwargs": kwargs, "wrappers": wrappers, "vector": None}


@pytest.mark.parametrize(
    "given, max_episode_steps, limit",
    [
        (described(), None, None),
        (described(), 30, 30),
        (described(max_episode_steps=50), 70, 50),
        (described(wrappers=[["TimeLimit", {"max_episode_steps": 9}]]), None, 9),
        (described(wrappers=[]), None, 10_000),
    ],
)  # fmt: skip
def test_the_time_limit_is_the_lowest(given, max_episode_steps, limit):
    assert live(given, max_episode_steps)["limit"] == limit


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"unknown": "it is made by a function"}, "not known here: it is made by a function"),
        (described("LunarLander-v3"), "no JavaScript version of LunarLander-v3,"),
        (described(wrappers=[["RescaleAction", {}]]), "in the wrapper RescaleAction"),
        (described("Taxi-v4", fickle_passenger=True), "with fickle_passenger=True"),
        (described(g="alert(1)"), r"with g='alert\(1\)'"),
    ],
)
def test_why_an_environment_does_not_act_is_said(given, sentence):
    assert re.search(sentence, live(given, None))


def test_every_environment_of_the_page_acts_with_its_arguments():
    for id, variants in {**CONTROL, **GRIDS}.items():
        for kwargs in variants:
            assert live(described(id, **kwargs, render_mode="rgb_array"), None) == {
                "env": id, "kwargs": kwargs, "limit": None,
            }  # fmt: skip


# ---- texts of others


def test_texts_are_only_data():
    page = Parts(
        assembled(HOSTILE, {"kind": HOSTILE, HOSTILE: [HOSTILE]}, [f"const meta = {HOSTILE!r};"])
    )
    assert page.tags.count("script") == 2 and page.tags.count("style") == 1
    assert "img" not in page.tags
    assert page.texts("title") == [HOSTILE]
    (data,) = page.texts("script", id="data")
    assert json.loads(data) == {"kind": HOSTILE, HOSTILE: [HOSTILE]}


def test_the_policy_of_the_page_allows_its_one_script_and_style_and_nothing_else(run, tmp_path):
    report.write(run, tmp_path / "page.html", episodes=1)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Parts(text)
    (policy,) = [e[1]["content"] for e in page.elements if "http-equiv" in e[1]]
    (script,), (style,) = page.texts("script", type="module"), page.texts("style")
    hashes = {
        name: "'sha256-" + base64.b64encode(hashlib.sha256(x.encode()).digest()).decode() + "'"
        for name, x in (("script", script), ("style", style))
    }
    assert policy.split("; ") == [
        "default-src 'none'", "base-uri 'none'", "form-action 'none'",
        f"style-src {hashes['style']}", f"script-src {hashes['script']}",
    ]  # fmt: skip
    addresses = set(re.findall(r"https?://[\w./]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a namespace


def test_the_script_of_a_page_is_valid(run, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    report.gallery([run, run], tmp_path / "page.html", episodes=1)
    (script,) = Parts((tmp_path / "page.html").read_text(encoding="utf-8")).texts(
        "script", type="module"
    )
    (tmp_path / "page.mjs").write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["node", "--check", tmp_path / "page.mjs"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_run_whose_logs_are_not_usable_has_a_page(tmp_path):
    folder = tmp_path / "\udcff"  # a name that is not text
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    rows = "".join(f"{sign}1.7e308,5,{i}\n" for i in range(9) for sign in ("", "-"))
    (folder / "monitor.csv").write_text(f"#{{}}\nr,l,t\n{rows}3,5,9\n")
    np.savez(
        folder / "evaluations.npz", timesteps=[1, 2], results=[[1e308, 1e308], [np.nan, 1]],
        ep_lengths=[[1, 1], [1, 1]],
    )  # fmt: skip
    (folder / "config.json").write_text('{"settings": {"\\ud800": Infinity}, "git": NaN}')
    report.write(folder, tmp_path / "page.html")
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["curve"]["mean"] == [3] and one["evaluations"]["mean"] == []


def test_a_policy_that_cannot_be_exported_does_not_act(tmp_path):
    agent = small_agent("PPO", "CartPole-v1")
    agent.policy.theta[3] = np.nan
    report.write(agent, tmp_path / "page.html", episodes=0)
    (one,) = data_of(tmp_path / "page.html")["agents"]
    assert one["live"] is None and "does not act here. The parameters" in one["not_live"]


# ---- wrong arguments


def test_a_gallery_has_all_its_agents(run, tmp_path):
    report.gallery([run, run], tmp_path / "page.html", title="Two", lead="<lead>", episodes=0)
    data = data_of(tmp_path / "page.html")
    assert (data["kind"], data["title"], data["lead"]) == ("gallery", "Two", "<lead>")
    assert [one["live"]["policy"] for one in data["agents"]] == [0, 1]


def test_wrong_arguments_are_refused_and_nothing_is_written(run, tmp_path):
    page = tmp_path / "page.html"
    with pytest.raises(ConfigError, match=r"'page.txt' must end with \.html"):
        report.write(run, "page.txt")
    with pytest.raises(ConfigError, match="run folder, the file of an agent, or an agent; got 3"):
        report.write(3, page)
    with pytest.raises(ConfigError, match="episodes must be a whole number of at least 0, got -1"):
        report.write(run, page, episodes=-1)
    with pytest.raises(ConfigError, match="seed must be a whole number >= 0"):
        report.write(run, page, seed=-1)
    with pytest.raises(ConfigError, match="A gallery needs at least one run"):
        report.gallery([], page)
    with pytest.raises(ConfigError, match="is not a run folder"):
        report.write(tmp_path, page)
    with pytest.raises(FileNotFoundError):
        report.write(tmp_path / "nothing.npz", page)
    assert not page.exists()


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"which": "last"}, ConfigError, "which must be best, final, latest or None, got 'last'"),
        ({"env": "CartPole-v1"}, SpaceError, "Use one with the same spaces"),
        ({"env": 3}, ConfigError, "env must be an id"),
        ({"path": "missing/page.html"}, FileNotFoundError, "create the folder first"),
        ({"path": "."}, ConfigError, "path must be the path of a file"),
        ({"path": None}, ConfigError, "path must be the path of a file"),
    ],
)
def test_arguments_that_do_not_fit_a_run_are_refused(options, error, message, run, tmp_path):
    path = options.pop("path", "page.html")
    with pytest.raises(error, match=message):
        report.write(run, path and tmp_path / path, episodes=1, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_run_is_not_named_for_an_agent(tmp_path):
    with pytest.raises(ConfigError, match="which='best' needs a run folder"):
        report.write(small_agent("SAC"), tmp_path / "page.html", which="best")


def test_a_gallery_is_of_a_list(run, tmp_path):
    for runs_ in (run, str(run), small_agent("SAC")):
        with pytest.raises(ConfigError, match="A gallery is of a list of runs"):
            report.gallery(runs_, tmp_path / "page.html")
