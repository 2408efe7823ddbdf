"""Inception Score, with the project's classifier in Inception's place: is each sample some class, and are all there?

    IS = exp(mean over samples of KL(p(y | x), p(y)))          p(y) = mean over samples of p(y | x)
       = exp(H(y) - H(y | x))

Between 1 (every sample gets the same p(y | x)) and the number of classes K (each sample surely of one class, every
class equally often). It looks at generated samples only. It does not see whether they resemble the data, nor whether
all samples of a class are one and the same picture. The paper averages over ten splits; here all n are one set.

Source   Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016, section 4.
         Deck 004 "Latent Diffusion Model" (tables).
"""

import numpy as np
from scipy.special import xlogy


def inception_score(probabilities, counts=None):
    """IS of class probabilities p(y | x) (n, K), n >= 1, whose rows sum to 1, else ValueError. counts: interval.py."""
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not len(p) or (p < 0).any() or not np.allclose(p.sum(1), 1, rtol=0, atol=1e-4):
        raise ValueError(f"probabilities must be (n, K), n >= 1, rows that sum to 1, got an array of shape {p.shape}")
    weights = np.ones(len(p)) if counts is None else counts
    marginal = weights @ p / len(p)
    kl = weights @ xlogy(p, p).sum(1) / len(p) - xlogy(marginal, marginal).sum()
    return float(np.exp(kl))
