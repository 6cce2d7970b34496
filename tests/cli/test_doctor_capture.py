"""npr doctor --capture ALGORITHM ENV."""

import pytest
from support.processes import run

from npr import DQN
from npr.capture import compiling


def test_doctor_says_what_is_captured(npr):
    status, out, err = npr("doctor", "--capture", "DQN", "CartPole-v1")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert ": captured, " in line and line.endswith(" calls replayed")
    assert any(line.startswith("update(s float") for line in lines)
    assert any(line.startswith("choose(s float") for line in lines)


def test_doctor_says_that_a_table_is_not_captured(npr):
    status, out, err = npr("doctor", "--capture", "QLearning", "CliffWalking-v1")
    assert (status, err) == (0, "")
    assert out == "nothing: QLearning learns a table, without arrays\n"


def test_doctor_compiles_what_plans_need_before_it_learns(npr, monkeypatch):
    """Else calls would go on as they are until a process beside this one has compiled it."""
    order, learn = [], DQN.learn
    compile_all = compiling.compile_all
    monkeypatch.setattr(compiling, "compile_all", lambda: order.append("compile") or compile_all())
    monkeypatch.setattr(
        DQN, "learn", lambda *args, **options: order.append("learn") or learn(*args, **options)
    )
    npr("doctor", "--capture", "DQN", "CartPole-v1")
    assert order == ["compile", "learn"]


class DoctorsBranching(DQN):
    def update(self, s, a, r, *rest):
        return super().update(s, a, 0.5 * r if r.sum() > 1 else r, *rest)


class DoctorsPure(DQN):
    def update(self, s, a, r, *rest):
        return super().update(s, a, 0.5 * r, *rest)


@pytest.mark.parametrize(
    ("kind", "state"),
    [(DoctorsBranching, "eager: it branches on the values of an array"), (DoctorsPure, "captured")],
)
def test_doctor_says_what_of_a_subclass_is_captured(kind, state, npr):
    status, out, err = npr("doctor", "--capture", kind.__name__, "CartPole-v1")
    assert (status, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("update")]
    assert state in line


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("DQM", "CartPole-v1"), "DQM"),
        (("nowhere:Agent", "CartPole-v1"), "nowhere"),
        (("npr:Nothing", "CartPole-v1"), "Nothing"),
        (("DQN", "NoSuchEnv-v9"), "NoSuchEnv"),
        (("SACS", "CartPole-v1"), "Box"),
        (("DQN",), "--capture"),
        ((), "--capture"),
    ],
)
def test_doctor_refuses_what_it_does_not_know(words, text, npr):
    try:
        status, out, err = npr("doctor", "--capture", *words)
    except SystemExit as error:  # of argparse
        assert error.code == 2
        return
    assert status != 0 and out == "" and text in err
    assert "Traceback" not in err and len(err.splitlines()) <= 4


def doctor(**variables):
    done = run("-m", "npr.cli", "doctor", "--capture", "DQN", "CartPole-v1", **variables)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("value", ["0", " off "])
def test_doctor_says_that_capture_is_off(value):
    assert doctor(NPR_CAPTURE=value) == (0, f"nothing: NPR_CAPTURE={value}\n", "")


def test_doctor_says_that_kernels_are_not_compiled():
    status, out, err = doctor(NPR_NUMBA="0")
    assert (status, err) == (0, "")
    assert out == "nothing: reference implementations in NumPy: NPR_NUMBA=0\n"


def test_an_unknown_value_of_the_variable_is_an_error():
    status, out, err = doctor(NPR_CAPTURE="maybe")
    assert status != 0 and out == ""
    assert "NPR_CAPTURE='maybe' is not known; use '1' or '0'" in err
