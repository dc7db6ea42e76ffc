"""Exceptions: the engine's errors, each with its sentence.

All are :class:`Error`, and each is also the exception of the standard library that says the same.
"""

from __future__ import annotations

import re

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
    """Anything that the engine refuses or fails at.

    >>> try:
    ...     wgvq.Tokenizer.load("no such run")
    ... except wgvq.Error as e:
    ...     print(type(e).__name__)
    FileError
    """


class ArgumentError(Error, ValueError):
    """An argument, a setting or a shape that cannot be used.

    >>> tokenizer.encode(images.astype("float32"))
    Traceback (most recent call last):
    ...
    wgvq.errors.ArgumentError: the argument `images` has type float32; images are uint8, ...
    """


class DataError(Error, ValueError):
    """Images or codes that cannot be used: none, or of another model.

    >>> wgvq.train("no such set", folder / "none")
    Traceback (most recent call last):
    ...
    wgvq.errors.DataError: ...
    """


class FileError(Error, OSError):
    """A file or folder that is missing, damaged, in use, or of another kind.

    >>> wgvq.train(images, run)
    Traceback (most recent call last):
    ...
    wgvq.errors.FileError: ...`overwrite`...
    """


class OutOfMemory(Error, MemoryError):
    """More memory than the device or the process has.

    >>> small = wgvq.Gpu(memory_budget=100_000)
    >>> wgvq.train(images, folder / "large", steps=1, gpu=small)
    Traceback (most recent call last):
    ...
    wgvq.errors.OutOfMemory: ...budget...
    """


class DeviceError(Error, RuntimeError):
    """No adapter, a feature that it lacks, or a device that was lost.

    >>> wgvq.Gpu("no such adapter")
    Traceback (most recent call last):
    ...
    wgvq.errors.DeviceError: ...no such adapter...
    """


class Diverged(Error, ArithmeticError):
    """A run whose figures are no longer finite. Its folder holds the last checkpoint.

    >>> wild = {**tiny, "train.lr": 10.0, "train.beta1": 0.0, "train.beta2": 0.0}
    >>> wgvq.train(images, folder / "wild", steps=60, settings=wild)
    Traceback (most recent call last):
    ...
    wgvq.errors.Diverged: ...
    """


# Arguments that are called otherwise than the options of the command line.
_ARGUMENTS = {
    "batch": "batch_size",
    "class": "class_",
    "codes": "codebook_size",
    "judge": "judge_settings",
    "prompt": "texts",
    "set": "settings",
}
_OPTION = re.compile(r"(?<![\w/.-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)")


def _argument(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    return _ARGUMENTS.get(name, name)


def _sentence(text: str) -> str:
    """Returns a sentence of the engine with the names that options have here.

    Commands that it quotes stay as they are.
    """
    parts = text.split("`")
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = _OPTION.sub(lambda option: f"`{_argument(option)}`", part)
        elif _OPTION.fullmatch(part):
            parts[i] = _OPTION.sub(_argument, part)
    return "`".join(parts)


def _of_engine(kind: str, text: str) -> Error:
    """Returns the exception of an error of the engine."""
    made: Error = globals()[kind](_sentence(text))
    return made
