from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "Gpu",
    "Tokenizer",
    "__version__",
    "bench",
    "fsq",
    "kmeans",
    "lookup",
    "presets",
    "search",
    "train",
    "train_prior",
    "train_text2image",
    "workloads",
]

__version__: str

@final
class Gpu:
    """An engine on one device.

    >>> import wgvq
    >>> gpu = wgvq.Gpu()
    >>> gpu.core in ("subgroup", "tiled", "coopmat")
    True
    """

    def __new__(
        cls,
        adapter: str | None = None,
        core: str | None = None,
        memory_budget: int | None = None,
    ) -> Gpu:
        """Opens an adapter: its number in :meth:`list`, part of its name, or a backend.

        ``core`` is ``subgroup``, ``tiled`` or ``coopmat``, by default the fastest one that changes
        no result. ``memory_budget`` is in bytes.
        """

    @staticmethod
    def list() -> list[dict[str, Any]]:
        """Returns the adapters that there are."""

    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def core(self) -> str: ...

_Drawn: TypeAlias = tuple[
    npt.NDArray[np.uint8],
    npt.NDArray[np.uint32],
    npt.NDArray[np.float32],
    npt.NDArray[np.uint32],
]

@final
class Tokenizer:
    @staticmethod
    def load(gpu: Gpu, run: Path) -> Tokenizer: ...
    @property
    def image_shape(self) -> tuple[int, int, int]: ...
    @property
    def codes_per_image(self) -> int: ...
    @property
    def run(self) -> Path: ...
    @property
    def hash(self) -> str: ...
    def levels(self) -> list[tuple[str, int, int, int, int]]: ...
    def config(self) -> str: ...
    def classes(self) -> list[str]: ...
    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]: ...
    def decode(self, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]: ...
    def sample(self, n: int, classes: list[str], options: dict[str, Any]) -> _Drawn: ...
    def sample_texts(
        self, asked: dict[str, Any], options: dict[str, Any]
    ) -> tuple[_Drawn, npt.NDArray[np.float32] | None]: ...
    def complete(
        self,
        image: npt.NDArray[np.uint8],
        keep: str,
        mask: npt.NDArray[np.uint8] | None,
        n: int,
        class_: str | None,
        options: dict[str, Any],
    ) -> _Drawn: ...
    def evaluate(self, data: str | dict[str, Any]) -> dict[str, float]: ...

def train(
    gpu: Gpu,
    data: str | dict[str, Any],
    out: Path,
    settings: list[tuple[str, str]],
    preset: str | None,
    config: Path | None,
    resume: bool,
    overwrite: bool,
    callback: Callable[[dict[str, Any]], Any] | None,
) -> dict[str, Any]: ...
def train_prior(
    gpu: Gpu,
    run: Path,
    level: str | None,
    data: str | dict[str, Any],
    size: str | None,
    settings: list[tuple[str, str]],
    resume: bool,
    overwrite: bool,
    callback: Callable[[dict[str, Any]], Any] | None,
) -> dict[str, Any]: ...
def train_text2image(
    gpu: Gpu,
    run: Path,
    data: str | dict[str, Any],
    asked: dict[str, Any],
    callback: Callable[[dict[str, Any]], Any] | None,
) -> list[tuple[str, dict[str, Any]]]: ...
def search(
    gpu: Gpu, vectors: npt.NDArray[np.float32], codebook: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint32]: ...
def lookup(
    gpu: Gpu, codebook: npt.NDArray[np.float32], indices: npt.NDArray[np.uint32]
) -> npt.NDArray[np.float32]: ...
def kmeans(
    gpu: Gpu, vectors: npt.NDArray[np.float32], codes: int, rounds: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]: ...
def fsq(
    gpu: Gpu, vectors: npt.NDArray[np.float32], levels: list[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]: ...
def presets() -> list[tuple[str, str]]: ...
def workloads() -> list[str]: ...
def bench(gpu: Gpu, names: list[str], seconds: float, seed: int) -> list[str]: ...
