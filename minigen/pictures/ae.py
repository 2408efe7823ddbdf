"""Pictures of an autoencoder: test digits beside their reconstructions, and the atoms of a linear decoder."""

import numpy as np
from matplotlib.figure import Figure

from ..data import to_model_range
from ..models.autoencoder import Dictionary
from ..report import image_grid
from . import PictureError


def reconstructions(model, data, generator, n=12):
    """n test images above their reconstructions; a denoiser's noisy inputs stand between. -> Figure

    Below: the mean squared error of a pixel in [-1, 1] over the whole test split, for a denoiser of noisy images too.
    """
    x = to_model_range(data.images)
    rows, about = {"test images": x[:n]}, f"without noise {model.mse(x):.4f}"
    if model.network.corruptions:
        noisy = model.network.corrupt(x, generator)
        error = float(np.mean((model.reconstruct(noisy) - x) ** 2))
        rows["noisy"] = noisy[:n]
        about = f"{about}, from noisy images {error:.4f} (the noise itself: {float(np.mean((noisy - x) ** 2)):.4f})"
    rows["reconstructions"] = model.reconstruct(list(rows.values())[-1])
    figure = Figure(figsize=(0.62 * n + 1.3, 0.66 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, (name, images) in zip(axes, rows.items()):
        show(ax, image_grid(np.clip(images, -1, 1), columns=n))
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[-1].set_xlabel(
        f"{model.config.kind}, {model.code_size} numbers in a code\n"
        f"mean squared error of a pixel, {len(x)} images: {about}"
    )
    return figure


def atoms(model, data, generator, n=64):
    """The n atoms that the codes of the test images use most: what a linear decoder adds up. -> Figure

    Red adds light, blue takes it away; each atom on its own scale. PictureError unless the decoder is linear.
    """
    decoder = model.network.decoder
    if isinstance(decoder, Dictionary):
        weights = decoder.atoms().numpy()
    elif model.config.kind == "linear":
        weights = decoder.layers[0].weight.numpy()
    else:
        raise PictureError(f"atoms are those of a linear decoder: kinds sparse and linear, got {model.config.kind!r}")
    codes = model.encode(data.images)
    used = np.argsort(-np.abs(codes).mean(0) * np.linalg.norm(weights, axis=1))[:n]
    pictures = weights[used].reshape(-1, *model.image_shape).mean(-1)
    columns = int(np.ceil(np.sqrt(len(pictures))))
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    axes = figure.subplots(-(-len(pictures) // columns), columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, picture in zip(axes, pictures):
        largest = np.abs(picture).max()
        ax.imshow(picture, cmap="RdBu_r", vmin=-largest, vmax=largest)
    nnz = (codes != 0).sum(1).mean()
    figure.suptitle(f"{len(pictures)} of {model.code_size} atoms; {nnz:.1f} are not zero in the code of a test image")
    return figure


def show(ax, grid):
    """An image without ticks and frame."""
    ax.imshow(grid[..., 0] if grid.shape[-1] == 1 else grid, cmap="gray", vmin=0, vmax=255)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
