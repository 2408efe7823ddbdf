"""The published likelihoods of VAEs on dynamically binarised MNIST, trained and measured again.

    vae       k = 1, 600 epochs                                         published: 86.76 nats
    iwae5     k = 5, from vae's weights after 325 epochs, 120 more                 85.54
    iwae50    k = 50, from iwae5's weights, 250 more                               84.78

So iwae5 has spent, with the epochs that it shares, no more CPU time than vae. All are 784-200-200-50 and its mirror
with tanh, and Adam, whose rate falls to 0 along half a cosine. The paper trains for 3,280 epochs; a centred input, a
decoder that begins at the mean image and a higher rate are there to make fewer do. The ELBO takes its gradient by way
of z alone, and so does the bound of 50, through one sample drawn by its weight. What is evaluated is the moving average
of the weights at the last step. No test image chooses weights, but a tenth of them was looked at when the recipe was:
the learning rate and the start in trials of 6 epochs; that iwae5 begins at vae's weights, because a run from random
ones stood behind vae when it was stopped, after 174 of 200 epochs; and that iwae50 needs more than 150 epochs, at the
end of which its curve still fell. -ln p(x) is estimated with 5,000 importance samples for each of the 10,000 test
images, binarised once (Generator(EVALUATION)).

Each stage keeps its run folder and can be interrupted; finished parts are not done again.

Source   Burda et al., Importance Weighted Autoencoders, ICLR 2016, section 5 and table 1
"""

import json
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import load_file, save_file

from minigen.data import load as load_data
from minigen.random import Generator
from minigen.train import VAEConfig, VAETraining, load
from minigen.train.loop import fit
from minigen.train.run_folder import RunFolder
from minigen.train.start import prepare, restore

DATA = "mnist"
EPOCH = 600  # steps of 100 images
EVALUATION = 1  # seed of the test images' binarisation and of the samples
SAMPLES = 5000
CURVE = {"images": 1000, "samples": 100}  # the estimate along the way, on the first test images


@dataclass(frozen=True)
class Stage:
    """One training: its settings, the published figure, the stage and its step whose weights it begins at."""

    settings: dict
    published: float
    begins_at: tuple[str, int] | None = None  # None: at random


STAGES = {
    "vae": Stage({"k": (1,), "kl": "path", "steps": 600 * EPOCH, "lr": 3e-3}, 86.76),
    "iwae5": Stage({"k": (5,), "steps": 120 * EPOCH, "lr": 1.5e-3}, 85.54, ("vae", 325 * EPOCH)),
    "iwae50": Stage(
        {"k": (50,), "resample": True, "steps": 250 * 1200, "batch_size": 50, "lr": 1.5e-3},
        84.78,
        ("iwae5", 120 * EPOCH),
    ),
}


def measure(folder, data_dir=None, stages=tuple(STAGES), shorten=1, commit=None):
    """Train and evaluate the stages -> {stage: figures}. shorten: divide steps, images and samples, for a trial run."""
    rows = {}
    for name in stages:
        result = Path(folder) / f"{name}.json"
        if not result.exists():
            config = settings_of(name, data_dir, shorten)
            train(name, config, Path(folder), shorten)
            figures = {**cost(Path(folder), name, shorten), **evaluate(Path(folder) / name, config, shorten)}
            figures |= {"settings": STAGES[name].settings, "begins_at": STAGES[name].begins_at, "commit": commit}
            result.write_text(json.dumps({**figures, "published": STAGES[name].published}, indent=2) + "\n")
        rows[name] = json.loads(result.read_text())
        row = rows[name]
        if row["settings"] != json.loads(json.dumps(STAGES[name].settings)):
            raise click.UsageError(f"{result} is of other settings, {row['settings']}: give another --folder")
        click.echo(
            f"{name}: {row['nll']:.2f} +- {row['standard_error']:.2f} nats; {row['cpu_seconds'] / 60:.0f} minutes of "
            f"one core, and {row['cpu_seconds_before'] / 60:.0f} before it began"
        )
    return rows


def settings_of(name, data_dir, shorten):
    settings = {**STAGES[name].settings}
    settings["steps"] //= shorten
    return VAEConfig(data=DATA, data_dir=data_dir, checkpoint_every=3000, sample_every=10**9, **settings)


class WithCurve(VAETraining):
    """VAE training that notes, ten epochs apart, the likelihood of held-out images under the averaged weights.

    It writes those weights to a file at the steps where another stage begins: `leaves` is {step: path}.
    """

    def watch(self, images, every, samples, leaves):
        self.images, self.every, self.samples, self.leaves = images, every, samples, leaves
        return self

    def step(self, batches, index):
        metrics, step = super().step(batches, index), index + 1
        if step in self.leaves:
            with self.average.weights():
                save_file(self.network.state_dict(), self.leaves[step])
        if step % self.every == 0:
            with self.average.weights():
                metrics["nll"] = self.model.nll(self.images, Generator(EVALUATION), self.samples)["nll"]
        return {**metrics, "cpu": time.process_time()}


def train(name, config, folder, shorten=1):
    """Train one stage into folder / name, from where it stands."""
    run = RunFolder(folder / name)
    batches, _ = prepare(config)
    task = WithCurve(config, batches.images.shape[1:])
    held_out = load_data(config.data, config.data_dir, "test").images[: CURVE["images"] // shorten]
    begun = [stage.begins_at for stage in STAGES.values() if stage.begins_at and stage.begins_at[0] == name]
    leaves = {start[1] // shorten: left_behind(folder, start) for start in begun}
    task.watch(held_out, max(1, 10 * batches.steps_per_epoch // shorten), CURVE["samples"], leaves)
    if STAGES[name].begins_at:
        task.network.load_state_dict(load_file(left_behind(folder, STAGES[name].begins_at)))
    if not run.config_file.exists():
        run.create().write_config(config, batches.images.shape[1:])
    with run.locked():
        first = restore(task, run)
        run.cut_metrics(first)
        if first < config.steps:
            fit(task, batches, run, first)


def left_behind(folder, start):
    """The file of the weights that a (stage, step) leaves for another."""
    return folder / "{}-{}.safetensors".format(*start)


def cost(folder, name, shorten=1):
    """Epochs and CPU seconds of a stage, and of what came before it; its likelihood curve: [epoch, nats] pairs."""
    rows, start = RunFolder(folder / name).read_metrics(), STAGES[name].begins_at
    epoch = 60000 // RunFolder(folder / name).read_config()["config"]["batch_size"]
    epochs_before = seconds_before = 0.0
    if start:
        first, earlier = start[1] // shorten, cost(folder, start[0], shorten)
        epochs_before = earlier["epochs_before"] + earlier["epochs"] * first / earlier["steps"]
        shared = RunFolder(folder / start[0]).read_metrics()[:first]
        seconds_before = earlier["cpu_seconds_before"] + cpu_seconds(shared)
    return {
        "steps": len(rows),
        "epochs": len(rows) / epoch,
        "epochs_before": epochs_before,
        "cpu_seconds": cpu_seconds(rows),
        "cpu_seconds_before": seconds_before,
        "curve": [[row["step"] / epoch, round(row["nll"], 3)] for row in rows if "nll" in row],
    }


def cpu_seconds(rows):
    """CPU time of the steps that wrote these rows of metrics, the curve included, over all processes that took part."""
    times = [row["cpu"] for row in rows]
    return times[0] + sum(b - a if b >= a else b for a, b in pairwise(times))


def evaluate(path, config, shorten=1):
    """The likelihood of the test images under the averaged weights -> the figures of `nll`, with what it took."""
    images = load_data(config.data, config.data_dir, "test").images
    started, cpu = time.perf_counter(), time.process_time()
    found = load(path).nll(images[: len(images) // shorten], Generator(EVALUATION), SAMPLES // shorten, progress=True)
    taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    return {**found, "evaluation": taken}


def draw(rows, path):
    """Likelihood of the held-out images against epochs, a line a stage; the published figures as dashes."""
    from .plots import plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, row in rows.items():
        epochs, nats = zip(*row["curve"])
        (line,) = axes.plot(
            np.array(epochs) + row["epochs_before"],
            nats,
            label=f"{name}: {row['nll']:.2f} nats at the end, all test images",
        )
        axes.axhline(row["published"], color=line.get_color(), lw=1, ls="--")
    axes.set_ylim(84, 95)
    axes.set_xlabel("epochs, those included that a stage began after; dashed: published")
    axes.set_ylabel(f"-ln p(x) of {CURVE['images']} test images, {CURVE['samples']} samples (nats)")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
