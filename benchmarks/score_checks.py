"""What the scores rest on: features from before the classifier's ReLU, and intervals that mostly hold what they say.

    features     FID and precision of sets from training images to noise, against test images: on the 64 features after
                 the ReLU and before it
    intervals    many draws of n on both sides: how often a draw's 95% interval contains the mean score of all draws.
                 Centred is the interval that is used (minigen/metrics/interval.py), plain the replicates' percentiles

docs/metrics.md shows both tables. Images are drawn from pools: two draws of 2,000 share a fifth of the test images. So
they are a little more alike than new data would be, which flatters the intervals a little.
"""

import math

import numpy as np
from tqdm import trange

from minigen.data import load, to_model_range
from minigen.metrics import PCAGaussian, bootstrap, fid, frechet_distance, look, precision
from minigen.metrics.features import Seen
from minigen.metrics.frechet import moments
from minigen.metrics.interval import LEVEL
from minigen.metrics.summary import distances, shares, some
from minigen.random import Generator

N = 2000  # of the table of features
DRAWS = 100
POOL = 20_000  # training images, and images of the PCA-Gaussian, that draws are taken from


def measure(data_dir):
    """{"features": features(...), "intervals": intervals(...), "draws"}"""
    train, test = (load("mnist", data_dir, split).images for split in ("train", "test"))
    gaussian = PCAGaussian(to_model_range(train))
    rows = features(train, test, gaussian)
    return {"features": rows, "intervals": intervals(train, test, gaussian), "draws": DRAWS}


# ---------------------------------------------------------------- features


def features(train, test, gaussian):
    """{images: {"after": {"FID", "precision"}, "before": {...}}}: after the ReLU and before it."""
    generator = Generator(0)  # by the names of metrics/summary.py: the same images as in the table of `scores`
    real = look(some(test, N, generator.child("real"))).features
    one, other = (to_model_range(some(train, N, generator.child(name))) for name in ("generated", "other"))
    sets = {
        "training images": one,
        "two training images averaged": (one + other) / 2,
        "PCA-Gaussian": gaussian.sample(N, generator.child("PCA-Gaussian")),
        "training images and noise, sigma 0.6": one + 0.6 * generator.child("normal").normal(one.shape),
        "uniform noise": 2 * generator.child("uniform").uniform(one.shape) - 1,
    }
    rows = {}
    for name, images in sets.items():
        fake = look(images).features
        rows[name] = {"after": judged(relu(fake), relu(real)), "before": judged(fake, real)}
    return rows


def judged(fake, real):
    return {"FID": fid(fake, real), "precision": precision(fake, real)}


def relu(x):
    return np.maximum(x, 0)


# ---------------------------------------------------------------- intervals


def intervals(train, test, gaussian):
    """{"FID, two samples of one Gaussian, d = 8": {"n", "mean", "deviation", "centred", "plain"}, ...}"""
    generator = Generator(1)
    real = look(test)
    digits = look(some(train, POOL, generator.child("digits")))
    blurs = look(gaussian.sample(POOL, generator.child("blurs")))
    rows = [
        ("two samples of one Gaussian, d = 8", 500, ["FID"], lambda rng: of_clouds(500, 0, 1, rng)),
        ("N(0, I) and N(1/2, 4 I), d = 8", 500, ["FID"], lambda rng: of_clouds(500, 0.5, 2, rng)),
        ("training images", 500, ["FID", "IS", "precision", "recall"], lambda rng: of_images(500, digits, real, rng)),
        ("training images", 2000, ["precision", "recall"], lambda rng: of_images(2000, digits, real, rng)),
        ("PCA-Gaussian", 500, ["FID", "precision"], lambda rng: of_images(500, blurs, real, rng)),
        ("PCA-Gaussian", 2000, ["precision"], lambda rng: of_images(2000, blurs, real, rng)),
    ]
    found = {}
    for title, n, names, statistics in rows:
        for name, row in coverage(statistics, names, n, generator.child(f"{title}, {n}")).items():
            found[f"{name}, {title}, n = {n}"] = {"n": n, **row}
    return found


def of_clouds(n, shift, scale, generator):
    """The statistics, as in metrics/summary.py, of n samples of N(0, I) and n of N(shift, scale^2 I), d = 8."""
    a, b = generator.normal((2, n, 8), np.float64)
    b = shift + scale * b
    return {"FID": (lambda f, t: frechet_distance(*moments(a, f), *moments(b, t)), (0, math.inf))}


def of_images(n, fake, true, generator):
    """The same of n images of each side, Seen of many."""
    fake, true = drawn(n, fake, generator.child("fake")), drawn(n, true, generator.child("true"))
    return {**distances(fake, true, generator.child("lines")), **shares(fake, true)}


def drawn(n, seen, generator):
    rows = generator.permutation(len(seen.features))[:n]
    return Seen(*(part[rows] for part in seen))


def coverage(statistics, names, n, generator):
    """How often a draw's interval contains the mean of all draws -> {name: {"mean", "deviation", "centred", "plain"}}.

    statistics   generator -> {name: (statistic of the counts, its range)} of one draw
    """
    found = {name: [] for name in names}
    for i in trange(DRAWS):
        rng = generator.child(i)
        of_this_draw = statistics(rng)
        for name in names:
            statistic, within = of_this_draw[name]
            found[name].append(both_intervals(statistic, n, rng.child(name), within))
    return {name: summary(*map(np.array, zip(*draws))) for name, draws in found.items()}


def both_intervals(statistic, n, generator, within):
    """value, (low, high) as they are used, and the plain percentiles of the same replicates."""
    seen = []

    def kept(*counts):
        seen.append(statistic(*counts))
        return seen[-1]

    score = bootstrap(kept, n, generator, within)
    return score.value, (score.low, score.high), np.percentile(seen[1:], [50 - LEVEL / 2, 50 + LEVEL / 2])


def summary(values, centred, plain):
    """values (draws,), ends of intervals (draws, 2)."""
    mean = values.mean()
    inside = [np.mean((ends[:, 0] <= mean) & (mean <= ends[:, 1])) for ends in (centred, plain)]
    numbers = (mean, values.std(ddof=1), *inside)
    return dict(zip(("mean", "deviation", "centred", "plain"), map(float, numbers)))


# ---------------------------------------------------------------- tables


def feature_table(rows):
    lines = ["| images | FID after | precision after | FID before | precision before |", "| --- |" + " --- |" * 4]
    for name, row in rows.items():
        cells = [f"{row[side]['FID']:.0f} | {row[side]['precision']:.2f}" for side in ("after", "before")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def interval_table(rows):
    lines = ["| score | mean | deviation | centred (used) | plain percentiles |", "| --- |" + " --- |" * 4]
    for name, row in rows.items():
        numbers = "{mean:.4g} | {deviation:.2g} | {centred:.2f} | {plain:.2f}".format(**row)
        lines.append(f"| {name} | {numbers} |")
    return "\n".join(lines)
