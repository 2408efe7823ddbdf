"""The tricks of GAN training: an ablation on the ring of 8, the grid of 25 and MNIST.

The first rows of TRICKS add one trick at a time to none, the last ones take one at a time away from all. Every cell is
one training: a data set, a row, a seed. It has a run folder of its own, so a cell can be interrupted and goes on where
it was; a finished one is not done again; one that diverges says so. Scores are of the averaged weights:

    ring8, grid25    modes covered and share of 2,500 samples within 3 sigma of one (a true sample: 98.889%)
    mnist            FID of 2,000 samples against 2,000 test images, share of them recognised at confidence 0.9, rarest
                     and most frequent class
"""

import json
import re
from pathlib import Path

import click
import numpy as np

from minigen.data import MODES
from minigen.data import load as load_data
from minigen.metrics import count_modes, fid, look, recognise
from minigen.metrics.summary import some
from minigen.random import Generator
from minigen.train import Diverged, GANConfig, RunFolder, load, resume, start

POINTS = {
    "arch": "mlp", "width": 64, "depth": 2, "latent": 8, "batch_size": 256, "steps": 3000, "lr": 2e-3, "d_lr": 2e-3,
    "beta2": 0.99, "ema_decay": 0.995,
}  # fmt: skip
BASE = {
    "ring8": {**POINTS},
    "grid25": {**POINTS},
    "mnist": {
        "arch": "dcgan", "channels": 32, "latent": 64, "batch_size": 64, "steps": 600, "lr": 1e-3, "d_lr": 1e-3,
        "ema_decay": 0.99,
    },
}  # fmt: skip
SAMPLES = {"ring8": 2500, "grid25": 2500, "mnist": 2000}

NOTHING = {"g_norm": "none", "d_norm": "none"}
ON = {
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

ALL = {
    "g_norm": "batch", "d_norm": "spectral", "label_smoothing": 0.1, "label_flips": 0.05, "instance_noise": 0.3,
    "loss": "cgan", "penalty": "r1", "penalty_weight": 0.1, "minibatch_std": True,
}  # fmt: skip
OFF = {
    "all": {},
    "all but batch norm in the generator": {"g_norm": "none"},
    "all but spectral norm in the discriminator": {"d_norm": "none"},
    "all but label smoothing and flips": {"label_smoothing": 0.0, "label_flips": 0.0},
    "all but instance noise": {"instance_noise": 0.0},
    "all but labels": {"loss": "non-saturating"},
    "all but the gradient penalty": {"penalty": "none"},
    "all but minibatch standard deviation": {"minibatch_std": False},
}
TRICKS = {
    **{name: {**NOTHING, **trick} for name, trick in ON.items()},
    **{name: {**ALL, **trick} for name, trick in OFF.items()},
}
TRUNCATION = (2.0, 1.0, 0.5)  # of the samples of the first row: no training of its own


def settings_of(data, trick, seed, data_dir=None):
    where = {"data_dir": str(data_dir)} if data == "mnist" and data_dir else {}
    return GANConfig(
        **{**BASE[data], **TRICKS[trick]}, **where, data=data, seed=seed, checkpoint_every=500, sample_every=10**9
    )


def measure(folder, data, seeds, tricks, data_dir):
    """Train and score what is not yet there -> {"data, trick, seed N": figures}, each printed as it comes."""
    rows = {}
    for trick in tricks:
        for seed in seeds:
            path = Path(folder) / f"{data}-{re.sub('[^a-z0-9]+', '-', trick.lower())}-{seed}"
            config = settings_of(data, trick, seed, data_dir)
            cell = f"{data}, {trick}, seed {seed}"
            rows[cell] = once(path, config, lambda run, trick=trick: scores(run, with_truncation=trick == "nothing"))
            click.echo(f"{cell}: {rows[cell]}")
    return rows


def once(path, config, score):
    """The figures score(path) of a training by these settings, kept beside its run folder when they are first found.

    Raises click.UsageError where the folder holds a training by other settings.
    """
    result, settings = path.with_suffix(".json"), in_short(config.to_dict())
    if not result.exists():
        try:
            trained(path, config)
            figures = score(path)
        except Diverged as error:
            figures = {"diverged": str(error)}
        result.write_text(json.dumps({"settings": settings, "figures": figures}, indent=2) + "\n")
    kept = json.loads(result.read_text())
    refuse_other_settings(path, kept["settings"], settings)
    return kept["figures"]


def trained(path, config):
    """The run of a cell, begun or gone on with."""
    if (path / "config.json").exists():
        refuse_other_settings(path, in_short(RunFolder(path).read_config()["config"]), in_short(config.to_dict()))
        resume(path)
    else:
        start(config, path)


def in_short(settings):
    """Settings as JSON has them, without where the data lie."""
    return json.loads(json.dumps({name: value for name, value in settings.items() if name != "data_dir"}))


def refuse_other_settings(path, found, wanted):
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        name = different[0]
        raise click.UsageError(
            f"{path} was trained with {name} = {found.get(name)!r}, not {wanted[name]!r}: give another --folder"
        )


def scores(path, with_truncation=False):
    """Figures of one run's samples; of the first row, also with truncated latents."""
    model = load(path)
    data, n = model.config.data, SAMPLES[model.config.data]
    truth = data if data in MODES else load_data(data, model.config.data_dir, "test").images
    score = score_points if data in MODES else score_images
    figures = score(model.sample(n, seed=1), truth)
    for tau in TRUNCATION if with_truncation else ():
        figures[f"truncated at {tau:g}"] = score(model.sample(n, seed=1, truncation=tau), truth)
    return figures


def score_points(points, data):
    count = count_modes(points, MODES[data])
    return {"n": count.n, "modes": count.covered, "of": count.modes, "near": round(count.near, 4)}


def score_images(images, test):
    n, seen = len(images), recognise(images)
    distance = fid(look(images).features, look(some(test, n, Generator(0))).features)
    shares = {"recognised": seen.share, "rarest": min(seen.classes), "commonest": max(seen.classes)}
    return {"n": n, "FID": distance, **shares}


def table(rows):
    """Markdown: a row a trick, a column a data set, each the mean and, in brackets, the range over seeds."""
    data = [name for name in BASE if any(cell.startswith(f"{name},") for cell in rows)]
    lines = [f"| tricks | {' | '.join(data)} |", "| --- |" + " --- |" * len(data)]
    for trick in TRICKS:
        found = [[row for cell, row in rows.items() if cell.startswith(f"{d}, {trick}, seed ")] for d in data]
        if any(found):
            lines.append(f"| {trick} | {' | '.join(map(shown, found))} |")
        for tau in TRUNCATION if trick == "nothing" else ():
            name = f"truncated at {tau:g}"
            cut = [[row[name] for row in cell if name in row] for cell in found]
            lines += [f"| {trick}, latents {name} | {' | '.join(map(shown, cut))} |"] if any(cut) else []
    return "\n".join(lines)


def shown(rows):
    """Several seeds of one cell in a few words."""
    diverged = sum("diverged" in row for row in rows)
    rows = [row for row in rows if "diverged" not in row]
    remark = f"{diverged} diverged; " if diverged else ""
    if not rows:
        return remark.rstrip("; ")
    if "modes" in rows[0]:
        modes, near = [row["modes"] for row in rows], [row["near"] for row in rows]
        spread = f" ({min(modes)} to {max(modes)})" if len(rows) > 1 else ""
        return f"{remark}{np.mean(modes):.1f}{spread} of {rows[0]['of']} modes, {100 * np.mean(near):.0f}% near"
    rarest, commonest = min(row["rarest"] for row in rows), max(row["commonest"] for row in rows)
    distance, share = np.mean([row["FID"] for row in rows]), 100 * np.mean([row["recognised"] for row in rows])
    return f"{remark}FID {distance:.0f}, {share:.1f}% recognised, classes {100 * rarest:.0f}% to {100 * commonest:.0f}%"
