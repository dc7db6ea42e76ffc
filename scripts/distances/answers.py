"""Distances of two sets by other programs: pytorchfwd's Frechet wavelet distance, torch-fidelity's
Frechet and kernel distances, precision and recall, and scikit-learn's kernel and neighbours.

Images are [N, H, W, C] of 0 to 255, features [N, D].
"""

import numpy as np
import torch
from pytorchfwd import fwd as wavelets
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

NEIGHBOURS = 3
DIRECTIONS = 20_000


def fwd(real, samples, levels):
    """pytorchfwd's distance; grey images become three channels, as it opens them."""

    def statistics(images):
        images = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
        batch = torch.tensor(images / 255.0).permute(0, 3, 1, 2)
        return wavelets.compute_packet_statistics([batch], "Haar", levels, False)

    (m, s), (n, t) = statistics(real), statistics(samples)
    return float(wavelets._compute_avg_frechet_distance(m, n, s, t))


def of_features(real, samples):
    """Every measure of features, by each program that has it."""
    a, b = torch.tensor(real), torch.tensor(samples)
    fid = fid_statistics_to_metric(
        fid_features_to_statistics(a), fid_features_to_statistics(b), verbose=False
    )
    kid = kid_features_to_metric(
        a, b, kid_subsets=1, kid_subset_size=len(real), verbose=False, rng_seed=0
    )
    # Its first set is the samples.
    prc = prc_features_to_metric(b, a, prc_neighborhood=NEIGHBOURS, verbose=False)
    found = {
        "fd": next(v for k, v in fid.items()),
        "kid": next(v for k, v in kid.items() if k.endswith("mean")),
        "precision": prc["precision"],
        "recall": prc["recall"],
    }
    return {k: float(v) for k, v in found.items()} | by_scikit_learn(real, samples)


def by_scikit_learn(real, samples):
    def kernel(x, y, one):
        k = polynomial_kernel(x, y, degree=3, coef0=1)
        n, m = k.shape
        return (k.sum() - np.trace(k)) / (n * (n - 1)) if one else k.mean()

    kid = kernel(real, real, True) + kernel(samples, samples, True)
    kid -= 2 * kernel(real, samples, False)

    def share(x, y):
        reach = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(y).kneighbors(y)[0][:, -1]
        far = np.linalg.norm(x[:, None] - y[None], axis=-1)
        return float((far <= reach).any(1).mean())

    return {
        "sklearn.kid": float(kid),
        "sklearn.precision": share(samples, real),
        "sklearn.recall": share(real, samples),
    }


def mind(real, samples):
    """The sliced distance along other random directions: equal up to their number."""
    random = np.random.default_rng(1)
    u = random.normal(size=(real.shape[1], DIRECTIONS))
    u /= np.linalg.norm(u, axis=0)
    parts = np.array_split(u, DIRECTIONS // 500, axis=1)
    sorted_ = lambda x, u: np.sort(x @ u, axis=0)
    each = [((sorted_(real, u) - sorted_(samples, u)) ** 2).mean() for u in parts]
    return float(np.mean(each))
