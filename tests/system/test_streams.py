"""Text for standard streams that may be missing, closed, replaced or narrow."""

import io
import os
import sys

import pytest
from support.processes import run
from support.small_agents import small_agent

from npr.system import streams


class WriteOnly:
    """What loggers and windows put in the place of a stream."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Refusing(io.StringIO):
    def write(self, text):
        raise OSError("the console is gone")


class Unsure(io.StringIO):
    def isatty(self):
        raise RuntimeError("no handle")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {"None": lambda: None, "write only": WriteOnly, "refusing": Refusing, "closed": closed,
           "unsure": Unsure, "no stream at all": object}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("which", ["stderr", "stdout"])
@pytest.mark.parametrize("given", [{"verbose": 0}, {"verbose": 1}], ids=str)
def test_an_agent_learns_whatever_the_streams_are(name, which, given, monkeypatch):
    monkeypatch.setattr("npr.training.progress.DELAY", 0.0)
    monkeypatch.setattr(sys, which, STREAMS[name]())
    shown = bool(given["verbose"])
    agent = small_agent("DQN", **given)
    agent.learn(150, progress_bar=shown, log_interval=1)
    assert agent.num_timesteps == 150


def test_a_stream_with_write_alone_gets_the_text():
    stream = WriteOnly()
    streams.write(stream, "one\n")
    streams.write(stream, "two\n")
    assert stream.text == "one\ntwo\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_that_a_stream_cannot_encode_are_escaped(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, newline="\n")
    streams.write(stream, "PPO on 迷路-v0\n")
    assert raw.getvalue() == b"PPO on \\u8ff7\\u8def-v0\n"


def test_the_result_of_a_command_that_cannot_be_written_is_an_error(monkeypatch, capsys):
    streams.show("a result")
    assert capsys.readouterr().out == "a result\n"

    class Full(io.StringIO):
        def write(self, text):
            raise OSError("no space left")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="no space left"):
        streams.show("a result")
    monkeypatch.setattr(sys, "stdout", None)  # a program without a console
    streams.show("a result")


def test_a_signal_is_not_swallowed():
    class Interrupted:
        def write(self, text):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streams.write(Interrupted(), "text")


def test_a_program_without_console_learns():
    """As under pythonw: no file descriptors, and no streams."""
    code = (
        "import os; from support.small_agents import small_agent\n"
        "agent = small_agent('DQN', verbose=1)\n"
        "agent.learn(60, progress_bar=True, log_interval=1)\n"
        "open('steps', 'w').write(str(agent.num_timesteps))"
    )
    start = (
        "import os, sys; [os.close(n) for n in (0, 1, 2)]\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
    )
    run("-c", start + code)
    with open("steps") as file:
        assert file.read() == "60"


def test_the_width_of_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    assert streams.columns(io.StringIO()) == 33, "it has no descriptor"
    monkeypatch.delenv("COLUMNS")
    assert streams.columns(None) > 0


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_the_width_of_a_pseudo_terminal(monkeypatch):
    import fcntl
    import pty
    import struct
    import termios

    monkeypatch.setenv("COLUMNS", "33")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 20, 51, 0, 0))
        assert streams.is_terminal(stream) and streams.columns(stream) == 51
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 0, 0, 0, 0))
        assert streams.columns(stream) == 33, "a width of 0 is none"
    os.close(master)


def test_a_result_does_not_control_the_terminal(capsys):
    streams.show("a\x1b[31m\r\tb\x07\nPPO on 迷路-v0")
    assert capsys.readouterr().out == "a\\x1b[31m\\r\\tb\\x07\nPPO on 迷路-v0\n"
