"""Videos of a policy: frames, files, the environments that they are taken from, and errors."""

import os
import sys
import zlib

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.small_agents import assert_same_parameters, small_agent

import npr
from npr.callbacks import RecordVideo
from npr.errors import CheckpointWarning, ConfigError
from npr.training import recording

PIL = pytest.importorskip("PIL.Image")


class Screen(gym.Env):
    """CartPole's spaces. Episodes of `length` steps; the picture is as gray as the step says:
    20 times its number, and red at the reset."""

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 25}

    def __init__(self, render_mode=None, length=4, shape=(20, 30, 3), fault=None):
        self.observation_space = spaces.Box(-1, 1, (4,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.render_mode, self.length, self.shape, self.fault = render_mode, length, shape, fault

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def _observe(self):
        return self.np_random.uniform(-1, 1, 4).astype(np.float32)

    def step(self, action):
        self.t += 1
        return self._observe(), float(action), self.t == self.length, False, {}

    def render(self):
        if self.fault == "package":
            raise gym.error.DependencyNotInstalled("pygame is not installed")
        if self.render_mode != "rgb_array":
            return None
        frame = np.full(self.shape, 20 * self.t, np.uint8)
        frame[:, :, 1:] *= self.t > 0
        if self.t == 0:
            frame[:, :, 0] = 200
        if self.fault == "float":
            return frame / 255
        return frame[: 10 if self.fault == "shape" and self.t else None]


class Blind(Screen):
    metadata = {"render_modes": []}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)
    gym.register("Screen-v0", Screen, max_episode_steps=50)
    gym.register("Blind-v0", Blind)


def agent_for(env="Screen-v0", **settings):
    return small_agent("DQN", env=env, **settings)


def grays(path):
    """The color of each frame of a GIF, (frames, 3), each repeated as long as it is shown."""
    colors = []
    with PIL.open(path) as image:
        for i in range(image.n_frames):
            image.seek(i)
            color = np.asarray(image.convert("RGB"))
            assert (color == color[0, 0]).all()
            colors += [color[0, 0].tolist()] * round(image.info["duration"] / 40)
    return colors


EPISODE = [[200, 0, 0], *([20 * t] * 3 for t in range(1, 5))]


def test_a_gif_has_the_frame_of_the_reset_and_one_per_step(tmp_path):
    played = recording.record(agent_for(), tmp_path / "a.gif", episodes=2, seed=0)
    assert played.lengths.tolist() == [4, 4]
    assert grays(tmp_path / "a.gif") == 2 * EPISODE


def test_frames_per_second_are_those_given_or_of_the_environment(tmp_path):
    for fps, milliseconds in ((None, 40), (10, 100)):
        recording.record(agent_for(), tmp_path / "a.gif", fps=fps, seed=0)
        with PIL.open(tmp_path / "a.gif") as image:
            assert image.info["duration"] == milliseconds


def test_an_mp4_has_the_frames_at_their_rate(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "a.mp4"
    recording.record(agent_for(), path, episodes=2, seed=0)
    frames, seconds = ffmpeg.count_frames_and_secs(str(path))
    assert (frames, seconds) == (10, pytest.approx(10 / 25, abs=0.01))
    reader = ffmpeg.read_frames(str(path))
    assert next(reader)["size"] == (30, 20)
    shown = [np.frombuffer(frame, np.uint8).reshape(20, 30, 3) for frame in reader]
    reader.close()
    # H.264 changes colors a little
    np.testing.assert_allclose([f.mean((0, 1)) for f in shown], 2 * EPISODE, atol=12)
    assert [one.name for one in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_episodes_are_those_of_evaluate(deterministic, tmp_path):
    agent = small_agent("A2C", env="Screen-v0")
    played = recording.record(
        agent, tmp_path / "a.gif", episodes=6, seed=5, deterministic=deterministic
    )
    expected = agent.evaluate(episodes=6, seed=5, deterministic=deterministic)
    assert played.returns.tolist() == expected.returns.tolist()
    assert len(set(played.returns)) > 1 or deterministic


class OneLeft(Screen):
    """A Screen that allows only one of its actions, which changes with every step."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, self._allowed()

    def _allowed(self):
        return {"action_mask": np.arange(2) == self.t % 2}

    def step(self, action):
        if action != self.t % 2:
            raise AssertionError(f"{action} is forbidden")
        return *super().step(action)[:4], self._allowed()


def test_masks_are_used_in_episodes_that_are_recorded(tmp_path):
    agent = small_agent("PPO", OneLeft(render_mode="rgb_array"), action_masks=True)
    agent.save(tmp_path / "agent.npz")
    for policy in (agent, npr.infer.load(tmp_path / "agent.npz")):
        env = OneLeft(render_mode="rgb_array")
        played = recording.record(policy, tmp_path / "a.gif", env=env, episodes=3)
        assert played.lengths.tolist() == [4, 4, 4]


def test_an_environment_may_be_given_and_stays_open(tmp_path):
    env = gym.make("Screen-v0", render_mode="rgb_array", length=2)
    closed = []
    env.unwrapped.close = lambda: closed.append(1)
    recording.record(agent_for(), tmp_path / "a.gif", env, seed=0)
    assert grays(tmp_path / "a.gif") == EPISODE[:3] and not closed
    with pytest.raises(ConfigError, match=r"needs render_mode='human'.*'rgb_array'"):
        recording.rendering(agent_for(), "human", env)


@pytest.mark.parametrize("display, driver", [(None, "dummy"), (":0", None)])
def test_sdl_does_not_search_for_a_display_that_is_not_there(
    display, driver, tmp_path, monkeypatch
):
    drivers = set()

    class Watched(Screen):
        def render(self):
            drivers.add(os.environ.get("SDL_VIDEODRIVER"))
            return super().render()

    monkeypatch.setattr(recording.sys, "platform", "linux")
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    env = Watched(render_mode="rgb_array")
    recording.record(agent_for(), tmp_path / "a.gif", env, seed=0)
    assert drivers == {driver} and "SDL_VIDEODRIVER" not in os.environ


def test_a_policy_of_a_file_plays_in_an_environment_that_is_given(tmp_path):
    agent_for().save("a.npz")
    policy = npr.infer.load("a.npz")
    recording.record(policy, tmp_path / "a.gif", "Screen-v0", seed=0)
    assert grays(tmp_path / "a.gif") == EPISODE
    with pytest.raises(ConfigError, match=r"It is not known which environment.* pass env="):
        recording.record(policy, tmp_path / "a.gif")


def make_screen():
    return gym.wrappers.RescaleObservation(gym.make("Screen-v0", length=3), 0, 1)


@pytest.mark.parametrize("source", ["id", "Env", "function", "VectorEnv", "file"])
def test_the_environment_is_like_the_agents(source):
    env = {
        "id": lambda: "Screen-v0",
        "Env": make_screen,
        "file": make_screen,
        "function": lambda: make_screen,
        "VectorEnv": lambda: gym.vector.SyncVectorEnv([make_screen]),
    }[source]()
    settings = {"env_kwargs": {"length": 3}} if source == "id" else {}
    agent = agent_for(env, max_episode_steps=None, **settings)
    if source == "file":
        agent.save("a.npz")
        agent = npr.load("a.npz")
    made = recording.rendering(agent, "rgb_array")
    assert (made.render_mode, made.unwrapped.length) == ("rgb_array", 3)
    kinds, layer = [], made
    while isinstance(layer, gym.Wrapper):
        kinds.append(type(layer).__name__)
        layer = layer.env
    rescaled = [] if source == "id" else ["RescaleObservation"]
    assert kinds == [*rescaled, "TimeLimit", "OrderEnforcing"]
    made.close()


def test_normalizing_wrappers_keep_the_statistics_of_the_training():
    env = gym.wrappers.NormalizeObservation(gym.make("Screen-v0"))
    agent = agent_for(env, max_episode_steps=None).learn(64)
    before = env.obs_rms.count
    made = recording.rendering(agent, "rgb_array")
    recording.record(agent, "a.gif", seed=0)
    assert made.obs_rms is env.obs_rms and env.obs_rms.count == before


def faulty(fault):
    return gym.make("Screen-v0", fault=fault, render_mode="rgb_array", disable_env_checker=True)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"path": "a.avi"}, r"must end with \.gif or \.mp4, got 'a\.avi'"),
        ({"path": "nowhere/a.gif"}, "There is no folder 'nowhere'"),
        ({"episodes": 0}, "episodes must be a whole number of at least 1, got 0"),
        ({"fps": 0}, "fps must be a number above 0, at most 1000, got 0"),
        ({"env": "Blind-v0"}, "Blind-v0 cannot be rendered .*'rgb_array'; it has no render mode"),
        (
            {"env": lambda: faulty("package")},
            "Screen-v0 cannot be rendered: pygame is not installed",
        ),
        (
            {"env": lambda: faulty("float")},
            r"render\(\) must return an array of uint8.*got float64\(20, 30, 3\)",
        ),
        (
            {"env": lambda: faulty("shape")},
            r"always return the same shape, got \(10, 30, 3\) after \(20, 30, 3\)",
        ),
        ({"env": Screen}, r"cannot make another Screen with .* was not made by gymnasium\.make"),
    ],
)
def test_what_cannot_be_recorded_is_refused(given, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        recording.record(agent_for(), **{"path": "a.gif", "seed": 0, **given})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path, package, name", [("a.gif", "PIL", "Pillow"), ("a.mp4", "imageio_ffmpeg", "imageio-")]
)
def test_a_missing_package_is_named_with_its_extra(path, package, name, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"needs {name}.*pip install 'npr-rl\[video\]'"):
        recording.check_file(path)


@pytest.mark.parametrize(
    "platform, variables, seen",
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ""}, False),
        ("darwin", {}, True),
        ("win32", {}, True),
    ],
)
def test_windows_need_a_display(platform, variables, seen, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert recording.has_display() is seen


# ---- the callback


def test_videos_are_recorded_at_their_steps_and_change_no_bit_of_the_run(tmp_path, capsys):
    alone = agent_for().learn(96)
    callback = RecordVideo(40, tmp_path / "videos", verbose=1)
    agent = agent_for().learn(96, callback=callback)
    names = sorted(one.name for one in (tmp_path / "videos").iterdir())
    assert names == ["video_40_steps.gif", "video_80_steps.gif"]
    assert grays(tmp_path / "videos" / names[0]) == EPISODE
    assert "video_40_steps.gif, mean return " in capsys.readouterr().out
    assert_same_parameters(agent, alone)


def test_a_video_that_cannot_be_written_does_not_stop_the_run(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "replacement", full)
    with pytest.warns(CheckpointWarning, match="No space left on device.* Training continues"):
        agent = agent_for().learn(50, callback=RecordVideo(40, "videos"))
    assert agent.num_timesteps == 50


def test_what_cannot_be_recorded_is_refused_before_the_first_step():
    agent = agent_for("Blind-v0")
    with pytest.raises(ConfigError, match="Blind-v0 cannot be rendered"):
        agent.learn(50, callback=RecordVideo(40, "videos"))
    assert agent.num_timesteps == 0


def test_frames_are_held_compressed():
    shape, data = recording._compressed(np.zeros((400, 600, 3), np.uint8))
    assert shape == (400, 600, 3) and len(data) < 10_000
    assert zlib.decompress(data) == bytes(400 * 600 * 3)


def test_a_video_of_the_environment_that_the_agent_learns_in_is_refused(tmp_path):
    env = Screen("rgb_array")
    with pytest.raises(ConfigError, match="an environment that the agent learns in"):
        small_agent("DQN", env=env).learn(20, RecordVideo(10, tmp_path, env=env))
