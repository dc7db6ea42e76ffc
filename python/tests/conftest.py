"""What the tests share: small images, and runs trained on them once."""

import os
import tempfile

# Numbers are those of the engine's own choice of kernels, not of a table stored on this machine.
os.environ.setdefault("WGVQ_TUNING", tempfile.mkdtemp())

import numpy as np
import pytest

import wgvq

TINY = {
    "model.hidden": 8,
    "model.residual_layers": 1,
    "model.residual_hidden": 4,
    "quantizer.codebook_dim": 4,
    "quantizer.kmeans_iters": 2,
    "train.log_every": 2,
    "train.eval_every": 0,
    "train.checkpoint_every": 2,
}
PRIOR = {"prior.layers": 1, "prior.dim": 16, "prior.heads": 2}


@pytest.fixture(scope="session")
def tiny():
    return dict(TINY)


@pytest.fixture(scope="session")
def images():
    """60 images of three kinds of stripes, 16 x 16, in colour."""
    rng = np.random.default_rng(5)
    out = np.empty((60, 16, 16, 3), np.uint8)
    for i in range(len(out)):
        stripe = (np.arange(16) // (1 + i % 3)) % 2
        out[i] = (stripe[:, None, None] * rng.integers(100, 255, 3)).astype(np.uint8)
    return out


@pytest.fixture(scope="session")
def labels():
    return np.arange(60) % 3


@pytest.fixture(scope="session")
def trained(tmp_path_factory, images, labels):
    """A run on arrays with classes, and its prior."""
    out = tmp_path_factory.mktemp("runs") / "run"
    wgvq.train(
        images,
        out,
        steps=6,
        batch_size=4,
        codebook_size=16,
        settings=TINY,
        labels=labels,
        classes=["one", "two", "three"],
    )
    wgvq.train_prior(
        out,
        data=images,
        labels=labels,
        classes=["one", "two", "three"],
        steps=4,
        batch_size=4,
        settings=PRIOR,
    )
    return out


@pytest.fixture
def other_run(tmp_path, images):
    """A run without a prior."""
    out = tmp_path / "other"
    wgvq.train(images, out, steps=2, batch_size=4, codebook_size=16, settings=TINY)
    return out


@pytest.fixture(scope="session")
def tokenizer(trained):
    return wgvq.Tokenizer.load(trained)
