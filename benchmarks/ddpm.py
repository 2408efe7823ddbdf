"""The main job as a newcomer runs it: `minigen train ddpm`, no flags, nothing compiled before."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

import minigen
from minigen.data import load, to_model_range
from minigen.metrics import acceptance_of_impostors, recognise
from minigen.random import Generator
from minigen.report import save_images

STEPS = 200  # of DDIM with eta = 1: fresh noise mends what a step got wrong, short steps keep the classes in balance


def measure(seeds, samples, picture=None):
    """Per seed: seconds of the whole command, recognised share of EMA samples, each class's share; and impostors'."""
    test = load("mnist-mini", None, "test")
    impostors = acceptance_of_impostors(to_model_range(test.images), test.labels, Generator(0))
    click.echo(
        "accepted by the classifier: " + ", ".join(f"{kind} {100 * share:.1f}%" for kind, share in impostors.items())
    )
    rows = {"impostors": impostors}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            seconds = train(seed, Path(folder))
            images = minigen.load(Path(folder) / "run").sample(samples, steps=STEPS, eta=1.0, seed=seed)
        score = recognise(images)
        rows[f"seed {seed}"] = {"seconds": seconds, "recognised": score.share, "classes": score.classes, "n": score.n}
        click.echo(f"seed {seed}: {seconds:.0f} s; {score}")
        if picture and seed == seeds[0]:
            save_images(picture, images[:64])
    worst = min(rows[f"seed {seed}"]["recognised"] for seed in seeds)
    rows["worst"] = {"recognised": worst, "seconds": max(rows[f"seed {seed}"]["seconds"] for seed in seeds)}
    click.echo(f"worst of {len(seeds)}: {100 * worst:.1f}% recognised, {rows['worst']['seconds']:.0f} s")
    return rows


def train(seed, folder):
    """Seconds of the command, with a kernel cache that begins empty."""
    command = [sys.executable, "-m", "minigen", "train", "ddpm", "--seed", str(seed), "--out", str(folder / "run")]
    started = time.perf_counter()
    subprocess.run(command, env={**os.environ, "MINIGEN_CACHE": str(folder / "cache")}, check=True)
    return time.perf_counter() - started
