"""The MLP as one node on the tape, compared with npr.nn.composed, its definition.

Also: the layout of theta, stacks of networks, initialization, and what is refused.
"""

import gc
import tracemalloc
import weakref
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from npr import autodiff as ad
from npr import nn
from npr.autodiff import gradcheck, vjp
from npr.backend import FLOAT
from npr.errors import ConfigError
from npr.kernels import mlp as kernels
from npr.nn import ACTIVATIONS, MLP, gains, layers

# --- the definition ------------------------------------------------------------------------------


def composed(theta, *xs, widths, activation="relu", out="identity", free=0, layer_norm=False):
    """npr.nn.composed of concatenated inputs, with free outputs beside it."""
    x, size = ad.concatenate(list(xs), axis=-1), theta.shape[0] - free
    network, stretched = layers(theta[:size], widths), gains(theta[:size], widths)
    each = [ACTIVATIONS[name] for name in nn.activations(activation, len(widths) - 2)]
    y = nn.composed(network, x, each, ACTIVATIONS[out], stretched if layer_norm else ())
    if free:
        y = ad.concatenate([y, theta[size:] + np.zeros((*y.shape[:-1], free))], axis=-1)
    return y


def numbers(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng([seed, *shape]).uniform(-1, 1, shape).astype(dtype)


def cotangents(f, x, v):
    """f(x) and the cotangent of x for the cotangent v."""
    y, pullback = vjp(f, x)
    return y, pullback(v)


def in_input(i, network, theta, xs):
    """The network as a function of its i-th input."""
    return lambda x: network(theta, *xs[:i], x, *xs[i + 1 :])


def assert_same_node(f, reference, x, v):
    for ours, expected in zip(cotangents(f, x, v), cotangents(reference, x, v)):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)


# --- the node equals the composed network --------------------------------------------------------


def test_the_kernels_know_every_activation():
    assert tuple(ACTIVATIONS) == kernels.ACTIVATIONS


@pytest.mark.parametrize("out", ACTIVATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_node_equals_the_composed_network(activation, out):
    mlp = MLP(3, [5, 4], 2, activation, out)
    reference = partial(composed, widths=[3, 5, 4, 2], activation=activation, out=out)
    theta, x, v = numbers(mlp.size), numbers(6, 3), numbers(6, 2)
    np.testing.assert_allclose(mlp(theta, x), reference(theta, x), rtol=1e-13)
    assert_same_node(lambda t: mlp(t, x), lambda t: reference(t, x), theta, v)
    assert_same_node(lambda x: mlp(theta, x), lambda x: reference(theta, x), x, v)

    def value_and_cotangent(network):
        return lambda z: network(z[: mlp.size], ad.reshape(z[mlp.size :], (6, 3)))

    assert_same_node(
        value_and_cotangent(mlp),
        value_and_cotangent(reference),
        np.concatenate([theta, x.ravel()]),
        v,
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_equals_finite_differences(activation):
    mlp = MLP(2, [4, 3], 2, activation, "tanh")
    theta, x = numbers(mlp.size), numbers(5, 2)
    gradcheck(lambda theta: mlp(theta, x), theta, tolerance=1e-6)
    gradcheck(lambda x: mlp(theta, x), x, tolerance=1e-6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(2, 5), min_size=1, max_size=3),
    st.data(),
    st.sampled_from([None, 2]),
    st.integers(0, 2**32 - 1),
)
def test_the_gradient_of_normalized_layers_equals_finite_differences(hidden, data, rows, seed):
    names = st.sampled_from(sorted(ACTIVATIONS))
    activation = [data.draw(names) for _ in hidden]
    mlp = MLP([2, 1], hidden, 2, activation, rows=rows, free=1, layer_norm=True)
    theta, s = numbers(*((rows,) if rows else ()), mlp.size, seed=seed), numbers(3, 2, seed=seed)
    a = numbers(3, 1, seed=seed)
    assume(all(_is_smooth(mlp, network, s, a) for network in theta.reshape(-1, mlp.size)))
    gradcheck(lambda theta: mlp(theta, s, a), theta, tolerance=1e-5)
    gradcheck(lambda a: mlp(theta, s, a), a, tolerance=1e-5)


def _is_smooth(mlp, theta, s, a):
    """Whether no hidden value is near the kink of relu, and no row is nearly constant."""
    x = np.concatenate([s, a], axis=-1)
    for (W, b), gain, name in zip(layers(theta, mlp.sizes), gains(theta, mlp.sizes),
                                  nn.activations(mlp.activation, len(mlp.sizes) - 2)):  # fmt: skip
        z = x @ W
        if z.std(axis=-1).min() < 0.03:
            return False
        z = nn.normalized(z) * gain + b
        if name in ("relu", "elu") and np.abs(z).min() < 1e-3:
            return False
        x = np.asarray(ACTIVATIONS[name](z))
    return True


@st.composite
def architectures(draw):
    sizes = st.integers(1, 4)
    rows, batch = draw(st.none() | st.integers(1, 3)), draw(st.integers(0, 5))
    hidden, names = draw(st.lists(sizes, max_size=3)), st.sampled_from(sorted(ACTIVATIONS))
    spec = {
        "inputs": draw(sizes | st.lists(sizes, min_size=1, max_size=3)),
        "hidden": hidden,
        "outputs": draw(sizes),
        "activation": draw(names | st.tuples(*[names] * len(hidden))),
        "out": draw(names),
        "free": draw(st.integers(0, 2)),
        "layer_norm": draw(st.booleans()),
    }
    return spec, rows, batch


@settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(architectures())
def test_the_node_equals_the_composed_network_for_any_architecture(drawn):
    spec, rows, batch = drawn
    mlp = MLP(**spec, rows=rows)
    inputs = np.atleast_1d(spec["inputs"])
    reference = partial(
        composed,
        widths=[sum(inputs), *spec["hidden"], spec["outputs"]],
        **{name: spec[name] for name in ("activation", "out", "free", "layer_norm")},
    )
    xs = [numbers(batch, n, seed=i) for i, n in enumerate(inputs)]

    def stacked(theta, *xs):
        return (
            ad.stack([reference(theta[i], *xs) for i in range(rows)])
            if rows
            else reference(theta, *xs)
        )

    theta = numbers(*((rows,) if rows else ()), mlp.size)
    v = numbers(*((rows,) if rows else ()), batch, spec["outputs"] + spec["free"])
    assert_same_node(lambda t: mlp(t, *xs), lambda t: stacked(t, *xs), theta, v)
    for i, x in enumerate(xs):
        assert_same_node(in_input(i, mlp, theta, xs), in_input(i, stacked, theta, xs), x, v)


def test_by_hand():
    """relu(1 * 2 - 1) * 3 + 0.5, and relu(1 * -2 - 1) * 3 + 0.5."""
    theta = np.array([1.0, -1.0, 3.0, 0.5])
    x = np.array([[2.0], [-2.0]])
    np.testing.assert_array_equal(nn.composed(layers(theta, [1, 1, 1]), x), [[3.5], [0.5]])
    np.testing.assert_array_equal(MLP(1, [1], 1)(theta, x), [[3.5], [0.5]])


def test_a_normalized_layer_by_hand():
    """Rows (-1, 1) and (1, 3) have means 0 and 2, and standard deviation 1."""
    theta = np.array([1, 0, 0, 1, 10, 20, 1, 1, 0.5, 3, 4])  # W and b of two layers, gains
    x, factor = np.array([[-1.0, 1.0], [1.0, 3.0]]), 1 / np.sqrt(1 + 1e-5)
    mlp = MLP(2, [2], 1, "identity", layer_norm=True)
    expected = (10 - 3 * factor) + (20 + 4 * factor) + 0.5
    np.testing.assert_allclose(mlp(theta, x), [[expected], [expected]], rtol=1e-12)


def test_a_constant_row_is_normalized_to_zeros():
    """Its variance is zero, and gradients are finite."""
    mlp = MLP(2, [3], 1, layer_norm=True)
    theta, x = np.ones(mlp.size), numbers(4, 2)
    y, gradient = cotangents(lambda theta: mlp(theta, x), theta, np.ones((4, 1)))
    np.testing.assert_allclose(y, 4, rtol=1e-9)
    assert np.isfinite(gradient).all()


def test_the_gains_follow_the_layers():
    mlp = MLP(3, [4, 5], 2, rows=2, free=1, layer_norm=True)
    theta = mlp.init(np.random.default_rng(0), free=-0.5)
    assert mlp.size == 3 * 4 + 4 + 4 * 5 + 5 + 5 * 2 + 2 + 4 + 5 + 1 and theta.shape == (
        2,
        mlp.size,
    )
    for row, network in zip(theta, mlp.layers(theta)):
        flat = np.concatenate([part.ravel() for layer in network for part in layer])
        np.testing.assert_array_equal(row[: len(flat)], flat)
        np.testing.assert_array_equal(row[len(flat) :], [1] * 9 + [-0.5])
        np.testing.assert_array_equal(np.concatenate([b for _, b in network[:-1]]), 0)
        assert network[-1][1].all()  # the last layer is not normalized
    orthogonal = mlp.init(np.random.default_rng(0), "orthogonal")
    np.testing.assert_array_equal(orthogonal[:, -10:-1], 1)


# --- shapes of inputs and outputs ----------------------------------------------------------------


def test_rows_of_theta_are_separate_networks():
    stacked, single = MLP([3, 1], [8, 8], None, rows=2), MLP([3, 1], [8, 8], None)
    theta, s, a, v = numbers(2, stacked.size), numbers(6, 3), numbers(6, 1), numbers(2, 6)
    assert single.size == stacked.size
    y, pullback = vjp(lambda theta: stacked(theta, s, a), theta)
    assert y.shape == (2, 6)
    for row in range(2):
        expected, gradient = cotangents(lambda theta: single(theta, s, a), theta[row], v[row])
        np.testing.assert_array_equal(y[row], expected)
        np.testing.assert_array_equal(pullback(v)[row], gradient)
    pulled = [cotangents(partial(single, theta[row], s), a, v[row])[1] for row in range(2)]
    _, both = cotangents(partial(stacked, theta, s), a, v)
    np.testing.assert_allclose(both, pulled[0] + pulled[1], rtol=1e-12)


def test_theta_may_have_some_of_the_rows():
    mlp = MLP(3, [4], 2, rows=4)
    theta, x, v = numbers(4, mlp.size), numbers(6, 3), numbers(2, 6, 2)
    np.testing.assert_array_equal(mlp(theta[[3, 1]], x), mlp(theta, x)[[3, 1]])
    y, gradient = cotangents(lambda theta: mlp(theta, x), theta[[3, 1]], v)
    whole = np.zeros((4, 6, 2))
    whole[[3, 1]] = v
    expected = cotangents(lambda theta: mlp(theta, x), theta, whole)[1]
    np.testing.assert_array_equal(gradient, expected[[3, 1]])


def test_outputs_none_gives_no_output_axis():
    flat, column = MLP(3, [4], None), MLP(3, [4], 1)
    theta, x, v = numbers(flat.size), numbers(6, 3), numbers(6)
    assert flat(theta, x).shape == (6,)
    np.testing.assert_array_equal(flat(theta, x), column(theta, x)[:, 0])
    assert_same_node(lambda t: flat(t, x), lambda t: column(t, x)[:, 0], theta, v)
    assert_same_node(lambda x: flat(theta, x), lambda x: column(theta, x)[:, 0], x, v)


@pytest.mark.parametrize("rows, lead", [(None, ()), (2, (2,))])
@pytest.mark.parametrize("outputs, tail", [(None, ()), (3, (3,))])
@pytest.mark.parametrize("batch", [(), (1,), (0,), (4,), (2, 4)])
def test_the_result_has_the_batch_axes_of_x(batch, outputs, tail, rows, lead):
    mlp = MLP(2, [5], outputs, rows=rows)
    theta, x = numbers(*lead, mlp.size), numbers(*batch, 2)
    v = numbers(*lead, *batch, *tail)
    rows_of_x, rows_of_v = x.reshape(-1, 2), v.reshape(*lead, -1, *tail)
    y, pullback = vjp(lambda x: mlp(theta, x), x)
    assert y.shape == (*lead, *batch, *tail)
    flat, gradient = cotangents(lambda x: mlp(theta, x), rows_of_x, rows_of_v)
    np.testing.assert_allclose(y.ravel(), flat.ravel(), rtol=1e-13)
    assert pullback(v).shape == x.shape
    np.testing.assert_allclose(pullback(v).ravel(), gradient.ravel(), rtol=1e-13)
    np.testing.assert_allclose(
        cotangents(lambda theta: mlp(theta, x), theta, v)[1],
        cotangents(lambda theta: mlp(theta, rows_of_x), theta, rows_of_v)[1],
        rtol=1e-12,
    )


@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
def test_several_inputs_equal_one_concatenated_input(batch):
    pieces, whole = MLP([3, 1, 2], [5], 2), MLP(6, [5], 2)
    theta, x, v = numbers(whole.size), numbers(*batch, 6), numbers(*batch, 2)
    inputs = np.split(x, [3, 4], axis=-1)
    np.testing.assert_array_equal(pieces(theta, *inputs), whole(theta, x))
    _, gradient = cotangents(partial(whole, theta), x, v)
    for i, part in enumerate(np.split(gradient, [3, 4], axis=-1)):
        _, pulled = cotangents(in_input(i, pieces, theta, inputs), inputs[i], v)
        np.testing.assert_array_equal(pulled, part)


@pytest.mark.parametrize("declared", [3, [2, 1], [1, 2]])
def test_inputs_may_be_split_differently_than_declared(declared):
    """Only the sum of widths is fixed: the cotangent of an input has the width of that input."""
    mlp, whole = MLP(declared, [5], 2), MLP(3, [5], 2)
    theta, x, v = numbers(whole.size), numbers(4, 3), numbers(4, 2)
    _, gradient = cotangents(partial(whole, theta), x, v)
    first, last = x[:, :1], x[:, 1:]
    np.testing.assert_array_equal(cotangents(partial(mlp, theta), x, v)[1], gradient)
    np.testing.assert_array_equal(
        cotangents(partial(mlp, theta, first), last, v)[1], gradient[:, 1:]
    )


def test_free_outputs_are_the_last_entries_of_theta():
    mlp = MLP(3, [4], 2, free=2)
    theta, x, v = numbers(mlp.size), numbers(6, 3), numbers(6, 4)
    y, gradient = cotangents(lambda theta: mlp(theta, x), theta, v)
    assert y.shape == (6, 4)
    np.testing.assert_array_equal(y[:, 2:], np.broadcast_to(theta[-2:], (6, 2)))
    np.testing.assert_allclose(gradient[-2:], v[:, 2:].sum(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(y[:, :2], MLP(3, [4], 2)(theta[:-2], x))


# --- types, memory, cost -------------------------------------------------------------------------


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_stays_float32(activation, layer_norm):
    mlp = MLP([2, 1], [5], 2, activation, "tanh", rows=2, free=1, layer_norm=layer_norm)
    theta, s = numbers(2, mlp.size, dtype=np.float32), numbers(4, 2, dtype=np.float32)
    a, v = numbers(4, 1, dtype=np.float32), numbers(2, 4, 3, dtype=np.float32)
    assert mlp(theta, s, a).dtype == np.float32

    def in_theta(t, s, a):
        return mlp(t, s, a)

    def in_input(a, t, s):
        return mlp(t, s, a)

    for f, inputs in ((in_theta, (theta, s, a)), (in_input, (a, theta, s))):
        y, pullback = vjp(f, *inputs)
        gradient = pullback(v)
        assert y.dtype == gradient.dtype == np.float32
        _, pullback = vjp(f, *(x.astype(np.float64) for x in inputs))
        np.testing.assert_allclose(gradient, pullback(v.astype(float)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kinds", [("f4", "f8"), ("f8", "f4"), ("f4", "i8")])
def test_a_network_computes_in_the_type_of_its_parameters(kinds):
    mlp = MLP(2, [3], 1)
    theta, x = 3 * numbers(mlp.size), 3 * numbers(4, 2)
    theta, x = theta.astype(kinds[0]), x.astype(kinds[1])
    y, pullback = vjp(lambda theta: mlp(theta, x), theta)
    precise = mlp(theta.astype(float), x.astype(float))
    np.testing.assert_allclose(y, precise, rtol=0 if kinds[0] == "f8" else 1e-5)
    assert y.dtype == pullback(y).dtype == theta.dtype


def test_plain_arrays_give_a_plain_array():
    mlp = MLP(2, [3], 1)
    assert type(mlp(numbers(mlp.size), numbers(4, 2))) is np.ndarray


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_theta_inputs_and_cotangents_are_not_modified(activation):
    mlp = MLP([2, 1], [3], 2, activation, activation, rows=2, free=1, layer_norm=True)
    theta, s, a, v = numbers(2, mlp.size), numbers(4, 2), numbers(4, 1), numbers(2, 4, 3)
    for array in (theta, s, a, v):
        array.flags.writeable = False
    for f, x in ((lambda t: mlp(t, s, a), theta), (lambda a: mlp(theta, s, a), a)):
        _, pullback = vjp(f, x)
        np.testing.assert_array_equal(pullback(v), pullback(v))


def test_layers_are_views_of_theta():
    mlp = MLP(3, [4], 2, rows=2, free=1)
    theta = numbers(2, mlp.size)
    for row, network in enumerate(mlp.layers(theta)):
        assert [(W.shape, b.shape) for W, b in network] == [((3, 4), (4,)), ((4, 2), (2,))]
        flat = np.concatenate([part.ravel() for layer in network for part in layer])
        np.testing.assert_array_equal(flat, theta[row, :-1])
        assert all(np.shares_memory(part, theta) for layer in network for part in layer)


def test_in_place_changes_of_theta_take_effect():
    mlp = MLP(3, [4], 2)
    theta, x = numbers(mlp.size), numbers(6, 3)
    mlp(theta, x)
    theta *= 0.5
    np.testing.assert_array_equal(mlp(theta, x), composed(theta, x, widths=[3, 4, 2]))


def test_cached_views_are_not_mixed_up_and_are_freed():
    mlp, x, references = MLP(3, [4], 2), numbers(6, 3), []
    for seed in range(30):  # arrays may reuse the id of a freed one
        theta = numbers(mlp.size, seed=seed)
        references.append(weakref.ref(theta))
        expected = composed(theta, x, widths=[3, 4, 2])
        np.testing.assert_allclose(mlp(theta, x), expected, rtol=1e-12, atol=1e-13)
    assert sum(theta() is not None for theta in references) < 15


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda t: np.repeat(t, 2, axis=-1)[..., ::2]],
    ids=["F", "strided"],
)
def test_the_gradient_does_not_depend_on_the_memory_layout_of_theta(layout):
    mlp, x = MLP(3, [4], 2, rows=2), numbers(6, 3)
    theta, v = numbers(2, mlp.size), numbers(2, 6, 2)
    _, expected = cotangents(lambda theta: mlp(theta, x), theta, v)
    _, gradient = cotangents(lambda theta: mlp(theta, x), layout(theta), v)
    np.testing.assert_allclose(gradient, expected, rtol=1e-13)


def peak_bytes(f):
    f()  # compiles kernels
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_only_the_requested_cotangents_are_computed():
    mlp = MLP(1000, [300], 2)
    theta, x, v = numbers(mlp.size), numbers(1000, 1000), numbers(1000, 2)
    row = x[:1].copy()
    _, pull_row = vjp(lambda x: mlp(theta, x), row)
    assert peak_bytes(lambda: pull_row(v[:1])) < theta.nbytes / 2
    _, pull_theta = vjp(lambda theta: mlp(theta, x), theta)
    assert peak_bytes(lambda: pull_theta(v)) < theta.nbytes + x.nbytes / 2


def test_the_graph_is_freed_without_the_garbage_collector():
    mlp = MLP(3, [4], 2)
    theta, x = numbers(mlp.size), numbers(6, 3)
    references = weakref.ref(x)
    gc.disable()
    try:
        y, pullback = vjp(lambda x: mlp(theta, x), x)
        pullback(y)
        del x, y, pullback
        assert references() is None
    finally:
        gc.enable()


# --- initialization ------------------------------------------------------------------------------


def test_fan_in_draws_uniformly_within_its_bound():
    mlp = MLP(16, [100], 50, rows=2)
    theta = mlp.init(np.random.default_rng(0))
    assert theta.shape == (2, mlp.size) and theta.dtype == FLOAT
    assert not np.array_equal(theta[0], theta[1])
    for network in mlp.layers(theta):
        for n, layer in zip([16, 100], network):
            bound = 1 / np.sqrt(n)
            for part in layer:
                assert 0.9 * bound < np.abs(part).max() <= bound
                assert abs(part.mean()) < 0.3 * bound
                np.testing.assert_allclose(part.std(), bound / np.sqrt(3), rtol=0.2)


@pytest.mark.parametrize("n, m", [(7, 4), (4, 7), (5, 5)])
def test_orthogonal_weights_have_their_gain(n, m):
    mlp = MLP(n, [m], n, free=2)
    theta = mlp.init(np.random.default_rng(0), "orthogonal", out_gain=0.01, free=-1.5)
    assert theta.shape == (mlp.size,) and theta.dtype == FLOAT
    (hidden, out), k = mlp.layers(theta)[0], min(n, m)
    for (W, b), gain in ((hidden, np.sqrt(2)), (out, 0.01)):
        gram = W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
        np.testing.assert_allclose(gram, gain**2 * np.eye(k), atol=1e-6 * gain**2)
        np.testing.assert_array_equal(b, 0)
    np.testing.assert_array_equal(theta[-2:], -1.5)


def test_the_default_output_gain_is_one_and_free_outputs_are_zero():
    mlp = MLP(3, [], 3, free=2)
    theta = mlp.init(np.random.default_rng(0), "orthogonal")
    ((W, _),) = mlp.layers(theta)[0]
    np.testing.assert_allclose(W.T @ W, np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(theta[-2:], 0)


def test_orthogonal_weights_are_uniformly_distributed():
    """Without the correction by the signs of R, one sign of the diagonal would be more frequent."""
    mlp, rng = MLP(2, [], 2), np.random.default_rng(0)
    corners = [mlp.layers(mlp.init(rng, "orthogonal"))[0][0][0][0, 0] for _ in range(400)]
    assert abs(np.mean(np.array(corners) > 0) - 0.5) < 0.1


def test_free_outputs_are_initialized_in_every_scheme():
    mlp = MLP(2, [3], 1, free=2)
    for scheme in ("fan_in", "orthogonal"):
        theta = mlp.init(np.random.default_rng(0), scheme, free=-0.5)
        np.testing.assert_array_equal(theta[-2:], -0.5)


def test_equal_generators_draw_equal_parameters():
    mlp = MLP(2, [3], 1, rows=2)
    first, second = (mlp.init(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# --- invalid arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting", [{"activation": "gelu"}, {"activation": ["gelu"]}, {"out": "gelu"}]
)
def test_an_unknown_activation_is_refused(setting):
    with pytest.raises(ConfigError, match="activation='gelu' is not known; use relu, tanh, elu,"):
        MLP(2, [3], 1, **setting)


@pytest.mark.parametrize("activation", [[], ["relu", "tanh"]])
def test_another_number_of_activations_than_of_hidden_layers_is_refused(activation):
    with pytest.raises(ConfigError, match=f"has {len(activation)} names for 1 hidden layers; give"):
        MLP(2, [3], 1, activation)


def test_equal_activations_are_one():
    assert MLP(2, [3, 4], 1, ["tanh", "tanh"]).activation == "tanh"
    assert repr(MLP(2, [3, 4], 1, ["tanh", "elu"], rows=2, layer_norm=True)) == (
        "MLP(2 x 2-3-4-1, tanh-elu, layer_norm)"
    )


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ConfigError, match="scheme='xavier' is not known; use fan_in or orthogonal"):
        MLP(2, [3], 1).init(np.random.default_rng(0), "xavier")


def test_free_outputs_need_an_output_axis():
    with pytest.raises(ConfigError, match="free=1 needs outputs"):
        MLP(2, [3], None, free=1)


@pytest.mark.parametrize(
    "rows, shape, needed",
    [(None, (12,), r"\(13,\)"), (None, (1, 13), r"\(13,\)"), (2, (13,), r"\(2, 13\)")],
)
def test_a_theta_of_the_wrong_shape_is_refused(rows, shape, needed):
    mlp = MLP(2, [3], 1, rows=rows)
    with pytest.raises(ConfigError, match=rf"parameters of shape {needed}, got theta of shape"):
        mlp(np.zeros(shape), np.zeros((4, 2)))


def test_inputs_of_the_wrong_width_are_refused():
    mlp = MLP([2, 1], [3], 1)
    theta = np.zeros(mlp.size)
    with pytest.raises(ConfigError, match=r"takes 3 inputs, got shape \(4, 2\)"):
        mlp(theta, np.zeros((4, 2)))
    with pytest.raises(ConfigError, match=r"takes 3 inputs, got shape \(4, 5\)"):
        mlp(theta, np.zeros((4, 2)), np.zeros((4, 3)))
