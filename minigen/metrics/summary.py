"""All scores of one set of generated images, each with n and an interval, and beside them what they mean at that n.

    found = scores(images, test.images, Generator(0))               # {"FID": Score(value, low, high, n), ...}
    columns = scores_in_context(images, train.images, test.images, Generator(0), n=2000)
    print(table(columns))

A score alone says little: the same model has another FID at another n, and no perfect model has FID 0. So the context
is two sets that need no training: training images (the floor: what a perfect model would get at this n) and the
PCA-Gaussian (baseline.py: what a trivial one gets). All are scored against the same test images.

    name          sees                                          better     range     file
    FID           mean and covariance of features               lower      >= 0      frechet.py
    IS            sure classes, all of them                     higher     1 ... 10  inception.py
    precision     are samples like test images?                 higher     0 ... 1   manifold.py
    recall        are test images like samples?                 higher     0 ... 1   manifold.py
    SWD           pixels, without the classifier                lower      >= 0      wasserstein.py
    recognised    share that is surely some digit               higher     0 ... 1   recognition.py
    class 0 ...   share of each digit                           even       0 ... 1   recognition.py

Intervals of precision and recall hold the manifold fixed, the one that the share is counted in, and resample the
points that are counted: with duplicates, which every replicate has, nearest neighbours would be at distance 0. So they
are too narrow: a little for digits, several times for images unlike the data (docs/metrics.md).
"""

import math

import numpy as np

from ..data import to_model_range
from ..models.classifier import load_classifier
from .baseline import PCAGaussian
from .features import as_bytes, look
from .frechet import frechet_distance, moments
from .inception import inception_score
from .interval import LEVEL, bootstrap
from .manifold import covered
from .recognition import CONFIDENCE
from .wasserstein import Slices


def scores(generated, real, generator, n=None, classifier=None):
    """Every score of generated images against real ones -> {name: Score}.

    generated, real   (N, 28, 28, 1), uint8, or floating point in [-1, 1]
    generator         its seed chooses n images where a side has more, the lines of SWD and the replicates; nothing is
                      drawn from it, so that models scored with one seed meet the same real images and lines
    n                 images on each side; by default all, and then both sides must have as many
    Raises ValueError for other shapes, for sides of different sizes without n, and for n above either.
    """
    n = common_n(generated, real, n)
    classifier = classifier or load_classifier()
    fake = look(some(generated, n, generator.child("generated")), classifier)
    true = look(some(real, n, generator.child("real")), classifier)
    statistics = {**distances(fake, true, generator.child("lines")), **shares(fake, true)}
    return {
        name: bootstrap(statistic, n, generator.child(name), within) for name, (statistic, within) in statistics.items()
    }


def distances(fake, true, generator):
    """{name: (statistic of the counts drawn on both sides, its range)} of the scores that are no shares."""
    slices = Slices(fake.pixels, true.pixels, generator)
    classes = fake.probabilities.shape[1]
    return {
        "FID": (
            lambda f, t: frechet_distance(*moments(fake.features, f), *moments(true.features, t)),
            (0, math.inf),
        ),
        "IS": (lambda f, t: inception_score(fake.probabilities, f), (1, classes)),
        "SWD": (slices.distance, (0, math.inf)),
    }


def shares(fake, true):
    """The same of the scores that count samples with a property; of the generated ones, or of the real ones."""
    sure = fake.probabilities.max(1) >= CONFIDENCE
    digit = fake.probabilities.argmax(1)
    of_generated = {
        "precision": covered(fake.features, true.features),
        "recognised": sure,
        **{f"class {k}": digit == k for k in range(fake.probabilities.shape[1])},
    }
    of_real = {"recall": covered(true.features, fake.features)}
    found = {name: (lambda f, t, has=has: f @ has / len(has), (0, 1)) for name, has in of_generated.items()}
    found |= {name: (lambda f, t, has=has: t @ has / len(has), (0, 1)) for name, has in of_real.items()}
    return found


def scores_in_context(generated, train, test, generator, n=None):
    """scores of generated images and of their context, at one n -> {"samples": {name: Score}, **context(...)}."""
    n = common_n(generated, test, n)
    return {"samples": scores(generated, test, generator, n), **context(train, test, generator, n)}


def context(train, test, generator, n):
    """scores of training images, the floor, and of a PCA-Gaussian fitted to them, both against n test images.

    -> {"training images": {name: Score}, "PCA-Gaussian": {...}}. Arguments and errors: scores.
    """
    gaussian = PCAGaussian(to_model_range(as_bytes(train)))
    drawn = gaussian.sample(n, generator.child("PCA-Gaussian"))
    columns = {"training images": train, "PCA-Gaussian": drawn}
    return {name: scores(images, test, generator, n) for name, images in columns.items()}


def table(columns):
    """Text: a row a score, a column a set of images. columns: {title: {name: Score}}, all at one n, or ValueError."""
    every = [score for found in columns.values() for score in found.values()]
    sizes = {score.n for score in every}
    if len(sizes) != 1:
        raise ValueError(f"the scores of a table must have one n, got {sorted(sizes)}")
    names = list(next(iter(columns.values())))
    cells = [[f"{s.value:.4g} [{s.low:.4g}, {s.high:.4g}]" for s in (found[name] for found in columns.values())]
             for name in names]  # fmt: skip
    rows = [[f"n = {sizes.pop()}", *columns], *([name, *row] for name, row in zip(names, cells))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, f"[{LEVEL}% bootstrap intervals]"])


def common_n(generated, real, n):
    """The number of images to use of each side. Raises ValueError where that is not clear, or too many."""
    sizes = len(generated), len(real)
    if n is None:
        if sizes[0] != sizes[1]:
            raise ValueError(f"generated and real must be as many, or give n: scores depend on n, got {sizes}")
        return sizes[0]
    if not 4 <= n <= min(sizes):
        raise ValueError(f"n must lie between 4 and the smaller side's size, {min(sizes)}, got {n}")
    return n


def some(images, n, generator):
    """n of the images: all in their order, or a random choice."""
    images = np.asarray(images)
    return images if len(images) == n else images[generator.permutation(len(images))[:n]]
