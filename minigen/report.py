"""Pictures for people: many images in one grid, or points as a cloud, as a PNG file."""

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


def point_cloud(points):
    """Points (n, 2) as dots, numbers (n, 1) as a histogram -> a matplotlib Figure.

    Raises ValueError for points of more numbers.
    """
    from matplotlib.figure import Figure

    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] not in (1, 2):
        raise ValueError(f"points must be (n, 1) or (n, 2) to be drawn, got {points.shape}")
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    if points.shape[1] == 1:
        axes.hist(points[:, 0], bins=60, density=True)
    else:
        axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
        axes.set_aspect("equal")
    return figure


def save_images(path, images):
    """Write samples to `path` as PNG, whole or not at all: images (image_grid) or points (point_cloud)."""
    from io import BytesIO

    from PIL import Image

    from .train.checkpoint import write_whole

    path, buffer = Path(path), BytesIO()
    if np.ndim(images) == 2:
        point_cloud(images).savefig(buffer, format="png", dpi=100)
    else:
        grid = image_grid(images)
        Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())
