"""Classifier-free guidance on MNIST: do samples show the digit that was asked for, the surer the higher the scale?"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

import minigen
from minigen.metrics.recognition import CONFIDENCE, class_probabilities
from minigen.models.classifier import load_classifier
from minigen.train import RunFolder

SCALES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


def measure(run, data_dir, samples, steps, picture=None):
    """Of `samples` digits at each scale, every class alike: the share that the classifier takes for what was asked."""
    with tempfile.TemporaryDirectory() as folder:
        run = run or train(Path(folder) / "run", data_dir)
        config, done = RunFolder(run).read_config()["config"], RunFolder(run).checkpoint_files()[0][0]
        model = minigen.load(run)
    rows, wanted = {}, np.arange(samples) % 10
    for scale in SCALES:
        images = model.sample(samples, seed=0, steps=steps, guidance=scale, progress=sys.stderr.isatty())
        rows[f"scale {scale:g}"] = score(images, wanted)
        click.echo(f"scale {scale:g}: " + ", ".join(f"{k} {v:.3f}" for k, v in rows[f"scale {scale:g}"].items()))
    settings = {name: config[name] for name in ("data", "condition", "condition_dropout", "batch_size", "seed")}
    if picture:
        plot(rows, picture)
    return {"training": {**settings, "steps": done}, "samples": samples, "sampling steps": steps, **rows}


def train(run, data_dir):
    command = [sys.executable, "-m", "minigen", "train", "ddpm", "--data", "mnist", "--condition", "class"]
    command += ["--steps", "1500"]
    where = ["--data-dir", str(data_dir)] if data_dir else []
    subprocess.run([*command, *where, "--out", str(run)], check=True, env={**os.environ, "MINIGEN_THREADS": "1"})
    return run


def score(images, wanted):
    """The classifier's accuracy, its standard error, the share it is sure of, and the spread within a class."""
    p = class_probabilities(images, load_classifier())
    right = p.argmax(1) == wanted
    spread = [images[wanted == k].std(axis=0).mean() for k in range(10)]
    return {
        "accuracy": float(right.mean()),
        "standard error": float(np.sqrt(right.mean() * (1 - right.mean()) / len(right))),
        "recognised": float((p.max(1) >= CONFIDENCE).mean()),
        "spread": float(np.mean(spread)),
    }


def plot(rows, path):
    """Accuracy and spread against the scale."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, marker in (("accuracy", "o"), ("recognised", "s"), ("spread", "^")):
        axes.plot(SCALES, [rows[f"scale {scale:g}"][name] for scale in SCALES], marker=marker, label=name)
    axes.set(xlabel="guidance scale w", ylim=(0, 1.02))
    axes.axhline(0.1, color="grey", linewidth=0.8, linestyle=":")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
