"""Search spaces of the algorithms, as data: setting -> (kind, ...).

    ("float", low, high)        uniform
    ("log", low, high)          log-uniform
    ("linear", low, high)       a schedule "linear:x" that ends at 0, x log-uniform
    ("complement", low, high)   1 - x with x log-uniform: gamma, gae_lambda
    ("int", low, high)          whole numbers, both ends included
    ("power", low, high)        powers of two, both ends included
    ("choice", [a, b, ...])     one of these values

The ranges follow RL Baselines3 Zoo (rl_zoo3/hyperparams_opt.py), where the setting exists there.
Settings that are not in a space keep the value of the preset, or the default.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from npr.errors import ConfigError
from npr.settings import Setting, Settings, schedule
from npr.settings.setting import check_names, plain

Dimension = tuple[Any, ...]
Space = dict[str, Dimension]

KINDS = ("float", "log", "linear", "complement", "int", "power", "choice")

_GAMMA: Dimension = ("complement", 5e-4, 0.1)
_ON_POLICY: Space = {
    "learning_rate": ("log", 1e-5, 1e-2),
    "gamma": _GAMMA,
    "ent_coef": ("log", 1e-8, 0.1),
    "max_grad_norm": ("float", 0.3, 5.0),
    "net_arch": ("choice", [[64], [64, 64], [128, 128], [256, 256]]),
    "activation": ("choice", ["tanh", "relu"]),
}
_ADVANTAGES: Space = {
    **_ON_POLICY,
    "gae_lambda": ("complement", 5e-3, 0.2),
    "vf_coef": ("float", 0.1, 1.0),
}
_PPO: Space = {
    **_ADVANTAGES,
    "n_steps": ("power", 16, 1024),
    "batch_size": ("power", 32, 512),
    "n_epochs": ("choice", [1, 5, 10, 20]),
}
_OFF_POLICY: Space = {
    "learning_rate": ("log", 3e-5, 1e-2),
    "gamma": _GAMMA,
    "batch_size": ("power", 32, 512),
    "tau": ("log", 1e-3, 0.08),
    "net_arch": ("choice", [[64, 64], [128, 128], [256, 256], [400, 300]]),
}
_DDPG: Space = {
    **_OFF_POLICY,
    "action_noise": ("choice", ["normal", "ou"]),
    "exploration_noise": ("float", 0.0, 0.5),
}
_DQN: Space = {
    "learning_rate": ("log", 3e-5, 1e-2),
    "gamma": _GAMMA,
    "batch_size": ("power", 16, 256),
    "net_arch": ("choice", [[64], [64, 64], [128, 128], [256, 256]]),
    "train_freq": ("power", 1, 16),
    "gradient_steps": ("choice", [1, 2, 4]),
    "n_step_return": ("choice", [1, 3, 5]),
    # soft updates at every step, or copies
    "tau": ("choice", [0.005, 0.02, 1.0]),
    "target_update_interval": ("power", 1, 2048),
    "exploration_fraction": ("float", 0.05, 0.5),
    "exploration_final_eps": ("float", 0.0, 0.2),
    "double": ("choice", [False, True]),
}
_TABLE: Space = {
    "learning_rate": ("log", 0.01, 1.0),
    "gamma": ("complement", 1e-3, 0.1),
    "exploration_fraction": ("float", 0.1, 0.9),
    "exploration_final_eps": ("log", 0.005, 0.2),
}

SPACES: dict[str, Space] = {
    "QLearning": _TABLE,
    "Sarsa": {**_TABLE, "expected": ("choice", [False, True])},
    "DQN": _DQN,
    "PERDQN": {**_DQN, "per_alpha": ("float", 0.2, 0.8)},
    "REINFORCE": {
        **_ON_POLICY,
        "n_episodes": ("power", 1, 32),
        "vf_epochs": ("int", 1, 10),
    },
    "QActorCritic": {**_ON_POLICY, "n_steps": ("power", 8, 128)},
    "A2C": {
        **_ADVANTAGES,
        "n_steps": ("power", 4, 256),
        "normalize_advantage": ("choice", [False, True]),
        "use_rms_prop": ("choice", [False, True]),
    },
    "PPO": {**_PPO, "clip_range": ("choice", [0.1, 0.2, 0.3, 0.4])},
    "PPOKL": {**_PPO, "target_kl": ("log", 3e-3, 0.1), "kl_coef": ("log", 0.03, 10.0)},
    "DDPG": _DDPG,
    "TD3": {
        **_DDPG,
        "policy_delay": ("int", 1, 4),
        "target_policy_noise": ("float", 0.0, 0.5),
    },
    "SoftQ": {
        **_OFF_POLICY,
        "tau": ("choice", [0.005, 0.02, 1.0]),
        "target_update_interval": ("power", 1, 2048),
        "ent_coef": ("log", 0.01, 1.0),
        "n_particles": ("power", 8, 32),
        "value_n_particles": ("power", 8, 64),
    },
    "SACS": {**_OFF_POLICY, "ent_coef": ("log", 1e-3, 1.0)},
    "SAC": {
        **_OFF_POLICY,
        "ent_coef": ("choice", ["auto", "auto_0.1", 0.5, 0.2, 0.1, 0.05, 0.01]),
    },
}


def space_of(algorithm: type[Settings]) -> Space:
    """The space of an algorithm, or of the nearest base class that has one; else {}."""
    return next((SPACES[c.__name__] for c in algorithm.__mro__ if c.__name__ in SPACES), {})


def checked(algorithm: type[Settings], space: Mapping[str, Any]) -> Space:
    """The space with plain values. Raises ConfigError for unknown settings, and for dimensions that
    hold values the setting does not take."""
    check_names(algorithm.__name__, space, algorithm.settings)
    return {
        name: _dimension(algorithm, algorithm.settings[name], given)
        for name, given in space.items()
    }


def _dimension(algorithm: type[Settings], setting: Setting, given: Any) -> Dimension:
    where = f"The space of {algorithm.__name__}: {setting.name}"
    given = plain(given)
    if not (isinstance(given, list) and given and given[0] in KINDS):
        raise ConfigError(
            f'{where} must be ("log", low, high) or ("choice", [a, b]), with a kind of '
            f"{', '.join(KINDS)}; got {given!r}."
        )
    kind, *rest = given
    if kind == "choice":
        if not (len(rest) == 1 and isinstance(rest[0], list) and rest[0]):
            raise ConfigError(f'{where} must be ("choice", [a, b, ...]), got {given!r}.')
        values = rest[0]
    else:
        _check_ends(where, kind, rest, given)
        values = [value(kind, x) for x in _numbers(kind, *rest)]
    for one in values:
        setting.checked(algorithm.__name__, one, algorithm.networks)
    return (kind, *rest)


def _check_ends(where: str, kind: str, ends: list[Any], given: Any) -> None:
    numbers = len(ends) == 2 and all(type(x) in (int, float) and math.isfinite(x) for x in ends)
    if not (numbers and ends[0] < ends[1]):
        raise ConfigError(f"{where} needs two numbers, low < high; got {given!r}.")
    if kind in ("log", "linear", "complement") and ends[0] <= 0:
        raise ConfigError(f"{where}: the lower end of {kind!r} must be above 0, got {given!r}.")
    if kind in ("int", "power") and any(x != int(x) for x in ends):
        raise ConfigError(f"{where}: the ends of {kind!r} must be whole numbers, got {given!r}.")
    if kind == "power" and any(x < 1 or int(x).bit_count() != 1 for x in ends):
        raise ConfigError(f"{where}: the ends of 'power' must be powers of two, got {given!r}.")


def _numbers(kind: str, low: float, high: float) -> tuple[float, float]:
    """The ends of the number that is drawn."""
    if kind == "power":
        return int(low).bit_length() - 1, int(high).bit_length() - 1
    return low, high


def value(kind: str, number: float) -> Any:
    """The value of a setting for the number that was drawn."""
    if kind == "linear":
        return f"linear:{number!r}"
    if kind == "complement":
        return 1 - number
    return 2 ** int(number) if kind == "power" else number


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """The settings that an Optuna trial draws from a space.

    Numbers are in the study as they are drawn: x for "complement", the exponent for "power".
    Optuna's choices are numbers and texts; others are in the study as JSON.
    """
    drawn: dict[str, Any] = {}
    for name, (kind, *rest) in space.items():
        if kind == "choice":
            by_label = {_label(one): one for one in rest[0]}
            drawn[name] = by_label[trial.suggest_categorical(name, list(by_label))]
            continue
        low, high = _numbers(kind, *rest)
        if kind in ("int", "power"):
            number = trial.suggest_int(name, int(low), int(high))
        else:
            number = trial.suggest_float(name, low, high, log=kind != "float")
        drawn[name] = value(kind, number)
    return drawn


def located(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What an Optuna trial has to draw for these settings: the inverse of `suggest`.

    Settings that are not in the space are left out.
    """
    drawn: dict[str, Any] = {}
    for name, (kind, *rest) in space.items():
        held = settings[name]
        if kind == "choice":
            if held in rest[0]:
                drawn[name] = _label(rest[0][rest[0].index(held)])
            continue
        if kind == "linear" and isinstance(held, (str, list)):
            first, last = schedule.ends(name, held)
            held = None if last else first
        elif kind == "linear":
            held = None
        if not isinstance(held, (int, float)):  # None, or a schedule where a number is searched
            continue
        low, high = _numbers(kind, *rest)
        number: float = round(1 - held, 12) if kind == "complement" else held
        if kind == "power":
            exponent = int(held).bit_length() - 1
            number = exponent if held == 2**exponent else -1
        if low <= number <= high:
            drawn[name] = number
    return drawn


def _label(one: Any) -> Any:
    return json.dumps(one) if isinstance(one, (list, dict)) else one


# ---- from a command line


def parse(algorithm: type[Settings], text: str) -> tuple[str, Dimension]:
    """(name, dimension) of "name=low:high", "name=low:high:kind" or "name=a,b,c".

    Without a kind it is that of the algorithm's space, if the setting has a range there, else "int"
    or "float" by the setting's type. Raises ConfigError if the text is none of these.
    """
    name, _, values = text.partition("=")
    name = name.strip().replace("-", "_")
    check_names(algorithm.__name__, [name], algorithm.settings)
    parts = values.split(":")
    try:
        low, high = (float(part) for part in parts[:2])
        kind = parts[2].strip() if len(parts) == 3 else _usual_kind(algorithm, name)
        if len(parts) > 3 or kind == "choice":
            raise ValueError
        ends = [int(x) if kind in ("int", "power") and x == int(x) else x for x in (low, high)]
        return name, (kind, *ends)
    except (ValueError, OverflowError):
        pass
    is_json = values.startswith(("[", "{"))
    if not values or (":" in values and not is_json and "linear:" not in values):
        raise ConfigError(
            f"--space {text!r} is none of name=low:high, name=low:high:kind and name=a,b,c; kinds "
            f"are {', '.join(KINDS[:-1])}."
        )
    return name, ("choice", _choices(values))


def _usual_kind(algorithm: type[Settings], name: str) -> str:
    kind = space_of(algorithm).get(name, ("choice",))[0]
    if kind != "choice":
        return str(kind)
    return "int" if algorithm.settings[name].type in (int, int | None) else "float"


def _choices(text: str) -> list[Any]:
    """The values of "64,128", "relu,tanh" or "[64,64],[256,256]"."""
    try:
        return list(json.loads(f"[{text}]"))
    except json.JSONDecodeError:
        return [_scalar(part.strip()) for part in text.split(",")]


def _scalar(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except json.JSONDecodeError:
        return text
