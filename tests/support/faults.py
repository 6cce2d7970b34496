"""Arguments of FaultyEnv: functions that turn a valid step into an invalid one."""

import numpy as np
from gymnasium import spaces


def with_observation(bad):
    return {"step": lambda o, *rest: (bad, *rest)}


def with_reward(bad):
    return {"step": lambda o, r, *rest: (o, bad, *rest)}


def with_terminated(bad):
    return {"step": lambda o, r, end, *rest: (o, r, bad, *rest)}


def with_truncated(bad):
    return {"step": lambda o, r, end, cut, info: (o, r, end, bad, info)}


def with_info(bad):
    return {"step": lambda *result: (*result[:4], bad)}


def raises(error):
    def fault(*result):
        raise error

    return fault


def in_space(space, valid, bad):
    return {"space": space, "valid": valid, **with_observation(bad)}


DICT_SPACE = spaces.Dict(a=spaces.Box(-1, 1, (1,)), b=spaces.Discrete(2))
TUPLE_SPACE = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])
VECTOR = np.zeros(1, np.float32)
