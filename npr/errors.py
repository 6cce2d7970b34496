"""Errors and warnings. Each message says what was got, what is needed and what to do."""


class NprError(Exception):
    """Base class of the errors that npr raises."""


class BackendError(NprError, RuntimeError):
    """The selected array backend is not available, or cannot compute something so large."""


class ConfigError(NprError, ValueError):
    """A setting or an argument is unknown, out of range or incompatible with another one."""


class UnknownNameError(NprError, AttributeError):
    """npr has no attribute of this name; the message says what to use instead."""


class SpaceError(NprError, ValueError):
    """An algorithm does not support this observation or action space."""


class EnvContractError(NprError, RuntimeError):
    """An environment violates Gymnasium's API: shapes, types, finite numbers, order of calls."""


class EnvCrashedError(NprError, RuntimeError):
    """An environment raised an error (see __cause__), its process died, or it timed out."""


class NumericsError(NprError, ArithmeticError):
    """A number that must be finite is NaN or infinite."""


class CheckpointError(NprError, ValueError):
    """A file is corrupted, truncated or not an npr file, or an agent cannot be saved to one."""


class GradientError(NprError, ArithmeticError):
    """A gradient is not defined, or does not match its finite difference."""


class WrongAnswer(NprError, AssertionError):
    """The answer to an exercise of a lesson is wrong; the message is a hint."""


class ConfigWarning(UserWarning):
    """Settings are valid, but probably not what was intended."""


class CheckpointWarning(UserWarning):
    """A file could not be written, or does not hold all; training continues."""


class LogWarning(UserWarning):
    """An output of the logged values failed and is turned off; training continues."""


class ResumeWarning(UserWarning):
    """A loaded agent cannot resume exactly where it was saved."""


def describe_error(error: BaseException) -> str:
    """The type of an error and, if it has one, its message."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def is_of_gymnasium(error: Exception) -> bool:
    """Whether Gymnasium raised it, e.g. as an id is not registered."""
    return type(error).__module__ == "gymnasium.error"  # without importing it
