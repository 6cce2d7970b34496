"""What may happen between the calls of an agent: replays give what eager calls would."""

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest
from support.captured import Toy, bits, eager, replays, saved_arrays, states, toy, updates, vector
from support.proof_size import half
from support.small_agents import small_agent
from support.update_batches import batches

import npr
from npr.autodiff import debug_anomaly
from npr.capture import report
from npr.errors import NumericsError
from npr.optim import Adam, RMSprop

SETTINGS = {"net_arch": [16, 16], "batch_size": 16, "train_freq": 1, "learning_starts": 20}
CASES = ("DQN", "SAC", "TD3", "PPO-Box", "A2C", "SACS")


def both(run):
    """What run() gives with capture, which must equal what it gives without."""
    with eager():
        expected = run()
    found = run()
    same = found == expected
    assert same
    return found


def learned(agent):
    return {name: bits(x) for name, x in saved_arrays(agent).items()}


def changed(case, change, n=12, **settings):
    """Bits of results and of the agent, with a change after half of the updates."""

    def run():
        agent = small_agent(case, **settings)
        seen = []
        for k, batch in enumerate(batches(agent, n)):
            if k == n // 2:
                change(agent)
            seen.append(bits(agent.update(*batch)))
        if not npr.capture.calls.thread.inside:
            assert replays(agent) > n // 2 - 3, report(agent)
        return seen, learned(agent)

    both(run)


CHANGES = {
    "theta": lambda agent: setattr(agent, "theta", agent.theta * 2),
    "theta in place": lambda agent: agent.theta.__imul__(2),
    "all optimizers": lambda agent: [
        setattr(agent, name, type(one)(one.theta, 1e-2))
        for name, one in [*vars(agent).items()]
        if isinstance(one, (Adam, RMSprop))
    ],
    "learning rates": lambda agent: [
        setattr(one, "learning_rate", 0.02)
        for one in vars(agent).values()
        if isinstance(one, (Adam, RMSprop))
    ],
    "whole learning rates": lambda agent: [
        setattr(one, "learning_rate", 0)
        for one in vars(agent).values()
        if isinstance(one, (Adam, RMSprop))
    ],
    "vectors of optimizers": lambda agent: [
        vars(one).update(v=one.v * 2) for one in vars(agent).values() if hasattr(one, "v")
    ],
    "vectors of optimizers in place": lambda agent: [
        one.v.__imul__(2) for one in vars(agent).values() if hasattr(one, "v")
    ],
    "counts of optimizers": lambda agent: [
        setattr(one, "counts", one.counts.copy())
        for one in vars(agent).values()
        if isinstance(one, (Adam, RMSprop))
    ],
    "constants of optimizers": lambda agent: [
        setattr(one, "eps", 1e-2) for one in vars(agent).values() if hasattr(one, "eps")
    ],
    "max_grad_norm": lambda agent: (
        agent.settings.get("max_grad_norm") and setattr(agent, "max_grad_norm", 1e-3)
    ),
    "tau": lambda agent: hasattr(agent, "tau") and setattr(agent, "tau", 0.5),
}


@pytest.mark.parametrize("name, case", half(CHANGES, CASES))
def test_a_change_between_updates_is_noticed(name, case):
    changed(case, CHANGES[name])


@pytest.mark.parametrize("case", CASES)
def test_steps_by_numbers_that_are_not_finite_are_skipped_and_counted(case):
    def run():
        agent = small_agent(case)
        seen = []
        for k, batch in enumerate(batches(agent, 16)):
            if k in (6, 7, 10):
                for x in batch[2:]:
                    if isinstance(x, np.ndarray) and x.ndim == 1:
                        x[3] = np.nan if k < 10 else 3e38
            seen.append(bits(agent.update(*batch)))
        counts = [one.counters() for one in vars(agent).values() if hasattr(one, "counters")]
        return seen, repr(counts), {name: bits(x) for name, x in vars(agent).items()
                                    if isinstance(x, np.ndarray)}  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        _, counts, _ = both(run)
    assert "'skipped': 3" in counts or "'skipped': 2" in counts


class Bad(npr.DQN):
    """Gradients that are not finite after 30 updates."""

    broken = 0.0

    def update(self, s, a, r, s2, terminated, gamma):
        return super().update(s, a, r + self.broken, s2, terminated, gamma)


@pytest.mark.parametrize("kind", ["reward", "attribute"])
def test_ten_skipped_steps_in_a_row_are_the_error_of_eager_runs(kind):
    def run():
        agent = Bad("CartPole-v1", seed=0, verbose=0, n_envs=1, **SETTINGS)

        def spoil(agent):
            if agent.n_updates == 30:
                if kind == "attribute":
                    Bad.broken = np.nan
                else:
                    agent.theta_bar[:] = np.nan
            return True

        Bad.broken = 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(NumericsError) as caught:
                agent.learn(100, callback=spoil)
        return str(caught.value), agent.n_updates, agent.adam.counters()

    both(run)


def test_anomaly_detection_runs_calls_as_they_are():
    agent = small_agent("SAC")
    first, *rest = batches(agent, 8)
    for batch in rest:
        agent.update(*batch)
    before = replays(agent)
    first[2][3] = np.nan
    with debug_anomaly(), pytest.raises(NumericsError):
        agent.update(*first)
    assert replays(agent) == before > 0


@pytest.mark.parametrize("case", CASES)
def test_a_file_has_no_plans_and_the_run_goes_on_with_the_same_bits(case, tmp_path):
    def run():
        agent = small_agent(case).learn(120)
        agent.save(tmp_path / "agent.npz")
        loaded = npr.load(tmp_path / "agent.npz", env=small_agent(case).env)
        assert report(loaded) == []
        return learned(loaded), learned(loaded.learn(100, reset_num_timesteps=False))

    both(run)


@pytest.mark.parametrize("case", CASES)
def test_copies_have_no_plans_and_go_on_with_the_same_bits(case):
    def run():
        agent = small_agent(case).learn(120)
        ends = []
        for one in (copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))):
            assert report(one) == []
            assert not any("Plan" in type(x).__name__ and x.signatures
                           for x in vars(one).values())  # fmt: skip
            ends.append(learned(one.learn(60, reset_num_timesteps=False)))
        assert ends[0] == ends[1]
        ends.append(learned(agent.learn(60, reset_num_timesteps=False)))
        return ends

    both(run)


def test_a_clone_has_no_plans():
    agent = small_agent("DQN").learn(96)
    assert replays(agent) > 0
    clone = npr.clone(agent)
    assert report(clone) == []
    assert learned(clone.learn(96)) == learned(small_agent("DQN").learn(96))


def test_several_agents_in_threads_learn_as_alone():
    cases = ("DQN", "SAC", "PPO-Box", "TD3")

    def make(k):
        return small_agent(cases[k % len(cases)], seed=k)

    with eager():
        expected = [learned(make(k).learn(150)) for k in range(8)]
    agents = [make(k) for k in range(8)]
    workers = [threading.Thread(target=agent.learn, args=(150,)) for agent in agents]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for agent, wanted in zip(agents, expected):
        assert replays(agent) > 0
        assert learned(agent) == wanted


def test_a_callback_may_read_and_write_parameters():
    def run():
        agent, seen = small_agent("DQN", **SETTINGS), []

        def callback(agent):
            seen.append(agent.theta.tobytes())
            if agent.n_updates % 7 == 3:
                agent.theta *= 0.99
            if agent.n_updates == 20:
                agent.theta = agent.theta + 0.01
            if agent.n_updates == 30:
                agent.adam.learning_rate *= 0.5
            return True

        agent.learn(96, callback=callback)
        return seen, learned(agent)

    both(run)


# ---- calls by users


def arguments(kind, agent, k):
    """Vectors of the same numbers and of another kind."""
    x = vector(agent, k)
    if kind == "float64":
        return x.astype(np.float64)
    if kind == "strided":
        return np.repeat(x, 3)[::3]
    if kind == "reversed":
        return x[::-1].copy()[::-1]
    if kind == "a view":
        return np.concatenate([x, x])[len(x) :]
    if kind == "unaligned":
        memory = np.zeros(x.nbytes + 1, np.uint8)[1:]
        y = memory.view(x.dtype)
        y[:] = x
        return y
    if kind == "of the other byte order":
        return x.astype(x.dtype.newbyteorder())
    if kind == "read-only":
        x.flags.writeable = False
        return x
    if kind == "a list":
        return x.tolist()
    return {"whole": (10 * x).astype(np.int64), "boolean": x > 0, "a subclass": x.view(Named)}[kind]


class Named(np.ndarray):
    """A subclass of NumPy's arrays."""


KINDS = [
    "float64", "strided", "reversed", "a view", "unaligned", "of the other byte order",
    "read-only", "a list", "whole", "boolean", "a subclass",
]  # fmt: skip


class Averaged(Toy):
    def update(self, x, number):
        x = self.theta * 0 + x
        result = super().update(x / (1 + abs(x.sum())), number)
        return {**result, "sum": x.sum(), "largest": x.max()}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_any_kind_give_the_same_bits(kind):
    def run():
        agent = toy(Averaged)
        seen = [bits(agent.update(arguments(kind, agent, k), 2.0)) for k in range(8)]
        seen += updates(agent, 6)
        seen += [bits(agent.update(arguments(kind, agent, k), 2.0)) for k in range(8)]
        return seen, learned(agent)

    both(run)


def test_the_same_array_with_other_numbers_is_read_where_it_is():
    def run():
        agent = toy()
        x, seen = vector(agent), []
        for k in range(12):
            x[:] = vector(agent, k)
            seen.append(bits(agent.update(x, 2.0)))
        seen += updates(agent, 6)
        x = x.reshape(2, -1)
        for k in range(12):
            x[:] = vector(agent, k).reshape(x.shape)
            seen.append(bits(agent.update(x.reshape(-1), 2.0)))
        return seen, learned(agent)

    both(run)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_array_whose_shape_was_set_is_another_one():
    class Any(Toy):
        def update(self, x, number):
            self.adam.step(self.theta, number * x.reshape(-1))
            return {"x": 2 * x}

    def run():
        agent = toy(Any)
        x, seen = vector(agent).reshape(-1, 2), []
        for k in range(16):
            if k == 8:
                x.shape = (2, -1)
            seen.append(bits(agent.update(x, 2.0)))
        return seen

    both(run)


NUMBERS = {
    "signs of zero": [0.0, -0.0] * 6,
    "not finite": [np.nan, 1.0, np.inf, -np.inf, np.nan] * 2,
    "whole": [2, 2, 2, 2, 2.0, 2, 2.0, 2.0, 2.0, 2.0, 2, True, True, True, True, True],
    "float64 of NumPy": [np.float64(1 / 3)] * 8 + [1 / 3] * 6 + [np.float64(1 / 3)] * 3,
    "float32 of NumPy": [np.float32(1 / 3)] * 8 + [1 / 3] * 6 + [np.float32(1 / 3)] * 3,
    "arrays": [np.array(1 / 3)] * 8 + [1 / 3] * 8,
    "tiny": [1e-300, 5e-324, 1e300, 1e-45],
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_of_any_kind_give_the_same_bits(name):
    class Divided(Toy):
        def update(self, x, number):
            g = x * number
            self.adam.step(self.theta, g.astype(self.theta.dtype))
            return {"g": g, "other": x + 1 / (2 + number), "sign": np.copysign(x, number)}

    def run():
        agent = toy(Divided)
        seen = updates(agent, 6)
        for k, number in enumerate(NUMBERS[name]):
            seen += updates(agent, 1, first=k, number=number)
        return seen, agent.theta.tobytes(), agent.adam.counters()

    both(run)


class Named3(Toy):
    """Three arrays, so that their order matters."""

    def update(self, x, y, number=1.0, *, half=False, others=()):
        g = x - number * y
        for one in others or ():
            g = g + one
        if half:
            g = 0.5 * g
        self.adam.step(self.theta, g)
        return {"g": g}


ORDERS = {
    "by name": lambda x, y: ((), {"x": x, "y": y, "number": 2.0}),
    "in another order": lambda x, y: ((), {"number": 2.0, "y": y, "x": x}),
    "swapped": lambda x, y: ((), {"y": y, "x": x}),
    "one by position": lambda x, y: ((x,), {"y": y}),
    "all by position": lambda x, y: ((x, y, 2.0), {}),
    "two by position": lambda x, y: ((x, y), {}),
    "a flag": lambda x, y: ((x, y), {"half": True}),
    "the flag that is the default": lambda x, y: ((x, y), {"half": False}),
    "others": lambda x, y: ((x, y), {"others": [y, x]}),
    "one other": lambda x, y: ((x, y), {"others": [y]}),
    "a tuple of others": lambda x, y: ((x, y), {"others": (y, x)}),
    "no others": lambda x, y: ((x, y), {"others": []}),
    "None": lambda x, y: ((x, y), {"others": None}),
    "nested": lambda x, y: ((x, y), {"others": [y, 1.5, np.float32(2)]}),
}


@pytest.mark.parametrize("first", ORDERS)
def test_arguments_by_name_are_not_taken_for_others(first):
    def run():
        agent, seen = toy(Named3), []
        for second in ORDERS:
            for k, name in enumerate([first] * 5 + [second] * 5 + [first]):
                args, options = ORDERS[name](vector(agent, k), vector(agent, 50 + k))
                seen.append(bits(agent.update(*args, **options)))
        return seen, agent.theta.tobytes()

    both(run)


class Several(Toy):
    def update(self, x, others):
        g = x
        for one in others or ():
            g = g + one
        self.adam.step(self.theta, g)
        return {"g": g}


@pytest.mark.parametrize("last", [None, (), [], [None], "", 0])
def test_what_is_not_a_list_is_not_taken_for_one(last):
    class Either(Several):
        def update(self, x, others):
            return super().update(x, [x] if others in (None, "", 0) else others)

    def run():
        agent = toy(Either)
        seen = [bits(agent.update(vector(agent, k), [vector(agent, -1 % 99 + k)]))
                for k in range(8)]  # fmt: skip
        for _ in range(3):
            try:
                seen.append(bits(agent.update(vector(agent), last)))
            except TypeError as error:
                seen.append(str(error))
        return seen, agent.theta.tobytes()

    both(run)


WRONG = {
    "too few": lambda x: ((x,), {}),
    "too many": lambda x: ((x, 2.0, 3.0), {}),
    "an unknown name": lambda x: ((x, 2.0), {"wrong": 1}),
    "twice": lambda x: ((x, 2.0), {"x": x}),
    "another shape": lambda x: ((x[:3], 2.0), {}),
    "text": lambda x: (("x", 2.0), {}),
    "nothing": lambda x: ((None, 2.0), {}),
    "an object": lambda x: ((object(), 2.0), {}),
    "complex": lambda x: ((x + 1j, 2.0), {}),
    "objects": lambda x: ((x.astype(object), 2.0), {}),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("before", [0, 2, 10])
def test_wrong_arguments_raise_the_error_of_the_call(before, name):
    def run():
        agent = toy()
        updates(agent, before)
        errors = []
        for _ in range(4):
            args, options = WRONG[name](vector(agent))
            try:
                errors.append(bits(agent.update(*args, **options)))
            except Exception as error:
                errors.append((type(error), str(error)))
        return errors, updates(agent, 6), agent.theta.tobytes()

    both(run)


@pytest.mark.parametrize("case", ["DQN", "PPO"])
def test_an_action_out_of_range_raises_the_error_of_the_call(case):
    def run():
        agent, errors = small_agent(case), []
        for k, batch in enumerate(batches(agent, 12)):
            if k in (0, 8):
                batch[1] = batch[1].copy()
                batch[1][2] = 99
            try:
                agent.update(*batch)
            except IndexError as error:
                errors.append((k, type(error), str(error)))
        return errors, learned(agent)

    errors, _ = both(run)
    assert [k for k, *_ in errors] == [0, 8]


def test_plans_that_are_traced_too_often_are_given_up():
    def run():
        agent, seen = toy(), []
        for k in range(60):
            agent.gain = 0.5 + k // 2
            seen += updates(agent, 1, first=k)
        return seen

    both(run)
    agent = toy()
    for k in range(60):
        agent.gain = 0.5 + k
        updates(agent, 1)
    assert "change too often" in states(agent)[0]
    assert vars(agent)["_captured"].traces < 10


def test_many_shapes_do_not_pile_up():
    class Summed(Toy):
        def update(self, x, number):
            return super().update(x.sum(0), number)

    def run():
        agent, seen = toy(Summed), []
        for n in [*range(1, 100), *range(1, 12)] * 2:
            for k in range(2 + n % 4):
                x = np.stack([vector(agent, j + k) for j in range(n)])
                seen.append(bits(agent.update(x, 2.0)))
        assert len(report(agent)) <= 64
        return seen

    both(run)
