"""Functions that turn a sound step of an environment into a faulty one."""

import numpy as np
from gymnasium import spaces


def seen(bad):
    return {"step": lambda o, *rest: (bad, *rest)}


def paid(bad):
    return {"step": lambda o, r, *rest: (o, bad, *rest)}


def ended(bad):
    return {"step": lambda o, r, end, *rest: (o, r, bad, *rest)}


def cut(bad):
    return {"step": lambda o, r, end, cut, info: (o, r, end, bad, info)}


def told(bad):
    return {"step": lambda *result: (*result[:4], bad)}


def raises(error):
    def fault(*result):
        raise error

    return fault


def in_space(space, sound, bad):
    return {"space": space, "sound": sound, **seen(bad)}


PAIR = spaces.Dict(a=spaces.Box(-1, 1, (1,)), b=spaces.Discrete(2))
TWO = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])
A = np.zeros(1, np.float32)
