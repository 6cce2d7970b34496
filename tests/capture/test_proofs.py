"""The proof of a plan finds whatever is wrong with its rows, and is repeated."""

import ctypes
import struct
import warnings

import numpy as np
import pytest
from support.captured import Toy, bits, eager, replays, saved_arrays, states, toy, updates, vector
from support.small_agents import small_agent
from support.update_batches import batches

from npr.capture import plans, report
from npr.kernels import table as kernels

NOTHING = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(lambda words: 0)
ADDRESS = ctypes.cast(NOTHING, ctypes.c_void_p).value


def learned(agent):
    return {name: bits(x) for name, x in saved_arrays(agent).items()}


# ---- faults of a table: each is (text, what makes it)


def setting(array, index, value):
    return lambda: array.__setitem__(index, value)


def rows_left_out(plan):
    for i in range(len(plan._rows)):
        yield f"row {i} left out", setting(plan._rows, (i, 0), ADDRESS)


def other_operands(plan):
    """Arrays of a row exchanged for others of the same shape and layout, of any row."""
    held = {id(x): x for _, args in plan._table.calls for x in args if type(x) is np.ndarray}
    alike = {}
    for key, x in held.items():
        if x.dtype != np.int64:  # no words, counts or actions
            alike.setdefault((x.shape, x.strides, x.dtype), []).append(key)
    rng = np.random.default_rng(0)
    for i, (_, args) in enumerate(plan._table.calls):
        for k, x in enumerate(args):
            if type(x) is not np.ndarray or x.dtype == np.int64:
                continue
            others = [key for key in alike[x.shape, x.strides, x.dtype] if key != id(x)]
            if others:
                other = int(rng.choice(others))
                yield f"argument {k} of row {i}", setting(plan._rows, (i, k + 1), other)


def strided(plan):
    for i, (kernel, (words, *_)) in enumerate(plan._table.calls):
        if kernel is kernels.strided:
            yield i, words


def swapped_operands(plan):
    """Two operands of a loop, if they move alike."""
    A, S, M = kernels.ADDRESSES, kernels.STRIDES, kernels.OUTER_STRIDES
    for i, words in strided(plan):
        for k in range(2):
            same = words[S + k] == words[S + k + 1] and words[M + k] == words[M + k + 1]
            if same and words[A + k + 1] and words[A + k] != words[A + k + 1]:
                both = slice(A + k, A + k + 2)
                yield f"operands {k} of row {i}", setting(words, both, words[both][::-1].copy())


def shifted_operands(plan):
    """The first item is left out by one operand, the last by the others."""
    A, S = kernels.ADDRESSES, kernels.STRIDES
    for i, words in strided(plan):
        for k in range(3):
            if words[A + k] and words[S + k] and words[kernels.LENGTH] > 1:
                changed = words.copy()
                changed[A + k] += words[S + k]
                changed[kernels.LENGTH] -= 1
                yield f"offset {k} of row {i}", setting(words, slice(None), changed)


def shorter_loops(plan):
    for i, words in strided(plan):
        for name, k in (("length", kernels.LENGTH), ("calls", kernels.OUTER)):
            yield f"{name} of row {i}", setting(words, k, words[k] - 1)


def other_constants(plan):
    for i, (kernel, args) in enumerate(plan._table.calls):
        for k, x in enumerate(args):
            if type(x) is float:
                (word,) = struct.unpack("q", struct.pack("d", 1.5 * x + 0.25))
                yield (
                    f"number {k} of row {i}, {kernel.__name__}",
                    setting(plan._rows, (i, k + 1), word),
                )


# which part of the faults must change a result: not a row whose numbers nobody reads, and sums
# do not care about the order of their operands
LEAST = {
    rows_left_out: 0.7, other_operands: 0.6, swapped_operands: 0.2, shifted_operands: 0.6,
    shorter_loops: 0.6, other_constants: 0.6,
}  # fmt: skip


def planned(case, given):
    """An agent with a plan of `update` that is not proved yet."""
    agent = small_agent(case)
    for batch in given:
        agent.update(*batch)
    (one,) = vars(agent)["_captured"].signatures.values()
    assert one.plan is not None, report(agent)
    return agent, one


def tried(agent, one, plan, batch):
    """Whether the proof of a plan refuses it; the results of the call."""
    one.plan, one.hopeless, plan.proved, plan.due = plan, False, False, plan.replays
    result = bits(agent.update(*batch))
    return one.plan is None, result


def owner(x):
    """The array that a read-only view shows."""
    while not x.flags.writeable and isinstance(x.base, np.ndarray):
        x = x.base
    return x


@pytest.mark.parametrize("faults", LEAST, ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", ["DQN-n", "PERDQN", "PPO", "PPO-Box"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_proof_finds_a_fault_in_any_row(case, faults):
    *first, second, last = batches(small_agent(case), plans.BEFORE + 3)
    agent, one = planned(case, first)
    plan = one.plan
    arrays = [x for x in vars(agent).values() if isinstance(x, np.ndarray)]
    arrays += [x for part in vars(agent).values() if hasattr(part, "counts")
               for x in (*part.state().values(), part.counts)]  # fmt: skip
    memory = [*arrays, *plan._table.held, plan._rows]
    memory += [x for _, args in plan._table.calls for x in args if type(x) is np.ndarray]
    memory = [owner(x) for x in memory]
    memory = [(x, x.copy()) for x in memory if x.flags.writeable]

    def reset():
        """As after the trace: what it has computed is not that of the next batch."""
        for x, before in memory:
            x[...] = before

    def replayed():
        assert plan.takes(agent, second)
        return bits(plan.replay()), [bits(x) for x in arrays]

    with eager():
        expected = bits(agent.update(*second)), [bits(x) for x in arrays]
    reset()
    assert replayed() == expected

    found = missed = 0
    for text, make in faults(plan):
        reset()
        make()
        differs = replayed() != expected
        reset()
        make()
        refused, result = tried(agent, one, plan, second)
        same = (result, [bits(x) for x in arrays]) == expected
        assert same, f"the call differs: {text}"
        assert refused == differs, text
        found, missed = found + differs, missed + (not differs)
    assert found >= LEAST[faults] * (found + missed), (found, missed)
    reset()
    assert tried(agent, one, plan, second)[0] is False  # all faults were taken back
    before = plan.replays
    agent.update(*last)
    assert plan.replays == before + 1 and states(agent) == ["captured"]


# ---- when


def spoil(agent):
    """Let the plan of an agent be wrong."""
    (one,) = vars(agent)["_captured"].signatures.values()
    one.plan._rows[-1, 0] = ADDRESS
    return one.plan


def proofs(monkeypatch):
    """The numbers of replays before each proof from now on."""
    seen, own = [], plans.Plans._proved

    def proved(self, one, plan, *rest):
        seen.append(plan.replays)
        return own(self, one, plan, *rest)

    monkeypatch.setattr(plans.Plans, "_proved", proved)
    return seen


def test_a_plan_is_proved_again_after_more_and_more_replays(monkeypatch):
    monkeypatch.setattr(plans, "AGAIN", 5)
    seen, agent = proofs(monkeypatch), toy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = updates(agent, 90)
    assert seen[:2] == [0, 5] and len(seen) == 3 and 50 <= seen[2] <= 60
    assert replays(agent) >= 87
    with eager():
        other = toy()
        assert updates(other, 90) == results
    assert learned(other) == learned(agent)


def test_proofs_are_rare_by_default():
    assert plans.AGAIN == 1_000


@pytest.mark.parametrize("after", [8, 60])
def test_a_plan_whose_later_proof_fails_is_dropped_with_a_warning(after, monkeypatch):
    monkeypatch.setattr(plans, "AGAIN", 5)
    agent = toy()
    updates(agent, after)
    plan = spoil(agent)
    with pytest.warns(
        RuntimeWarning, match=r"^Toy\.update is not a pure function: after \d+ replay"
    ):
        updates(agent, 60, first=after)
    (state,) = states(agent)
    assert state.startswith("eager: a replay differs from the call")
    (one,) = vars(agent)["_captured"].signatures.values()
    assert one.plan is None and plan not in vars(agent)["_captured"].ready.values()
    # from here on it runs as it is
    state = agent.theta.copy(), agent.adam.m.copy(), agent.adam.v.copy(), agent.adam.counts.copy()
    seen = updates(agent, 5, first=200)
    end = learned(agent)
    for x, before in zip((agent.theta, agent.adam.m, agent.adam.v, agent.adam.counts), state):
        x[...] = before
    with eager():
        assert updates(agent, 5, first=200) == seen
    assert learned(agent) == end


def test_a_plan_whose_first_proof_fails_is_dropped_without_a_warning():
    agent = toy()
    updates(agent, plans.BEFORE + 1)
    spoil(agent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = updates(agent, 6, first=3)
    assert states(agent)[0].startswith("eager: a replay differs from the call")
    with eager():
        other = toy()
        updates(other, 3)
        assert updates(other, 6, first=3) == seen
    assert learned(agent) == learned(other)


def test_the_proof_compares_the_signs_of_zeros_and_nans():
    one = {"x": np.array([0.0, np.nan])}
    assert plans._same(one, {"x": np.array([0.0, np.nan])})
    for other in ([-0.0, np.nan], [0.0, -np.nan], [0.0, 1.0]):
        assert not plans._same(one, {"x": np.array(other)})
    assert not plans._same(one, {"x": np.array([0.0, np.nan], np.float32)})
    assert not plans._same(one, {"y": one["x"]})
    assert not plans._same(one, one["x"])
    assert not plans._same(np.zeros((1, 2)), np.zeros((2, 1)))


def test_a_replay_that_fails_raises_the_error_of_the_kernel():
    class Picked(Toy):
        def update(self, x, a):
            return {"q": super().update(x, 2.0)["g"]}

    agent = toy(Picked)
    for k in range(6):
        agent.update(vector(agent, k), np.zeros(3, np.int64))
    assert states(agent) == ["captured"]
    (one,) = vars(agent)["_captured"].signatures.values()
    failing = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(lambda words: 1)
    one.plan._rows[0, 0] = ctypes.cast(failing, ctypes.c_void_p).value
    with pytest.raises(RuntimeError, match="failed"):
        agent.update(vector(agent), np.zeros(3, np.int64))
