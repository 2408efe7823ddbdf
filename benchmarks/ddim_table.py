"""Deck 003's table, on MNIST: FID against the number of steps, for DDIM with more or less noise and for DDPM.

    steps      10, 20, 50, 100, 1000
    eta        0, 0.2, 0.5, 1: DDIM's noise (diffusion/samplers.py); at 1 the posterior's variance
    sigma-hat  ancestral sampling over the same levels with sigma^2 = 1 - alpha_bar_t / alpha_bar_s, which is beta_t
               where every level is visited: the larger noise of DDPM (Song et al. 2021, section 5, the deck's DDPM row)

The network is that of a run, or the exact one for some of its training images: with that, all error is the sampler's.

Every cell draws n images from the same seed and scores them against the same n test images; the floor is n training
images against these. A cell is kept as soon as it is done: a table that was stopped goes on where it was.

Source   Song, Meng and Ermon, DDIM, 2021, table 1; deck 003 "From DDPM to DDIM". Theirs is CIFAR-10 under Inception's
         features at n = 50,000: compare the shape, not the numbers. The exact network: Karras et al., Elucidating the
         Design Space of Diffusion-Based Generative Models, 2022, appendix B.3
"""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minigen.data import to_model_range
from minigen.diffusion.process import GaussianDiffusion
from minigen.diffusion.samplers import ddim_sample, ddpm_sample
from minigen.metrics import scores
from minigen.random import Generator

STEPS = (10, 20, 50, 100, 1000)
NOISE = {
    **{f"eta = {eta:g}": {"sampler": "ddim", "eta": eta} for eta in (0.0, 0.2, 0.5, 1.0)},
    "sigma-hat": {"sampler": "ddpm", "variance": "beta"},
}
LONG = 1000  # at so many steps only the two rows of the deck's table
DECK = ("eta = 0", "sigma-hat")


def measure(model, train, test, n, steps, figures, keep, progress=False):
    """Fill in what `figures` lacks, and call keep(figures) after every cell. -> figures

    {"weights", "n", "seed", "floor": {name: score}, "cells": {"eta = 0, 10 steps": {"seconds", name: score}}}
    progress   a bar for every batch of samples too; the bar of the cells is there anyway
    Raises ValueError where figures are of other weights or another n.
    """
    settings = {"weights": digest(model), "n": n, "seed": 0}
    different = {name: figures[name] for name in settings if figures.get(name, settings[name]) != settings[name]}
    if different:
        raise ValueError(f"the table began with {different}, now {settings}: give another --out, or remove that one")
    figures = {**settings, "cells": {}, **figures}
    if "floor" not in figures:
        figures["floor"] = scored(train, test, n)
        keep(figures)
    wanted = cells(steps)
    left = [cell for cell in wanted if name_of(*cell) not in figures["cells"]]
    bar = tqdm(left, initial=len(wanted) - len(left), total=len(wanted), unit="cell")
    for noise, count in bar:
        bar.set_postfix_str(name_of(noise, count))
        started = time.perf_counter()
        images = model.sample(n, seed=settings["seed"], steps=count, progress=progress, **NOISE[noise])
        seconds = time.perf_counter() - started
        figures["cells"][name_of(noise, count)] = {"seconds": seconds, **scored(images, test, n)}
        keep(figures)
        bar.write(f"{name_of(noise, count)}: FID {shown(figures['cells'][name_of(noise, count)])}, {seconds:.0f} s")
    return figures


def cells(steps):
    """(noise, steps) of every cell, cheapest first."""
    return [(noise, count) for count in sorted(steps) for noise in NOISE if count < LONG or noise in DECK]


def name_of(noise, steps):
    return f"{noise}, {steps} steps"


def scored(images, test, n):
    return {name: asdict(score) for name, score in scores(images, test, Generator(0), n).items()}


class ExactNetwork:
    """What a perfect training on the m points x_i would end at; it samples as a trained model does.

    x_t is then a mixture of m Gaussians, N(a x_i, b^2), with a = sqrt(alpha_bar_t) and b = sqrt(1 - alpha_bar_t):

        E[x0 | x_t] = sum_i p_i x_i      p = softmax_i (a <x_t, x_i> - a^2 |x_i|^2 / 2) / b^2
        eps = (x_t - a E[x0 | x_t]) / b

    images (m, H, W, C), whole numbers 0 ... 255   schedule: a run's
    """

    def __init__(self, schedule, images):
        self.process, self.shape = GaussianDiffusion(schedule), images.shape[1:]
        self.points = to_model_range(images).reshape(len(images), -1)
        self.half_squares = (self.points**2).sum(axis=1) / 2
        self.networks = {"exact": self}

    def state_dict(self):
        return {"points": self.points}

    def __call__(self, x, t):
        a, b = self.process.signal[t[0]], self.process.noise[t[0]]
        flat = x.reshape(len(x), -1)
        p = (a * (flat @ self.points.T) - a**2 * self.half_squares) / b**2
        p = np.exp(p - p.max(axis=1, keepdims=True))
        x0 = (p / p.sum(axis=1, keepdims=True)) @ self.points
        return ((flat - a * x0) / b).reshape(x.shape).astype(x.dtype)

    def sample(self, n, seed=0, sampler="ddim", batch_size=250, **settings):
        """-> n images (n, H, W, C). settings: those of the sampler."""
        draw, generator = {"ddim": ddim_sample, "ddpm": ddpm_sample}[sampler], Generator(seed)
        sizes = [min(batch_size, n - done) for done in range(0, n, batch_size)]
        starts = [(size, *self.shape) for size in sizes]
        return np.concatenate(
            [draw(self.process, self, start, generator, clip_x0=True, **settings) for start in starts]
        )


def digest(model):
    """SHA-256 of all weights of the model: which weights the figures are of."""
    total = hashlib.sha256()
    for network in model.networks.values():
        for array in network.state_dict().values():
            total.update(array.tobytes())
    return total.hexdigest()


def begun(path):
    """The figures of an earlier, perhaps unfinished table in the file `path`; none where there is no such file."""
    path = Path(path)
    return json.loads(path.read_text())["figures"] if path.exists() else {}


# ---------------------------------------------------------------- table and picture


def table(figures):
    """Markdown: a row a kind of noise, a column a number of steps; FID with its interval, and the floor."""
    steps = steps_of(figures)
    lines = ["| | " + " | ".join(f"{count} steps" for count in steps) + " |", "| --- |" + " --- |" * len(steps)]
    for noise in NOISE:
        row = [figures["cells"].get(name_of(noise, count)) for count in steps]
        lines.append(f"| {noise} | " + " | ".join(shown(cell) for cell in row) + " |")
    lines.append(f"\nFloor, training against test images: {shown(figures['floor'])}. n = {figures['n']} everywhere.")
    return "\n".join(lines)


def shown(cell):
    return "" if cell is None else "{value:.1f} [{low:.1f}, {high:.1f}]".format(**cell["FID"])


def steps_of(figures):
    return sorted({int(name.split(", ")[1].split()[0]) for name in figures["cells"]})


def draw(figures, path):
    """FID against steps, a line a kind of noise, the floor below, as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for noise in NOISE:
        points = [(count, figures["cells"].get(name_of(noise, count))) for count in steps_of(figures)]
        line = [(count, cell["FID"]) for count, cell in points if cell]
        if line:
            values = [score["value"] for _, score in line]
            ends = [[score["value"] - score["low"] for _, score in line],
                    [score["high"] - score["value"] for _, score in line]]  # fmt: skip
            axes.errorbar([count for count, _ in line], values, yerr=ends, marker="o", capsize=3, label=noise)
    axes.axhline(figures["floor"]["FID"]["value"], ls="--", color="#777777", label="floor")
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel=f"FID, n = {figures['n']}", title="MNIST")
    axes.set_xticks(steps_of(figures), labels=map(str, steps_of(figures)))
    axes.set_xticks([], minor=True)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=130)
    plt.close(figure)
