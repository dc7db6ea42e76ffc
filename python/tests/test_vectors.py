"""Search, k-means and scalars, beside NumPy, scikit-learn, faiss and vector-quantize-pytorch."""

import numpy as np
import pytest

import wgvq


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(3).normal(size=(1003, 13)).astype(np.float32)


def nearest(vectors, codebook):
    distance = ((vectors[:, None].astype(float) - codebook[None].astype(float)) ** 2).sum(-1)
    return distance


def test_search(vectors):
    codebook = vectors[:77] + 0.01
    found = wgvq.search(vectors, codebook)
    assert found.dtype == np.uint32 and found.shape == (1003,)
    distance = nearest(vectors, codebook)
    best = distance.min(1)
    # Where two codes are equally far but for rounding, either will do.
    assert (distance[np.arange(1003), found] <= best * (1 + 1e-5) + 1e-5).all()
    assert np.array_equal(wgvq.search(vectors.astype(np.float64)[::-1], codebook), found[::-1])
    assert wgvq.search(vectors[:0], codebook).shape == (0,)
    doubled = np.concatenate([codebook, codebook])
    assert np.array_equal(wgvq.search(vectors, doubled), found), "ties go to the lowest index"


def test_search_beside_faiss(vectors):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatL2(13)
    index.add(vectors[:77])
    _, theirs = index.search(vectors, 1)
    assert (wgvq.search(vectors, vectors[:77]) == theirs[:, 0]).mean() > 0.999


def test_kmeans(vectors):
    codebook, counts = wgvq.kmeans(vectors, 9, rounds=15, seed=2)
    assert codebook.shape == (9, 13) and counts.sum() == 1003 and (counts > 0).all()
    ours = nearest(vectors, codebook).min(1).mean()
    assert np.array_equal(wgvq.kmeans(vectors, 9, rounds=15, seed=2)[0], codebook)
    sklearn = pytest.importorskip("sklearn.cluster")
    theirs = sklearn.KMeans(9, init="random", n_init=1, max_iter=15, random_state=0).fit(vectors)
    assert ours == pytest.approx(theirs.inertia_ / 1003, rel=0.05)


def test_quantize(vectors):
    codebook = vectors[:31]
    values, indices = wgvq.quantize(vectors, codebook)
    assert np.array_equal(values, codebook[indices])
    values, indices = wgvq.quantize(vectors[:, :3], levels=[8, 5, 5])
    assert values.shape == (1003, 3) and indices.max() < 200
    pytest.importorskip("torch")
    vq = pytest.importorskip("vector_quantize_pytorch")
    import torch

    theirs, codes = vq.FSQ([8, 5, 5])(torch.from_numpy(vectors[None, :, :3].copy()))
    assert np.allclose(values, theirs[0].numpy(), atol=1e-5)
    assert (indices == codes[0].numpy()).mean() > 0.999


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: wgvq.search(x, x[:, :3]), "13 channels"),
        (lambda x: wgvq.search(x[0], x), "\\[N, D\\]"),
        (lambda x: wgvq.search(x, x[:0]), ""),
        (lambda x: wgvq.search(x.astype(str), x), "numbers"),
        (lambda x: wgvq.kmeans(x, 0), "0"),
        (lambda x: wgvq.kmeans(x, -3), "argument `codes`"),
        (lambda x: wgvq.quantize(x), "one is to be given"),
        (lambda x: wgvq.quantize(x, x, levels=[3]), "one is to be given"),
        (lambda x: wgvq.quantize(x, levels=[8, 5, 5]), ""),
    ],
)
def test_wrong_vectors(vectors, call, says):
    with pytest.raises(wgvq.ArgumentError, match=says):
        call(vectors)
