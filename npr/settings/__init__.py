"""Settings of algorithms: their declarations, and groups that several algorithms share.

Imports the layers below. Algorithms use `setting`, the groups and the type aliases; users see
settings as keyword arguments, attributes and in `help()`.
"""

from npr.settings.groups import (
    ActorCritic,
    Advantages,
    Critics,
    EpsilonGreedy,
    Networks,
    PolicyGradient,
    Proximal,
    Replay,
    TargetNetwork,
)
from npr.settings.schedule import Schedule
from npr.settings.setting import NetArch, Setting, Settings, setting
from npr.settings.tables import Tabular

__all__ = [
    "ActorCritic", "Advantages", "Critics", "EpsilonGreedy", "NetArch", "Networks",
    "PolicyGradient", "Proximal", "Replay", "Schedule", "Setting", "Settings", "Tabular",
    "TargetNetwork", "setting",
]  # fmt: skip
