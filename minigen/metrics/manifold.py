"""Precision and recall: are generated samples like real ones, and are real ones like generated ones?

    manifold of a cloud    the union of balls about its points, each reaching to the point's k-th nearest neighbour
    precision              share of the generated samples that lie in the manifold of the real ones       quality
    recall                 share of the real samples that lie in the manifold of the generated ones       variety

A generator that draws a few good pictures again and again has precision 1 and recall near 0; one that draws
noise around everything has the reverse. An outlier has a large ball, so a few bad samples far out may buy recall.

Both fall on what k and n make of the balls: k = 3 as in the paper, the same n on both sides. Two samples of one
distribution do not score 1: that is what the floor beside a score shows.

Distances are computed in blocks of 1,000 points against all n, in float64: 8,000 n bytes at a time, 80 MB at
n = 10,000, and n^2 d multiplications a pass.

Source   Kynkaanniemi et al., Improved Precision and Recall Metric, NeurIPS 2019, eq. 1 and 2.
         Deck 004 "Latent Diffusion Model" (tables).
"""

import numpy as np

from .frechet import check_same_n

K = 3
BLOCK = 1000


def precision(generated, real, k=K):
    """Share of the generated features (n, d) in the manifold of the real ones (n, d). Raises ValueError: covered."""
    return float(covered(generated, real, k).mean())


def recall(generated, real, k=K):
    """Share of the real features (n, d) in the manifold of the generated ones (n, d). Raises ValueError: covered."""
    return float(covered(real, generated, k).mean())


def covered(points, cloud, k=K):
    """Which points (n, d) lie in the manifold of the cloud (n, d)? -> (n,) bool

    Raises ValueError unless both have the same n, finite numbers, and 1 <= k < n.
    """
    check_same_n(points, cloud)
    if not 1 <= k < len(cloud):
        raise ValueError(f"k, the neighbour that sets a radius, must be at least 1 and below n = {len(cloud)}, got {k}")
    reach = squared_radii(cloud, k)
    return np.concatenate([(block <= reach).any(1) for _, block in squared_distances(points, cloud)])


def squared_radii(cloud, k):
    """Squared distance of every point of the cloud (n, d) to its k-th nearest neighbour, itself not counted -> (n,)"""
    parts = []
    for first, block in squared_distances(cloud, cloud):
        rows = np.arange(len(block))
        block[rows, first + rows] = np.inf
        parts.append(np.partition(block, k - 1, axis=1)[:, k - 1])
    return np.concatenate(parts)


def squared_distances(a, b):
    """|a_i - b_j|^2 = |a_i|^2 - 2 a_i . b_j + |b_j|^2, block by block: (first i, array (up to BLOCK, n))."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    b_norms = np.sum(b * b, axis=1)
    for first in range(0, len(a), BLOCK):
        rows = a[first : first + BLOCK]
        block = rows @ (-2 * b.T)
        block += np.sum(rows * rows, axis=1)[:, None]
        block += b_norms
        yield first, np.maximum(block, 0, out=block)
