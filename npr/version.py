"""npr's version, down here so that every floor may name it."""

__version__ = "0.1.0"
