"""What a diffusion model does when it is told something, as pictures: guidance and edits (diffusion/editing.py).

    guidance   one row a guidance scale, one column a class, the same noise in each column
    inpaint    test images without their lower half, filled in
    outfill    the middle of test images, continued
    restore    test images with noise, restored
    sdedit     test images, drawn anew from more and more noise
    upscale    test images at a quarter of their height and width, enlarged
    colorize   the grey of coloured test images, coloured

Each takes (model, data, generator): a DDPM; an ImageSet; where random numbers come from. -> a Figure

Source   Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, figure 1; Lugmayr et al., RePaint, 2022, figure 1;
         deck 002, "Applications: Colorization, Inpainting, Restoration, Outfilling"
"""

import numpy as np

from ..data import to_model_range
from ..random import Generator
from ..train.condition import FACTOR
from ..train.edit import edit
from .style import new_figure, show_rows


def guidance(model, data, generator, scales=(0.0, 1.0, 2.0, 4.0, 8.0), steps=50, eta=0.0):
    """Samples of every class at each scale; 0 ignores the class, 1 is the conditional model itself."""
    start, n = generator.state(), len(data.classes)
    rows = []
    for scale in scales:
        rows.append(model.sample(n, seed=Generator(**start), guidance=scale, steps=steps, eta=eta))
    figure = new_figure(n * 0.55, len(scales) * 0.55 + 0.7, f"Guidance: DDIM, {steps} steps, a column shares its noise")
    show_rows(figure.add_subplot(), np.stack(rows), [f"w = {scale:g}" for scale in scales], data.classes, gap=2)
    return figure


def inpaint(model, data, generator, shown=6, versions=5, **settings):
    """`shown` test images whose lower half is not known."""
    keep = np.zeros(model.image_shape[:2], bool)
    keep[: len(keep) // 2] = True
    return edits("inpaint", model, data, generator, shown, versions, lambda x: x, keep, **settings)


def outfill(model, data, generator, shown=6, versions=5, **settings):
    """The middle quarter of `shown` test images, the rest not known."""
    h, w = (side // 4 for side in model.image_shape[:2])
    return edits("outfill", model, data, generator, shown, versions, lambda x: x[h : 3 * h, w : 3 * w], **settings)


def restore(model, data, generator, shown=6, versions=5, noise=0.7, **settings):
    """`shown` test images with noise of this deviation (black to white is 2)."""

    def noisy(x):
        return np.clip(x + np.float32(noise) * generator.normal(x.shape), -1, 1)

    return edits("restore", model, data, generator, shown, versions, noisy, noise=noise, **settings)


def upscale(model, data, generator, shown=6, versions=5, **settings):
    """`shown` test images of which only the mean of every 4 x 4 block is known."""

    def small(x):
        h, w, c = x.shape
        return x.reshape(h // FACTOR, FACTOR, w // FACTOR, FACTOR, c).mean(axis=(1, 3))

    return edits("upscale", model, data, generator, shown, versions, small, **settings)


def colorize(model, data, generator, shown=6, versions=5, **settings):
    """`shown` test images of which only the mean over the colours is known."""
    return edits("colorize", model, data, generator, shown, versions, lambda x: x, **settings)


def edits(task, model, data, generator, shown, versions, spoil, mask=None, **settings):
    """A row an image: the test image, what is known of it, and as many versions."""
    rows, named = [], task == "upscale" and model.config.condition == "hybrid"  # which is told the label too
    for original, label in zip(to_model_range(data.images[:shown]), data.labels):
        wish = {"label": (int(label),)} if named else {}
        drawn, known = edit(model, task, spoil(original), mask, versions, generator, **wish, **settings)
        rows.append([original, known, *np.clip(drawn, -1, 1)])
    figure = new_figure((versions + 2) * 0.6, shown * 0.6 + 0.7, task.capitalize())
    names = ["image", "known", *[str(i + 1) for i in range(versions)]]
    show_rows(figure.add_subplot(), np.array(rows, np.float32), columns=names, gap=2)
    return figure


def sdedit(model, data, generator, shown=6, strengths=(0.2, 0.4, 0.6, 0.8, 1.0), **settings):
    """`shown` test images at growing strengths: what stays is coarser and coarser, until nothing does."""
    images = to_model_range(data.images[:shown])
    rows = [
        [image, *[edit(model, "sdedit", image, seed=generator, strength=s, **settings)[0][0] for s in strengths]]
        for image in images
    ]
    figure = new_figure((len(strengths) + 1) * 0.6, shown * 0.6 + 0.7, "SDEdit: strength 0 to 1")
    names = ["image", *[f"{s:g}" for s in strengths]]
    show_rows(figure.add_subplot(), np.clip(np.array(rows, np.float32), -1, 1), columns=names, gap=2)
    return figure
