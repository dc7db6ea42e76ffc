"""Tokenizers for images: VQ-VAEs and their family, trained and used on any GPU.

    >>> import wgvq
    >>> result = wgvq.train("emoji", "runs/emoji", preset="emoji32", steps=5, overwrite=True)
    >>> tokenizer = wgvq.Tokenizer.load("runs/emoji")
    >>> tokenizer.image_shape
    (32, 32, 3)

Everything computes on the device of a :class:`Gpu`; functions that take none share one, on the most
capable adapter. Arrays are NumPy's, or anything that NumPy can read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import _arrays, _native
from ._native import Gpu, __version__
from .errors import (
    ArgumentError,
    DataError,
    DeviceError,
    Diverged,
    Error,
    FileError,
    OutOfMemory,
)

__all__ = [
    "ArgumentError",
    "DataError",
    "DeviceError",
    "Diverged",
    "Error",
    "FileError",
    "Gpu",
    "Level",
    "OutOfMemory",
    "Run",
    "Samples",
    "Tokenizer",
    "bench",
    "default_gpu",
    "evaluate",
    "kmeans",
    "presets",
    "quantize",
    "search",
    "train",
    "train_prior",
    "__version__",
]

_default: Gpu | None = None


def default_gpu() -> Gpu:
    """Returns the engine that is used where none is given: opened once, on the most capable
    adapter.

    The environment variable ``WGVQ_ADAPTER`` names another one.
    """
    global _default
    if _default is None:
        _default = Gpu()
    return _default


class Level(NamedTuple):
    """A grid of codes, as a model has one or several."""

    name: str
    """``top``, ``bottom``, ..; empty where there is one level."""
    rows: int
    columns: int
    codebooks: int
    """Codes of a latent: one from each codebook."""
    codebook_size: int

    @property
    def codes(self) -> int:
        """The codes of an image at this level."""
        return self.rows * self.columns * self.codebooks


class Samples(NamedTuple):
    """Images that were drawn."""

    images: np.ndarray
    """uint8 [N, H, W, C]."""
    codes: np.ndarray
    """uint32 [N, codes of an image]."""
    log_likelihood: np.ndarray
    """float32 [N]: nats of each image's codes under the prior, without temperature and filters."""


class Run(NamedTuple):
    """What a training did."""

    run: Path
    """The folder, which every command and :meth:`Tokenizer.load` open."""
    step: int
    stopped: bool
    """Whether it ended before its last step. Its checkpoint can be gone on from."""
    seconds: float
    parameters: int
    peak_device_bytes: int
    evaluation: dict[str, float] | None
    """The measurement on what was held out; ``None`` for a run that was stopped."""


class Tokenizer:
    """A trained model of a run: images to codes and back, and new images where it has a prior.

    Several threads may use one; they take turns.
    """

    def __init__(self, native: _native.Tokenizer) -> None:
        self._native = native
        self.levels: list[Level] = [Level(*level) for level in native.levels()]
        """Each grid of codes, the coarsest first."""

    @classmethod
    def load(cls, run: str | Path, gpu: Gpu | None = None) -> Tokenizer:
        """Loads the model of a run: its folder, or its file ``final.safetensors``.

        Raises :class:`FileError` if there is none, or it is damaged.
        """
        return cls(_native.Tokenizer.load(gpu or default_gpu(), Path(run)))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self._native.image_shape

    @property
    def codes_per_image(self) -> int:
        """Codes of an image, of all levels."""
        return self._native.codes_per_image

    @property
    def run(self) -> Path:
        """The run that it was loaded from."""
        return self._native.run

    @property
    def hash(self) -> str:
        """SHA-256 of the model's file."""
        return self._native.hash

    @property
    def config(self) -> str:
        """The run's configuration, as TOML."""
        return self._native.config()

    @property
    def classes(self) -> list[str]:
        """The names of the classes that the prior knows."""
        return self._native.classes()

    def encode(self, images: Any) -> np.ndarray:
        """Encodes images, uint8 [N, H, W, C] (or one, [H, W, C]), to codes.

        Returns uint32 [N, rows, columns] of a model with one grid and one codebook, [N, rows,
        columns, codebooks] of one with several codebooks, and [N, codes of an image] of one with
        several levels, the coarsest first. One image gives codes without N.
        """
        array = _arrays.as_numpy(images, "images")
        one = _is_one(array, self.image_shape[2])
        codes = self._native.encode(_arrays.images(array, "images", self.image_shape[2]))
        codes = codes.reshape(len(codes), *self._code_shape)
        return codes[0] if one else codes

    def decode(self, codes: Any) -> np.ndarray:
        """Decodes codes, in any shape that :meth:`encode` returns, to uint8 images [N, H, W, C]."""
        array = _arrays.whole(codes, "codes")
        shape = self._code_shape
        one = array.shape == shape
        flat = (self.codes_per_image,)
        if not one and array.shape[1:] not in (shape, flat):
            raise ArgumentError(
                f"the argument `codes` has shape {array.shape}; this model's codes are "
                f"{['N', *shape]} or {['N', *flat]}".replace("'", "")
            )
        images = self._native.decode(array.reshape(1 if one else len(array), *flat))
        return images[0] if one else images

    def reconstruct(self, images: Any) -> np.ndarray:
        """Encodes images and decodes their codes."""
        return self.decode(self.encode(images))

    def split(self, codes: Any) -> dict[str, np.ndarray]:
        """Returns the codes of each level by its name, [N, rows, columns, codebooks]."""
        array = _arrays.whole(codes, "codes").reshape(-1, self.codes_per_image)
        out, at = {}, 0
        for level in self.levels:
            part = array[:, at : at + level.codes]
            out[level.name] = part.reshape(-1, level.rows, level.columns, level.codebooks)
            at += level.codes
        return out

    def sample(
        self,
        n: int = 64,
        classes: str | list[str] | None = None,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        guidance: float | None = None,
        repetition_penalty: float = 1.0,
        batch: int = 64,
    ) -> Samples:
        """Draws new images from the run's prior.

        ``classes`` are drawn in turn, by default all that the prior knows. The same seed gives the
        same images, whatever the batch. Raises :class:`FileError` if the run has no prior.
        """
        names = [classes] if isinstance(classes, str) else list(classes or [])
        options = _draw(seed, temperature, top_k, top_p, min_p, guidance, repetition_penalty, batch)
        return Samples(*self._native.sample(_count(n, "n"), names, options))

    def complete(
        self,
        image: Any,
        keep: str = "top-half",
        n: int = 7,
        class_: str | None = None,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        guidance: float | None = None,
        repetition_penalty: float = 1.0,
        batch: int = 64,
    ) -> Samples:
        """Draws the rest of an image, ``n`` times.

        ``keep`` is ``top``, ``bottom``, ``left`` or ``right``, and a share: ``half``, ``third``,
        ``quarter`` or a number from 0 to 1, as in ``left-0.3``.
        """
        options = _draw(seed, temperature, top_k, top_p, min_p, guidance, repetition_penalty, batch)
        array = _arrays.images(image, "image", self.image_shape[2])
        return Samples(*self._native.complete(array, keep, _count(n, "n"), class_, options))

    def evaluate(self, data: Any = None) -> dict[str, float]:
        """Measures the model: MSE, PSNR, SSIM, perplexity, codes used and bits per pixel.

        ``data`` is as in :func:`train`; of a source by name the images held out are measured, of
        arrays all. By default the run's own source.
        """
        return self._native.evaluate(_source(data))

    @property
    def _code_shape(self) -> tuple[int, ...]:
        if len(self.levels) > 1:
            return (self.codes_per_image,)
        [level] = self.levels
        last = (level.codebooks,) if level.codebooks > 1 else ()
        return (level.rows, level.columns, *last)

    def __repr__(self) -> str:
        return repr(self._native)


def train(
    data: Any,
    out: str | Path,
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    quantizer: str | None = None,
    model: str | None = None,
    codebook_size: int | None = None,
    settings: dict[str, Any] | None = None,
    labels: Any = None,
    classes: list[str] | None = None,
    test: Any = None,
    resume: bool = False,
    overwrite: bool = False,
    callback: Any = None,
    gpu: Gpu | None = None,
) -> Run:
    """Trains a model in the folder ``out``, as ``wgvq train`` does: the same seed, the same bytes.

    ``data`` is a source by name (a built-in set, a folder of images, an IDX file, a tar), an array
    uint8 [N, H, W, C] or a pair of such and labels, or an iterable of images or batches, alone or
    with labels, such as a PyTorch ``Dataset``; ``None`` is the configuration's own source. Arrays
    and iterables are held in memory, and ``test`` has the images that are held out (otherwise every
    tenth is). Labels are numbers, and ``classes`` their names.

    ``settings`` are keys of the configuration by dotted names, such as ``{"model.hidden": 64}``.
    ``callback`` is called with every row of the log and every measurement, a ``dict`` with ``kind``
    ("train" or "test"), ``step`` and the columns; the run is saved and ends where it returns
    ``True`` or raises. So it does by Ctrl-C. With ``resume`` the run in ``out`` goes on, on the
    same data, and only ``steps`` may differ.
    """
    given = {
        "train.steps": steps,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "train.seed": seed,
        "quantizer.kind": quantizer,
        "quantizer.codebook_size": codebook_size,
        "model.kind": model,
    }
    if resume and (preset is not None or config is not None or overwrite):
        raise ArgumentError("the argument `resume` goes on with the run as it is configured")
    if preset is not None and config is not None:
        raise ArgumentError("of the arguments `preset` and `config` one can be given")
    done = _native.train(
        gpu or default_gpu(),
        _source(data, labels, classes, test),
        Path(out),
        _settings(given, settings),
        preset,
        None if config is None else Path(config),
        resume,
        overwrite,
        callback,
    )
    return Run(**{**done, "run": Path(done["run"])})


def train_prior(
    run: str | Path,
    *,
    level: str | None = None,
    size: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    settings: dict[str, Any] | None = None,
    data: Any = None,
    labels: Any = None,
    classes: list[str] | None = None,
    test: Any = None,
    resume: bool = False,
    overwrite: bool = False,
    callback: Any = None,
    gpu: Gpu | None = None,
) -> Run:
    """Trains a prior over the codes of a run, as ``wgvq prior`` does, within the run's folder.

    ``size`` is ``tiny``, ``small`` or ``base``; the other arguments are those of :func:`train`. A
    model that was trained on arrays needs them again.
    """
    given = {
        "train.steps": steps,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "train.seed": seed,
    }
    if resume and (size is not None or overwrite):
        raise ArgumentError("the argument `resume` goes on with the prior as it is configured")
    done = _native.train_prior(
        gpu or default_gpu(),
        Path(run),
        level,
        _source(data, labels, classes, test),
        size,
        _settings(given, settings),
        resume,
        overwrite,
        callback,
    )
    return Run(**{**done, "run": Path(done["run"])})


def evaluate(run: str | Path, data: Any = None, gpu: Gpu | None = None) -> dict[str, float]:
    """Measures the model of a run: :meth:`Tokenizer.evaluate`."""
    return Tokenizer.load(run, gpu).evaluate(data)


def search(vectors: Any, codebook: Any, gpu: Gpu | None = None) -> np.ndarray:
    """Returns the index of the row of ``codebook`` [K, D] nearest to each of ``vectors`` [N, D].

    Distances are Euclidean; ties go to the lowest index. uint32 [N].
    """
    vectors, codebook = _arrays.floats(vectors, "vectors"), _arrays.floats(codebook, "codebook")
    if vectors.shape[1] != codebook.shape[1]:
        raise ArgumentError(
            f"the argument `vectors` has {vectors.shape[1]} channels and `codebook` "
            f"{codebook.shape[1]}; they are to have as many"
        )
    return _native.search(gpu or default_gpu(), vectors, codebook)


def kmeans(
    vectors: Any, codes: int, *, rounds: int = 10, seed: int = 0, gpu: Gpu | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters ``vectors`` [N, D] by k-means, from random rows.

    Returns the means, float32 [codes, D], and how many vectors each has, uint32 [codes].
    """
    array = _arrays.floats(vectors, "vectors")
    codes, rounds, seed = _count(codes, "codes"), _count(rounds, "rounds"), _count(seed, "seed")
    return _native.kmeans(gpu or default_gpu(), array, codes, rounds, seed)


def quantize(
    vectors: Any,
    codebook: Any = None,
    *,
    levels: list[int] | None = None,
    gpu: Gpu | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Quantizes ``vectors`` [N, D]: to the nearest row of ``codebook``, or to finite scalars.

    ``levels`` are those of each channel (FSQ, Mentzer et al. 2023), such as ``[8, 5, 5]``. Returns
    what the vectors become, float32 [N, D], and the index of each, uint32 [N].
    """
    gpu = gpu or default_gpu()
    if (codebook is None) == (levels is None):
        raise ArgumentError("of the arguments `codebook` and `levels` one is to be given")
    if levels is not None:
        return _native.fsq(gpu, _arrays.floats(vectors, "vectors"), list(levels))
    codebook = _arrays.floats(codebook, "codebook")
    indices = search(vectors, codebook, gpu)
    return _native.lookup(gpu, codebook, indices), indices


def presets() -> dict[str, str]:
    """Returns the configurations that there are by name, and what each is for."""
    return dict(_native.presets())


def bench(
    names: str | list[str] | None = None,
    *,
    seconds: float = 1.0,
    seed: int = 1,
    gpu: Gpu | None = None,
) -> list[dict[str, Any]]:
    """Times kernels and steps, each compared with its f64 reference first.

    ``names`` are workloads as ``wgvq bench`` takes them; by default the standard ones. Returns a
    row for each, with the columns of ``wgvq bench --json``.
    """
    if isinstance(names, str):
        names = [names]
    names = _native.workloads() if names is None else list(names)
    return [json.loads(row) for row in _native.bench(gpu or default_gpu(), names, seconds, seed)]


def _count(value: int, name: str) -> int:
    if not 0 <= value < 1 << 64:
        raise ArgumentError(f"the argument `{name}` is {value}; it is to be from 0 to 2^64 - 1")
    return value


def _draw(
    seed: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    min_p: float,
    guidance: float | None,
    repetition_penalty: float,
    batch: int,
) -> dict[str, Any]:
    return {
        "seed": _count(seed, "seed"),
        "temperature": temperature,
        "top_k": None if top_k is None else _count(top_k, "top_k"),
        "top_p": top_p,
        "min_p": min_p,
        "guidance": guidance,
        "repetition_penalty": repetition_penalty,
        "batch": _count(batch, "batch"),
    }


def _is_one(array: np.ndarray, channels: int) -> bool:
    """Whether an array is one image: [H, W, C], or [H, W] where images are grey."""
    if channels == 1 and array.ndim == 3:
        return array.shape[-1] == 1
    return array.ndim == 3 or (channels == 1 and array.ndim == 2)


def _source(
    data: Any, labels: Any = None, classes: list[str] | None = None, test: Any = None
) -> str | dict[str, Any]:
    """Returns images to train on as the native module takes them."""
    if data is None or isinstance(data, (str, Path)):
        if any(value is not None for value in (labels, classes, test)):
            raise ArgumentError(
                "the arguments `labels`, `classes` and `test` go with images in memory; a source by"
                " name has its own"
            )
        return "" if data is None else str(data)
    pixels, own = _held(data, labels)
    held_out = 0
    if test is not None:
        more, of_test = _held(test, None)
        if more.shape[1:] != pixels.shape[1:]:
            raise ArgumentError(
                f"the argument `test` has images of shape {more.shape[1:]}, and `data` of "
                f"{pixels.shape[1:]}"
            )
        if (own is None) != (of_test is None):
            raise ArgumentError(
                "the arguments `data` and `test` both have labels, as pairs of images and labels, "
                "or neither has"
            )
        pixels, held_out = np.concatenate([pixels, more]), len(more)
        own = None if own is None else np.concatenate([own, of_test])
    if own is None:
        return {"images": pixels, "labels": None, "classes": [], "held_out": held_out}
    names = list(classes) if classes is not None else [str(i) for i in range(int(own.max()) + 1)]
    return {"images": pixels, "labels": own, "classes": names, "held_out": held_out}


def _held(data: Any, labels: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns images and labels of an array or an iterable."""
    if isinstance(data, tuple) and len(data) == 2 and labels is None:
        data, labels = data
    if hasattr(data, "__array__") or hasattr(data, "__dlpack__"):
        pixels, own = _arrays.images(data, "data"), None
    else:
        pixels, own = _arrays.gathered(data)
    if labels is not None:
        own = _arrays.whole(labels, "labels", 1)
        if len(own) != len(pixels):
            raise ArgumentError(
                f"the argument `labels` has {len(own)} labels for {len(pixels)} images"
            )
    return pixels, own


def _settings(given: dict[str, Any], settings: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Returns keys and values as TOML writes them; those by name go before."""
    both = {**given, **(settings or {})}
    return [(key, _toml(value)) for key, value in both.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(_toml(v) for v in value)
    if isinstance(value, np.generic):
        return _toml(value.item())
    return str(value)
