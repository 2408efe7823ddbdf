"""How every picture of this package looks.

One resolution, so that a label is as large in one picture as in the next; no boxes round what needs none; ten class
colours that stay apart for readers who do not see red or green as others do (a test looks through those readers' eyes).

Source   the colours: Paul Tol, Colour Schemes, SRON technical note SRON/EPS/TN/09-002, 2021, "muted", and black
"""

import numpy as np
from matplotlib.figure import Figure

from ..data import to_uint8
from . import DPI

INK, FAINT = "#26323d", "#a9a19c"
CLASS_COLOURS = (
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499", "#000000",
)  # fmt: skip


def new_figure(width, height, heading, *measured):
    """An empty Figure of so many inches, under a heading: what is seen, and in smaller lines what was measured."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    figure.suptitle("\n".join([heading, *measured]), fontsize=9, color=INK)
    return figure


def bare(axes):
    """Axes without lines and numbers: a place for an image."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def plain(axes):
    """Axes with the two lines that are read, and no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=8)
    return axes


def show(axes, image, above="", below=""):
    """One image (H, W, C), uint8 or float in [-1, 1], with a line of text above and one below."""
    bare(axes).imshow(on_paper(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(above, fontsize=8, color=INK, pad=3)
    axes.set_xlabel(below, fontsize=8, color=INK, labelpad=3)


def number(value, digits=1):
    """A number as text, with a minus sign and not a hyphen, and without a minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def on_paper(images):
    """(..., H, W, C), uint8 or float in [-1, 1] -> uint8; grey ones inverted, to dark ink, as (..., H, W)."""
    images = np.asarray(images)
    pixels = images if images.dtype == np.uint8 else to_uint8(images)
    return 255 - pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def mosaic(images, gap=0):
    """Rows of images (rows, columns, H, W[, C]) -> one image, `gap` white pixels between them."""
    rows, columns, height, width = images.shape[:4]
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[4:]), 255, np.uint8)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap), j * (width + gap)
            whole[top : top + height, left : left + width] = images[i, j]
    return whole


def show_rows(axes, images, rows=(), columns=(), gap=0):
    """Rows of images (rows, columns, H, W, C) as one, with a name before each row and above each column."""
    paper = mosaic(on_paper(images), gap)
    height, width = images.shape[2] + gap, images.shape[3] + gap
    bare(axes).imshow(paper, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks([i * height + images.shape[2] / 2 - 0.5 for i in range(len(rows))], rows)
    axes.set_xticks([i * width + images.shape[3] / 2 - 0.5 for i in range(len(columns))], columns)
    axes.tick_params(length=0, labelsize=8, labelcolor=INK, top=False, labeltop=True, bottom=False, labelbottom=False)
