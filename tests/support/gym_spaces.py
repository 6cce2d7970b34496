"""One Gymnasium space of every kind, for observations and for actions."""

import numpy as np
from gymnasium import spaces

OBSERVATIONS = {
    "Box": spaces.Box(-1, 1, (3,)),
    "Box float64 (2, 2)": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
    "Box uint8 (2, 2, 3)": spaces.Box(0, 255, (2, 2, 3), np.uint8),
    "Discrete": spaces.Discrete(5, start=2),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(4),
    "Dict": spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Dict(c=spaces.Discrete(3))),
    "Tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    "Text": spaces.Text(4),
    "Sequence": spaces.Sequence(spaces.Discrete(3)),
    "Box ()": spaces.Box(-1, 1, ()),
    "Box float16": spaces.Box(-1, 1, (2,), np.float16),
    "Box int16": spaces.Box(-5, 5, (2,), np.int16),
    "Box without width": spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32)),
    "Box of nothing": spaces.Box(-1, 1, (0,)),
    "MultiDiscrete (2, 2)": spaces.MultiDiscrete([[3, 2], [2, 4]], start=[[0, 1], [-1, 5]]),
    "Tuple of Dict": spaces.Tuple([spaces.Dict(a=spaces.MultiBinary(2)), spaces.Box(-1, 1, ())]),
    "Tuple of nothing": spaces.Tuple([]),
    "Graph": spaces.Graph(spaces.Box(-1, 1, (2,)), None),
    "OneOf": spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
}
ACTIONS = {
    "Discrete": spaces.Discrete(3),
    "Discrete from -1": spaces.Discrete(3, start=-1),
    "Box": spaces.Box(-2, 1, (2,)),
    "Box float64 (2, 2)": spaces.Box(-3, 1, (2, 2), np.float64),
    "Box unbounded": spaces.Box(-np.inf, np.inf, (2,)),
    "Box half bounded": spaces.Box(0, np.inf, (2,)),
    "Box of integers": spaces.Box(0, 5, (2,), np.int32),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(4),
    "Tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    "Box ()": spaces.Box(-1, 1, ()),
    "Box float16": spaces.Box(-1, 1, (2,), np.float16),
    "Box without width": spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32)),
    "Box of nothing": spaces.Box(-1, 1, (0,)),
    "MultiDiscrete (2, 2)": spaces.MultiDiscrete([[3, 2], [2, 4]], start=[[0, 1], [-1, 5]]),
    "Dict": spaces.Dict(a=spaces.Box(-1, 1, (2,))),
    "Graph": spaces.Graph(spaces.Box(-1, 1, (2,)), None),
    "OneOf": spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    "Sequence": spaces.Sequence(spaces.Discrete(3)),
    "Text": spaces.Text(4),
}
