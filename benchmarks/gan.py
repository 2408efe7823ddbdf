"""The tricks of GAN training, one at a time: an ablation on the ring of 8, the grid of 25 and MNIST.

Every cell of the table is one training: a data set, a row of TRICKS, a seed. It has a run folder of its own, so a cell
can be interrupted and goes on where it was; a finished one is not done again. Scores are of the averaged weights:

    ring8, grid25    modes covered and share of 2,500 samples within 3 sigma of one (a true sample: 98.889%)
    mnist            FID of 2,000 samples against 2,000 test images, share of them recognised at confidence 0.9, rarest
                     and most frequent class, spread
"""

import json
from pathlib import Path

import click
import numpy as np

from minigen.data import MODES
from minigen.data import load as load_data
from minigen.metrics import fid, recognise
from minigen.metrics.summary import some
from minigen.random import Generator
from minigen.train import GANConfig, load, resume, start

POINTS = {
    "arch": "mlp", "width": 64, "depth": 2, "latent": 8, "batch_size": 256, "steps": 3000, "lr": 2e-3, "d_lr": 2e-3,
    "beta2": 0.99, "ema_decay": 0.995,
}  # fmt: skip
BASE = {
    "ring8": {**POINTS},
    "grid25": {**POINTS},
    "mnist": {"arch": "dcgan", "channels": 32, "latent": 64, "batch_size": 64, "steps": 2000, "ema_decay": 0.999},
}
SAMPLES = {"ring8": 2500, "grid25": 2500, "mnist": 2000}

NOTHING = {"g_norm": "none", "d_norm": "none"}  # what the tricks are added to, one at a time
TRICKS = {
    "nothing": {},
    "minimax in place of non-saturating": {"loss": "minimax"},
    "batch norm in the generator": {"g_norm": "batch"},
    "batch norm in both": {"g_norm": "batch", "d_norm": "batch"},
    "batch norm in both, real and generated samples in one batch": {
        "g_norm": "batch",
        "d_norm": "batch",
        "separate_batches": False,
    },
    "spectral norm in the discriminator": {"d_norm": "spectral"},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "label flips 5%": {"label_flips": 0.05},
    "instance noise 0.3": {"instance_noise": 0.3},
    "labels (cgan)": {"loss": "cgan"},
    "gradient penalty r1": {"penalty": "r1", "penalty_weight": 0.1},
    "gradient penalty dragan": {"penalty": "dragan", "penalty_weight": 1.0},
    "gradient penalty wgan-gp, and its loss": {"loss": "wgan-gp", "penalty_weight": 1.0},
    "minibatch standard deviation": {"minibatch_std": True},
    "r1 and minibatch standard deviation": {"penalty": "r1", "penalty_weight": 0.1, "minibatch_std": True},
}
TRUNCATION = (2.0, 1.0, 0.5)  # of the samples of the first row: no training of its own


def settings_of(data, trick, seed, data_dir=None):
    where = {"data_dir": str(data_dir)} if data == "mnist" and data_dir else {}
    return GANConfig(
        **{**BASE[data], **NOTHING, **TRICKS[trick]}, **where, data=data, seed=seed, checkpoint_every=500,
        sample_every=10**9,
    )  # fmt: skip


def measure(folder, data, seeds, tricks, data_dir, keep):
    """Train and score what is not yet there -> {"data, trick, seed N": figures}; keep(rows) after every new cell."""
    rows = {}
    for name in data:
        for trick in tricks:
            for seed in seeds:
                cell = f"{name}, {trick}, seed {seed}"
                path = Path(folder) / f"{name}-{list(TRICKS).index(trick):02}-{seed}"
                result = path.with_suffix(".json")
                if not result.exists():
                    trained(path, settings_of(name, trick, seed, data_dir))
                    result.write_text(json.dumps(scores(path, name, with_truncation=trick == "nothing")))
                rows[cell] = json.loads(result.read_text())
                click.echo(f"{cell}: {rows[cell]}")
                keep(rows)
    return rows


def trained(path, config):
    """The run of a cell, begun or gone on with."""
    if (path / "config.json").exists():
        resume(path)
    else:
        start(config, path)


def scores(path, data, with_truncation=False):
    """Figures of one run's samples; of the first row, also with truncated latents."""
    model, n = load(path), SAMPLES[data]
    if data in MODES:
        score, truth = score_points, data
    else:
        score, truth = score_images, load_data(data, model.config.data_dir, "test").images
    figures = score(model.sample(n, seed=1), truth)
    for tau in TRUNCATION if with_truncation else ():
        figures[f"truncated at {tau:g}"] = score(model.sample(n, seed=1, truncation=tau), truth)
    return figures


def score_points(points, data):
    from minigen.metrics.modes import count_modes

    count = count_modes(points, MODES[data])
    return {"n": count.n, "modes": count.covered, "of": count.modes, "near": round(count.near, 4)}


def score_images(images, test):
    seen, distance = recognise(images), fid(images, some(test, len(images), Generator(0)))
    spread = float(np.std(images, axis=0).mean())
    figures = {
        "n": seen.n,
        "FID": distance,
        "recognised": seen.share,
        "rarest": min(seen.classes),
        "commonest": max(seen.classes),
    }
    return {**figures, "spread": round(spread, 4)}


def table(rows):
    """Markdown: a row a trick, a column a data set, each the mean and, in brackets, the range over seeds."""
    data = [name for name in BASE if any(cell.startswith(f"{name},") for cell in rows)]
    lines = [f"| one trick | {' | '.join(data)} |", "| --- |" + " --- |" * len(data)]
    for trick in TRICKS:
        cells = []
        for name in data:
            found = [row for cell, row in rows.items() if cell.startswith(f"{name}, {trick}, seed ")]
            cells.append(shown(found) if found else "")
        if any(cells):
            lines.append(f"| {trick} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(rows):
    """Several seeds of one cell in a few words."""
    if "modes" in rows[0]:
        modes, near = [row["modes"] for row in rows], [row["near"] for row in rows]
        spread = f" ({min(modes)} to {max(modes)})" if len(rows) > 1 else ""
        return f"{np.mean(modes):.1f}{spread} of {rows[0]['of']} modes, {100 * np.mean(near):.0f}% near"
    recognised = [row["recognised"] for row in rows]
    rarest, commonest = min(row["rarest"] for row in rows), max(row["commonest"] for row in rows)
    distance, share = np.mean([row["FID"] for row in rows]), 100 * np.mean(recognised)
    return f"FID {distance:.0f}, {share:.1f}% recognised, classes {100 * rarest:.0f}% to {100 * commonest:.0f}%"
