"""Checks of npr.capture.graphs on the strict double of CuPy, for tests/algorithms/test_graphs.py.

`NPR_BACKEND=cupy python graph_cases.py FOLDER [NAME ...]` runs these, or all, and prints
{name: error or ""} as one line of JSON.
"""

import contextlib
import copy
import dataclasses
import gc
import json
import pickle
import sys
import threading
import traceback
import warnings
import weakref

import numpy as np

import npr
from npr.autodiff import debug_anomaly
from npr.backend import to_device, to_host, xp
from npr.buffers import Rollout, Steps
from npr.capture import graphs, report
from npr.capture.calls import thread
from npr.files.parts import arrays_of, parts
from npr.optim import SGD, Adam, Optimizer
from support import device_cases
from support.small_agents import next_update

CHECKS = {}  # name -> function of a folder


def check(function):
    CHECKS[function.__name__] = function
    return function


@contextlib.contextmanager
def eager():
    """Within this block nothing is captured or replayed."""
    before, graphs.GRAPHS = graphs.GRAPHS, False
    try:
        yield
    finally:
        graphs.GRAPHS = before


@contextlib.contextmanager
def unwrapped():
    """Within this block updates are called as they were written, with floats as they are."""
    thread.inside = True
    try:
        yield
    finally:
        thread.inside = False


def learned(agent):
    """Name -> bytes of everything that updates change: parameters and states of optimizers."""
    held = {}
    for name, part in parts(agent).items():
        if isinstance(part, (xp.ndarray, np.ndarray)):
            held[name] = to_host(part).tobytes()
        elif isinstance(part, Optimizer):
            arrays = arrays_of(name, part).values()
            held[name] = b"".join(to_host(x).tobytes() for x in arrays), part.counters()
    return held


def read(metrics):
    return {name: (to_host(x).tobytes(), x.dtype, x.shape) for name, x in metrics.items()}


def states(agent):
    """The state of each signature: "captured" or "eager: ..."."""
    return [one.state for one in report(agent)]


def replays(agent):
    return [one.replays for one in report(agent)]


# ---- the algorithms

UPDATES = 8


def batches(agent, batch):
    """Arguments of several updates: other arrays, other floats, alternating flags."""

    def other(x, k):
        if isinstance(x, (list, tuple)):
            return [other(item, k) for item in x]
        if isinstance(x, bool):
            return bool(k % 2)
        if isinstance(x, float):
            return x * 0.95 ** (k // 3)
        return x if x is None else to_device(np.roll(to_host(x), k, axis=0))

    for k in range(UPDATES):
        yield [other(x, k) for x in batch]


def trajectory(case):
    """What several updates with falling learning rates make of an agent; the agent; the counts of
    the last update."""
    agent = device_cases.make(case)
    batch, seen = next_update(agent, device_cases.STEPS), []
    for k, arguments in enumerate(batches(agent, batch)):
        for part in parts(agent).values():
            if isinstance(part, Optimizer):
                part.learning_rate = 1e-3 / (1 + k // 2)
        device_cases.reset_counts()
        metrics = agent.update(*arguments)
        counts = device_cases.counts()
        seen.append((learned(agent), read(metrics)))
    return seen, agent, counts, arguments


def replayed_updates_equal_eager_ones(case):
    with eager():
        expected, agent, *_ = trajectory(case)
        assert set(states(agent)) == {"eager: NPR_GRAPHS=0"}, report(agent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen, agent, counts, arguments = trajectory(case)
    assert set(states(agent)) == {"captured"}, report(agent)
    assert sum(replays(agent)) >= UPDATES - 3 * len(states(agent)) > 0, report(agent)
    for k, (mine, theirs) in enumerate(zip(seen, expected)):
        assert mine == theirs, f"update {k} differs"
    for what in ("uploads", "downloads", "synchronizations"):
        assert counts[what] == 0, what
    copies = sum(len(x) if isinstance(x, list) else 1 for x in arguments)
    assert counts["launches"] <= copies + 2, counts  # the graph, and a copy of the results


for case in device_cases.CASES:
    CHECKS[f"replayed updates equal eager ones: {case}"] = lambda folder, case=case: (
        replayed_updates_equal_eager_ones(case)
    )


# ---- an update whose work is easy to follow


class Toy(npr.DQN):
    """theta <- theta - factor * number * x by one step of Adam; x has the size of theta."""

    def build(self):
        super().build()
        self.factor = 0.5

    def update(self, x, number, half=False):
        g = self.factor * number * x
        if half:
            g = 0.5 * g
        self.adam.step(self.theta, g)
        return {"mean": g.mean(), "positive": g > 0, "g": g}


def toy(kind=Toy, seed=0):
    return kind("CartPole-v1", seed=seed, verbose=0, net_arch=[8], n_envs=1)


def vector(agent, k=0):
    return to_device(np.random.default_rng(k).standard_normal(agent.theta.size).astype(np.float32))


def updated(agent, n=4, *, number=2.0, first=0, **options):
    """The agent after n updates with different arrays."""
    for k in range(first, first + n):
        agent.update(vector(agent, k), number, **options)
    return agent


def assert_equal(one, other):
    assert learned(one) == learned(other)


def expected(n=4, kind=Toy, change=None, **options):
    """The agent that unwrapped updates give; `change` is called with it after the first three."""
    with unwrapped():
        agent = toy(kind)
        if change is None:
            return updated(agent, n, **options)
        updated(agent, 3)
        change(agent)
        return updated(agent, n - 3, first=3, **options)


@check
def the_first_call_is_eager_the_second_captured_and_others_are_replayed(folder):
    agent = toy()
    for k, (state, count) in enumerate(
        [("eager: called once so far", 0), ("captured", 0), ("captured", 1), ("captured", 2)]
    ):
        agent.update(vector(agent, k), 2.0)
        size = agent.theta.size
        assert report(agent) == [(f"x float32({size},), number float", state, count)], report(agent)
    assert_equal(agent, expected())


@check
def an_update_before_any_has_no_report(folder):
    assert report(toy()) == []


@check
def arrays_with_the_same_address_are_not_copied_and_others_are(folder):
    agent, fixed = toy(), vector(toy())
    for k in range(4):
        fixed[...] = vector(agent, k)
        device_cases.reset_counts()
        agent.update(fixed, 2.0)
        counts = device_cases.counts()
    assert counts["launches"] == 1 + 1, counts  # the graph, and a copy of the results
    assert_equal(agent, expected())
    updated(agent, 2, first=4)  # captured again, since the array has another address
    device_cases.reset_counts()
    updated(agent, 1, first=6)
    assert device_cases.counts()["launches"] == 1 + 1 + 1
    assert_equal(agent, expected(7))
    assert states(agent) == ["captured"]


@check
def the_arrays_of_a_caller_are_not_written_to(folder):
    agent = toy()
    mine = [vector(agent, k) for k in range(5)]
    for x in (mine[0], mine[0], *mine):
        agent.update(x, 2.0)
    assert replays(agent)[0] > 1
    for k, x in enumerate(mine):
        assert np.array_equal(to_host(x), to_host(vector(agent, k))), k


@check
def arrays_that_the_caller_keeps_are_told_apart_by_their_memory(folder):
    agent, whole = toy(), to_device(np.zeros((4, toy().theta.size), np.float32))
    for k in range(4):
        whole[k] = vector(agent, k)
    for k in range(4):
        agent.update(whole[k], 2.0)  # views of one array
    assert replays(agent) == [2]
    assert_equal(agent, expected())


@check
def a_number_may_change_without_another_capture(folder):
    agent = toy()
    with unwrapped():
        other = toy()
        for k in range(6):
            updated(other, 1, number=1.0 + k, first=k)
    for k in range(6):
        updated(agent, 1, number=np.float64(1.0 + k) if k == 3 else 1.0 + k, first=k)
    assert replays(agent) == [4]
    assert_equal(agent, other)


@check
def results_are_not_overwritten_by_later_updates(folder):
    agent = toy()
    kept = [agent.update(vector(agent, k), 2.0) for k in range(300)]
    assert replays(agent) == [298]
    for k in (1, 2, 3, 200, 257, 258, 299):
        g = 0.5 * 2.0 * to_host(vector(agent, k))
        assert np.array_equal(to_host(kept[k]["g"]), g), k
        assert np.array_equal(to_host(kept[k]["positive"]), g > 0)
        assert abs(float(to_host(kept[k]["mean"])) - g.mean()) < 1e-5
        assert kept[k]["mean"].shape == () and kept[k]["positive"].dtype == bool


@check
def flags_and_shapes_have_their_own_graphs(folder):
    with unwrapped():
        other = toy()
        for k in range(8):
            updated(other, 1, half=bool(k % 2), first=k)
    agent = toy()
    for k in range(8):
        updated(agent, 1, half=bool(k % 2), first=k)
    assert replays(agent) == [2, 2]
    assert_equal(agent, other)


# ---- what makes a graph stale


def stale(change):
    """A graph is not used after `change`: the updates equal eager ones."""
    agent = updated(toy(), 3)
    assert replays(agent) == [1]
    change(agent)
    updated(agent, 4, first=3)
    assert replays(agent) == [3], report(agent)  # eager, captured, and two times replayed
    assert_equal(agent, expected(7, change=change))


def changes(function):
    CHECKS[function.__name__] = lambda folder: stale(function)
    return function


@changes
def setting_an_attribute(agent):
    agent.factor = 0.25


@changes
def changing_the_dictionary_of_attributes(agent):
    vars(agent).update(factor=0.25)


@changes
def replacing_the_parameters(agent):
    agent.theta = agent.theta * 2


@changes
def replacing_an_optimizer(agent):
    agent.adam = Adam(agent.theta, 1e-2)


@changes
def changing_a_constant_of_an_optimizer(agent):
    agent.adam.beta1 = 0.5


@changes
def replacing_a_vector_of_an_optimizer(agent):
    agent.adam.m = agent.adam.m + 1


@check
def loading_parameters_in_place_needs_no_other_graph(folder):
    def change(agent):
        agent.theta[...] = 2 * agent.theta
        agent.adam.load({name: to_host(x) + 1 for name, x in agent.adam.state().items()})
        agent.adam.load_counters({"t": 7, "skipped": 0, "consecutive": 0})
        agent.adam.learning_rate = 0.125

    agent = updated(toy(), 3)
    change(agent)
    updated(agent, 4, first=3)
    assert replays(agent) == [5]
    assert_equal(agent, expected(7, change=change))


@check
def a_setting_that_the_update_reads_may_be_set(folder):
    class Clipped(Toy):
        def update(self, x, number):
            return super().update(x * self.max_grad_norm, number)

    def change(agent):
        agent.set_params(max_grad_norm=3.0)

    agent = updated(toy(Clipped), 3)
    change(agent)
    updated(agent, 3, first=3)
    assert replays(agent) == [2]
    assert_equal(agent, expected(6, Clipped, change))


@check
def other_settings_may_be_set_without_another_capture(folder):
    agent = updated(toy(), 3)
    agent.tau, agent.verbose = 0.5, 0
    updated(agent, 2, first=3)
    assert replays(agent) == [3]


@check
def the_rates_of_all_optimizers_that_are_read_may_change(folder):
    @dataclasses.dataclass(frozen=True)
    class Held:
        one: Optimizer

    class Hidden(Toy):
        def build(self):
            super().build()
            self._private = SGD(self.theta)
            self.pair = SGD(self.theta), 1
            self.held = Held(SGD(self.theta))

        def update(self, x, number):
            for one in (self._private, self.pair[0], self.held.one):
                one.step(self.theta, x)
            return super().update(x, number)

    def run():
        agent = toy(Hidden)
        for k, rate in enumerate((1.0, 2.0, 3.0, 4.0, 4.0)):
            for i, one in enumerate((agent._private, agent.pair[0], agent.held.one)):
                one.learning_rate = rate + i
            updated(agent, 1, first=k)
        return agent

    agent = run()
    assert replays(agent) == [3], report(agent)
    with unwrapped():
        assert_equal(agent, run())


# ---- what cannot be captured


def falls_back(kind, reason, n=5):
    """Updates run eagerly, once each, with one warning that has the reason."""
    graphs._warned.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent = updated(toy(kind), n)
        updated(toy(kind, seed=1), n)
    texts = [str(one.message) for one in caught if one.category is RuntimeWarning]
    assert len(texts) == 1 and caught[0].filename == __file__, texts
    assert texts[0].startswith(f"{kind.__name__}.update runs without CUDA graphs, which is slower:")
    assert reason in texts[0], texts[0]
    assert [state.startswith("eager: ") and reason in state for state in states(agent)] == [True]
    assert replays(agent) == [0] and vars(agent)["_captured"].captures == 1
    assert_equal(agent, expected(n, kind))
    return agent


@check
def an_update_that_branches_on_a_value_of_the_device(folder):
    class Branching(Toy):
        def update(self, x, number):
            with xp.allow_sync():
                return super().update(x if float(x.sum()) > 0 else -x, number)

    falls_back(Branching, "capturing raised ")


@check
def an_update_that_uploads(folder):
    class Uploading(Toy):
        def update(self, x, number):
            return super().update(x + to_device(np.float32([2.0])), number)

    falls_back(Uploading, "capturing raised ")


@check
def an_update_that_draws_random_numbers(folder):
    class Drawing(Toy):
        def update(self, x, number):
            return super().update(x, self.rng["noise"].random())

    falls_back(Drawing, "it reads self.rng, a dict, which may change between calls")


@check
def an_update_that_reads_the_progress(folder):
    class Scheduled(Toy):
        def update(self, x, number):
            return super().update(x, self.now("linear:1"))

    falls_back(Scheduled, "it reads self.counters, a Counters, which may change")


@check
def an_update_that_reads_an_array_of_the_host(folder):
    class Reading(Toy):
        def build(self):
            super().build()
            self.weight = np.array([1.0])

        def update(self, x, number):
            self.weight.item()
            return super().update(x, number)

    falls_back(Reading, "it reads self.weight, a ndarray, which may change")


@check
def an_update_that_reads_an_object_of_a_class_that_npr_does_not_know(folder):
    class Anneal:
        value = 1.0

        def method(self):
            return self.value

    class Annealed(Toy):
        def build(self):
            super().build()
            self.anneal = (Anneal(),)

        def update(self, x, number):
            return super().update(x, number * self.anneal[0].value)

    falls_back(Annealed, "it reads self.anneal, a tuple, which may change")

    class Bound(Annealed):
        def build(self):
            super().build()
            self.anneal = Anneal().method

        def update(self, x, number):
            return Toy.update(self, x, number * self.anneal())

    falls_back(Bound, "it reads self.anneal, a method, which may change")

    @dataclasses.dataclass(frozen=True)
    class Held:
        anneal: Anneal

    class Frozen(Annealed):
        def build(self):
            super().build()
            self.anneal = (Held(Anneal()),)

        def update(self, x, number):
            return Toy.update(self, x, number * self.anneal[0].anneal.value)

    falls_back(Frozen, "it reads self.anneal, a tuple, which may change")


@check
def an_update_that_sets_an_attribute_sets_it_once(folder):
    class Counting(Toy):
        made = 0

        def update(self, x, number):
            self.made = self.made + 1
            return super().update(x, number)

    assert falls_back(Counting, "it sets self.made; return the value").made == 5


@check
def an_update_that_returns_other_objects(folder):
    class Listing(Toy):
        def update(self, x, number):
            return {"all": [super().update(x, number)]}

    falls_back(Listing, "it returns a list")


@check
def an_update_with_an_argument_of_the_host(folder):
    class Host(Toy):
        def update(self, x, number, order):
            return super().update(x, number + order.item())

    agent = toy(Host)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(3):
            agent.update(vector(agent, k), 1.0, np.array([1.0]))
    assert [str(one.message) for one in caught] == [
        "Host.update runs without CUDA graphs, which is slower: it was given a ndarray."
    ]
    assert_equal(agent, expected(3))


@check
def a_product_by_cublas_is_eager_without_a_warning(folder):
    class Large(Toy):
        def update(self, x, number):
            return super().update((x[None, :] @ x[:, None])[0] * x, number)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = updated(toy(Large), 4)
    reason = "it calls cuBLAS, which CuPy does not capture"
    assert states(agent) == [f"eager: {reason}"], states(agent)
    assert_equal(agent, expected(4, Large))


@check
def an_update_with_an_optimizer_that_is_not_the_agents(folder):
    def build():
        other = []

        class Foreign(Toy):
            def update(self, x, number):
                if not other:
                    other.append(SGD(self.theta))
                capturing = xp.cuda.get_current_stream().is_capturing()
                other[0].learning_rate = 1.0 if capturing else 1e-2
                other[0].step(self.theta, x)
                return super().update(x, number)

        return Foreign

    def run(agent):
        return updated(agent, 4)

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        agent = run(toy(build()))
    assert "a learning rate was changed" in states(agent)[0], states(agent)
    with unwrapped():
        assert_equal(agent, run(toy(build())))


def without_memory(failures):
    """An agent whose first captures run out of memory; how many pools for graphs there were, and
    how many lived in each eager update."""
    pools, lived = [], []

    class Pool(xp.cuda.MemoryPool):
        def __init__(self, *args):
            super().__init__(*args)
            pools.append(weakref.ref(self))

    class Full(Toy):
        def update(self, x, number):
            result = super().update(x, number)
            if not xp.cuda.get_current_stream().is_capturing():
                lived.append(sum(pool() is not None for pool in pools))
            elif len(pools) <= failures:
                raise xp.cuda.memory.OutOfMemoryError(1, 1)
            return result

    own, xp.cuda.MemoryPool = xp.cuda.MemoryPool, Pool
    gc.disable()
    try:
        agent = updated(toy(Full), 4)
    finally:
        gc.enable()
        xp.cuda.MemoryPool = own
    assert_equal(agent, expected())
    return agent, len(pools), lived


@check
def a_capture_without_memory_is_tried_once_more(folder):
    agent, pools, lived = without_memory(1)
    assert (replays(agent), pools, lived) == ([2], 2, [0])


@check
def the_memory_of_a_capture_that_failed_is_free_in_the_eager_update(folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent, pools, lived = without_memory(2)
    assert len(caught) == 1 and "Out of memory" in str(caught[0].message), caught
    assert (replays(agent), pools, lived) == ([0], 2, [0, 0, 0, 0])


@check
def a_graph_keeps_no_memory_that_its_capture_has_freed(folder):
    class Long(Toy):
        def update(self, x, number):
            for _ in range(100):
                x = x + 1
            return super().update(x - 100, number)

    agent = updated(toy(Long), 4)
    pool = next(iter(vars(agent)["_captured"].signatures.values())).graph._pool
    assert pool.total_bytes() < 20 * agent.theta.nbytes, pool.total_bytes()
    assert replays(agent) == [2]
    assert_equal(agent, expected(4, Long))


@check
def a_capture_whose_pool_has_freed_blocks_has_failed(folder):
    left, allocators = [1], set()

    class Memory(xp.cuda.Memory):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            if xp.cuda.get_current_stream().is_capturing():
                allocators.add(xp.cuda.get_allocator().__self__)
            if left and xp.cuda.get_current_stream().is_capturing():
                left.pop()
                raise xp.cuda.memory.OutOfMemoryError(1, 1)

    own, xp.cuda.Memory = xp.cuda.Memory, Memory
    try:
        agent = updated(toy(), 4)
    finally:
        xp.cuda.Memory = own
    assert (
        not left
        and len(allocators) == 2
        and replays(agent) == [2]
        and vars(agent)["_captured"].captures == 1
    )
    assert len(report(agent)) == 1
    assert_equal(agent, expected())


@check
def a_capture_that_fails_is_ended(folder):
    streams = []

    class Stream(xp.cuda.Stream):
        def __init__(self, **options):
            super().__init__(**options)
            streams.append(self)

        def end_capture(self):
            self.ended = True
            return super().end_capture()

    own, xp.cuda.Stream = xp.cuda.Stream, Stream
    try:
        an_update_that_uploads(folder)
    finally:
        xp.cuda.Stream = own
    assert streams and all(stream.ended for stream in streams)


def raised(kind, agent):
    """What the next update raises, an error of this kind."""
    try:
        updated(agent, 1, first=1)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


@check
def an_error_of_an_update_is_raised_and_changes_nothing(folder):
    class Faulty(Toy):
        def update(self, x, number):
            if self.fault:
                raise ValueError("at fault")
            return super().update(x, number)

        fault = False

    agent = updated(toy(Faulty), 1)
    Faulty.fault = True
    before = learned(agent)
    for _ in range(2):
        assert str(raised(ValueError, agent)) == "at fault"
    assert learned(agent) == before
    Faulty.fault = False
    updated(agent, 3, first=1)
    assert replays(agent) == [2]
    assert_equal(agent, expected(4, Faulty))


@check
def an_interrupt_within_a_capture_is_raised_and_changes_nothing(folder):
    class Interrupted(Toy):
        def update(self, x, number):
            result = super().update(x, number)
            if type(self).interrupt:
                raise KeyboardInterrupt
            return result

        interrupt = False

    agent = updated(toy(Interrupted), 1)
    Interrupted.interrupt, before = True, learned(agent)
    raised(KeyboardInterrupt, agent)
    assert learned(agent) == before and type(agent) is Interrupted
    Interrupted.interrupt = False
    updated(agent, 3, first=1)
    assert replays(agent) == [2]
    assert_equal(agent, expected(4, Interrupted))


@check
def an_update_of_a_base_class_is_a_part_of_the_update(folder):
    class Twice(Toy):
        def update(self, x, number):
            super().update(x, number)
            return super().update(x=x, number=0.5 * number)

    agent = updated(toy(Twice), 5)
    assert len(states(agent)) == 1 and replays(agent) == [3]
    assert_equal(agent, expected(5, Twice))


@check
def an_update_that_is_inherited_from_another_class_is_replayed(folder):
    class Mixin:
        def update(self, x, number):
            return super().update(2 * x, number)

    class Mixed(Mixin, Toy):
        pass

    agent = updated(toy(Mixed), 5)
    assert replays(agent) == [3]
    assert_equal(agent, expected(5, Mixed))


@check
def functions_and_classes_may_be_attributes(folder):
    class Composed(Toy):
        def build(self):
            super().build()
            self.functions, self.kind = (xp.tanh, npr.autodiff.tanh, abs_of), dict

        def update(self, x, number):
            for function in self.functions:
                x = function(x)
            return self.kind(super().update(x, number))

    agent = updated(toy(Composed), 4)
    assert replays(agent) == [2], report(agent)
    assert_equal(agent, expected(4, Composed))


def abs_of(x):
    return abs(x)


@check
def an_update_may_return_one_array_or_nothing(folder):
    class Lone(Toy):
        def update(self, x, number):
            return super().update(x, number)["g"]

    class Silent(Toy):
        def update(self, x, number):
            super().update(x, number)

    agent, other = toy(Lone), updated(toy(Silent), 4)
    kept = [agent.update(vector(agent, k), 2.0) for k in range(4)]
    assert replays(agent) == replays(other) == [2]
    assert all(np.array_equal(to_host(g), to_host(vector(agent, k))) for k, g in enumerate(kept))
    assert_equal(agent, other)
    assert other.update(vector(agent), 2.0) is None


@check
def tuples_lists_and_names_of_arguments_are_a_part_of_the_signature(folder):
    class Several(Toy):
        def update(self, xs, number, *, pair=(1.0, None)):
            return super().update(sum(xs) * pair[0], number)

    agent = toy(Several)
    with unwrapped():
        other = toy(Several)
        for k in range(5):
            other.update([vector(agent, k)] * 2, 2.0, pair=(0.5, None))
    for k in range(5):
        agent.update([vector(agent, k)] * 2, 2.0, pair=(0.5, None))
    (one,) = report(agent)
    size = agent.theta.size
    assert one.signature == (
        f"xs [float32({size},), float32({size},)], number float, pair [float, =None]"
    ), one
    assert one.replays == 3
    assert_equal(agent, other)
    agent.update((vector(agent),), 2.0)
    assert len(report(agent)) == 2


# ---- minibatches, which have the same memory each time


def rollout(T, N=3):
    steps = Steps(N, 2)
    for _ in range(T):
        zeros, flags = np.zeros(N, np.float32), np.zeros(N, bool)
        row = np.zeros((N, 2), np.float32)
        steps.append((row, zeros.astype(np.int64), zeros, row, flags, flags, ~flags))
    return steps, Rollout(steps)


@check
def minibatches_are_the_rows_of_the_columns(folder):
    steps, D = rollout(6)
    rng = np.random.default_rng(0)
    columns = [
        rng.standard_normal((18, 3)), rng.integers(-9, 9, 18), rng.standard_normal(18),
        rng.integers(-9, 9, (18, 2)), rng.standard_normal((18, 1, 5)),
    ]  # fmt: skip
    columns = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in columns]
    there, addresses = [*map(to_device, columns)], []
    for _ in range(2):  # epochs
        columns[0] = -columns[0]
        there[0][...] = to_device(columns[0])
        order = [to_host(i) for i in D.minibatches(8, np.random.default_rng(1))]
        for i, batch in zip(order, D.batches(there, 8, np.random.default_rng(1)), strict=True):
            for x, column in zip(batch, columns, strict=True):
                assert np.array_equal(to_host(x), column[i]) and x.dtype == column.dtype
                assert x.data.ptr % x.itemsize == 0
            addresses.append((len(i), [x.data.ptr for x in batch]))
    assert addresses[0] == addresses[1] == addresses[3] and addresses[2] == addresses[5]
    assert copy.deepcopy(steps)._block._memory is None
    pairs, others = D.batches(there[:2], 8, np.random.default_rng(1)), there[1:3]
    for i, batch, (x, y) in zip(order, pairs, D.batches(others, 8, np.random.default_rng(1))):
        for taken, column in zip((*batch, x, y), (0, 1, 1, 2), strict=True):
            assert np.array_equal(to_host(taken), columns[column][i])
    flags = [to_device(np.arange(18) % 3 == 0)]  # of another size than a word
    taken = [to_host(x) for (x,) in D.batches(flags, 8, np.random.default_rng(1))]
    assert [x.tolist() for x in taken] == [(i % 3 == 0).tolist() for i in order]


@check
def minibatches_are_one_launch_and_are_not_copied(folder):
    agent = device_cases.make("PPO Box").learn(64)
    device_cases.reset_counts()
    agent.learn(64)
    counts, updates = device_cases.counts(), 2 * 4  # epochs of 64 steps, 16 in a minibatch
    assert counts["graph_launches"] == updates, counts
    agent.n_epochs = 5
    device_cases.reset_counts()
    agent.learn(64)
    more = device_cases.counts()["launches"] - counts["launches"]
    assert more == 3 * (5 + 4 * (1 + 1 + 1)), more  # columns, then rows, graph, a copy


# ---- limits


def lengths(agent, *numbers):
    for n in numbers:
        agent.update(to_device(np.ones((n, agent.theta.size), np.float32)), 2.0)


class Summed(Toy):
    def update(self, x, number):
        return super().update(x.sum(axis=0), number)


@check
def a_transposed_matrix_has_another_signature(folder):
    def run(agent):
        x = vector(agent)[:, None] * vector(agent, 1)
        for _ in range(4):
            agent.update(x, 2.0)
            agent.update(x.T, 2.0)
        return agent

    agent = run(toy(Summed))
    with unwrapped():
        assert_equal(agent, run(toy(Summed)))
    assert replays(agent) == [2, 2]


@check
def a_signature_that_was_not_used_for_long_is_dropped(folder):
    agent = toy(Summed)
    lengths(agent, *range(1, 9), 1, 1, 1, *range(9, 13))
    shapes = [one.signature.split("(")[1].split(",")[0] for one in report(agent)]
    assert shapes == ["6", "7", "8", "1", "9", "10", "11", "12"], shapes
    assert sum(replays(agent)) == 2


@check
def capturing_stops_where_graphs_are_hardly_replayed(folder):
    agent = toy(Summed)
    for n in range(1, 20):
        lengths(agent, n, n, n)
    assert vars(agent)["_captured"].captures == graphs.SIGNATURES
    assert "8 graphs were captured for 8 replays" in states(agent)[-1]
    with unwrapped():
        other = toy(Summed)
        for n in range(1, 20):
            lengths(other, n, n, n)
    assert_equal(agent, other)


@check
def capturing_stops_where_an_attribute_changes_all_the_time(folder):
    def run(agent):
        for k in range(60):
            agent.factor = 1.0 + k // 2
            updated(agent, 1, first=k)
        return agent

    agent = run(toy())
    with unwrapped():
        other = run(toy())
    assert vars(agent)["_captured"].captures == graphs.SIGNATURES
    assert_equal(agent, other)


# ---- beside the update


@check
def anomaly_detection_runs_eagerly(folder):
    agent = updated(toy(), 4)
    with debug_anomaly():
        updated(agent, 2, first=4)
        bad = vector(agent)
        bad[3] = np.nan
        try:
            agent.update(bad, 2.0)
        except npr.NumericsError as error:
            assert "entry (3,) = nan" in str(error)
        else:
            raise AssertionError("the gradient was not reported")
    assert replays(agent) == [2]
    updated(agent, 1, first=6)
    assert replays(agent) == [3]


@check
def a_gradient_that_is_not_finite_is_skipped_and_counted(folder):
    agent = updated(toy(), 3)
    before, bad = learned(agent), vector(agent)
    bad[3] = np.nan
    agent.update(bad, 2.0)
    agent.update(bad, 2.0)
    assert replays(agent) == [3] and agent.adam.skip_counts() == (2, 2)
    after = learned(agent)
    assert before["theta"] == after["theta"] and before["adam"][0] == after["adam"][0]
    updated(agent, 1, first=3)
    assert agent.adam.skip_counts() == (2, 0)


@check
def a_copy_has_no_graphs_and_makes_its_own(folder):
    agent = updated(toy(), 4)
    for copied in (copy.deepcopy(agent), pickle.loads(pickle.dumps(updated(registered(), 4)))):
        assert report(copied) == []
        updated(copied, 4, first=4)
        assert replays(copied) == [2]
        assert_equal(copied, expected(8))
    assert replays(agent) == [2]
    clone = npr.clone(agent)
    assert report(clone) == []
    assert_equal(updated(clone, 4), expected(4))


class Registered(Toy):
    """Of this module, so that it can be pickled."""


def registered():
    return toy(Registered)


@check
def a_file_has_no_graphs_and_continues(folder):
    agent = updated(registered(), 4)
    agent.save(f"{folder}/toy.npz")
    loaded = npr.load(f"{folder}/toy.npz")
    assert report(loaded) == []
    assert_equal(updated(loaded, 4, first=4), expected(8))
    assert_equal(updated(agent, 4, first=4), expected(8))
    assert replays(agent) == [6] and replays(loaded) == [2]


@check
def an_agent_that_is_built_again_makes_its_own(folder):
    agent = updated(toy(), 4)
    vars(agent)["_initial"] = npr.training.cloning.fingerprint(agent)  # as if it were new
    agent.set_params(seed=0, gamma=0.5)
    assert report(agent) == []
    assert_equal(updated(agent, 4), expected(4))


@check
def an_update_in_another_thread_is_replayed(folder):
    agent = toy()
    thread = threading.Thread(target=updated, args=(agent,))
    with unwrapped():
        thread.start()
        thread.join()
    assert replays(agent) == [2]
    assert_equal(agent, expected())


@check
def two_agents_do_not_share_graphs(folder):
    one, other = toy(), toy(seed=1)
    for k in range(5):
        updated(one, 1, first=k)
        updated(other, 1, first=k, number=3.0)
    assert replays(one) == replays(other) == [3]
    assert_equal(one, expected(5))
    with unwrapped():
        assert_equal(other, updated(toy(seed=1), 5, number=3.0))


@check
def an_agent_is_not_kept_alive_by_its_graphs(folder):
    agent = updated(toy(), 4)
    theta = weakref.ref(agent.theta)
    graph = weakref.ref(next(iter(vars(agent)["_captured"].signatures.values())).graph)
    gc.disable()
    try:
        del agent
        assert graph() is None, "the memory of a graph waits for the garbage collector"
        assert theta() is None, "the parameters wait for the garbage collector"
    finally:
        gc.enable()


def run_of(case, *budgets):
    """The agent of a case after several calls of learn(), and the rows of its log."""
    name, env, settings = device_cases.CASES[case]
    settings = {"learning_rate": "linear:1e-3", **settings, "max_episode_steps": 20}
    agent, rows = getattr(npr, name)(env, seed=0, verbose=0, **settings), []
    for budget in budgets:
        agent.learn(budget, reset_num_timesteps=False, log=Rows(rows), log_interval=1)
    return agent, rows


class Rows(npr.loggers.Output):
    def __init__(self, rows):
        self.rows = rows

    def write(self, row, step):
        drop = ("time/time_elapsed", "time/fps", "time/peak_rss_mb")
        self.rows.append((step, {k: v for k, v in row.items() if k not in drop}))


def runs_are_the_same(case):
    """Parameters and logs of a run in two pieces with graphs are those without."""
    with eager():
        expected, expected_rows = run_of(case, 100, 60)
    agent, rows = run_of(case, 100, 60)
    assert sum(replays(agent)) > 4, report(agent)
    assert_equal(agent, expected)
    assert len(rows) > 1 and any(key.startswith("train/") for _, row in rows for key in row)
    for mine, theirs in zip(rows, expected_rows):
        assert mine == theirs, (mine, theirs)


for case in ("DQN", "PERDQN", "TD3", "SAC", "PPO Box", "A2C"):
    CHECKS[f"runs are the same: {case}"] = lambda folder, case=case: runs_are_the_same(case)


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    outcome = {}
    for name in names or CHECKS:
        try:
            CHECKS[name](folder)
            outcome[name] = ""
        except Exception:
            outcome[name] = traceback.format_exc()
    print(json.dumps(outcome))
