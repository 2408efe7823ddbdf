"""Frechet distance: how far apart are two clouds, judged by their means and covariances alone?

    d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))                         Dowson and Landau 1982, eq. 4

the squared 2-Wasserstein distance of two Gaussians, and of any two clouds a lower bound of it. On features
of a classifier it is the FID. The classic FID takes Inception's 2048 features; ours takes the 64 of the project's
digit classifier (features.py), so our figures compare with each other and with nobody else's.

The root. S1 S2 is not symmetric, and a general matrix square root of it fails where features are few or nearly
dependent: complex parts, no convergence. But with the symmetric roots R1 = S1^(1/2), R2 = S2^(1/2),

    S1 S2 = R1 (R1 R2) R2    has the eigenvalues of    (R1 R2)(R2 R1) = M M^T,    M = R1 R2

so tr (S1 S2)^(1/2) is the sum of the singular values of M. The roots come from symmetric eigendecompositions, in
float64; singular values are never negative, and taking them of M rather than roots of eigenvalues of M M^T keeps all
digits: the distance of a cloud to itself is 0 to rounding.

What is computed, and its bias. Covariances have the divisor n - 1, so they are unbiased; the distance is not. The
estimates of two samples of one distribution differ by chance, and every difference counts. For Gaussians with
covariance eigenvalues l_i, to first order in 1 / n,

    E d^2 = 2/n sum_i l_i  +  1/n sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)        = d (d + 5) / (2 n) if all l = 1

(the second sum: a difference D of covariances costs sum_ij D_ij^2 / (2 (l_i + l_j)) in their eigenbasis, and
E D_ij^2 = 2 l_i l_j (1 + [i = j]) / n). In 64 dimensions that is 22 at n = 100 and 0.22 at n = 10,000, between
clouds that do not differ. So: the same n on both sides, always stated, and the floor at that n beside it.

Source   Dowson and Landau, The Frechet distance between multivariate normal distributions, 1982; Heusel et al., GANs
         Trained by a Two Time-Scale Update Rule (FID), NeurIPS 2017, eq. 6. Bias: Chong and Forsyth, CVPR 2020.
         Decks 003 "From DDPM to DDIM" (table), 004 "GAN training is challenging".
"""

import numpy as np


def fid(generated, real):
    """Frechet distance of two clouds of features (n, d), finite, with the same n >= 2. Raises ValueError otherwise."""
    check_same_n(generated, real)
    return frechet_distance(*moments(generated), *moments(real))


def frechet_distance(mean1, covariance1, mean2, covariance2):
    """d^2 of the Gaussians N(mean1, covariance1) and N(mean2, covariance2); means (d,), covariances (d, d)."""
    overlap = np.linalg.svd(symmetric_root(covariance1) @ symmetric_root(covariance2), compute_uv=False).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(covariance1) + np.trace(covariance2) - 2 * overlap
    return max(float(distance), 0.0)


def symmetric_root(matrix):
    """The root of a positive semidefinite matrix, V sqrt(l) V^T; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def moments(x, counts=None):
    """Mean (d,) and covariance (d, d), divisor n - 1, of x (n, d) in float64. counts: interval.py."""
    x = np.asarray(x, np.float64)
    n = len(x)
    weights = np.ones(n) if counts is None else counts.astype(np.float64)
    mean = weights @ x / n
    centred = x - mean
    return mean, (centred * weights[:, None]).T @ centred / (n - 1)


def check_same_n(generated, real):
    """Raises ValueError unless both are (n, d) with the same n >= 2 and the same d, and all their numbers finite."""
    if np.ndim(generated) != 2 or np.shape(generated) != np.shape(real) or len(generated) < 2:
        raise ValueError(
            f"generated and real must be (n, d) with the same n >= 2, got {np.shape(generated)} and {np.shape(real)}: "
            "scores depend on n, so both sides need as many samples"
        )
    if not (np.isfinite(generated).all() and np.isfinite(real).all()):
        raise ValueError("generated and real must be finite, got NaN or infinity")
