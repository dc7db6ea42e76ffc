"""Arrays of any kind, as the native module takes them: NumPy's, contiguous, of one type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .errors import ArgumentError


def as_numpy(value: Any, name: str) -> np.ndarray:
    """Returns ``value`` as an array, without a copy where it lies in the host's memory."""
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ArgumentError(f"the argument `{name}` has masked values; fill them first")
        return value.data
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError, ValueError) as e:
            raise ArgumentError(
                f"the argument `{name}`: its memory cannot be read from here ({e}); copy it to "
                "the processor first"
            ) from e
    try:
        array = np.asarray(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as e:
        raise ArgumentError(
            f"the argument `{name}` is no array ({e}); copy it to the processor first, if it lies "
            "on a GPU"
        ) from e
    if array.dtype == object:
        raise ArgumentError(f"the argument `{name}` holds things of different shapes, not an array")
    return array


def images(value: Any, name: str, channels: int | None = None) -> np.ndarray:
    """Returns images as contiguous uint8 [N, H, W, C].

    Takes [N, H, W, C], [H, W, C] (one image), and [N, H, W] or [H, W] where images are grey.
    """
    array = as_numpy(value, name)
    if array.dtype != np.uint8:
        raise ArgumentError(
            f"the argument `{name}` has type {array.dtype}; images are uint8, from 0 to 255 (for "
            "values from 0 to 1: `(x * 255).round().astype('uint8')`)"
        )
    if array.ndim == 2:
        array = array[None, :, :, None]
    elif array.ndim == 3:
        if channels == 1 and array.shape[-1] != 1 or array.shape[-1] not in (1, 3):
            array = array[..., None]
        else:
            array = array[None]
    if array.ndim != 4:
        raise ArgumentError(
            f"the argument `{name}` has shape {array.shape}; images are [N, height, width, "
            "channels], or one image without N"
        )
    if array.shape[-1] not in (1, 3):
        where = (
            "; these seem to have their channels first: `x.transpose(0, 2, 3, 1)`"
            if array.shape[1] in (1, 3)
            else ""
        )
        raise ArgumentError(
            f"the argument `{name}` has shape {array.shape}: the last size is the channels, 1 "
            f"(grey) or 3 (colour){where}"
        )
    return _plain(array, np.uint8)


def mask(value: Any, name: str, size: tuple[int, int]) -> np.ndarray:
    """Returns a mask as contiguous uint8 of so many rows and columns, 255 where it is ``True``."""
    array = as_numpy(value, name)
    if array.dtype not in (np.uint8, np.bool_):
        raise ArgumentError(
            f"the argument `{name}` has type {array.dtype}; masks are bool, or uint8 from 0 to 255"
        )
    if array.shape != tuple(size):
        raise ArgumentError(
            f"the argument `{name}` has shape {array.shape}; the model's images are {tuple(size)}"
        )
    if array.dtype == np.bool_:
        array = np.where(array, np.uint8(255), np.uint8(0))
    return _plain(array, np.uint8)


def floats(value: Any, name: str) -> np.ndarray:
    """Returns vectors as contiguous float32 [N, D]."""
    array = as_numpy(value, name)
    if array.dtype.kind not in "fiu":
        raise ArgumentError(f"the argument `{name}` has type {array.dtype}; vectors are numbers")
    if array.ndim != 2:
        raise ArgumentError(f"the argument `{name}` has shape {array.shape}; vectors are [N, D]")
    with np.errstate(over="ignore"):
        array = _plain(array, np.float32)
    if not np.isfinite(array).all():
        raise ArgumentError(
            f"the argument `{name}` has values that are infinite or NaN, or beyond float32"
        )
    return array


def whole(value: Any, name: str, ndim: int | None = None) -> np.ndarray:
    """Returns whole numbers from 0 to 2^32 - 1 as contiguous uint32."""
    array = as_numpy(value, name)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.uint32)
    if array.dtype.kind not in "iu":
        raise ArgumentError(
            f"the argument `{name}` has type {array.dtype}; whole numbers are asked for"
        )
    if ndim is not None and array.ndim != ndim:
        raise ArgumentError(
            f"the argument `{name}` has shape {array.shape}; {ndim} dimensions are asked for"
        )
    if array.size and (int(array.min()) < 0 or int(array.max()) > 0xFFFF_FFFF):
        raise ArgumentError(f"the argument `{name}` has numbers below 0 or beyond 32 bits")
    return _plain(array, np.uint32)


def _plain(array: np.ndarray, dtype: type) -> np.ndarray:
    """Returns an array as it can be read by its address; a copy where it is not so already."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])


def are_texts(value: Any) -> bool:
    """Whether a value is a sequence of texts."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "UT"
    return isinstance(value, (list, tuple)) and any(isinstance(v, str) for v in value)


def texts(value: Any, name: str, n: int | None = None) -> list[str | None]:
    """Returns texts as a list, of so many where that is known; ``None`` is an image without one."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ArgumentError(f"the argument `{name}` is {type(value).__name__}, not a list of texts")
    out = [None if text is None and n is not None else text for text in value]
    for text in out:
        if not (isinstance(text, str) or text is None and n is not None):
            raise ArgumentError(f"the argument `{name}` has {text!r}, which is no text")
    if n is not None and len(out) != n:
        raise ArgumentError(f"the argument `{name}` has {len(out)} texts for {n} images")
    if not out:
        raise ArgumentError(f"the argument `{name}` has no text")
    return [text if text is None else str(text) for text in out]


def gathered(
    batches: Iterable[Any],
) -> tuple[np.ndarray, np.ndarray | None, list[str | None] | None]:
    """Returns everything that an iterable gives: images, or pairs of images and labels or captions.

    An element is a batch [N, H, W, C] or one image [H, W, C]; beside it a whole number or a text,
    or one for each image of the batch. A PyTorch ``Dataset`` or ``DataLoader`` is such an iterable.
    """
    parts: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    captions: list[list[str | None]] = []
    for element in _elements(batches):
        pair = isinstance(element, (tuple, list)) and len(element) == 2
        image, beside = element if pair else (element, None)
        given = as_numpy(image, "data")
        part = images(given, "data")
        if parts and part.shape[1:] != parts[0].shape[1:]:
            raise ArgumentError(
                f"the argument `data` gives images of shape {parts[0].shape[1:]} and then of "
                f"{part.shape[1:]}; all have one size"
            )
        # What gives its images in an array that it fills anew has them all kept.
        parts.append(part.copy() if np.may_share_memory(part, given) else part)
        if isinstance(beside, str):
            captions.append(texts([beside], "data", len(part)))
        elif are_texts(beside):
            captions.append(texts(beside, "data", len(part)))
        elif beside is not None:
            of_part = whole(np.atleast_1d(as_numpy(beside, "data")), "data", 1)
            if len(of_part) != len(part):
                raise ArgumentError(
                    f"the argument `data` gives {len(of_part)} labels for {len(part)} images"
                )
            labels.append(of_part)
    if not parts:
        raise ArgumentError("the argument `data` gives no image")
    for kind, some in [("labels", len(labels)), ("captions", len(captions))]:
        if some not in (0, len(parts)):
            raise ArgumentError(
                f"the argument `data` gives {kind} for some images and not for others"
            )
    return (
        np.concatenate(parts),
        np.concatenate(labels) if labels else None,
        [text for part in captions for text in part] if captions else None,
    )


def _elements(batches: Any) -> Iterator[Any]:
    """Iterates, also over what has only lengths and indices, as PyTorch's datasets do."""
    if not hasattr(batches, "__iter__") and hasattr(batches, "__len__"):
        return (batches[i] for i in range(len(batches)))
    try:
        return iter(batches)
    except TypeError as e:
        raise ArgumentError(
            f"the argument `data` is {type(batches).__name__}; it is a source by name, an array, "
            "or an iterable of images"
        ) from e
