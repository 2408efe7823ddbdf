"""What an autoencoder has learned, as pictures: what is left of an image, and what a linear decoder adds up.

    reconstructions   test images, and what is left of them after the way through a code
    atoms             the images that a linear decoder makes an image of

Each takes (model, data, generator): an autoencoder; an ImageSet; where random numbers come from. -> a Figure
The pictures of its latent space are in vae.py.
"""

import numpy as np

from ..data import to_model_range
from ..models.autoencoder import Dictionary
from . import PictureError
from .style import bare, new_figure, show_rows


def reconstructions(model, data, generator, n=12):
    """n test images above their reconstructions; a denoiser's noisy inputs stand between.

    Measured: the squared error of a pixel in [-1, 1] over all images, for a denoiser of noisy images too.
    """
    x = to_model_range(data.images)
    rows, errors = {"test images": x[:n]}, f"without noise {model.mse(x):.4f}"
    if model.network.corruptions:
        noisy = model.network.corrupt(x, generator)
        error, noise = (float(np.mean((images - x) ** 2)) for images in (model.reconstruct(noisy), noisy))
        rows["noisy"] = noisy[:n]
        errors = f"{errors}, from noisy images {error:.4f} (the noise itself: {noise:.4f})"
    rows["reconstructions"] = model.reconstruct(list(rows.values())[-1])
    heading = f"{model.config.kind}: test images, and what {model.code_size} numbers keep of them"
    measured = f"mean squared error of a pixel, {len(x):,} images: {errors}"
    figure = new_figure(0.62 * n + 1.3, 0.62 * len(rows) + 0.6, heading, measured)
    show_rows(figure.add_subplot(), np.stack(list(rows.values())), list(rows), gap=2)
    return figure


def atoms(model, data, generator, n=64):
    """The n atoms that the codes of the test images use most: what a linear decoder adds up.

    Red adds light, blue takes it away; each atom on its own scale. Measured: how many of all atoms an image uses.
    Raises PictureError unless the decoder is linear.
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
    images = weights[used].reshape(-1, *model.image_shape).mean(-1)
    columns = int(np.ceil(np.sqrt(len(images))))
    measured = f"{(codes != 0).sum(1).mean():.1f} are not zero in the code of a test image"
    figure = new_figure(6, 6.4, f"{len(images)} of {model.code_size} atoms", measured)
    panels = [bare(axes) for axes in figure.subplots(-(-len(images) // columns), columns, squeeze=False).flat]
    for axes, image in zip(panels, images):
        largest = np.abs(image).max()
        axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    return figure
