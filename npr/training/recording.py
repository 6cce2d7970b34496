"""Videos of a policy, and environments that show themselves in a window."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.envs.make import env_name, make_env
from npr.envs.remake import remade
from npr.errors import ConfigError, EnvCrashedError
from npr.files.atomic import replacement
from npr.policy import Policy
from npr.settings.setting import checked_seed, whole
from npr.training.evaluation import EPISODE_LIMIT, Evaluation, evaluate

if TYPE_CHECKING:
    import gymnasium

    SingleEnv = gymnasium.Env[Any, Any]

Frame = np.ndarray  # (height, width, 3) of uint8
FPS = 30  # of environments that do not say


def record(
    agent: Any,
    path: str | os.PathLike[str],
    env: Any = None,
    episodes: int = 1,
    seed: int | None = None,
    deterministic: bool = True,
    fps: float | None = None,
    episode_limit: int = EPISODE_LIMIT,
) -> Evaluation:
    """Play complete episodes and write what the environment renders as a GIF or MP4.

    agent          an agent, or a policy of npr.infer.load (then `env` is needed)
    path           ends with .gif or .mp4; an existing file is replaced
    env            id, function or Env with render_mode="rgb_array". None: a new environment like
                   the agent's, as for `agent.evaluate`
    seed           same seed, same episodes, which are those of `agent.evaluate`
    deterministic  False: sample actions, as in training
    fps            frames per second; None: those of the environment
    episode_limit  steps after which an episode is cut, with a ConfigWarning

    Returns the returns and lengths of the episodes. Raises ConfigError if the environment cannot
    render, or a package is missing, before the first step.
    """
    path = Path(os.fsdecode(path))
    write = _writer(path)
    episodes = whole("episodes", episodes)
    if fps is not None and not 0 < fps <= 1000:
        raise ConfigError(f"fps must be a number above 0, at most 1000, got {fps!r}.")
    with _to_memory():
        made = rendering(agent, "rgb_array", env)
        frames = _Frames(made)
        try:
            played = play(agent, frames.env, episodes, seed, deterministic, episode_limit)
            write(path, frames.recorded(), fps or frames_per_second(made))
        finally:
            if made is not env:
                made.close()
    return played


@contextlib.contextmanager
def _to_memory() -> Iterator[None]:
    """Let SDL, if there is no display, draw to memory at once: its search prints errors."""
    if has_display():
        yield
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        os.environ.pop("SDL_VIDEODRIVER", None)


def play(
    agent: Any,
    env: SingleEnv,
    episodes: int = 1,
    seed: int | None = None,
    deterministic: bool = True,
    episode_limit: int = EPISODE_LIMIT,
) -> Evaluation:
    """Play complete episodes in an environment that was made by `rendering`.

    Raises ConfigError if a package that it renders with is missing.
    """
    import gymnasium

    policy = agent if isinstance(agent, Policy) else agent.policy
    limit = getattr(agent, "max_episode_steps", None)
    try:
        return evaluate(
            policy, env, int(episodes), checked_seed("seed", seed), deterministic, episode_limit,
            limit, policy.masked,
        )  # fmt: skip
    except EnvCrashedError as error:
        cause = error.__cause__
        if isinstance(cause, (gymnasium.error.DependencyNotInstalled, ConfigError)):
            raise _not_rendered(env, cause) from error
        raise


def rendering(agent: Any, render_mode: str, env: Any = None) -> SingleEnv:
    """An environment with this render mode; a new one, unless `env` is an Env.

    agent         whose environment it is like if `env` is None
    render_mode   "rgb_array", or "human" for a window

    Raises ConfigError if there is none.
    """
    import gymnasium

    if isinstance(env, gymnasium.Env):
        if env.render_mode != render_mode:
            raise ConfigError(
                f"The environment needs render_mode={render_mode!r}, it was made with "
                f"render_mode={env.render_mode!r}: "
                f"gymnasium.make(..., render_mode={render_mode!r})."
            )
        return env
    if env is None and getattr(agent, "env", None) is None:
        raise ConfigError(f"It is not known which environment {agent!r} acts in; pass env=.")
    if env is None:
        made: SingleEnv = agent.evaluation_env()
    else:  # the time limit as for `evaluate`
        limit = getattr(agent, "max_episode_steps", None) if isinstance(env, str) else None
        made = make_env(env, limit)
    if made.render_mode == render_mode:
        return made
    modes = made.metadata.get("render_modes") or []
    if not {render_mode, "rgb_array"} & {*modes}:  # a window can show arrays
        raise ConfigError(
            f"{env_name(made)} cannot be rendered with render_mode={render_mode!r}; "
            f"it has {', '.join(map(repr, modes)) or 'no render mode'}."
        )
    try:
        return remade(made, render_mode)
    except ConfigError as error:
        raise ConfigError(
            f"npr cannot make another {env_name(made)} with render_mode={render_mode!r}: {error}. "
            f"Pass env=, made with render_mode={render_mode!r}."
        ) from None
    except gymnasium.error.DependencyNotInstalled as error:
        raise _not_rendered(made, error) from error
    finally:
        held = getattr(agent.envs, "envs", ()) if env is None else ()
        if not any(made is one for one in held):  # a function may return one that exists
            made.close()


def _not_rendered(env: SingleEnv, reason: BaseException) -> ConfigError:
    return ConfigError(f"{env_name(env)} cannot be rendered: {str(reason).rstrip('.')}.")


def has_display() -> bool:
    """Whether a window can be seen. Without a display SDL draws to memory and says nothing."""
    if sys.platform in ("win32", "darwin"):
        return True
    named = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return any(os.environ.get(name) for name in named)


def open_window(env: SingleEnv) -> bool:
    """Reset an environment with render_mode="human", which opens its window. False if SDL, which
    pygame draws with, found no display and draws to memory, unless SDL_VIDEODRIVER asks for that.
    """
    with contextlib.suppress(Exception):  # `play` resets it again, and reports errors
        env.reset()
    pygame: Any = sys.modules.get("pygame")
    if pygame is None or os.environ.get("SDL_VIDEODRIVER") or not pygame.display.get_init():
        return True
    return pygame.display.get_driver() not in ("offscreen", "dummy")


def frames_per_second(env: SingleEnv) -> float:
    """How fast the environment says that it is to be shown."""
    return float(env.metadata.get("render_fps") or FPS)


class _Frames:
    """Collects the frames of an environment, compressed."""

    def __init__(self, env: SingleEnv) -> None:
        import gymnasium

        held = self._held = list[tuple[tuple[int, ...], bytes]]()

        class Recorded(gymnasium.Wrapper[Any, Any, Any, Any]):
            # what the last reset shows is kept with the first step: evaluate() resets once more
            # at the end
            first: Any = None

            def reset(
                self, *, seed: int | None = None, options: dict[str, Any] | None = None
            ) -> tuple[Any, dict[str, Any]]:
                result = self.env.reset(seed=seed, options=options)
                self.first = self.env.render()
                return result

            def step(self, action: Any) -> Any:
                result = self.env.step(action)
                for frame in (self.first, self.env.render()):
                    if frame is not None:
                        held.append(_compressed(frame, *held[:1]))
                self.first = None
                return result

        self.env = Recorded(env)

    def recorded(self) -> Iterator[Frame]:
        for shape, data in self._held:
            yield np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)


def _compressed(
    frame: Any, first: tuple[tuple[int, ...], bytes] | None = None
) -> tuple[tuple[int, ...], bytes]:
    """The shape and the compressed bytes of a frame of the same shape as the first."""
    array = np.ascontiguousarray(frame)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ConfigError(
            "render() must return an array of uint8 of shape (height, width, 3), got "
            f"{array.dtype}{array.shape}."
        )
    if first and array.shape != first[0]:
        raise ConfigError(
            f"render() must always return the same shape, got {array.shape} after {first[0]}."
        )
    return array.shape, zlib.compress(array.tobytes(), 1)


# ---- files


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise ConfigError if no video can be written there: its suffix, its folder, a package."""
    _writer(Path(os.fsdecode(path)))


Writer = Callable[[Path, Iterator[Frame], float], None]


def _writer(path: Path) -> Writer:
    """What writes frames to such a file. Raises ConfigError if that is not possible."""
    writers: dict[str, tuple[str, Writer]] = {
        ".gif": ("PIL", _write_gif), ".mp4": ("imageio_ffmpeg", _write_mp4),
    }  # fmt: skip
    if path.suffix.lower() not in writers:
        raise ConfigError(f"A video must end with .gif or .mp4, got {os.fspath(path)!r}.")
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {os.fspath(path.parent)!r}; create it first.")
    package, write = writers[path.suffix.lower()]
    try:
        if package == "PIL":
            import PIL  # noqa: F401
        else:
            import imageio_ffmpeg  # noqa: F401
    except ImportError:
        names = {"PIL": "Pillow", "imageio_ffmpeg": "imageio-ffmpeg"}
        raise ConfigError(
            f"Writing {path.suffix} needs {names[package]}: pip install 'npr-rl[video]'."
        ) from None
    return write


def _write_gif(path: Path, frames: Iterator[Frame], fps: float) -> None:
    from PIL import Image

    # the fast one of Pillow's ways to choose colors; the default takes five times as long
    fast, plain = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    images = (Image.fromarray(frame).quantize(method=fast, dither=plain) for frame in frames)
    first = next(images)
    with replacement(os.fspath(path)) as file:
        first.save(
            file, format="GIF", save_all=True, append_images=images, loop=0,
            duration=max(20, round(1000 / fps)),
        )  # fmt: skip


def _write_mp4(path: Path, frames: Iterator[Frame], fps: float) -> None:
    import imageio_ffmpeg

    temporary = path.with_name(f".{path.stem[:60]}.{os.getpid()}.mp4")
    first = next(frames)
    height, width, _ = first.shape
    # the widths and heights of H.264's usual color format are even
    writer = imageio_ffmpeg.write_frames(
        os.fspath(temporary), (width, height), fps=fps, macro_block_size=2, quality=7
    )
    try:
        writer.send(None)
        for frame in itertools.chain([first], frames):
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        os.replace(temporary, path)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)
