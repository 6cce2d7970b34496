"""npr play."""

import sys

import gymnasium as gym
import pytest

import npr as library
from npr.training import recording

PIL = pytest.importorskip("PIL.Image")
MODULE = """
import gymnasium
import numpy as np
from gymnasium.envs.classic_control import PendulumEnv

shown = []


class Shown(PendulumEnv):
    def render(self):
        if self.render_mode == "rgb_array":
            return np.full((10, 10, 3), len(shown) % 200, np.uint8)
        shown.append((self.render_mode, self.metadata["render_fps"]))

    def step(self, action):
        result = super().step(action)
        if self.render_mode == "human":
            self.render()
        return result


gymnasium.register("Shown-v0", Shown, max_episode_steps=6)
"""


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The words that name an environment which needs no display."""
    (tmp_path / "shown_env.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shown_env", raising=False)
    monkeypatch.setattr(recording, "has_display", lambda: True)
    return ["--import", "shown_env", "--env", "Shown-v0"]


def test_a_video_is_written_and_each_episode_is_reported(agents, npr, shown, tmp_path):
    file = agents / "sac.npz"
    status, out, err = npr("play", file, *shown, "--episodes", 2, "--record", "a.gif", "--seed", 3)
    result = library.load(file).evaluate("Shown-v0", episodes=2, seed=3)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"SAC of {file}, trained on Pendulum-v1 for 96 steps",
        *(f"episode {i}   return {r:.2f}   length 20" for i, r in enumerate(result.returns, 1)),
        "written to a.gif",
    ]
    with PIL.open(tmp_path / "a.gif") as image:
        assert image.format == "GIF" and image.size == (10, 10)


def test_a_window_shows_every_step_at_the_given_rate(agents, npr, shown):
    status, out, _ = npr("play", agents / "sac.npz", *shown, "--episodes", 2, "--fps", 12)
    assert status == 0 and out.count("episode ") == 2 and "written" not in out
    frames = sys.modules["shown_env"].shown
    assert frames and set(frames) == {("human", 12.0)}


def test_without_a_display_record_is_named(agents, npr, monkeypatch):
    monkeypatch.setattr(recording, "has_display", lambda: False)
    status, out, err = npr("play", agents / "sac.npz")
    assert (status, out) == (2, "")
    assert err == (
        "npr play: There is no display to show a window on (DISPLAY is not set). Write a file: npr "
        f"play {agents / 'sac.npz'} --record play.gif\n"
    )


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="a display is named on Linux only")
def test_a_display_that_cannot_be_opened_is_an_error(agents, npr, monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":99")
    status, out, err = npr("play", agents / "lake.npz", "--episodes", 1)
    assert status == 2 and "episode" not in out
    assert "There is no display to show a window on (:99 cannot be opened). Write a file" in err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--record", "a.avi"], r"A video must end with .gif or .mp4, got 'a.avi'"),
        (["--record", "a.gif", "--fps", "0"], "--fps must be a number above 0, at most 1000"),
        (["--record", "no/a.gif"], "There is no folder 'no'; create it first."),
    ],
)
def test_wrong_usage_is_refused_before_the_first_step(words, message, agents, npr, shown):
    status, _, err = npr("play", agents / "sac.npz", *shown, *words)
    assert status == 2 and message in err


def test_a_video_that_cannot_be_written_is_refused_before_the_agent_is_loaded(npr):
    status, out, err = npr("play", "no_such_file.npz", "--record", "a.avi")
    assert (status, out) == (2, "") and "A video must end with .gif or .mp4, got 'a.avi'" in err


def test_a_package_that_is_missing_for_rendering_is_named(agents, npr, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    monkeypatch.setitem(sys.modules, "pygame.gfxdraw", None)
    words = ["--record", "a.gif", "--episodes", 1]
    status, _, err = npr("play", agents / "sac.npz", *words)
    assert status == 2
    assert "Pendulum-v1 cannot be rendered: pygame is not installed" in err
    assert "gymnasium[classic" in err


def test_a_real_environment_is_recorded(agents, npr, tmp_path):
    pytest.importorskip("pygame")
    words = ["--record", "a.gif", "--episodes", 1, "--episode-limit", 5]
    status, out, err = npr("play", agents / "lake.npz", *words)
    assert status == 0 and "written to a.gif" in out
    size = gym.make("FrozenLake-v1", render_mode="rgb_array").unwrapped.window_size
    with PIL.open(tmp_path / "a.gif") as image:
        assert image.size == tuple(size)
