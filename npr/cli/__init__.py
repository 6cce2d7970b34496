# PYTHON_ARGCOMPLETE_OK
"""The command line: `npr COMMAND ...`, one module per command.

A command's module has HELP, arguments(parser) and run(args) -> exit status, and is imported only if
its command is chosen. It may import everything of npr. Those of commands with the settings of an
algorithm as flags have arguments(parser, words) instead: the words name the algorithm. Only `main`
is public.

Exit status: 0 done, 1 failed, also for a damaged file, 2 wrong usage, also for a file or run folder
that is not there, 130 interrupted by Ctrl-C, 143 by SIGTERM.
"""

import argparse
import contextlib
import difflib
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from npr.errors import (
    ConfigError,
    NprError,
    SpaceError,
    UnknownNameError,
    describe_error,
    is_of_gymnasium,
)  # fmt: skip
from npr.system import streams
from npr.version import __version__

COMMANDS = {
    "train": "train an agent, a grid of settings or several seeds, in run folders",
    "resume": "continue a run that was stopped",
    "eval": "evaluate a trained agent",
    "play": "show a trained agent in a window, or record it as GIF or MP4",
    "export": "write a trained policy as C, JavaScript, ONNX and others",
    "report": "write a page with the results and the trained agent",
    "plot": "draw the learning curves of runs",
    "tune": "search for good settings",
    "list": "list the algorithms, presets and environments",
    "info": "show what a file or a run folder holds",
    "doctor": "report what this machine runs on",
}
_WITH_SETTINGS = ("train", "tune")
_MODULES = {"eval": "evaluate", "list": "listing"}  # others have the name of their command
_USAGE_ERRORS = ConfigError, SpaceError, UnknownNameError, FileNotFoundError, IsADirectoryError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    arguments   the words after `npr`; None: those of this process
    """
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    words = _dashed(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _main(words)
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has stopped reading, as in `npr list | head`
        with contextlib.suppress(OSError, ValueError):  # Python flushes again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + 13  # that of a program that SIGPIPE ends
    return status


def _main(words: list[str]) -> int:
    if words[:1] == ["help"]:  # as of git and cargo
        words = [*words[1:], "--help"]
    name = next((word for word in words if not word.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        return _fail("npr", f"there is no command {name!r}; {_nearest(name, COMMANDS)}")
    program = f"npr {name}" if name else "npr"
    debug = "--debug" in words
    try:
        args = _parsed(name, words)
        if name is None:
            streams.write(sys.stderr, _parser(None)[0].format_help())
            return 2
        with _warnings_of(program):
            return int(_module(args.command).run(args))
    except SystemExit as stop:  # argparse's, or a signal's
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        if debug:
            streams.write(sys.stderr, traceback.format_exc())
        streams.write(sys.stderr, f"\n{program}: interrupted\n")
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        status = 2 if _is_usage(error) else 1
        if debug:
            return _fail(program, traceback.format_exc().rstrip(), status)
        return _fail(program, _sentence(error), status)


# ---- the parser


class _Parser(argparse.ArgumentParser):
    """Its errors are one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        streams.write(sys.stderr, f"{self.prog}: {message}\n")
        raise SystemExit(2)


def _parsed(name: str | None, words: Sequence[str]) -> argparse.Namespace:
    parser, chosen = _parser(name, words)
    args, extra = parser.parse_known_args(words)
    for action in chosen._actions:  # argparse leaves optional ones empty if flags come between
        optional = action.nargs == "?" and not action.option_strings and not action.choices
        if optional and extra and extra[0][:1] != "-" and getattr(args, action.dest) is None:
            setattr(args, action.dest, extra.pop(0))
    if extra:
        chosen.error(_unknown(chosen, args, extra))
    return args


def _parser(
    name: str | None, words: Sequence[str] = ()
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of all commands, and that of the command `name`, which alone has its arguments."""
    parser = _Parser(
        prog="npr", description="Reinforcement learning with NumPy.", allow_abbrev=False,
        epilog="`npr COMMAND --help` shows the arguments of a command.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"npr {__version__}")
    debug: dict[str, Any] = {
        "action": "store_true", "help": "show the traceback of an error",
    }  # fmt: skip
    parser.add_argument("--debug", **debug)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    chosen: argparse.ArgumentParser = parser
    for command, summary in COMMANDS.items():
        one = commands.add_parser(command, help=summary, allow_abbrev=False)
        if command == name:
            module, chosen = _module(command), one
            one.description = f"{module.HELP[:1].upper()}{module.HELP[1:]}."
            if command in _WITH_SETTINGS:
                module.arguments(one, words[words.index(name) + 1 :] if name in words else [])
            else:
                module.arguments(one)
            # without a default, which would replace what stands before the command
            one.add_argument("--debug", default=argparse.SUPPRESS, **debug)
    return parser, chosen


def _module(command: str) -> Any:
    return importlib.import_module(f"npr.cli.{_MODULES.get(command, command)}")


def _dashed(words: Sequence[str]) -> list[str]:
    """The words with --learning_rate written as --learning-rate."""
    found = []
    for word in words:
        flag, equals, value = word.partition("=")
        if flag.startswith("--"):
            flag = flag.replace("_", "-")
        found.append(flag + equals + value)
    return found


def _unknown(parser: argparse.ArgumentParser, args: argparse.Namespace, words: list[str]) -> str:
    """A sentence about words that the parser of a command does not know."""
    known = [option for action in parser._actions for option in action.option_strings]
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    if not flags:
        return f"{words[0]!r} is one argument too many"
    if args.command in _WITH_SETTINGS:
        from npr.cli import flags as settings

        first = " Name an algorithm first: its settings are flags too."
        return settings.advice(flags[0], known) + ("" if args.kind else first)
    return f"there is no {flags[0]}; {_nearest(flags[0], known, parser.prog)}"


def _nearest(name: str, known: Any, command: str = "npr") -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"`{command} --help` shows all"


def _complete() -> None:
    """Answer the shell that asks for completions and end the process, if argcomplete is there."""
    with contextlib.suppress(ImportError):
        import argcomplete

        words = _dashed(os.environ.get("COMP_LINE", "").split()[1:])
        name = next((word for word in words if word in COMMANDS), None)
        try:
            parser, _ = _parser(name, words)
        except (NprError, OSError):  # the algorithm or the name of a file is not complete
            parser, _ = _parser(name)
        argcomplete.autocomplete(parser)


# ---- messages


def _fail(prefix: str, message: str, status: int = 2) -> int:
    streams.write(sys.stderr, f"{prefix}: {streams.lines(message)}\n")
    return status


def _is_usage(error: Exception) -> bool:
    """Whether an error is about what the user has typed, such as an unknown environment."""
    return isinstance(error, _USAGE_ERRORS) or is_of_gymnasium(error)


def _sentence(error: Exception) -> str:
    """What an error says, with its notes, and its type if it is neither npr's nor of a file."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, (NprError, OSError)) or is_of_gymnasium(error):
        text = str(error) or type(error).__name__
    else:
        text = f"{describe_error(error)} (--debug shows the traceback)"
    return "\n".join([text, *getattr(error, "__notes__", [])])


@contextlib.contextmanager
def _warnings_of(prefix: str) -> Iterator[None]:
    """Within it, warnings are one line on stderr, without the line of code that gave them."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        streams.write(sys.stderr, f"{prefix}: warning: {streams.lines(str(message))}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
