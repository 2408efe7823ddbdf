"""What scores mean at their n: those of training images (the floor) and of a PCA-Gaussian, and FID's bias against n."""

from dataclasses import asdict

import click
import numpy as np

from minigen.data import load
from minigen.metrics import context, fid, look, table
from minigen.random import Generator

CURVE = (100, 200, 500, 1000, 2000, 5000, 10_000)
DRAWS = 10  # of each point of the curve, of which the mean is kept


def measure(data_dir, sizes):
    """{"n = 1000": {column: {name: score}}, ..., "curve": {...}}, with the tables printed as they come."""
    train, test = (load("mnist", data_dir, split).images for split in ("train", "test"))
    figures = {}
    for n in sizes:
        columns = context(train, test, Generator(0), n)
        click.echo(table(columns) + "\n")
        figures[f"n = {n}"] = {
            column: {name: asdict(score) for name, score in found.items()} for column, found in columns.items()
        }
    return figures | {"curve": curve(train, test, max(sizes))}


def curve(train, test, largest):
    """Mean FID of n training images against n test images, and against n other training images: {"n", ...}."""
    generator = Generator(1)
    ours = look(train[generator.permutation(len(train))[: 2 * largest]]).features
    theirs = look(test).features
    sizes = [n for n in CURVE if n <= largest]
    rows = {"n": sizes, "training against test images": [], "training against other training images": []}
    for n in sizes:
        draws = DRAWS if n < largest else 1  # at the largest n there is one way to draw all
        of_both = [ours[generator.permutation(len(ours))[: 2 * n]] for _ in range(draws)]
        of_test = [theirs[generator.permutation(len(theirs))[:n]] for _ in range(draws)]
        against_test = [fid(both[:n], test) for both, test in zip(of_both, of_test)]
        rows["training against test images"].append(float(np.mean(against_test)))
        against_train = [fid(both[:n], both[n:]) for both in of_both]
        rows["training against other training images"].append(float(np.mean(against_train)))
    return rows


SHOWN = ("FID", "IS", "precision", "recall", "SWD", "recognised")


def markdown(figures):
    """The table of docs/metrics.md: a row a size and set of images."""
    lines = ["| n | images | " + " | ".join(SHOWN) + " |", "| --- |" + " --- |" * (1 + len(SHOWN))]
    for size, columns in figures.items():
        if size != "curve":
            for column, found in columns.items():
                row = ["{value:.4g} [{low:.4g}, {high:.4g}]".format(**found[name]) for name in SHOWN]
                lines.append(" | ".join([f"| {size.removeprefix('n = ')}", column, *row]) + " |")
    return "\n".join(lines)


def draw(curve, path):
    """FID against n, both axes logarithmic, as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, values in curve.items():
        if name != "n":
            axes.plot(curve["n"], values, marker="o", label=name)
    last, sizes = curve["training against other training images"][-1], np.array(curve["n"])
    axes.plot(sizes, last * sizes[-1] / sizes, ls="--", color="#777777", label="proportional to 1 / n")
    axes.set(xscale="log", yscale="log", xlabel="n on each side", ylabel="FID", title="MNIST's own images")
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)
