"""PSNR and SSIM: how close is a picture to the one that it should be? Both sides as bytes, one number a picture.

    PSNR = 10 log10(255^2 / mean squared error)     in dB; infinite for equal pictures
    SSIM = mean over windows of  (2 ma mb + C1)(2 sab + C2) / ((ma^2 + mb^2 + C1)(sa^2 + sb^2 + C2))
           m, s^2, sab: mean, variance and covariance under a Gaussian window of 11 x 11 pixels, sigma 1.5;
           C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2; windows inside the picture only; mean over the channels

Both need the true picture, so they serve reconstruction, restoration and super-resolution, not generation. PSNR is
squared error and rewards blur; SSIM asks for local contrast and structure too.

Shapes   a, b (N, H, W, C), uint8, or floating point in [-1, 1], which is rounded to bytes first
Source   Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE TIP 2004, eq. 13.
         Deck 004 "Latent Diffusion Model" (super-resolution).
"""

import numpy as np
from scipy.ndimage import correlate1d

from ..data import to_uint8

WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
WINDOW /= WINDOW.sum()
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(a, b):
    """PSNR of each pair in dB, (N,). Raises ValueError for different or other shapes."""
    a, b = both_as_bytes(a, b)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / np.mean((a - b) ** 2, axis=(1, 2, 3)))


def ssim(a, b):
    """SSIM of each pair, (N,), at most 1. Raises ValueError for different or other shapes, or sides below 11."""
    a, b = both_as_bytes(a, b)
    if min(a.shape[1:3]) < len(WINDOW):
        raise ValueError(f"images must have sides of at least {len(WINDOW)} pixels, got {a.shape[1:3]}")
    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * covariance + C2) / (var_a + var_b + C2)
    return np.mean(luminance * structure, axis=(1, 2, 3))


def blurred(x):
    """Gaussian-weighted mean about every pixel whose window lies inside."""
    edge = len(WINDOW) // 2
    for axis in (1, 2):
        x = correlate1d(x, WINDOW, axis=axis)
    return x[:, edge:-edge, edge:-edge]


def both_as_bytes(a, b):
    """Two sets of images as whole numbers 0..255, in float64."""
    a, b = (np.asarray(x) for x in (a, b))
    if a.ndim != 4 or a.shape != b.shape or not a.size:
        raise ValueError(f"a and b must both be (N, H, W, C), got {a.shape} and {b.shape}")
    return tuple((x if x.dtype == np.uint8 else to_uint8(x)).astype(np.float64) for x in (a, b))
