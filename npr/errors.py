"""The errors of npr. Each says what was got, what is needed and what to do."""


class NprError(Exception):
    """Base of every error that npr raises on purpose."""


class BackendError(NprError, RuntimeError):
    """The array backend asked for cannot be used here."""


class ConfigError(NprError, ValueError):
    """A setting is unknown, out of range or does not fit another one."""


class SpaceError(NprError, ValueError):
    """An algorithm cannot work with this observation or action space."""


class EnvContractError(NprError, RuntimeError):
    """An environment broke Gymnasium's contract: shapes, types, finite numbers, call order."""


class EnvCrashedError(NprError, RuntimeError):
    """An environment raised, died or did not answer; __cause__ is what it raised, if anything."""


class NumericsError(NprError, ArithmeticError):
    """A number that must be finite is not."""


class CheckpointError(NprError, ValueError):
    """A file is not a whole and honest npr file."""


class GradientError(NprError, ArithmeticError):
    """A gradient was asked of something that has none, or does not match its finite difference."""


class ConfigWarning(UserWarning):
    """The settings are allowed, and will probably not do what was meant."""


class CheckpointWarning(UserWarning):
    """A file could not be written; training goes on."""


class ResumeWarning(UserWarning):
    """A loaded agent cannot go on exactly where it was."""


def describe_error(error: BaseException) -> str:
    """The type of an error and, if it has one, its message."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")
