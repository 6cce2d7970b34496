"""Hostile environments at the door: each is refused by name, and nothing of it is kept.

The kinds of environments behind the door, and an agent that keeps its rows, are test_envs'.
"""

import functools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from test_envs import VECTORS, Recorder, RolloutRecorder, behind_the_door, by_env, dqn
from toy_envs import CountingEnv, Faulty, Hostile, RandomObservation

import npr
from npr.envs.batched import CRASHES
from npr.envs.contract import transition
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, SpaceError

FIX = r"Fix the environment"
RETURN = r"Return (float|bool)\(\.\.\.\) of what you mean"
OLD_GYM = "the API of old Gym"


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


# ---- nan_obs="terminate"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("fault", Faulty.FAULTS)
@pytest.mark.parametrize("kind", ["list", "sync-disabled"])
def test_a_number_that_is_not_finite_ends_its_episode_where_that_is_asked_for(kind, fault, bad):
    env, n_envs = behind_the_door(kind, [CountingEnv, lambda: Faulty(fault, bad, number=1)])
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0, nan_obs="terminate")
    if fault == "reset":  # tried again, no episode was open
        agent.learn(60)
    else:
        with pytest.warns(RuntimeWarning, match=r"^env 1 .* dropped and the environment reset"):
            agent.learn(60)
    assert agent.envs.dropped == (fault != "reset")
    assert len(agent.rows) == agent.num_timesteps >= 60
    rows = by_env(agent.rows)
    step = {"step": 2, "reward": 2, "final": 4, "reset": 5}[fault]
    for s, _, r, s2, _ in agent.rows:
        assert s2 == (s[0], s[1], s[2] + 1) and np.isfinite(r)
    episodes = [s[1] for s, *_ in rows[1]]
    assert episodes.count(0) == step - 1, "the step itself is dropped"
    assert episodes.count(1) == (0 if fault == "reset" else 4) and episodes.count(2) == 4
    assert len(rows[0]) >= 29, "the other environment goes on"
    pairs = {(number, row[0][:2]) for number, row in zip(agent.episodes, agent.rows)}
    assert len(pairs) == len({number for number, _ in pairs}), "its episode has another number"
    whole = len([s for s, *_, s2, end in rows[1] if end])
    lengths = [length for _, length in agent.logger.episodes]
    assert lengths.count(4) == whole and set(lengths) == {3, 4}, "no statistics of what was dropped"


def test_one_warning_stands_for_all_that_follow_and_they_are_counted():
    env = functools.partial(Hostile, always=True, **seen(np.full(3, np.nan)))
    agent = Recorder(env, seed=0, verbose=0, nan_obs="terminate")
    with pytest.warns(RuntimeWarning, match="counted in envs.dropped") as warned:
        agent.learn(1)
        agent.envs.step(np.zeros(1, int))
        for _ in range(4):
            assert agent.envs.step(np.zeros(1, int))[4].tolist() == [False]
    assert len(warned) == 1 and agent.envs.dropped == 5


def test_a_dropped_step_is_a_row_that_is_not_valid():
    makers = [CountingEnv, lambda: Faulty("step", number=1)]
    env, n_envs = behind_the_door("list", makers)
    agent = RolloutRecorder(env, n_envs=n_envs, seed=0, verbose=0, nan_obs="terminate")
    with pytest.warns(RuntimeWarning):
        agent.learn(40)
    D = agent.rows[0]
    assert np.argwhere(~D.valid).tolist() == [[1, 1]]
    assert D.r[1, 1] == 0 and np.isfinite(D.s2).all()


@pytest.mark.parametrize("kind", ["list", "sync-disabled"])
def test_a_reset_that_never_gets_finite_is_refused_after_three_more(kind):
    made = []

    def make():
        bad = np.array([1, 0, np.nan], np.float32)
        made.append(Hostile(reset=lambda o, info: (bad, info), at=1, always=True))
        return made[-1]

    agent = Recorder(behind_the_door(kind, [make])[0], seed=0, verbose=0, nan_obs="terminate")
    with pytest.raises(EnvContractError, match=r"env 0 .*index 2 = nan\) at step 0, 0 steps.*Fix"):
        agent.learn(5)
    assert made[-1].resets == 4


@pytest.mark.parametrize("kind", ["sync-next", "sync-same"])
def test_an_environment_that_resets_itself_cannot_be_cut_short(kind):
    env, _ = behind_the_door(kind, [CountingEnv])
    with pytest.raises(ConfigError, match="nan_obs='terminate' needs environments that npr resets"):
        npr.DQN(env, nan_obs="terminate")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"nan_obs": "ignore"}, "nan_obs must be 'raise' or 'terminate', got 'ignore'"),
        ({"on_env_error": "terminate"}, "on_env_error must be 'raise' or 'reset', got 'termin"),
        ({"env_timeout": 0}, "env_timeout must be above 0"),
        ({"env_timeout": "5"}, "env_timeout must be float or None"),
    ],
)
def test_a_rule_that_is_not_known_is_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        npr.DQN("CartPole-v1", **settings)


# ---- on_env_error="reset"


def test_an_environment_that_raises_is_reset_where_that_is_asked_for():
    makers = [CountingEnv, functools.partial(Hostile, step=raises(ValueError("boom")), at=5)]
    env, n_envs = behind_the_door("list", makers)
    agent = Recorder(env, n_envs=n_envs, seed=0, verbose=0, on_env_error="reset")
    with pytest.warns(RuntimeWarning, match=r"^env 1 raised ValueError: boom, at step 5.*dropped"):
        agent.learn(40)
    assert agent.envs.dropped == 1 and len(agent.rows) == agent.num_timesteps
    rows = [row[0][1:] for row in by_env(agent.rows)[1]]
    assert rows[:7] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2)]
    assert {length for _, length in agent.logger.episodes} == {3}


@pytest.mark.parametrize("call", ["step", "reset"])
def test_more_than_ten_crashes_within_an_hour_are_refused_after_all(call):
    fault = {call: raises(ValueError("boom")), "at": 3, "always": True}
    agent = Recorder(functools.partial(Hostile, **fault), verbose=0, on_env_error="reset")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(EnvCrashedError, match="lets 10 crashes within an hour pass, and this"):
            agent.learn(100)
    assert len(warned) == CRASHES


def test_crashes_that_lie_an_hour_apart_are_no_reason_to_stop(monkeypatch):
    hours = iter(range(1_000))
    monkeypatch.setattr("npr.envs.batched.time.monotonic", lambda: 400.0 * next(hours))
    fault = functools.partial(Hostile, step=raises(ValueError("boom")), at=3, always=True)
    agent = Recorder(fault, verbose=0, on_env_error="reset")
    agent.envs.reset()
    with pytest.warns(RuntimeWarning):
        for _ in range(30):
            agent.envs.step(np.zeros(1, int))
    assert agent.envs.dropped == 28


def test_a_vector_environment_of_the_user_s_cannot_be_replaced():
    with pytest.raises(ConfigError, match="on_env_error='reset' needs environments that npr makes"):
        npr.DQN(behind_the_door("sync-disabled", [CountingEnv])[0], on_env_error="reset")


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


# ---- seeds


@pytest.mark.parametrize("kind", [int, np.int64, np.uint32, lambda n: n + 10**40])
def test_a_thousand_seeds_and_environments_have_a_thousand_streams(kind):
    agents = [Recorder(CountingEnv, n_envs=4, seed=kind(n), verbose=0) for n in range(250)]
    seeds = [seed for agent in agents for seed in agent.envs.seeds]
    assert len(set(seeds)) == 1_000
    starts = {gym.utils.seeding.np_random(seed)[0].integers(2**63) for seed in seeds}
    assert len(starts) == 1_000


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
