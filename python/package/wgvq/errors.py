"""Exceptions: the engine's errors, each with its sentence.

All are :class:`Error`, and each is also the exception of the standard library that says the same.
"""

__all__ = [
    "ArgumentError",
    "DataError",
    "DeviceError",
    "Diverged",
    "Error",
    "FileError",
    "OutOfMemory",
]


class Error(Exception):
    """Anything that the engine refuses or fails at."""


class ArgumentError(Error, ValueError):
    """An argument, a setting or a shape that cannot be used."""


class DataError(Error, ValueError):
    """Images or codes that cannot be used: none, or of another model."""


class FileError(Error, OSError):
    """A file or folder that is missing, damaged, in use, or of another kind."""


class OutOfMemory(Error, MemoryError):
    """More memory than the device or the process has."""


class DeviceError(Error, RuntimeError):
    """No adapter, a feature that it lacks, or a device that was lost."""


class Diverged(Error, ArithmeticError):
    """A run whose figures are no longer finite. Its folder holds the last checkpoint."""
