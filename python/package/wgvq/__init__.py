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
import operator
from collections.abc import Sequence
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
    "train_text2image",
    "__version__",
]

_default: Gpu | None = None


def default_gpu() -> Gpu:
    """Returns the engine that is used where none is given: opened once, on the most capable
    adapter.

    The environment variable ``WGVQ_ADAPTER`` names another one.

    >>> wgvq.default_gpu() is wgvq.default_gpu()
    True
    """
    global _default
    if _default is None:
        _default = Gpu()
    return _default


class Level(NamedTuple):
    """A grid of codes, as a model has one or several.

    >>> tokenizer.levels
    [Level(name='', rows=4, columns=4, codebooks=1, codebook_size=16)]
    >>> tokenizer.levels[0].codes
    16
    """

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
    """Images that were drawn.

    >>> drawn = tokenizer.sample(3, seed=1)
    >>> bool((drawn.log_likelihood < 0).all()), drawn.scores is None
    (True, True)
    """

    images: np.ndarray
    """uint8 [N, H, W, C]."""
    codes: np.ndarray
    """uint32 [N, codes of an image]."""
    log_likelihood: np.ndarray
    """float32 [N]: nats of each image's codes under the prior, without temperature and filters."""
    passes: np.ndarray
    """uint32 [N]: passes of the prior that each image took."""
    scores: np.ndarray | None = None
    """float32 [N]: how well each image fits its text, where that was asked for."""


class Run(NamedTuple):
    """What a training did.

    >>> done = wgvq.train(images, folder / "short", steps=2, codebook_size=4, settings=tiny)
    >>> isinstance(done, wgvq.Run), done.step, done.stopped, sorted(done.evaluation)[:2]
    (True, 2, False, ['bits_per_pixel', 'edge_sharpness'])
    """

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

    Several threads may use one; they take turns. One that is pickled is loaded from its run again.

    >>> tokenizer = wgvq.Tokenizer.load(run)
    >>> np.array_equal(tokenizer.decode(tokenizer.encode(images)), tokenizer.reconstruct(images))
    True
    """

    def __init__(self, native: _native.Tokenizer) -> None:
        self._native = native
        self.levels: list[Level] = [Level(*level) for level in native.levels()]
        """Each grid of codes, the coarsest first."""

    @classmethod
    def load(cls, run: str | Path, gpu: Gpu | None = None) -> Tokenizer:
        """Loads the model of a run: its folder, or its file ``final.safetensors``.

        Raises :class:`FileError` if there is none, or it is damaged.

        >>> wgvq.Tokenizer.load(run).image_shape
        (16, 16, 3)
        """
        return cls(_native.Tokenizer.load(gpu or default_gpu(), Path(run)))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image.

        >>> tokenizer.image_shape
        (16, 16, 3)
        """
        return self._native.image_shape

    @property
    def codes_per_image(self) -> int:
        """Codes of an image, of all levels.

        >>> tokenizer.codes_per_image
        16
        """
        return self._native.codes_per_image

    @property
    def run(self) -> Path:
        """The run that it was loaded from.

        >>> tokenizer.run == run
        True
        """
        return self._native.run

    @property
    def hash(self) -> str:
        """SHA-256 of the model's file.

        >>> len(tokenizer.hash)
        64
        """
        return self._native.hash

    @property
    def config(self) -> str:
        """The run's configuration, as TOML.

        >>> "codebook_size = 16" in tokenizer.config
        True
        """
        return self._native.config()

    @property
    def classes(self) -> list[str]:
        """The names of the classes that the prior knows.

        >>> tokenizer.classes
        ['one', 'two', 'three']
        """
        return self._native.classes()

    def encode(self, images: Any) -> np.ndarray:
        """Encodes images, uint8 [N, H, W, C] (or one, [H, W, C]), to codes.

        Returns uint32 [N, rows, columns] of a model with one grid and one codebook, [N, rows,
        columns, codebooks] of one with several codebooks, and [N, codes of an image] of one with
        several levels, the coarsest first. One image gives codes without N.

        >>> tokenizer.encode(images).shape, tokenizer.encode(images[0]).shape
        ((60, 4, 4), (4, 4))
        """
        array = _arrays.as_numpy(images, "images")
        one = _is_one(array, self.image_shape[2])
        codes = self._native.encode(_arrays.images(array, "images", self.image_shape[2]))
        codes = codes.reshape(len(codes), *self._code_shape)
        return codes[0] if one else codes

    def decode(self, codes: Any) -> np.ndarray:
        """Decodes codes, in any shape that :meth:`encode` returns, to images, uint8 [N, H, W, C].

        >>> codes = tokenizer.encode(images)
        >>> tokenizer.decode(codes).shape, tokenizer.decode(codes.reshape(60, 16)).shape
        ((60, 16, 16, 3), (60, 16, 16, 3))
        """
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
        """Encodes images and decodes their codes.

        >>> tokenizer.reconstruct(images[0]).shape
        (16, 16, 3)
        """
        return self.decode(self.encode(images))

    def split(self, codes: Any) -> dict[str, np.ndarray]:
        """Returns the codes of each level by its name, [N, rows, columns, codebooks].

        >>> {name: codes.shape for name, codes in tokenizer.split(tokenizer.encode(images)).items()}
        {'': (60, 4, 4, 1)}
        """
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
        classes: str | Sequence[str] | None = None,
        *,
        texts: str | Sequence[str] | None = None,
        rerank: bool = False,
        candidates: int | None = None,
        strict: bool = False,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        guidance: float | None = None,
        repetition_penalty: float = 1.0,
        batch: int = 64,
        parallel: bool | int | str = False,
        passes: int = 12,
    ) -> Samples:
        """Draws new images from the run's prior.

        ``classes`` are drawn in turn, by default all that the prior knows. The same seed gives the
        same images, whatever the batch. Raises :class:`FileError` if the run has no prior.

        Where the prior reads texts (:func:`train_text2image`), ``n`` images of each of ``texts``
        are drawn, those of a text together. ``rerank`` puts first what the contrastive model thinks
        best, and gives the scores; ``candidates`` are drawn of each text, of which the best ``n``
        stay. What of a text the prior cannot read is told, or refused where ``strict``.

        ``parallel`` draws so many codes of an image in a pass of the model (``True``: 16;
        ``"auto"``: where this device is faster for it): the same images in fewer and larger passes.
        A masked prior draws an image in ``passes``.

        >>> drawn = tokenizer.sample(2, "three", seed=7, temperature=0.9, top_k=8)
        >>> drawn.images.shape, drawn.codes.shape
        ((2, 16, 16, 3), (2, 16))
        """
        options = _draw(
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            guidance=guidance,
            repetition_penalty=repetition_penalty,
            batch=batch,
            parallel=parallel,
            passes=passes,
        )
        n = _count(n, "n")
        if texts is None:
            if rerank or candidates is not None or strict:
                raise ArgumentError(
                    "the arguments `rerank`, `candidates` and `strict` go with `texts`"
                )
            names = [classes] if isinstance(classes, str) else list(classes or [])
            return Samples(*self._native.sample(n, names, options))
        if classes is not None:
            raise ArgumentError("of the arguments `classes` and `texts` one can be given")
        asked = {
            "texts": _arrays.texts([texts] if isinstance(texts, str) else texts, "texts"),
            "n": n,
            "rerank": bool(rerank),
            "candidates": None if candidates is None else _count(candidates, "candidates"),
            "strict": bool(strict),
        }
        drawn, scores = self._native.sample_texts(asked, options)
        return Samples(*drawn, scores)

    def complete(
        self,
        image: Any,
        keep: str | None = None,
        n: int = 7,
        class_: str | None = None,
        *,
        mask: Any = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        guidance: float | None = None,
        repetition_penalty: float = 1.0,
        batch: int = 64,
        parallel: bool | int | str = False,
        passes: int = 12,
    ) -> Samples:
        """Draws the rest of an image, ``n`` times.

        ``keep`` is ``top``, ``bottom``, ``left`` or ``right``, and a share: ``half``, ``third``,
        ``quarter`` or a number from 0 to 1, as in ``left-0.3``; by default ``top-half``. In its
        place, ``mask`` [H, W] is of the image's size, and what is drawn is ``True`` in it, or 128
        and more where it is uint8; a code is drawn where any of its pixels is.

        A prior of ``prior.order = "any"``, and a masked one, sees all that is kept. Others draw
        codes row by row, each from those before it.

        >>> rest = tokenizer.complete(images[0], "left-half", n=2, seed=1)
        >>> rest.images.shape
        (2, 16, 16, 3)
        >>> hole = np.zeros((16, 16), bool)
        >>> hole[4:8, 4:8] = True
        >>> filled = tokenizer.complete(images[0], mask=hole, n=2)
        >>> changed = filled.codes != tokenizer.encode(images[0]).ravel()
        >>> bool(changed[:, [i for i in range(16) if i != 5]].any())
        False
        """
        options = _draw(
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            guidance=guidance,
            repetition_penalty=repetition_penalty,
            batch=batch,
            parallel=parallel,
            passes=passes,
        )
        array = _arrays.images(image, "image", self.image_shape[2])
        if mask is not None:
            if keep is not None:
                raise ArgumentError("of the arguments `keep` and `mask` one can be given")
            mask = _arrays.mask(mask, "mask", self.image_shape[:2])
        keep, n = "top-half" if keep is None else keep, _count(n, "n")
        drawn = self._native.complete(array, keep, mask, n, class_, options)
        return Samples(*drawn)

    def evaluate(self, data: Any = None) -> dict[str, float]:
        """Measures the model: MSE, PSNR, SSIM, perplexity, codes used and bits per pixel.

        ``data`` is as in :func:`train`; of a source by name the images held out are measured, of
        arrays all. By default the run's own source.

        >>> measured = tokenizer.evaluate(images)
        >>> measured["images"], bool(0 < measured["mse"] < 1)
        (60, True)
        """
        return self._native.evaluate(_source(data))

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (self.run.absolute(), self.hash)

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

    ``data`` is a source by name (a built-in set, a folder of images, of tars, of Parquet files or
    of CIFAR's binary files, a tar, a Parquet, IDX or ``.npy`` file of images, JSON Lines of
    captions), an array uint8 [N, H, W, C] or a pair of such and labels, or an iterable of images or
    batches, alone or with labels, such as a PyTorch ``Dataset``; ``None`` is the configuration's
    own source. Arrays and iterables are held in memory, and ``test`` has the images that are held
    out (otherwise every tenth is). Labels are numbers, and ``classes`` their names.

    ``settings`` are keys of the configuration by dotted names, such as ``{"model.hidden": 64}``.
    ``callback`` is called with every row of the log and every measurement, a ``dict`` with ``kind``
    ("train" or "test"), ``step`` and the columns; the run is saved and ends where it returns
    ``True`` or raises. So it does by Ctrl-C. With ``resume`` the run in ``out`` goes on, on the
    same data, and only ``steps`` may differ.

    >>> def enough(row):
    ...     return row["kind"] == "train" and row["step"] >= 2
    >>> wgvq.train(images, folder / "run", steps=6, settings=tiny, callback=enough).stopped
    True
    >>> wgvq.train(images, folder / "run", resume=True).step
    6
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
    return _run(done)


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

    ``size`` is ``tiny``, ``small``, ``base``, ``medium`` or ``large``; the other arguments are
    those of :func:`train`. A model that was trained on arrays needs them again.

    >>> small = {"prior.layers": 1, "prior.dim": 16, "prior.heads": 2}
    >>> wgvq.train_prior(other_run, data=images, steps=2, batch_size=4, settings=small).step
    2
    >>> wgvq.Tokenizer.load(other_run).sample(2).images.shape
    (2, 16, 16, 3)
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
    return _run(done)


def train_text2image(
    run: str | Path,
    *,
    system: str | None = None,
    size: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    settings: dict[str, Any] | None = None,
    judge_steps: int | None = None,
    judge_settings: dict[str, Any] | None = None,
    vocabulary: int | None = None,
    text_length: int | None = None,
    embeddings: bool = False,
    strict: bool = False,
    data: Any = None,
    captions: Sequence[str] | None = None,
    test: Any = None,
    resume: bool = False,
    overwrite: bool = False,
    callback: Any = None,
    gpu: Gpu | None = None,
) -> dict[str, Run]:
    """Trains what draws images of texts over the codes of a run, as ``wgvq text2image train`` does.

    That is a prior that reads captions for each level of codes, and a contrastive model that judges
    (``judge_steps=0`` leaves it out). ``system`` is ``parti`` or ``dalle``. ``data`` is a source
    with captions by name, or images in memory with ``captions`` of them, or an iterable of images
    and captions. Returns a :class:`Run` for each stage that was trained, by the name of its folder;
    the rows that ``callback`` gets have that name as ``stage``.

    Where one is stopped, it is the last of them, and ``resume`` goes on, for more ``steps`` and
    ``judge_steps`` where they are given.

    >>> tiny = {"prior.layers": 1, "prior.dim": 16, "prior.heads": 2}
    >>> captions = [f"stripes of width {1 + i % 3}" for i in range(60)]
    >>> stages = wgvq.train_text2image(other_run, data=images, captions=captions, steps=2,
    ...     batch_size=4, settings=tiny, judge_steps=0, vocabulary=300)
    >>> stages["prior"].step
    2
    >>> painter = wgvq.Tokenizer.load(other_run)
    >>> painter.sample(2, texts=["stripes of width 1", "stripes of width 3"]).images.shape
    (4, 16, 16, 3)
    """
    keys = {"train.batch_size": batch_size, "train.seed": seed}
    asked = {
        "system": system,
        "size": size,
        "steps": None if steps is None else _count(steps, "steps"),
        "settings": _settings(keys, settings),
        "judge_steps": None if judge_steps is None else _count(judge_steps, "judge_steps"),
        "judge_settings": _settings({"train.seed": seed}, judge_settings),
        "vocabulary": None if vocabulary is None else _count(vocabulary, "vocabulary"),
        "text_length": None if text_length is None else _count(text_length, "text_length"),
        "embeddings": bool(embeddings),
        "strict": bool(strict),
        "resume": bool(resume),
        "overwrite": bool(overwrite),
    }
    if resume and overwrite:
        raise ArgumentError("the argument `resume` goes on with what `overwrite` would replace")
    source = _source(data, test=test, captions=captions)
    stages = _native.train_text2image(gpu or default_gpu(), Path(run), source, asked, callback)
    return {name: _run(done) for name, done in stages}


def evaluate(run: str | Path, data: Any = None, gpu: Gpu | None = None) -> dict[str, float]:
    """Measures the model of a run: :meth:`Tokenizer.evaluate`.

    >>> wgvq.evaluate(run, images[:10])["images"]
    10
    """
    return Tokenizer.load(run, gpu).evaluate(data)


def search(vectors: Any, codebook: Any, gpu: Gpu | None = None) -> np.ndarray:
    """Returns the index of the row of ``codebook`` [K, D] nearest to each of ``vectors`` [N, D].

    Distances are Euclidean; ties go to the lowest index. uint32 [N].

    >>> wgvq.search([[0.2, 0.1], [0.9, 0.8]], [[0.0, 0.0], [1.0, 1.0]])
    array([0, 1], dtype=uint32)
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

    >>> means, counts = wgvq.kmeans([[0.0], [0.2], [5.0], [5.2]], 2)
    >>> np.allclose(sorted(means[:, 0]), [0.1, 5.1]), counts.tolist()
    (True, [2, 2])
    """
    array = _arrays.floats(vectors, "vectors")
    codes, rounds, seed = _count(codes, "codes"), _count(rounds, "rounds"), _count(seed, "seed")
    return _native.kmeans(gpu or default_gpu(), array, codes, rounds, seed)


def quantize(
    vectors: Any,
    codebook: Any = None,
    *,
    levels: Sequence[int] | None = None,
    gpu: Gpu | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Quantizes ``vectors`` [N, D]: to the nearest row of ``codebook``, or to finite scalars.

    ``levels`` are those of each channel (FSQ, Mentzer et al. 2023), such as ``[8, 5, 5]``. Returns
    what the vectors become, float32 [N, D], and the index of each, uint32 [N].

    >>> wgvq.quantize([[0.2, 0.1], [0.9, 0.8]], [[0.0, 0.0], [1.0, 1.0]])[0].tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    >>> values, indices = wgvq.quantize([[0.2, 0.1], [0.9, 0.8]], levels=[3, 3])
    >>> values.shape, bool((indices < 9).all())
    ((2, 2), True)
    """
    gpu = gpu or default_gpu()
    if (codebook is None) == (levels is None):
        raise ArgumentError("of the arguments `codebook` and `levels` one is to be given")
    if levels is not None:
        if not isinstance(levels, Sequence) or isinstance(levels, str):
            raise ArgumentError("the argument `levels` is a list of whole numbers, as in [8, 5, 5]")
        counts = [_count(level, "levels") for level in levels]
        return _native.fsq(gpu, _arrays.floats(vectors, "vectors"), counts)
    codebook = _arrays.floats(codebook, "codebook")
    indices = search(vectors, codebook, gpu)
    return _native.lookup(gpu, codebook, indices), indices


def presets() -> dict[str, str]:
    """Returns the configurations that there are by name, and what each is for.

    >>> "emoji32" in wgvq.presets()
    True
    """
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

    >>> [row["pass"] for row in wgvq.bench("vq_search_n99_k17_d8", seconds=0.01)]
    [True]
    """
    if isinstance(names, str):
        names = [names]
    names = _native.workloads() if names is None else list(names)
    seconds, seed = _number(seconds, "seconds"), _count(seed, "seed")
    return [json.loads(row) for row in _native.bench(gpu or default_gpu(), names, seconds, seed)]


def _loaded(run: Path, hash: str) -> Tokenizer:
    """Returns the tokenizer of a run as long as it has the model that it was pickled with."""
    tokenizer = Tokenizer.load(run)
    if tokenizer.hash != hash:
        raise FileError(f"{run}: has another model than the tokenizer had when it was pickled")
    return tokenizer


def _run(done: dict[str, Any]) -> Run:
    return Run(**{**done, "run": Path(done["run"])})


def _count(value: Any, name: str) -> int:
    try:
        count = operator.index(value)
    except TypeError as e:
        what = f"the argument `{name}` is {value!r}; it is to be a whole number"
        raise ArgumentError(what) from e
    if not 0 <= count < 1 << 64:
        raise ArgumentError(f"the argument `{name}` is {value}; it is to be from 0 to 2^64 - 1")
    return count


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as e:
        raise ArgumentError(f"the argument `{name}` is {value!r}; it is to be a number") from e


def _draw(
    *,
    seed: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    min_p: float,
    guidance: float | None,
    repetition_penalty: float,
    batch: int,
    parallel: bool | int | str,
    passes: int,
) -> dict[str, Any]:
    if isinstance(parallel, (bool, np.bool_)):
        window: int | str | None = 16 if parallel else None
    elif isinstance(parallel, str):
        window = parallel
    else:
        window = _count(parallel, "parallel")
    return {
        "seed": _count(seed, "seed"),
        "temperature": _number(temperature, "temperature"),
        "top_k": None if top_k is None else _count(top_k, "top_k"),
        "top_p": _number(top_p, "top_p"),
        "min_p": _number(min_p, "min_p"),
        "guidance": None if guidance is None else _number(guidance, "guidance"),
        "repetition_penalty": _number(repetition_penalty, "repetition_penalty"),
        "batch": _count(batch, "batch"),
        "parallel": window,
        "passes": _count(passes, "passes"),
    }


def _is_one(array: np.ndarray, channels: int) -> bool:
    """Whether an array is one image: [H, W, C], or [H, W] where images are grey."""
    if channels == 1 and array.ndim == 3:
        return bool(array.shape[-1] == 1)
    return array.ndim == 3 or (channels == 1 and array.ndim == 2)


def _source(
    data: Any,
    labels: Any = None,
    classes: list[str] | None = None,
    test: Any = None,
    captions: Any = None,
) -> str | dict[str, Any]:
    """Returns images to train on as the native module takes them."""
    if data is None or isinstance(data, (str, Path)):
        if any(value is not None for value in (labels, classes, test, captions)):
            raise ArgumentError(
                "the arguments `labels`, `classes`, `captions` and `test` go with images in "
                "memory; a source by name has its own"
            )
        return "" if data is None else str(data)
    pixels, own, texts = _held(data, labels, captions)
    held_out = 0
    if test is not None:
        more, of_test, test_texts = _held(test, None, None)
        if more.shape[1:] != pixels.shape[1:]:
            raise ArgumentError(
                f"the argument `test` has images of shape {more.shape[1:]}, and `data` of "
                f"{pixels.shape[1:]}"
            )
        if (own is None) != (of_test is None) or (texts is None) != (test_texts is None):
            raise ArgumentError(
                "the arguments `data` and `test` both have labels or captions, as pairs with "
                "images, or neither has"
            )
        pixels, held_out = np.concatenate([pixels, more]), len(more)
        own = None if own is None or of_test is None else np.concatenate([own, of_test])
        texts = None if texts is None or test_texts is None else texts + test_texts
    names: list[str] = []
    if own is not None:
        names = list(classes) if classes is not None else [str(i) for i in range(_most(own) + 1)]
    return {
        "images": pixels,
        "labels": own,
        "classes": names,
        "captions": texts,
        "held_out": held_out,
    }


def _most(labels: np.ndarray) -> int:
    """Returns the highest label, of which there are not so many that no list could name them."""
    most = int(labels.max(initial=0))
    if most >= 1 << 20:
        raise ArgumentError(f"the argument `labels` has the label {most}; there are 2^20 at most")
    return most


def _held(
    data: Any, labels: Any, captions: Any
) -> tuple[np.ndarray, np.ndarray | None, list[str | None] | None]:
    """Returns images of an array or an iterable, and their labels or captions."""
    if isinstance(data, tuple) and len(data) == 2 and labels is None and captions is None:
        data, beside = data
        if _arrays.are_texts(beside):
            captions = beside
        else:
            labels = beside
    own: np.ndarray | None = None
    texts: list[str | None] | None = None
    if hasattr(data, "__array__") or hasattr(data, "__dlpack__"):
        pixels = _arrays.images(data, "data")
    else:
        pixels, own, texts = _arrays.gathered(data)
    if labels is not None:
        own = _arrays.whole(labels, "labels", 1)
        if len(own) != len(pixels):
            raise ArgumentError(
                f"the argument `labels` has {len(own)} labels for {len(pixels)} images"
            )
    if captions is not None:
        texts = _arrays.texts(captions, "captions", len(pixels))
    return pixels, own, texts


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
