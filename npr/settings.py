"""Settings as plain data: their names, types, ranges and choices, widths and schedules.

Whatever is wrong is refused with a ConfigError that says whose it is, what was got and what is
needed. Nothing here knows an algorithm.
"""

import difflib
import functools
import math
import numbers
import types
import typing

import numpy as np

from npr.errors import ConfigError
from npr.nn import ACTIVATIONS
from npr.noise import NOISES

# shares in [0, 1], counts of at least one, numbers above zero
_SHARES = (
    "gamma", "gae_lambda", "exploration_initial_eps", "exploration_final_eps",
    "exploration_fraction", "per_alpha", "per_beta", "kernel_update_ratio",
)  # fmt: skip
_COUNTS = (
    "buffer_size", "batch_size", "train_freq", "n_step_return", "n_envs", "n_steps", "n_epochs",
    "n_episodes", "target_update_interval", "max_episode_steps", "n_critics", "policy_delay",
    "value_n_particles", "n_particles", "baseline_actions",
)  # fmt: skip
_POSITIVE = ("max_grad_norm", "target_kl", "per_eps", "env_timeout")
_NOT_NEGATIVE = (
    "learning_starts", "clip_range", "vf_coef", "vf_epochs", "exploration_noise",
    "target_policy_noise", "target_noise_clip", "ent_coef",
)  # fmt: skip
_RANGES = {
    **dict.fromkeys(_SHARES, ("in [0, 1]", lambda x: 0 <= x <= 1)),
    **dict.fromkeys(_COUNTS, ("at least 1", lambda x: x >= 1)),
    **dict.fromkeys(_POSITIVE, ("above 0", lambda x: x > 0)),
    **dict.fromkeys(_NOT_NEGATIVE, ("at least 0", lambda x: x >= 0)),
    **dict.fromkeys(("kl_tol", "kl_scale"), ("above 1", lambda x: x > 1)),
    "learning_rate": ("in [0, 10]", lambda x: 0 <= x <= 10),
    "kl_coef": ("in [1e-4, 100]", lambda x: 1e-4 <= x <= 100),
    "log_std_init": ("in [-20, 2]", lambda x: -20 <= x <= 2),
    "gradient_steps": ("at least -1", lambda x: x >= -1),
    "tau": (
        "in [0, 0.5], or 1 for a copy; tau is 1 - polyak, did you mean the other one?",
        lambda x: 0 <= x <= 0.5 or x == 1,
    ),
}
_CHOICES = {
    "activation": tuple(ACTIVATIONS),
    "action_noise": tuple(NOISES),
    "per_normalization": ("batch", "buffer"),
    "svgd_space": ("u", "a", "legacy"),
    "nan_obs": ("raise", "terminate"),
    "on_env_error": ("raise", "reset"),
}
_HINTS = {"polyak": "tau (tau = 1 - polyak)", "lr": "learning_rate", "policy": "net_arch"}


def check_names(owner, given, known) -> None:
    """Refuse a name among those given that is not known, with the nearest that is."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            nearest = _HINTS.get(name) or (near[0] if near else None)
            advice = f"did you mean {nearest}?" if nearest else f"it has {', '.join(known)}."
            raise ConfigError(f"{owner} has no setting {name!r}; {advice}")


def checked(owner, name, value, hint, parts=()):
    """The value of owner's setting with the type of its hint, within its range.

    parts   names of the networks that net_arch may give widths to
    """
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    value = _typed(f"{owner}: {name}", value, kinds)
    if name == "net_arch":
        _check_widths(owner, value, parts)
    if name in _CHOICES and value not in _CHOICES[name]:
        choices = " or ".join(map(repr, _CHOICES[name]))
        raise ConfigError(f"{owner}: {name} must be {choices}, got {value!r}.")
    if name in _RANGES:
        text, fits = _RANGES[name]
        both = (value,)
        if isinstance(value, (str, list)):  # a schedule, or a word that the algorithm checks
            both = _schedule(f"{owner}: {name}", value) if list in kinds else ()
        if not all(map(fits, both)):
            raise ConfigError(f"{owner}: {name} must be {text}, got {value!r}.")
    return value


def checked_seed(owner, seed):
    if seed is None:
        return None
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    if not (whole and seed >= 0):
        raise ConfigError(f"{owner}: seed must be a whole number >= 0 or None, got {seed!r}.")
    return int(seed)


def _typed(where, value, kinds):
    """The value as the first of its kinds that can hold it exactly."""
    wanted = " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
    error = ConfigError(f"{where} must be {wanted}, got {value!r}.")
    if isinstance(value, (bool, np.bool_)):
        if bool not in kinds:
            raise error
        return bool(value)
    if isinstance(value, numbers.Real):
        if int in kinds and abs(value) < 2**62 and value == int(value):
            return int(value)
        if float in kinds and math.isfinite(value):
            return float(value)
        raise error
    if type(value) is tuple and list in kinds:
        return list(value)
    if type(value) not in kinds:
        raise error
    return value


def _check_widths(owner, arch, parts):
    by_part = arch if isinstance(arch, dict) else dict.fromkeys(parts, arch)
    if set(by_part) != set(parts) or not all(
        type(widths) is list and all(type(n) is int and n > 0 for n in widths)
        for widths in by_part.values()
    ):
        raise ConfigError(
            f"{owner}: net_arch must be a list of whole numbers above 0, or a dict of such lists "
            f"for {' and '.join(parts)}; got {arch!r}."
        )


def ends(setting) -> tuple:
    """(first, last) of a schedule that was checked: "linear:3e-4", "linear:3e-4:1e-5" or a pair."""
    return _ends(setting) if isinstance(setting, str) else setting


@functools.lru_cache(maxsize=64)
def _ends(text):
    """_schedule of a text, which is asked for at every update."""
    return _schedule("", text)


def _schedule(where, value):
    parts = value.removeprefix("linear:").split(":") if isinstance(value, str) else value
    try:
        if isinstance(value, str) and not value.startswith("linear:"):
            raise ValueError
        first, last = (*map(_number, parts), 0.0)[:2] if len(parts) in (1, 2) else ()
    except (ValueError, TypeError, IndexError):
        raise ConfigError(
            f"{where} must be a number, 'linear:first', 'linear:first:last' or a pair, got "
            f"{value!r}."
        ) from None
    return first, last


def _number(part):
    if isinstance(part, bool) or not math.isfinite(float(part)):
        raise ValueError
    return float(part)


def is_whole(number) -> bool:
    """Whether a number, of whatever type, is a whole one."""
    return (
        isinstance(number, (int, float, np.number))
        and not isinstance(number, bool)
        and math.isfinite(number)
        and number == int(number)
    )
