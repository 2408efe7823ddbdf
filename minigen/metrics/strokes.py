"""Two attributes of a handwritten digit that need no labels: how far it leans, and how thick its stroke is.

Both are computed from grey values, without a threshold, so they also measure what a model drew.

    slant        cov(x, y) / var(y)       pixels weighted by ink, y upwards: the slope dx/dy of the line that best
                                          predicts x from y. 0 upright, 1 leaning 45 degrees to the right.
    thickness    2 ink / edge             ink = sum p,  edge = sum |grad p|,  p in [0, 1]
                                          A stroke of width w and length l has ink w l and an outline 2 (w + l),
                                          so this is w / (1 + w / l): the width, if the stroke is long.

Shearing an image by s (every row moved by s times its height) adds s to its slant, exactly: var(y) stays, cov(x, y)
gains s var(y).

Shapes   images (N, H, W, 1), uint8 or float32 in [-1, 1] -> (N,), float64; thickness in pixels
Source   slant by second moments: LeCun et al., Proceedings of the IEEE 86(11), 1998, section III.A (deslanting)
"""

import numpy as np


def slant(images):
    """cov(x, y) / var(y) of the ink, y upwards; of each image. Raises ValueError where one has no ink or no height."""
    ink = inked(images)
    total = ink.sum((1, 2), keepdims=True)
    y, x = np.arange(ink.shape[1])[::-1, None], np.arange(ink.shape[2])
    weight = ink / np.where(total > 0, total, np.nan)
    x = x - (weight * x).sum((1, 2), keepdims=True)
    y = y - (weight * y).sum((1, 2), keepdims=True)
    height = (weight * y**2).sum((1, 2))
    if not np.all(height > 0):
        raise ValueError(f"images must have ink in more than one row, number {np.argmin(height > 0)} has not")
    return (weight * x * y).sum((1, 2)) / height


def thickness(images):
    """2 ink / edge of each image, in pixels. Raises ValueError where one has no ink."""
    ink = inked(images)
    framed = np.pad(ink, ((0, 0), (1, 1), (1, 1)))  # a stroke that touches the border has an outline there too
    down, right = np.diff(framed, axis=1)[:, :, :-1], np.diff(framed, axis=2)[:, :-1]
    edge = np.hypot(down, right).sum((1, 2))
    if not np.all(edge > 0):
        raise ValueError(f"images must have ink, number {np.argmin(edge > 0)} has none")
    return 2 * ink.sum((1, 2)) / edge


def inked(images):
    """-> (N, H, W), float64 in [0, 1]: 0 paper (black in MNIST), 1 ink."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 1:
        raise ValueError(f"images must be grey, (N, H, W, 1), got {images.shape}")
    if images.dtype == np.uint8:
        return images[..., 0] / 255
    return (np.clip(images[..., 0].astype(np.float64), -1, 1) + 1) / 2
