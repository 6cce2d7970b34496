"""Environments that break the contract: each fault is named, and nothing invalid is stored.

The table CONTRACT lists the faults; every one is tried in a single environment and in vectors."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from support.faults import PAIR, TWO, A, cut, ended, in_space, paid, raises, seen, told
from support.recorders import VECTORS, behind_the_door, dqn
from support.toy_envs import CountingEnv, Hostile, RandomObservation

import npr
from npr.envs.contract import transition
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError

FIX = r"Fix the environment"
RETURN = r"Return (float|bool)\(\.\.\.\) of what you mean"
OLD_GYM = "the API of old Gym"

# name -> (how the environment is broken, what the error says after "env 1, step 2: ")
CONTRACT = {
    "shape (1,)": (seen(np.zeros(1, np.float32)), r"shape \(1,\), the space says \(3,\)\. " + FIX),
    "shape (4,)": (seen(np.zeros(4)), r"shape \(4,\), the space says \(3,\)\. " + FIX),
    "shape (1, 3)": (seen(np.zeros((1, 3))), r"shape \(1, 3\), the space says \(3,\)\. " + FIX),
    "a number": (seen(0.5), r"shape \(\), the space says \(3,\)\. " + FIX),
    "no observation": (seen(None), r"Got None \(NoneType\) for an observation.*" + FIX),
    "strings": (seen(np.array(["1", "2", "3"])), r"\(ndarray\) for an observation.*" + FIX),
    "a text": (seen("abc"), r"Got 'abc' \(str\) for an observation.*" + FIX),
    "bytes": (seen(b"abc"), r"Got b'abc' \(bytes\) for an observation.*" + FIX),
    "complex": (seen(np.zeros(3, complex)), r"\(ndarray\) for an observation.*" + FIX),
    "objects": (seen(np.array([None] * 3)), r"\(ndarray\) for an observation.*" + FIX),
    "dates": (seen(np.zeros(3, "M8[s]")), r"\(ndarray\) for an observation.*" + FIX),
    "a dict": (seen({"a": 1}), r"\(dict\) for an observation, the space says numbers.*" + FIX),
    "a ragged list": (seen([1, [2]]), r"Got \[1, \[2\]\] \(list\) for an observation.*" + FIX),
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
    "a missing key": (in_space(PAIR, {"a": A, "b": 0}, {"a": A}), r"'b' is missing.*" + FIX),
    "no dict": (in_space(PAIR, {"a": A, "b": 0}, None), r"Got None.*'a' is missing.*" + FIX),
    "a bad part": (in_space(PAIR, {"a": A, "b": 0}, {"a": A, "b": 2}), "outside Discrete.*" + FIX),
    "a short tuple": (in_space(TWO, (0, 0), (0,)), r"with the parts \[0, 1\].*missing.*" + FIX),
    "a long tuple": (in_space(TWO, (0, 0), (0, 0, 0)), r"or there are too many\. " + FIX),
    "a reward of text": (paid("3"), r"'3' \(str\) as the reward.*one number\. " + RETURN),
    "no reward": (paid(None), r"None \(NoneType\) as the reward.*" + RETURN),
    "two rewards": (paid(np.zeros(2)), r"\(ndarray\) as the reward.*" + RETURN),
    "a complex reward": (paid(1j), r"1j \(complex\) as the reward.*" + RETURN),
    "a list of one reward": (paid([1.0]), r"\[1\.0\] \(list\) as the reward.*" + RETURN),
    "a reward beyond all floats": (paid(10**400), r"\(int\) as the reward.*" + RETURN),
    "terminated 1": (ended(1), r"1 \(int\) as terminated, which must be a bool\. " + RETURN),
    "terminated 'no'": (ended("no"), r"'no' \(str\) as terminated.*" + RETURN),
    "terminated an array": (ended(np.zeros(1, bool)), r"\(ndarray\) as terminated.*" + RETURN),
    "truncated None": (cut(None), r"None \(NoneType\) as truncated.*" + RETURN),
    "truncated 0.0": (cut(0.0), r"0\.0 \(float\) as truncated.*" + RETURN),
    "info None": (told(None), r"step\(\) must return a dict as info, got None.*Return \{\}"),
    "info a list": (told([]), r"step\(\) must return a dict as info, got \[\].*Return \{\}"),
    "four values": ({"step": lambda o, r, end, cut, info: (o, r, end, info)},
                    "tuple of 4.*" + OLD_GYM),
    "six values": ({"step": lambda *result: (*result, 0)}, "tuple of 6.*return both flags"),
    "nothing": ({"step": lambda *result: None}, "got NoneType.*return both flags"),
    "a list": ({"step": lambda *result: [*result]}, "got list.*return both flags"),
}  # fmt: skip
NUMBERS = {
    "nan": (seen(np.array([1, 0, np.nan])), r"observation \(index 2 = nan\)"),
    "inf": (seen(np.array([1, np.inf, 0])), r"observation \(index 1 = inf\)"),
    "beyond float32": (seen(np.array([1e300, 0, 0])), r"observation \(index 0 = inf\).*too large"),
    "a reward nan": (paid(np.float32("nan")), r"reward \(nan\)"),
    "a reward beyond float32": (paid(1e300), r"reward \(inf\).*too large for float32"),
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


def caught(env, error, match, **settings):
    """An agent after its refusal of env 1 of three."""
    makers = iter([CountingEnv, env, functools.partial(CountingEnv, 2)])
    agent = dqn(lambda: next(makers)(), 3, **settings)
    with pytest.raises(error, match=match):
        agent.learn(60)
    return agent


def assert_sound(agent, rows):
    """Nothing bad is in the replay, whose rows are whole steps."""
    D = agent.buffer
    assert D.size == rows
    assert all(np.isfinite(column).all() for column in D.state().values())
    assert agent.envs.s is None, "the next learn() starts fresh episodes"


def alike(fault):
    """Three environments of one space, the second of which is hostile, for open_environments."""
    sound = {k: v for k, v in fault.items() if k in ("space", "sound")}
    return [functools.partial(Hostile, number=0, **sound), functools.partial(Hostile, **fault)]


@pytest.mark.parametrize("name", CONTRACT)
def test_a_breach_of_the_contract_is_named_and_nothing_of_it_is_kept(name):
    fault, match = CONTRACT[name]
    makers = iter(alike(fault))
    agent = dqn(lambda: next(makers)(), 2)
    with pytest.raises(EnvContractError, match=rf"^env 1, step 2: .*{match}"):
        agent.learn(60)
    assert_sound(agent, 2)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_not_finite_is_named_with_the_action_before_it(name):
    fault, match = NUMBERS[name]
    where = r"at step 2, 2 steps into its episode; its last action was [01]\."
    match = match.replace(r"\).*", rf"\) {where}.*") if ".*" in match else f"{match} {where}"
    rule = r".* Fix the environment, or pass nan_obs='terminate'\."
    agent = caught(functools.partial(Hostile, **fault), EnvContractError, f"^env 1 .*{match}{rule}")
    assert_sound(agent, 3)


@pytest.mark.parametrize("name", CRASH)
def test_an_environment_that_raises_is_named_and_its_error_is_the_cause(name):
    fault, match = CRASH[name]
    rule = (
        r".* at step 2, 2 steps into its episode; its last action was [01]\. Nothing of that "
        r"step was stored\. Fix the environment, or pass on_env_error='reset'\."
    )
    fault = functools.partial(Hostile, **fault)
    agent = caught(fault, EnvCrashedError, f"^env 1 raised {match}{rule}")
    assert_sound(agent, 3)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("name", RESETS)
def test_a_reset_that_breaks_the_contract_is_named(name, at):
    fault, match = RESETS[name]
    env = functools.partial(Hostile, reset=fault, at=at)
    step = 0 if at == 1 else 3
    agent = caught(env, EnvContractError, rf"^env 1, step {step}: .*{match}")
    assert_sound(agent, 0 if at == 1 else 6)


def test_a_reset_that_raises_or_takes_no_seed_is_named():
    env = functools.partial(Hostile, reset=raises(KeyError("map")), at=2)
    caught(env, EnvCrashedError, r"^env 1 raised KeyError: 'map', at step 3, 0 steps into its ep")

    class Seedless(CountingEnv):
        def reset(self):
            return super().reset()

    caught(Seedless, EnvContractError, r"^env 1: reset\(\) does not take a seed.*old Gym; define")


def test_the_zoo_has_forty_environments():
    assert len(CONTRACT) + len(NUMBERS) + len(CRASH) + len(RESETS) + 2 >= 40


def test_environments_that_are_one_or_differ_are_refused():
    one = CountingEnv()
    with pytest.raises(ConfigError, match="returned the same one again. Make a new one in every"):
        npr.DQN(lambda: one, n_envs=2)
    kinds = iter([CountingEnv, RandomObservation])
    with pytest.raises(SpaceError, match=r"env 1 has the spaces .* env 0 has .*\. Give all the"):
        npr.DQN(lambda: next(kinds)(), n_envs=2)


@pytest.mark.parametrize("kind", ["sync-next", "sync-same", "sync-disabled"])
@pytest.mark.parametrize("name", ["shape (1,)", "no observation", "four values", "an index below",
                                  "a missing key"])  # fmt: skip
def test_a_vector_environment_s_breach_is_named_where_it_shows(name, kind):
    env, _ = behind_the_door(kind, alike(CONTRACT[name][0]))
    agent = dqn(env, 1)
    with pytest.raises(EnvContractError, match=r"^env 1, step 2: "):
        agent.learn(60)
    assert_sound(agent, 2)


@pytest.mark.parametrize("kind", ["sync-next", "sync-same", "sync-disabled"])
def test_an_error_in_a_list_of_gymnasium_s_is_traced_to_its_environment(kind):
    makers = [CountingEnv, functools.partial(Hostile, step=raises(ValueError("boom")))]
    agent = dqn(behind_the_door(kind, makers)[0], 1)
    with pytest.raises(EnvCrashedError, match="^env 1 raised ValueError: boom, at step 2, 2 steps"):
        agent.learn(60)
    assert_sound(agent, 2)


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
def test_the_columns_of_a_vector_environment_of_the_user_s_are_checked(name, column, match):
    class Odd(gym.vector.VectorWrapper):
        def step(self, actions):
            result = dict(zip(("observation", "rewards", "terminated", "truncated", "info"),
                              self.env.step(actions)))  # fmt: skip
            return tuple({**result, name: column}.values())

    env = Odd(VECTORS["sync-next"]([CountingEnv, CountingEnv]))
    with pytest.raises(EnvContractError, match=rf"^vector environment, step 1: .*{match}"):
        dqn(env, 1).learn(10)


@pytest.mark.parametrize(
    "reward",
    [True, np.True_, 1, np.int8(1), np.float32(1), np.array(1.0), np.ones(1), np.ones((1, 1))],
    ids=repr,
)
def test_a_reward_may_be_any_one_real_number(reward):
    got = transition((0, reward, np.False_, False, {}))[1]
    assert isinstance(got, float) and got == 1.0


def test_interrupts_pass_through_an_environment_unchanged():
    for error in (KeyboardInterrupt, SystemExit):
        env = functools.partial(Hostile, step=raises(error()))
        assert_sound(caught(env, error, "", on_env_error="reset"), 3)


# ---- evaluation


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        ({"step": raises(ValueError("boom"))}, EnvCrashedError, "raised ValueError: boom. Fix it"),
        (paid("3"), EnvContractError, r"'3' \(str\) as the reward"),
        (cut(None), EnvContractError, "None .* as truncated"),
    ],
)
def test_evaluation_names_the_episode_and_the_step_of_a_fault(fault, error, match):
    agent = dqn(CountingEnv, 1).learn(20)
    where = "^evaluation, episode 1, step 2: "
    with pytest.raises(error, match=f"{where}.*{match}"):
        agent.evaluate(Hostile(at=5, **fault), episodes=4)
    agent.act(np.zeros(3, np.float32))
    agent.learn(5)


def test_rewards_too_large_for_float32_losses_are_warned_of_once():
    class Rich(CountingEnv):
        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, 1e7 * reward, *rest

    with pytest.warns(npr.ConfigWarning) as caught:
        dqn(Rich, 1).learn(60)
    texts = [str(one.message) for one in caught]
    (text,) = [text for text in texts if text.startswith("env 0 gave a reward of ")]
    assert "normalize_reward=True" in text
