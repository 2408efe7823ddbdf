"""What an autoencoder has learned, as pictures of its latent space: the figures of the lectures.

    reconstructions   test images, and what is left of them after the way through a code
    latents           test images as dots where their codes are, coloured by class
    gaps              the same, and what the decoder makes of places where no code is
    manifold          the whole of a 2-D latent space, decoded on a grid of equal probability
    traversal         one coordinate of a code moves, the others stay
    interpolate       from one image to another, through codes and through pixels
    arithmetic        A' - A + B = B': an attribute as a direction

Each takes (model, data, generator): an autoencoder, variational or not; an ImageSet; where random numbers come from.
Each returns a Figure, whose heading says what was measured. The ways through the space: latent_space.py

Source   decks 000 "MNIST VAE" (only reconstruction, only KL, both), 004 "VAEs: Generating Data" (2-D manifold; varying
         z_1 and z_2), 003 "From Autoencoder to VAE (cont'd)" (results; A' - A + B = B')
"""

import numpy as np

from ..data import to_model_range
from ..device import to_device
from ..metrics import recognise
from ..metrics.strokes import slant, thickness
from . import PictureError
from .latent_space import (
    Codes,
    along_axis,
    analogy,
    decoded,
    drawn_like,
    empty_share,
    farthest,
    line,
    quantile_grid,
)
from .style import CLASS_COLOURS, INK, bare, new_figure, number, plain, show, show_rows

ATTRIBUTES = {"slant": slant, "thickness": thickness}
RECOGNISABLE = ("mnist", "mnist-mini")  # what the project's classifier knows


def reconstructions(model, data, generator, n=12):
    """n test images as the model sees them, above the means of p(x | z) at the means of their codes.

    Measured: the squared error of a pixel in [0, 1], reconstructions against the grey images, over all of them.
    """
    labels, draws = data.labels if model.config.classes else None, generator.child("binarise")
    seen = to_device(model.pixels(data.images[:n], generator.child("binarise")), "cpu")
    made = model.reconstruct(data.images, labels, draws)
    error = np.mean(((made + 1) / 2 - data.images / np.float32(255)) ** 2)
    heading = f"Test images, and what {model.config.latent} numbers keep of them"
    figure = new_figure(0.62 * n + 1.3, 2.0, heading, f"squared error {error:.4f} a pixel, {len(made):,} images")
    show_rows(figure.add_subplot(), np.stack([2 * seen - 1, made[:n]]), ("as seen", "reconstructed"))
    return figure


# ---------------------------------------------------------------- codes as dots


def latents(model, data, generator, n=5000):
    """One draw z ~ q(z|x) for each of n images, by class; of more than two axes, the two that say most.

    The rings are 1, 2 and 3 deviations of the prior. Measured: both terms of the objective, the KL divergence and the
    squared error of the reconstruction (pixels in [0, 1]). Raises PictureError for a model with one axis.
    """
    images = data.images[:n]
    codes = Codes(model, images, generator)
    z = codes.draw(generator)
    error = np.mean((decoded(model, z) / 255.0 - images / 255.0) ** 2)
    measured = f"squared error of the reconstruction {error:.4f} a pixel"
    if codes.logvar is not None:
        measured = f"KL {codes.kl.sum():.2g} nats an image, {measured}"
    figure = new_figure(5.4, 4.9, f"Codes of {len(z):,} test images", measured)
    scatter(figure.add_subplot(), z, codes, data)
    return figure


def gaps(model, data, generator, n=5000, shown=12, near=0.2):
    """The codes of n images, `shown` places that have none near, and what the decoder makes of these.

    Nothing tells an autoencoder where to put its codes, or what to decode between them; a VAE's are noisy and pulled
    towards one Gaussian. Measured: how much of the Gaussian with the codes' moments has no code within `near`
    deviations, beside the same for as many codes that are Gaussian. Raises PictureError unless the model has 2 axes.
    """
    codes = Codes(model, data.images[:n], generator)
    refuse_unless_2d("gaps", codes.mean)
    z = codes.draw(generator)
    empty, best = (empty_share(of, generator, near) for of in (z, drawn_like(z, len(z), generator)))
    places = farthest(z, shown, generator)
    measured = f"{empty:.1%} of their Gaussian has no code within {near} deviations ({best:.1%} if they were Gaussian)"
    figure = new_figure(8.8, 4.3, f"Between the codes of {len(z):,} test images", measured)
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    axes = left.add_subplot()
    scatter(axes, z, codes, data)
    for place, (x, y) in enumerate(places, 1):
        disc = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": INK, "lw": 0.8}
        axes.text(x, y, place, ha="center", va="center", fontsize=7, color=INK, bbox=disc)
    for place, (axes, image) in enumerate(zip(right.subplots(3, -(-shown // 3)).flat, decoded(model, places)), 1):
        show(axes, image, str(place))
    return figure


def scatter(axes, z, codes, data):
    """Dots at the codes z (N, D) on the two axes that say most, a legend, and the prior's rings where there is one."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle

    if z.shape[1] < 2:
        raise PictureError(f"a picture of codes needs a model with at least 2 latent axes, this one has {z.shape[1]}")
    first, second = (0, 1) if z.shape[1] == 2 else codes.by_information()[:2]
    colours = np.array(CLASS_COLOURS)[data.labels[: len(z)] % len(CLASS_COLOURS)]
    plain(axes).scatter(z[:, first], z[:, second], s=5, c=colours, linewidths=0, alpha=0.8)
    for radius in (1, 2, 3) if codes.logvar is not None else ():
        axes.add_patch(Circle((0, 0), radius, fill=False, color=INK, lw=0.8, ls=(0, (4, 3))))
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(axis_name(first))
    axes.set_ylabel(axis_name(second))
    marks = [Line2D([], [], marker="o", ls="", ms=5, color=c, label=k) for k, c in zip(data.classes, CLASS_COLOURS)]
    axes.legend(handles=marks, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, handletextpad=0)


def axis_name(k):
    return f"$z_{{{k + 1}}}$"


def refuse_unless_2d(picture, codes):
    if codes.shape[1] != 2:
        raise PictureError(f"{picture} needs a model with 2 latent axes, this one has {codes.shape[1]}")


def recognised(images, data):
    """The share of uint8 images that the classifier takes for digits, as text; "" where the data has other things."""
    return f"{100 * recognise(to_model_range(images)).share:.0f}%" if data.name in RECOGNISABLE else ""


# ---------------------------------------------------------------- decoded codes


def manifold(model, data, generator, side=20):
    """The decoded means at side^2 codes, each of which stands for the same share of the prior.

    Raises PictureError unless the model has 2 latent axes.
    """
    refuse_unless_2d("manifold", Codes(model, data.images[:1], generator).mean)
    z = quantile_grid(side)
    images = decoded(model, z.reshape(-1, 2)).reshape(side, side, *data.images.shape[1:])
    heading = f"The latent space, decoded at the centres of {side} × {side} cells of equal probability under the prior"
    figure = new_figure(6.0, 6.3, heading)
    names = [number(value) if i % 2 == 0 else "" for i, value in enumerate(z[0, :, 0])]
    axes = figure.add_subplot()
    show_rows(axes, images, names[::-1], names)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(axis_name(0))
    axes.set_ylabel(axis_name(1))
    return figure


def traversal(model, data, generator, axes=10, steps=11, reach=3.0):
    """One test image's code, one coordinate at a time moved from -reach to reach: a row for each of the axes.

    The axes that say most come first; where the model has more than `axes`, the last row is the one that says least.
    Measured: what each axis says of an image, its KL divergence in nats.
    """
    codes = Codes(model, data.images[:2000], generator)
    order = codes.by_information()
    rows = order if len(order) <= axes else np.append(order[: axes - 1], order[-1])
    code = codes.mean[generator.integers(0, len(codes.mean), (1,))[0]]
    values = np.linspace(-reach, reach, steps)
    images = np.stack([decoded(model, along_axis(code, axis, values)) for axis in rows])
    figure = new_figure(0.55 * steps + 1.4, 0.55 * len(rows) + 0.7, "One coordinate of a code moves, the others stay")
    names = [f"{axis_name(axis)}   {codes.kl[axis]:.2f} nats" for axis in rows]
    show_rows(figure.add_subplot(), images, names, [number(value) for value in values], gap=2)
    return figure


def interpolate(model, data, generator, pairs=4, steps=9, measured=500):
    """From a test image to one of another class, `pairs` times: through their codes, and through their pixels.

    Measured on more such pairs: how often what is half-way is recognised as a digit.
    """
    first, second = different_pairs(data, max(pairs, measured), generator)
    codes = [Codes(model, data.images[ends], generator).mean for ends in (first, second)]
    pixels = [data.images[ends].astype(np.float64) for ends in (first, second)]
    shares = recognised(decoded(model, line(*codes, 3)[1]), data), recognised(whole(line(*pixels, 3)[1]), data)
    lines = ["half-way, {} are recognised as digits through codes, {} through pixels".format(*shares)] * all(shares)
    figure = new_figure(0.55 * steps + 0.9, 1.25 * pairs + 0.6, "From one image to another", *lines)
    for i, axes in enumerate(figure.subplots(pairs, 1, squeeze=False)[:, 0]):
        through_codes = decoded(model, line(codes[0][i], codes[1][i], steps))
        through_pixels = whole(line(pixels[0][i], pixels[1][i], steps))
        show_rows(axes, np.stack([through_codes, through_pixels]), ["codes", "pixels"], gap=2)
    return figure


def different_pairs(data, n, generator):
    """Indices (n,) and (n,) of images whose classes differ. Raises PictureError where there is one class only."""
    if len(np.unique(data.labels)) < 2:
        raise PictureError("the picture needs images of at least two classes, the data has one")
    first, second = (generator.integers(0, len(data), (n,)) for _ in range(2))
    while (same := data.labels[first] == data.labels[second]).any():
        second[same] = generator.integers(0, len(data), (int(same.sum()),))
    return first, second


def whole(pixels):
    """Floats 0 ... 255 -> uint8"""
    return np.rint(pixels).astype(np.uint8)


# ---------------------------------------------------------------- arithmetic


def arithmetic(model, data, generator, examples=(("slant", 9, 7), ("thickness", 0, 3)), shown=8):
    """A' - A + B = B' on mean codes: a row for each (attribute, class of A and A', class of B and B').

    A' is the quarter of its class with the most of the attribute, A the quarter with the least; B is the quarter of
    another class with the least. Beside the equation, the same step A' - A from single images of B. Measured: the
    attribute of what was decoded. Raises PictureError for images that are not grey, or a class of fewer than 4.
    """
    if data.images.shape[-1] != 1:
        raise PictureError(f"arithmetic measures grey images, (N, H, W, 1), the data has {data.images.shape}")
    codes = Codes(model, data.images, generator).mean
    figure = new_figure(11, 1.75 * len(examples) + 0.4, "A′ − A + B = B′, in codes")
    for part, (attribute, a, b) in zip(figure.subfigures(len(examples), 1, squeeze=False)[:, 0], examples):
        less, more = quarters(data, a, attribute)
        base, _ = quarters(data, b, attribute)
        names = [
            f"{data.classes[label]}, {most} {attribute}" for label, most in ((a, "most"), (a, "least"), (b, "least"))
        ]
        draw_equation(part, model, ATTRIBUTES[attribute], names, (codes[more], codes[less], codes[base]), shown)
    return figure


def quarters(data, label, attribute):
    """Indices of images of a class: the quarter with the least of an attribute, and the quarter with the most."""
    members = np.flatnonzero(data.labels == label)
    if len(members) < 4:
        raise PictureError(f"arithmetic needs 4 images of class {label} at least, the data has {len(members)}")
    order = members[np.argsort(ATTRIBUTES[attribute](data.images[members]), kind="stable")]
    return order[: len(order) // 4], order[-(len(order) // 4) :]


def draw_equation(figure, model, measure, names, groups, shown):
    """One row: the mean codes of A', A, B and B' decoded, with signs between; then images of B before and after."""
    more, less, base = groups
    ends = analogy(more, less, base)
    before, after = decoded(model, base), decoded(model, ends)
    means = decoded(model, np.stack([codes.mean(0) for codes in (more, less, base, ends)]))
    grid = figure.add_gridspec(1, 8, width_ratios=(3, 0.6, 3, 0.6, 3, 0.6, 3, 1.5 * shown + 1))
    for place, (image, name) in enumerate(zip(means, [*names, "B′"])):
        show(figure.add_subplot(grid[2 * place]), image, name, number(measure(image[None])[0], 2))
    for place, sign in zip((1, 3, 5), "−+="):
        bare(figure.add_subplot(grid[place])).text(0.5, 0.5, sign, ha="center", va="center", fontsize=16, color=INK)
    axes = figure.add_subplot(grid[7])
    some = np.linspace(0, len(base) - 1, min(shown, len(base))).astype(int)
    show_rows(axes, np.stack([before[some], after[some]]), ["B", "B′"], gap=2)
    single = (before, after, decoded(model, less), decoded(model, more))
    text = "mean of single images: B {} → B′ {},  A {} → A′ {}"
    axes.set_xlabel(text.format(*(number(measure(images).mean(), 2) for images in single)), fontsize=8, color=INK)
