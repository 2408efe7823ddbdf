"""Pictures for people: many images in one grid, as a PNG file."""

from math import ceil, sqrt
from pathlib import Path

import numpy as np

from .data import to_uint8

GAP = 2  # pixels between images, and around them


def image_grid(images, columns=None):
    """Images (n, H, W, C), float in [-1, 1] or uint8, side by side -> one image (H', W', C), uint8, with white gaps.

    columns   images in a row; the smallest square that holds all by default
    Raises ValueError unless there is an image and C is 1 (grey) or 3 (colour).
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise ValueError(f"images must be (n, H, W, C) with n >= 1 and C = 1 or 3, got {images.shape}")
    pixels = images if images.dtype == np.uint8 else to_uint8(images)
    n, height, width, channels = pixels.shape
    columns = columns or ceil(sqrt(n))
    rows = ceil(n / columns)
    grid = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + GAP) + GAP, i % columns * (width + GAP) + GAP
        grid[top : top + height, left : left + width] = image
    return grid


def save_images(path, images):
    """Write the grid of `images` to `path` as PNG, whole or not at all. Shapes: image_grid."""
    from io import BytesIO

    from PIL import Image

    from .train.checkpoint import write_whole

    path, grid, buffer = Path(path), image_grid(images), BytesIO()
    Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())
