"""Latent vectors z ~ N(0, I) chosen on purpose: truncated, and on the way from one to another.

    truncated        |z_i| <= tau            Var z_i = 1 - 2 tau phi(tau) / (2 Phi(tau) - 1)
    lerp             (1 - s) z1 + s z2       half the variance at s = 1/2: not where the generator was trained
    cos_sin          cos(a) z1 + sin(a) z2   a = s pi / 2: independent N(0, I) ends give N(0, I) at every s, exactly
    slerp            along the great circle  keeps the norm of ends that have one norm; for others it runs between them

Shapes   z1, z2 (N, ...) arrays, s a number in [0, 1] -> (N, ...)
Source   deck 000, "Trick 2: Truncation", "Interpolation"; Brock et al., ICLR 2019, section 3.1; slerp: Shoemake,
         SIGGRAPH 1985; Song et al., DDIM, 2021, section 5.3
"""

import numpy as np
from scipy.special import ndtr, ndtri

from ..device import device_of


def truncated_normal(shape, tau, generator):
    """N(0, 1) given |z| <= tau, float32; tau = 0 stands for no limit. One uniform number each, through the inverse
    of the distribution function:   z = Phi^-1(Phi(-tau) + u (Phi(tau) - Phi(-tau)))

    Raises ValueError for a negative tau.
    """
    if tau < 0:
        raise ValueError(f"tau must be positive, or 0 for no limit, got {tau}")
    if tau == 0:
        return generator.normal(shape)
    low = ndtr(-tau)
    u = generator.uniform(shape, np.float64)
    return np.clip(ndtri(low + u * (1 - 2 * low)), -tau, tau).astype(np.float32)


def truncated_variance(tau):
    """Var z of `truncated_normal`; tau = 0 stands for no limit."""
    if tau == 0:
        return 1.0
    phi = np.exp(-tau * tau / 2) / np.sqrt(2 * np.pi)
    return 1 - 2 * tau * phi / (2 * ndtr(tau) - 1)


def lerp(z1, z2, s):
    """The straight line: (1 - s) z1 + s z2."""
    return (1 - s) * z1 + s * z2


def cos_sin(z1, z2, s):
    """cos(s pi / 2) z1 + sin(s pi / 2) z2."""
    return np.cos(s * np.pi / 2) * z1 + np.sin(s * np.pi / 2) * z2


def slerp(z1, z2, s):
    """sin((1 - s) w) / sin(w) z1 + sin(s w) / sin(w) z2, w the angle between the two samples.

    lerp where w is 0, and where it is pi: all great circles through opposite ends are of one length, so none is chosen.
    z1, z2 (N, ...): latent vectors or whole images of noise, of NumPy or CuPy
    Raises ValueError for a single vector, whose numbers would each be taken for a sample.
    """
    if z1.ndim < 2:
        raise ValueError(f"z1 must be samples (N, ...), got one of shape {z1.shape}")
    xp, axes = device_of(z1).xp, tuple(range(1, z1.ndim))
    norms = xp.sqrt((z1 * z1).sum(axes, keepdims=True) * (z2 * z2).sum(axes, keepdims=True))
    cosine = (z1 * z2).sum(axes, keepdims=True) / xp.maximum(norms, 1e-30)
    angle = xp.arccos(cosine.clip(-1, 1))
    parallel = xp.sin(angle) < 1e-4
    sine = xp.where(parallel, 1, xp.sin(angle))
    left = xp.where(parallel, 1 - s, xp.sin((1 - s) * angle) / sine)
    right = xp.where(parallel, s, xp.sin(s * angle) / sine)
    return (left * z1 + right * z2).astype(z1.dtype)
