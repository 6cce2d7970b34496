"""Pages in headless Chromium: agents act, their returns are those of evaluate, keys take over."""

import json
import re

import gymnasium
import numpy as np
import pytest
from support import TESTS
from support.pages import CHROMIUM, HOSTILE, Parts, checked, opened
from support.proof_size import n_trials
from support.small_agents import small_agent

from npr import report

if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

EPISODES = n_trials(20, 40)
AGENTS = {
    "QLearning": ("FrozenLake-v1", 4_000, {}),
    "Sarsa": ("CliffWalkingSlippery-v1", 2_000, {"max_episode_steps": 60}),
    "DQN": ("CartPole-v1", 900, {}),
    "SAC": ("Pendulum-v1", 500, {}),
    "PPO": ("FrozenLake-v1", 600, {"env_kwargs": {"map_name": "8x8"}}),
    "DDPG": ("MountainCarContinuous-v0", 300, {"max_episode_steps": 150}),
    "A2C": ("Acrobot-v1", 300, {"max_episode_steps": 100}),
}


def agent_of(name):
    env, steps, settings = AGENTS[name]
    return small_agent(name, env, **settings).learn(steps)


def test_agents_act_on_a_page_as_in_evaluate(tmp_path):
    agents = [agent_of(name) for name in AGENTS]
    report.gallery(agents, tmp_path / "page.html", episodes=2)
    found, console = checked(tmp_path / "page.html", tmp_path / "profile", EPISODES)
    assert console == []
    for name, agent, got in zip(AGENTS, agents, found, strict=True):
        assert got["steps"] > 0 and got["pictures"] > 5, (name, got)
        result = agent.evaluate(episodes=EPISODES, seed=0)
        difference = abs(np.mean(got["returns"]) - result.mean)
        error = np.sqrt((np.var(got["returns"]) + result.returns.var()) / EPISODES)
        assert difference <= 4 * error + 1e-6, (name, np.mean(got["returns"]), result)
        assert max(got["lengths"]) <= (AGENTS[name][2].get("max_episode_steps") or 500)


def test_keys_buttons_and_sliders(tmp_path):
    """tests/report/hands.js, added to the page, uses them and writes what it sees."""
    path = tmp_path / "page.html"
    report.write(agent_of("DQN"), path, episodes=2)
    text = re.sub(r"<meta http-equiv.*?>", "", path.read_text(encoding="utf-8"))
    hands = (TESTS / "report" / "hands.js").read_text()
    path.write_text(text.replace("</body>", f'<script type="module">{hands}</script></body>'))
    dom, console = opened(path, tmp_path / "profile")
    assert console == []
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', dom)[1])
    assert seen["at first"] == {"badge": "Agent", "hand": "Take over"}
    assert seen["keys of others"] == "Agent"
    assert seen["a key is held"] == {"badge": "You", "hand": "Give back", "action": "right"}
    assert seen["both keys"]["badge"] == "You"
    assert seen["given back"] == {"badge": "Agent", "hand": "Take over"}
    assert seen["taken over"] == {"badge": "You", "focus": "CANVAS"}
    assert seen["escaped"] == "Agent"
    assert seen["paused"][0] == seen["paused"][1]
    assert seen["stepped"] == seen["paused"][1] + 1
    assert seen["restarted"] == 0
    assert seen["gravity"] == ["0 m/s²", "The world is not as in training."]
    assert seen["as in training"][0] == "9.8 m/s²" and "not as" not in seen["as in training"][1]
    assert seen["start"] == "0.2 rad"


def hostile():
    return gymnasium.make("FrozenLake-v1")


hostile.__name__ = HOSTILE  # what texts call the environment


def test_texts_of_others_run_nothing(tmp_path):
    """Whatever an agent says about itself, the page shows it as text."""
    agent = small_agent("QLearning", hostile).learn(50)
    agent.made_with["numpy"] = HOSTILE
    for name, title in (("one", f"QLearning on {HOSTILE}"), ("many", HOSTILE)):
        path = tmp_path / f"{name}.html"
        if name == "one":
            report.write(agent, path, episodes=1)
        else:
            report.gallery([agent, agent], path, title=HOSTILE, lead=HOSTILE, episodes=1)
        dom, console = opened(path, tmp_path / name)
        body = Parts(dom)
        assert console == [] and body.tags.count("script") == 2 and "img" not in body.tags
        assert body.texts("h1") == [title]
        assert 'data-live="step"' in dom  # the agent acts
