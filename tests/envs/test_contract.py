"""Environments that violate the contract: each fault is reported and nothing invalid is stored.

The table CONTRACT lists the faults; every one is tried in a single environment and in vectors."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.faults import (
    DICT_SPACE,
    TUPLE_SPACE,
    VECTOR,
    in_space,
    raises,
    with_info,
    with_observation,
    with_reward,
    with_terminated,
    with_truncated,
)
from support.recorders import VECTORS, dqn, env_and_count
from support.toy_envs import CountingEnv, FaultyEnv, RandomObservation

import npr
from npr.envs.contract import checked_step
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError

FIX = r"Fix the environment"
RETURN = r"Return (float\(reward\)|bool\((terminated|truncated)\))\."
OLD_GYM = "the API of old Gym"

# name -> (arguments of FaultyEnv, what the error says after "env 1, step 2: ")
CONTRACT = {
    "shape (1,)": (
        with_observation(np.zeros(1, np.float32)),
        r"shape \(1,\), the space says \(3,\)\. " + FIX,
    ),
    "shape (4,)": (with_observation(np.zeros(4)), r"shape \(4,\), the space says \(3,\)\. " + FIX),
    "shape (1, 3)": (
        with_observation(np.zeros((1, 3))),
        r"shape \(1, 3\), the space says \(3,\)\. " + FIX,
    ),
    "a number": (with_observation(0.5), r"shape \(\), the space says \(3,\)\. " + FIX),
    "no observation": (with_observation(None), r"Got None \(NoneType\) for an observation.*" + FIX),
    "strings": (
        with_observation(np.array(["1", "2", "3"])),
        r"\(ndarray\) for an observation.*" + FIX,
    ),
    "a text": (with_observation("abc"), r"Got 'abc' \(str\) for an observation.*" + FIX),
    "bytes": (with_observation(b"abc"), r"Got b'abc' \(bytes\) for an observation.*" + FIX),
    "complex": (with_observation(np.zeros(3, complex)), r"\(ndarray\) for an observation.*" + FIX),
    "objects": (with_observation(np.array([None] * 3)), r"\(ndarray\) for an observation.*" + FIX),
    "dates": (with_observation(np.zeros(3, "M8[s]")), r"\(ndarray\) for an observation.*" + FIX),
    "a dict": (
        with_observation({"a": 1}),
        r"\(dict\) for an observation, the space says numbers.*" + FIX,
    ),
    "a ragged list": (
        with_observation([1, [2]]),
        r"Got \[1, \[2\]\] \(list\) for an observation.*" + FIX,
    ),
    "an index too large": (in_space(spaces.Discrete(4), 0, 4), r"4 is outside Discrete\(4.*" + FIX),
    "an index below": (in_space(spaces.Discrete(4), 0, -1), r"-1 is outside Discrete\(4.*" + FIX),
    "half an index": (in_space(spaces.Discrete(4), 0, 2.5), r"2\.5 is outside Discrete.*" + FIX),
    "an index as text": (in_space(spaces.Discrete(4), 0, "1"), r"'1' is outside Discrete.*" + FIX),
    "no index": (in_space(spaces.Discrete(4), 0, None), r"None is outside Discrete.*" + FIX),
    "choices too large": (
        in_space(spaces.MultiDiscrete([2, 2]), np.zeros(2, int), np.array([0, 2])),
        r"outside MultiDiscrete\(\[2, 2\].*" + FIX,
    ),
    "halves of choices": (
        in_space(spaces.MultiDiscrete([2, 2]), np.zeros(2, int), np.array([0, 0.5])),
        r"the space says whole numbers of shape \(2,\)\. " + FIX,
    ),
    "a missing key": (
        in_space(DICT_SPACE, {"a": VECTOR, "b": 0}, {"a": VECTOR}),
        r"'b' is missing.*" + FIX,
    ),
    "no dict": (
        in_space(DICT_SPACE, {"a": VECTOR, "b": 0}, None),
        r"Got None.*'a' is missing.*" + FIX,
    ),
    "a bad part": (
        in_space(DICT_SPACE, {"a": VECTOR, "b": 0}, {"a": VECTOR, "b": 2}),
        "outside Discrete.*" + FIX,
    ),
    "a short tuple": (
        in_space(TUPLE_SPACE, (0, 0), (0,)),
        r"with the parts \[0, 1\].*missing.*" + FIX,
    ),
    "a long tuple": (in_space(TUPLE_SPACE, (0, 0), (0, 0, 0)), r"or there are too many\. " + FIX),
    "a reward of text": (with_reward("3"), r"'3' \(str\) as the reward.*one number\. " + RETURN),
    "no reward": (with_reward(None), r"None \(NoneType\) as the reward.*" + RETURN),
    "two rewards": (with_reward(np.zeros(2)), r"\(ndarray\) as the reward.*" + RETURN),
    "a complex reward": (with_reward(1j), r"1j \(complex\) as the reward.*" + RETURN),
    "a list of one reward": (with_reward([1.0]), r"\[1\.0\] \(list\) as the reward.*" + RETURN),
    "a reward beyond all floats": (with_reward(10**400), r"\(int\) as the reward.*" + RETURN),
    "terminated 1": (
        with_terminated(1),
        r"1 \(int\) as terminated, which must be a bool\. " + RETURN,
    ),
    "terminated 'no'": (with_terminated("no"), r"'no' \(str\) as terminated.*" + RETURN),
    "terminated an array": (
        with_terminated(np.zeros(1, bool)),
        r"\(ndarray\) as terminated.*" + RETURN,
    ),
    "truncated None": (with_truncated(None), r"None \(NoneType\) as truncated.*" + RETURN),
    "truncated 0.0": (with_truncated(0.0), r"0\.0 \(float\) as truncated.*" + RETURN),
    "info None": (with_info(None), r"step\(\) must return a dict as info, got None.*Return \{\}"),
    "info a list": (with_info([]), r"step\(\) must return a dict as info, got \[\].*Return \{\}"),
    "four values": (
        {"step": lambda o, r, end, cut, info: (o, r, end, info)},
        "tuple of 4.*" + OLD_GYM,
    ),
    "six values": ({"step": lambda *result: (*result, 0)}, "tuple of 6.*return both flags"),
    "nothing": ({"step": lambda *result: None}, "got NoneType.*return both flags"),
    "a list": ({"step": lambda *result: [*result]}, "got list.*return both flags"),
}
NUMBERS = {
    "nan": (with_observation(np.array([1, 0, np.nan])), r"observation \(index 2 = nan\)"),
    "inf": (with_observation(np.array([1, np.inf, 0])), r"observation \(index 1 = inf\)"),
    "beyond float32": (
        with_observation(np.array([1e300, 0, 0])),
        r"observation \(index 0 = inf\).*too large",
    ),
    "a reward nan": (with_reward(np.float32("nan")), r"reward \(nan\)"),
    "a reward beyond float32": (with_reward(1e300), r"reward \(inf\).*too large for float32"),
}
CRASH = {
    "an error": ({"step": raises(ValueError("boom"))}, "ValueError: boom"),
    "an error of unpacking": (
        {"step": raises(ValueError("not enough values to unpack"))},
        "ValueError: not enough values to unpack",
    ),
    "an assertion": ({"step": raises(AssertionError())}, "AssertionError,"),
    "a StopIteration": ({"step": raises(StopIteration())}, "StopIteration,"),
}  # fmt: skip
RESETS = {
    "old Gym's reset": (lambda o, info: o, "got ndarray.*" + OLD_GYM),
    "three values": (lambda o, info: (o, info, 0), r"reset\(\) must return \(observation, info\)"),
    "nothing": (lambda o, info: None, "got NoneType.*return the pair"),
    "no info": (lambda o, info: (o, None), r"reset\(\) must return a dict as info, got None"),
    "a wrong shape": (lambda o, info: (o[:1], info), r"shape \(1,\).*" + FIX),
}


def agent_after_error(env, error, match, **settings):
    """An agent after the expected error of env 1 of three."""
    makers = iter([CountingEnv, env, functools.partial(CountingEnv, 2)])
    agent = dqn(lambda: next(makers)(), 3, **settings)
    with pytest.raises(error, match=match):
        agent.learn(60)
    return agent


def assert_valid_replay(agent, rows):
    """The replay has `rows` transitions, all finite."""
    D = agent.buffer
    assert D.size == rows
    assert all(np.isfinite(column).all() for column in D.state().values())
    assert agent.envs.s is None, "the next learn() starts new episodes"


def valid_and_faulty(fault):
    """Makers of a valid and a faulty environment with the same spaces."""
    valid = {k: v for k, v in fault.items() if k in ("space", "valid")}
    return [functools.partial(FaultyEnv, number=0, **valid), functools.partial(FaultyEnv, **fault)]


@pytest.mark.parametrize("name", CONTRACT)
def test_a_contract_violation_is_reported_and_not_stored(name):
    fault, match = CONTRACT[name]
    makers = iter(valid_and_faulty(fault))
    agent = dqn(lambda: next(makers)(), 2)
    with pytest.raises(EnvContractError, match=rf"^env 1, step 2: .*{match}"):
        agent.learn(60)
    assert_valid_replay(agent, 2)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("name", NUMBERS)
def test_a_non_finite_number_is_reported_with_the_last_action(name):
    fault, match = NUMBERS[name]
    where = r"at step 2, 2 steps into its episode; its last action was [01]\."
    match = match.replace(r"\).*", rf"\) {where}.*") if ".*" in match else f"{match} {where}"
    advice = r".* Fix the environment, or pass nan_obs='terminate'\."
    agent = agent_after_error(
        functools.partial(FaultyEnv, **fault), EnvContractError, f"^env 1 .*{match}{advice}"
    )
    assert_valid_replay(agent, 3)


@pytest.mark.parametrize("name", CRASH)
def test_an_environment_that_raises_is_reported_with_its_error_as_cause(name):
    fault, match = CRASH[name]
    advice = (
        r".* at step 2, 2 steps into its episode; its last action was [01]\. The "
        r"step was not stored\. Fix the environment, or pass on_env_error='reset'\."
    )
    fault = functools.partial(FaultyEnv, **fault)
    agent = agent_after_error(fault, EnvCrashedError, f"^env 1 raised {match}{advice}")
    assert_valid_replay(agent, 3)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("name", RESETS)
def test_a_contract_violation_in_reset_is_reported(name, at):
    fault, match = RESETS[name]
    env = functools.partial(FaultyEnv, reset=fault, at=at)
    step = 0 if at == 1 else 3
    agent = agent_after_error(env, EnvContractError, rf"^env 1, step {step}: .*{match}")
    assert_valid_replay(agent, 0 if at == 1 else 6)


def test_a_reset_that_raises_or_takes_no_seed_is_reported():
    env = functools.partial(FaultyEnv, reset=raises(KeyError("map")), at=2)
    agent_after_error(
        env, EnvCrashedError, r"^env 1 raised KeyError: 'map', at step 3, 0 steps into its ep"
    )

    class Seedless(CountingEnv):
        def reset(self):
            return super().reset()

    agent_after_error(
        Seedless, EnvContractError, r"^env 1: reset\(\) does not take a seed.*old Gym; define"
    )


def test_there_are_forty_faulty_environments():
    assert len(CONTRACT) + len(NUMBERS) + len(CRASH) + len(RESETS) + 2 >= 40


def test_identical_environments_and_different_spaces_are_refused():
    one = CountingEnv()
    with pytest.raises(ConfigError, match="returned the same one again. Make a new one in every"):
        npr.DQN(lambda: one, n_envs=2)
    kinds = iter([CountingEnv, RandomObservation])
    with pytest.raises(SpaceError, match=r"env 1 has the spaces .* env 0 has .*\. Give all the"):
        npr.DQN(lambda: next(kinds)(), n_envs=2)


@pytest.mark.parametrize("kind", ["sync-next", "sync-same", "sync-disabled"])
@pytest.mark.parametrize("name", ["shape (1,)", "no observation", "four values", "an index below",
                                  "a missing key", "info None"])  # fmt: skip
def test_a_contract_violation_in_a_vector_env_is_reported(name, kind):
    env, _ = env_and_count(kind, valid_and_faulty(CONTRACT[name][0]))
    agent = dqn(env, 1)
    with pytest.raises(EnvContractError, match=r"^env 1, step 2: "):
        agent.learn(60)
    assert_valid_replay(agent, 2)


@pytest.mark.parametrize("kind", ["sync-next", "sync-same", "sync-disabled"])
def test_an_error_in_a_sync_vector_env_is_traced_to_its_environment(kind):
    makers = [CountingEnv, functools.partial(FaultyEnv, step=raises(ValueError("boom")))]
    agent = dqn(env_and_count(kind, makers)[0], 1)
    with pytest.raises(EnvCrashedError, match="^env 1 raised ValueError: boom, at step 2, 2 steps"):
        agent.learn(60)
    assert_valid_replay(agent, 2)


@pytest.mark.parametrize(
    ("name", "column", "match"),
    [
        ("rewards", np.array(["1", "2"]), r"rewards as numbers of shape \(2,\), got <U1\(2,\)"),
        ("rewards", np.zeros(3), r"rewards as numbers of shape \(2,\), got float64\(3,\)"),
        ("terminated", np.zeros(2, int), r"terminated as bools of shape \(2,\), got int64\(2,\)"),
        ("truncated", None, r"truncated as bools of shape \(2,\), got object\(\)"),
        ("observation", np.zeros((3, 3)), "Got observations of 3 environments, it has 2"),
        ("observation", np.zeros((2, 3), complex), r"\(ndarray\) for an observation"),
    ],
)
def test_the_arrays_of_a_vector_env_are_checked(name, column, match):
    class InvalidColumn(gym.vector.VectorWrapper):
        def step(self, actions):
            result = dict(zip(("observation", "rewards", "terminated", "truncated", "info"),
                              self.env.step(actions)))  # fmt: skip
            return tuple({**result, name: column}.values())

    env = InvalidColumn(VECTORS["sync-next"]([CountingEnv, CountingEnv]))
    with pytest.raises(EnvContractError, match=rf"^vector environment, step 1: .*{match}"):
        dqn(env, 1).learn(10)


@pytest.mark.parametrize(
    "reward",
    [True, np.True_, 1, np.int8(1), np.float32(1), np.array(1.0), np.ones(1), np.ones((1, 1))],
    ids=repr,
)
def test_a_reward_may_be_any_single_real_number(reward):
    got = checked_step((0, reward, np.False_, False, {}))[1]
    assert isinstance(got, float) and got == 1.0


def test_keyboard_interrupt_and_system_exit_are_not_caught():
    for error in (KeyboardInterrupt, SystemExit):
        env = functools.partial(FaultyEnv, step=raises(error()))
        assert_valid_replay(agent_after_error(env, error, "", on_env_error="reset"), 3)


# ---- evaluation


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        ({"step": raises(ValueError("boom"))}, EnvCrashedError, "boom.* Fix the environment. The"),
        (with_reward("3"), EnvContractError, r"'3' \(str\) as the reward"),
        (with_truncated(None), EnvContractError, "None .* as truncated"),
    ],
)
def test_evaluation_reports_the_episode_and_step_of_a_fault(fault, error, match):
    agent = dqn(CountingEnv, 1).learn(20)
    where = "^evaluation, episode 1: env 0"
    with pytest.raises(error, match=f"{where}.*{match}"):
        agent.evaluate(FaultyEnv(at=5, **fault), episodes=4)
    agent.act(np.zeros(3, np.float32))
    agent.learn(5)


def test_rewards_too_large_for_float32_losses_cause_one_warning():
    class LargeReward(CountingEnv):
        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, 1e7 * reward, *rest

    with pytest.warns(npr.ConfigWarning) as caught:
        dqn(LargeReward, 1).learn(60)
    texts = [str(one.message) for one in caught]
    (text,) = [text for text in texts if text.startswith("env 0 returned a reward of ")]
    assert "normalize_reward=True" in text
