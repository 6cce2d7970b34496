"""learn() in many small pieces gives the bytes of one learn(), for every algorithm."""

import numpy as np
import pytest
from support.small_agents import CASES, small_agent

from npr import ConfigWarning
from npr.files.parts import is_array, parts

STEPS = 120
# schedules depend on the end of a run, which each piece sets anew
STEADY = {"exploration_fraction": 0.0, "per_beta": 1.0}


def bytes_of(agent):
    state = {}
    for name, part in parts(agent).items():
        arrays = {"": part} if is_array(part) else part.state()
        state |= {f"{name}.{key}": np.asarray(one).tobytes() for key, one in arrays.items()}
    return state


@pytest.mark.filterwarnings("ignore::npr.ConfigWarning")
@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_many_short_runs_are_one_long_run(case, n_envs):
    def agent():
        steady = {name: value for name, value in STEADY.items() if name in settings}
        return small_agent(case, n_envs=n_envs, **steady)

    settings = small_agent(case).settings
    whole, pieces, single = agent(), agent(), agent()
    whole.learn(STEPS)
    for _ in range(STEPS // n_envs):
        single.learn(1, reset_num_timesteps=False)
    for piece in (2, 6, 30, 10, 72):
        pieces.learn(piece, reset_num_timesteps=False)
    assert whole.n_updates == single.n_updates == pieces.n_updates
    assert bytes_of(whole) == bytes_of(single) == bytes_of(pieces)
    assert whole.envs.s.tobytes() == single.envs.s.tobytes() == pieces.envs.s.tobytes()


@pytest.mark.parametrize(
    "case, steps, match",
    [
        ("PPO", 15, "PPO: no update was made, since one needs 16 steps of each environment"),
        ("A2C", 7, "A2C: no update was made, since one needs 8 steps"),
        ("REINFORCE", 5, "REINFORCE: no update was made, since one needs 1 complete episodes"),
    ],
)
def test_a_run_that_is_too_short_for_an_update_says_so(case, steps, match):
    agent = small_agent(case)
    with pytest.warns(ConfigWarning, match=match):
        agent.learn(steps)
    assert (agent.n_updates, len(agent.steps)) == (0, steps)
