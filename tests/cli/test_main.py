"""The command line: choosing a command, errors, exit statuses, streams."""

import os
import signal
import subprocess
import sys
import types
import warnings

import pytest

from npr import cli, version
from npr.errors import CheckpointError, ConfigError, SpaceError, UnknownNameError

NPR = [sys.executable, "-m", "npr"]


def npr(*words, **options):
    return subprocess.run([*NPR, *words], capture_output=True, text=True, **options)


@pytest.fixture
def command(monkeypatch):
    """A function that replaces `npr doctor` by one that does something else."""

    def replace(run):
        def arguments(parser):
            parser.add_argument("--total-timesteps", type=int)
            parser.add_argument("words", nargs="*")

        module = types.SimpleNamespace(HELP="a test", arguments=arguments, run=run)
        monkeypatch.setattr(cli, "_module", lambda name: module)

    return replace


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize("module", ["npr", "npr.cli"])
def test_the_version_is_printed(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"npr {version.__version__}\n")


def test_the_package_can_be_run():
    done = npr("doctor")
    assert done.returncode == 0 and done.stdout.startswith("npr ")


def test_help_has_a_line_for_each_command_and_is_on_stderr_if_none_is_given(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert cli.main([]) == 2
    assert capsys.readouterr().err == text
    lines = [line.split() for line in text.splitlines() if line.startswith("    ")]
    listed = [words[0] for words in lines if words[0] in cli.COMMANDS]
    assert listed == list(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_module_and_help(name, capsys):
    pytest.importorskip(f"npr.cli.{cli._MODULES.get(name, name)}")
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: npr {name} ") and "--debug" in text


@pytest.mark.parametrize("words", [["--version"], ["--help"], []])
def test_help_and_version_import_nothing_large(words):
    script = (
        "import sys; from npr import cli; cli.main(sys.argv[1:])\n"
        "heavy = {'numpy', 'numba', 'gymnasium', 'npr.cli.doctor'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words, message",
    [
        (["trian", "sac"], "npr: there is no command 'trian'; did you mean train?\n"),
        (["zzz"], "npr: there is no command 'zzz'; `npr --help` shows all\n"),
        (["--debgu"], "npr: there is no --debgu; did you mean --debug?\n"),
        (
            ["doctor", "--total-timestep=3"],
            "npr doctor: there is no --total-timestep; did you mean --total-timesteps?\n",
        ),
        (["doctor", "--x"], "npr doctor: there is no --x; `npr doctor --help` shows all\n"),
        (["doctor", "--total-timesteps"], "argument --total-timesteps: expected one argument\n"),
    ],
)
def test_wrong_usage_is_one_sentence_that_names_the_nearest(words, message, command, capsys):
    command(raising(AssertionError))
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert err.endswith(message) and out == ""


def test_one_argument_too_many_is_named(capsys):
    assert cli.main(["doctor", "now"]) == 2
    assert capsys.readouterr().err.endswith("npr doctor: 'now' is one argument too many\n")


@pytest.mark.parametrize("flag", ["--total-timesteps=3", "--total_timesteps=3"])
def test_flags_are_written_with_dashes_or_underscores(flag, command):
    command(lambda args: args.total_timesteps + len(args.words[0]))
    assert cli.main(["doctor", "a_b", flag]) == 6


@pytest.mark.parametrize(
    "error, status, message",
    [
        (ConfigError("gamma must be below 1."), 2, "gamma must be below 1."),
        (SpaceError("no"), 2, "no"),
        (UnknownNameError("no"), 2, "no"),
        (CheckpointError("x.npz is damaged."), 1, "x.npz is damaged."),
        (FileNotFoundError(2, "No such file", "x.npz"), 2, "x.npz: No such file"),
        (PermissionError(13, "Permission denied", "x.npz"), 1, "x.npz: Permission denied"),
        (OSError(28, "No space left"), 1, "No space left"),
        (OSError("no"), 1, "no"),
        (KeyError("k"), 1, "KeyError: 'k' (--debug shows the traceback)"),
    ],
)
def test_an_error_is_one_sentence_with_its_exit_status(error, status, message, command, capsys):
    command(raising(error))
    assert cli.main(["doctor"]) == status
    assert capsys.readouterr().err == f"npr doctor: {message}\n"


def test_notes_of_an_error_are_shown(command, capsys):
    error = CheckpointError("The run failed.")
    error.add_note("The agent was saved to a.npz.")
    command(raising(error))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err.endswith("failed.\nThe agent was saved to a.npz.\n")


@pytest.mark.parametrize("words", [["--debug", "doctor"], ["doctor", "--debug"]])
@pytest.mark.parametrize("error", [ConfigError, KeyError, KeyboardInterrupt])
def test_debug_shows_the_traceback_and_keeps_the_status(words, error, command, capsys):
    command(raising(error))
    assert cli.main(words) == {ConfigError: 2, KeyError: 1, KeyboardInterrupt: 130}[error]
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err and error.__name__ in err


def test_help_is_also_a_word(capsys):
    with_flag = [(cli.main([*words, "--help"]), capsys.readouterr()) for words in ([], ["doctor"])]
    with_word = [(cli.main(["help", *words]), capsys.readouterr()) for words in ([], ["doctor"])]
    assert with_word == with_flag and with_word[0][0] == 0


@pytest.mark.parametrize(
    "stop, status", [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit("x"), 1)]
)
def test_interrupts_have_their_exit_status(stop, status, command, capsys):
    command(raising(stop))
    assert cli.main(["doctor"]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_warnings_are_one_line_on_stderr(command, capsys):
    def run(args):
        warnings.warn("a small batch", UserWarning, stacklevel=2)
        return 0

    command(run)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().err == "npr doctor: warning: a small batch\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_control_c_ends_the_process_with_130_and_without_a_traceback():
    script = (
        "import sys, types, time; from npr import cli\n"
        "def run(args): print('ready', flush=True); time.sleep(60)\n"
        "cli._module = lambda name: types.SimpleNamespace("
        "HELP='x', arguments=lambda parser: None, run=run)\n"
        "sys.exit(cli.main(['doctor']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "\nnpr doctor: interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_stops_reading_gets_no_traceback():
    process = subprocess.Popen([*NPR, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    with process:
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*NPR, "doctor"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "npr doctor: No space left on device\n"


@pytest.fixture
def completions(tmp_path):
    """completions("npr do") -> {"doctor"}: what the shell offers."""
    pytest.importorskip("argcomplete")

    def ask(line):
        answer = tmp_path / "answer"
        shell = {
            "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        }  # fmt: skip
        subprocess.run(NPR, env={**os.environ, **shell}, check=True)
        return {word.strip() for word in answer.read_text().splitlines()}

    return ask


def test_the_shell_completes_commands_and_flags(completions):
    assert completions("npr do") == {"doctor"}
    assert {"train", "info"} <= completions("npr ")
    assert completions("npr doctor --d") == {"--debug"}


def test_the_shell_completes_the_settings_of_the_algorithm_and_their_values(completions):
    start = "npr train sac Pendulum-v1"
    assert completions(f"{start} --target-e") == {"--target-entropy"}
    assert completions(f"{start} --activation ") == {"relu", "tanh", "elu", "identity"}
    assert completions(f"{start} --tau 0.1 --target-entropy a") == {"auto"}
    assert completions("npr tune ppo CartPole-v1 --normalize-obs ") >= {"true", "false"}
    assert "--out" in completions("npr train sa --o"), "there is no algorithm sa"
