"""`show`: what the tape held, as a table and as SVG."""

import functools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from support import ROOT
from support.on_the_double import on_the_double

import npr
from npr import autodiff as ad
from npr.autodiff import anomaly, grad, show
from npr.errors import ConfigError, GradientError, NumericsError
from npr.losses import mse, td_huber
from npr.nn import MLP

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def nothing_is_watched():
    yield
    assert not anomaly.watching and not anomaly.observers


def rows(view):
    """Number, name, parents, value and cotangent of every node."""
    return [
        (
            node.number, node.name, node.parents, node.value.tolist(),
            None if node.cotangent is None else node.cotangent.tolist(),
        )
        for node in view.nodes
    ]  # fmt: skip


# ---- what it holds, worked by hand


def test_a_product_and_a_sum():
    def f(x, y):
        return x * y + x

    view = show(f, 2.0, 3.0)
    assert rows(view) == [
        (0, "x", (), 2, 4),  # y + 1
        (1, "y", (), 3, 2),  # x
        (2, "multiply", (0, 1), 6, 1),
        (3, "add", (2, 0), 8, 1),
    ]
    assert (view.name, view.value, view.result) == ("f(x, y)", 8, 3)
    assert view.gradients == {"x": 4, "y": 2}


def test_a_value_that_is_used_twice_has_the_sum_of_the_cotangents():
    def f(x):
        u = 3 * x
        return u * u

    assert rows(show(f, 2.0)) == [
        (0, "x", (), 2, 36),
        (1, "multiply", (0,), 6, 12),
        (2, "multiply", (1, 1), 36, 1),
    ]
    assert [node.arguments for node in show(f, 2.0).nodes] == ["", "3, #0", "#1, #1"]


def test_broadcasting_is_undone():
    view = show(lambda W, b: (W + b).sum(), np.ones((2, 3)), np.array([1.0, 2.0, 3.0]))
    assert rows(view)[1] == (1, "b", (), [1, 2, 3], [2, 2, 2])
    assert [node.shape for node in view.nodes] == [(2, 3), (3,), (2, 3), ()]
    for node in view.nodes:
        assert node.cotangent.shape == node.shape


def test_the_table():
    def f(x):
        return ad.sum(x**2)

    assert str(show(f, np.array([1.0, 2.0, 0.5]))).splitlines() == [
        "f(x) = 5.25",
        "",
        "#  operation  of     shape  value         cotangent",
        "0  x          input  (3,)   [1, 2, 0.5]   [2, 4, 1]",
        "1  power      #0, 2  (3,)   [1, 4, 0.25]  [1, 1, 1]",
        "2  sum        #1     ()     5.25          1",
        "",
        "cotangent: the derivative of the result #2 with respect to that value.",
    ]
    assert repr(show(f, np.ones(2))) == str(show(f, np.ones(2)))


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: 3, lambda x: np.float32(3)])
def test_a_constant_function_records_nothing(f):
    view = show(f, np.array([1.0, 2.0]))
    assert rows(view) == [(0, "x", (), [1, 2], [0, 0])]
    assert view.result is None and view.value == 3
    assert "does not depend on the inputs" in str(view)
    assert len(boxes(view)) == 1


def test_the_identity_has_its_input_as_the_result():
    view = show(lambda x: x, 2.0)
    assert rows(view) == [(0, "x", (), 2, 1)] and view.result == 0


def test_what_the_result_does_not_depend_on_has_no_cotangent():
    def f(x, y):
        ad.exp(x)
        return 2 * x

    view = show(f, 0.0, 1.0)
    assert rows(view)[1:3] == [(1, "y", (), 1, 0), (2, "exp", (0,), 1, None)]
    assert re.search(r"2  exp .* none\n", str(view))
    assert "cotangent none: the result does not depend on that value." in str(view)


STEPS = [
    lambda x: x @ np.array([[1.0, -2.0], [0.5, 0.3], [2.0, 1.0]]),
    ad.tanh,
    lambda x: x * np.array([3.0, -1.0]),
    ad.exp,
    lambda x: ad.logsumexp(x, axis=-1),
    lambda x: x / 2.0,
    ad.sum,
]


def test_every_cotangent_is_that_of_finite_differences():
    view = show(lambda x: functools.reduce(lambda v, step: step(v), STEPS, x), X := np.array(
        [[0.1, -0.2, 0.3], [0.5, 0.4, -0.6]]
    ))  # fmt: skip
    assert len(view.nodes) == len(STEPS) + 1
    np.testing.assert_array_equal(view.nodes[0].value, X)
    for i, node in enumerate(view.nodes):
        numeric = np.empty_like(node.value)
        for index in np.ndindex(node.shape):
            ends = []
            for h in (1e-6, -1e-6):
                v = node.value.copy()
                v[index] += h
                ends.append(functools.reduce(lambda v, step: step(v), STEPS[i:], v))
            numeric[index] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(node.cotangent, numeric, rtol=1e-7, atol=1e-8)


def network():
    rng = np.random.default_rng(0)
    net = MLP(3, [4], 2)
    s, a = rng.standard_normal((5, 3)).astype(np.float32), np.array([0, 1, 0, 1, 1])
    return net, net.init(rng), s, a, rng.standard_normal(5).astype(np.float32)


def test_a_loss_of_a_network_has_the_gradient_of_grad():
    net, theta, s, a, y = network()

    def L(theta, s, a, y):
        return td_huber(net(theta, s), a, y)[0]

    view = show(L, theta, s=s, a=a, y=y)
    names = [(node.name, node.arguments, node.fused) for node in view.nodes]
    assert names[:2] == [("theta", "", False), ("MLP 3-4-2", "#0, s", True)]
    assert names[2][0] == "td_huber" and names[2][1].startswith("#1, a, y")
    np.testing.assert_array_equal(view.gradients["theta"], grad(L)(theta, s, a, y))
    note = "One operation each, with a pullback of its own: MLP 3-4-2, td_huber."
    assert note in str(view) and "a pullback of its own" in view.svg()
    assert "26 numbers, " in str(view) and "more than 6 numbers" in str(view)
    view.limit = 30
    assert "26 numbers, " not in str(view)
    closed = show(lambda theta: td_huber(net(theta, s), a, y)[0], theta)
    assert [node.arguments for node in closed.nodes] == [node.arguments for node in view.nodes]


def test_inputs_are_all_arrays_of_floats_and_others_are_constants():
    def f(x, n, *rest):
        return (x**n).sum() + sum(rest)

    view = show(f, np.ones(2, np.float32), 3, 4.0, 5.0)
    assert [node.name for node in view.nodes[:3]] == ["x", "rest0", "rest1"]
    assert view.name == "f(x, n, rest0, rest1)"
    assert {node.value.dtype for node in view.nodes} == {np.dtype(np.float32)}
    assert view.nodes[3].arguments == "#0, 3"
    assert show(ad.exp, 0.0).nodes[0].name in ("args0", "x0")
    assert show(functools.partial(f, n=2), 3.0).value == 9


def test_arguments_are_short():
    x = np.arange(12.0).reshape(3, 4)
    view = show(lambda x: x[1:, (0, 1)][..., None].sum() + ad.stack([x[0], x[1]]).sum(), x)
    found = [node.arguments for node in view.nodes]
    assert found[1:3] == ["#0, (1:, (0, 1))", "#1, (..., None)"]
    assert "#4, #5" in found
    assert show(lambda x: (x + np.arange(9.0)).sum(), 1.0).nodes[1].arguments == "#0, float64(9,)"


def test_other_tapes_and_nested_gradients_are_not_recorded():
    def f(x):
        slope = grad(lambda y: (y * y * y).sum())(np.array([1.0, 2.0]))
        return (slope * x).sum()

    view = show(f, np.array([1.0, 1.0]))
    assert [node.name for node in view.nodes] == ["x", "multiply", "sum"]
    assert view.gradients["x"].tolist() == [3, 12]


def test_values_do_not_change_with_their_arrays():
    x = np.array([1.0, 2.0])
    view = show(lambda x: x.sum(), x)
    x[:] = 7
    assert view.nodes[0].value.tolist() == [1, 2]


def test_anomaly_detection_works_within():
    overflows = pytest.raises(NumericsError, match="the value of exp")
    with np.errstate(over="ignore"), npr.debug_anomaly(), overflows:
        show(ad.exp, 1000.0)
    with npr.debug_anomaly():
        assert show(ad.exp, 0.0).value == 1


# ---- errors


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: show(lambda x: x * x, 3), "needs an input of floats, got int. Write 2.0 for 2"),
        (lambda: show(lambda x: x.sum(), np.arange(3)), r"got int64.*x\.astype\(float\)"),
        (lambda: show(lambda: 3.0), "got nothing"),
        (lambda: show(lambda x: x * x, np.ones(3)), r"needs a scalar, f returned shape \(3,\)"),
        (lambda: show(lambda x: (x, x), 1.0), "f returned a tuple"),
        (lambda: show(lambda x: None, 1.0), "f returned a NoneType"),
        (lambda: show(lambda x: "x", 1.0), "f returned a str"),
    ],
)
def test_what_cannot_be_shown_is_said(call, match):
    with pytest.raises(GradientError, match=match):
        call()


def test_a_target_on_the_tape_is_explained():
    net, theta, s, a, y = network()
    with pytest.raises((TypeError, ValueError)) as caught:
        show(lambda theta, y: mse(net(theta, s)[:, 0], y), theta, y)
    assert "Give what is a constant by name: show(f, theta, y=...)" in caught.value.__notes__[0]


def test_an_error_of_the_function_ends_the_recording():
    with pytest.raises(ZeroDivisionError):
        show(lambda x: 1 // 0, 2.0)


# ---- SVG


def drawn(view):
    return ElementTree.fromstring(view.svg())


def boxes(view):
    """(x, y, width, height) of the boxes of the nodes."""
    groups = drawn(view).findall(f"{SVG}g")
    names = "x", "y", "width", "height"
    return [tuple(float(g.find(f"{SVG}rect").get(n)) for n in names) for g in groups]


def branches(x, y, z):
    u, v = x * y, y + z
    w = ad.tanh(u) + v * u
    return w * x - ad.exp(-v) * z + u


def matrices(W, b):
    h = ad.tanh(W @ np.ones((3, 2)) + b)
    return (h * h).sum() + 0.1 * (W * W).sum()


def long_sum(x):
    return sum((x * k for k in range(1, 60)), 0.0)


VIEWS = {
    "branches": lambda: show(branches, 1.0, 2.0, 3.0),
    "matrices": lambda: show(matrices, np.ones((2, 3)), np.zeros(2)),
    "long": lambda: show(long_sum, 2.0),
    "constant": lambda: show(lambda x: 1.0, 2.0),
}


@pytest.mark.parametrize("name", VIEWS)
def test_boxes_are_within_the_picture_and_apart(name):
    view = VIEWS[name]()
    root, found = drawn(view), boxes(view)
    assert len(found) == len(view.shown())
    width, height = float(root.get("width")), float(root.get("height"))
    for i, (x, y, w, h) in enumerate(found):
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
        for x2, y2, w2, h2 in found[:i]:
            assert x + w < x2 or x2 + w2 < x or y + h < y2 or y2 + h2 < y
    for text in root.iter(f"{SVG}text"):  # 0.62 of the size: the widest usual monospaced font
        size = float(text.get("font-size", 12))
        assert float(text.get("x")) + 0.61 * size * len(text.text) <= width


@pytest.mark.parametrize("name", VIEWS)
def test_an_arrow_from_every_parent_ends_at_its_child(name):
    view = VIEWS[name]()
    found = dict(zip((node.number for node in view.shown()), boxes(view)))
    paths = [p.get("d") for p in drawn(view).findall(f"{SVG}path") if p.get("stroke")]
    wanted = [
        (parent, node.number) for node in view.shown() for parent in node.parents if parent in found
    ]
    assert len(paths) == len(wanted)
    for path, (parent, child) in zip(paths, wanted):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path)]
        (x, y, w, h), (x2, y2, w2, _) = found[parent], found[child]
        assert x <= numbers[0] <= x + w and numbers[1] == pytest.approx(y + h, abs=0.11)
        assert x2 <= numbers[-2] <= x2 + w2 and numbers[-1] == pytest.approx(y2 - 7, abs=0.11)
        assert y + h < y2, "down"


def test_two_uses_of_one_value_are_two_arrows_at_different_places():
    paths = [p.get("d") for p in drawn(show(lambda x: x * x, 2.0)).findall(f"{SVG}path")]
    assert len(set(paths)) == 4  # two lines and two heads


def test_text_is_escaped():
    def f(x):
        return ad.record(x.data * 1, [x], lambda g: [g], "</text><script>alert(1)</script>\0\n&")

    f.__name__ = '<img src="x">'
    view = show(f, 1.0)
    root = drawn(view)
    assert {node.tag.removeprefix(SVG) for node in root.iter()} == {
        "svg", "title", "rect", "g", "path", "text",
    }  # fmt: skip
    assert "<script" not in view.svg() and "<img" not in view.svg()
    assert any("<script>" in (text.text or "") for text in root.iter(f"{SVG}text"))


def test_many_operations_are_left_out_and_that_is_said():
    view = show(long_sum, 2.0)
    assert len(view.nodes) == 119 and len(view.shown()) == 41
    note = "78 of 118 operations are left out, #21 to #98 (operations=40)."
    assert note in str(view) and str(view).count("...") == 1
    assert "78 of 118 operations" in " ".join(t.text for t in drawn(view).iter(f"{SVG}text"))
    view.operations = 200
    assert "left out" not in str(view)


def test_it_is_saved_as_svg_and_shown_in_notebooks(tmp_path):
    view = show(branches, 1.0, 2.0, 3.0)
    view.save(tmp_path / "tape.svg")
    assert (tmp_path / "tape.svg").read_text(encoding="utf-8") == view.svg() == view._repr_svg_()
    with pytest.raises(ConfigError, match=r"name it \.svg, got"):
        view.save(tmp_path / "tape.png")


def test_the_picture_in_the_documentation_is_that_of_its_example():
    def f(x, y):
        return x * y + ad.tanh(x)

    picture = (ROOT / "docs" / "tape.svg").read_text(encoding="utf-8")
    assert picture == show(f, 2.0, 3.0).svg()


@on_the_double
def test_on_a_device_it_returns_arrays_of_the_host():
    from npr.backend import xp

    net = MLP(3, [4], 2)
    theta, s = net.init(np.random.default_rng(0)), xp.ones((5, 3), "f")
    view = show(lambda theta, s: ad.tanh(net(theta, s)).mean(), theta, s=s)
    assert [node.name for node in view.nodes] == ["theta", "MLP 3-4-2", "tanh", "mean"]
    assert all(type(node.value) is type(node.cotangent) is np.ndarray for node in view.nodes)
    assert "MLP 3-4-2" in str(view) and "MLP 3-4-2" in view.svg()
    assert show(lambda x, y: x * y, 2.0, np.float32(3)).gradients == {"x": 3, "y": 2}
