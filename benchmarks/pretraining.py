"""An autoencoder's encoder as the start of a classifier: does it help where labels are few?

    pretrain      a denoising autoencoder on all 60,000 images, no label seen
    random        encoder and head from random weights, both trained on the labelled images
    frozen        the pretrained encoder as it is; only the linear head is trained
    fine-tuned    the pretrained encoder, and then both trained

Five seeds; each draws its own pretraining, labelled images (as many of every class), heads and batches. The three
starts of a seed share the labelled images, so their differences are taken in pairs. Intervals are Student's t with
4 degrees of freedom, 95%. Every cell is kept as soon as it is done: the same command goes on where it broke off.

Source   deck 003 "AE for Learning Latent Variables/Representations", 004 "Autoencoders" (encoder can be used to
         initialize a supervised model); Vincent et al., JMLR 11, 2010, section 4
"""

import json
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.stats import t as student
from tqdm import tqdm

from minigen import Tensor, nn, no_grad, ops
from minigen.data import Batches, load, to_model_range
from minigen.models.autoencoder import Autoencoder, MaskingNoise
from minigen.models.coders import MLPDecoder, MLPEncoder
from minigen.optim import AdamW, warmup_cosine
from minigen.random import Generator
from minigen.train.checkpoint import write_whole

SHAPE, HIDDEN = (28, 28, 1), 512  # the encoder: 784 pixels -> 512 rectified features
LOST = 0.3  # share of the pixels that are blackened
LABELS, SEEDS = (100, 1000), (0, 1, 2, 3, 4)
STARTS = ("random", "frozen", "fine-tuned")
PRETRAINING, TRAINING = 2000, 500  # steps
LR = {"pretraining": 3e-3, "random": 1e-3, "frozen": 1e-2, "fine-tuned": 1e-3}  # a head alone needs longer steps


def measure(folder, data_dir=None, seeds=SEEDS):
    """{"cells": {"random 100": [accuracy of each seed], ...}, "summary": ...}; what is done is kept in `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (load("mnist", data_dir, split) for split in ("train", "test"))
    names = [f"{start} {labels}" for labels in LABELS for start in STARTS]
    with tqdm(total=len(seeds) * len(names), unit="cell") as bar:
        by_seed = [cells_of(seed, train, test, folder, bar) for seed in seeds]
    cells = {name: [done[name] for done in by_seed] for name in names}
    return {"cells": cells, "summary": summary(cells)}


def cells_of(seed, train, test, folder, bar):
    """{"random 100": accuracy, ...} of one seed; those in `folder` already are not computed again."""
    kept = folder / f"seed-{seed}.json"
    done = json.loads(kept.read_text()) if kept.exists() else {}
    for labels in LABELS:
        few = subset(train.labels, labels, Generator(seed).child("labelled"))
        for start in STARTS:
            name = f"{start} {labels}"
            if name not in done:
                encoder = new_encoder(Generator(seed).child("encoder"))
                if start != "random":
                    encoder.load_state_dict(pretrained(train.images, seed, folder / f"encoder-{seed}.safetensors"))
                done[name] = classify(encoder, start, train.images[few], train.labels[few], test, seed)
                write_whole(kept, json.dumps(done, indent=2).encode())
                bar.write(f"seed {seed}, {name} labels: {100 * done[name]:.2f}%")
            bar.update()
    return done


def new_encoder(generator):
    return nn.Sequential(MLPEncoder(SHAPE, (), HIDDEN, generator), ops.relu)


def pretrained(images, seed, path):
    """The weights of an encoder that learnt to remove noise from all the images; from `path` where they are there."""
    if path.exists():
        return load_file(path)
    generator = Generator(seed).child("pretraining")
    encoder = new_encoder(generator)
    network = Autoencoder(encoder, MLPDecoder(HIDDEN, (), SHAPE, generator), (MaskingNoise(LOST),))
    optimizer = AdamW(network.parameters())
    batches = Batches(images, np.zeros(len(images), np.int64), 128, seed)  # labels are not seen
    with tqdm(range(PRETRAINING), desc=f"pretraining, seed {seed}", unit="step", leave=False) as bar:
        for step in bar:
            x = to_model_range(batches.batch_at(step)[0])
            descend(optimizer, network.objective(x, generator).loss, LR["pretraining"], step, PRETRAINING)
    save_file(encoder.state_dict(), path)
    return encoder.state_dict()


def subset(labels, n, generator):
    """Indices of n images, n / 10 of every class."""
    members = [np.flatnonzero(labels == k) for k in range(10)]
    return np.concatenate([images[generator.permutation(len(images))[: n // 10]] for images in members])


def classify(encoder, start, images, labels, test, seed):
    """Train a classifier that begins with `encoder` on the labelled images -> its share of right answers on `test`."""
    head = nn.Linear(HIDDEN, 10, Generator(seed).child("head"))
    network = nn.Sequential(encoder, head)
    if start == "frozen":
        encoder.requires_grad(False)
    optimizer = AdamW((head if start == "frozen" else network).parameters())
    batches = Batches(images, labels, 50, seed)
    for step in tqdm(range(TRAINING), desc=f"{start}, {len(labels)} labels", unit="step", leave=False):
        x, y = batches.batch_at(step)
        descend(optimizer, ops.cross_entropy(network(Tensor(to_model_range(x))), y), LR[start], step, TRAINING)
    with no_grad():
        answers = [network(Tensor(to_model_range(test.images[i : i + 500]))).data.argmax(1)
                   for i in range(0, len(test.images), 500)]  # fmt: skip
    return float((np.concatenate(answers) == test.labels).mean())


def descend(optimizer, loss, lr, step, steps):
    optimizer.zero_grad()
    loss.backward()
    optimizer.lr = lr * warmup_cosine(step, min(50, steps // 10), steps)
    optimizer.step()


# ---------------------------------------------------------------- the table and the picture


def interval(values):
    """(mean, half the width of its 95% interval) by Student's t."""
    values = np.asarray(values)
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def summary(cells):
    """Per cell its mean and half interval, and those of its difference to the random start of the same seed."""
    rows = {}
    for name, values in cells.items():
        labels = name.rpartition(" ")[2]
        (mean, half), (gain, gain_half) = interval(values), interval(np.subtract(values, cells[f"random {labels}"]))
        rows[name] = {"mean": mean, "half": half, "gain": gain, "gain_half": gain_half}
    return rows


def table(figures):
    """Markdown: the accuracy of each start on the test images, and its gain over the random start, in %."""
    lines = ["| labels | start | accuracy on 10,000 test images, % | gain over the random start, % |",
             "| --- | --- | --- | --- |"]  # fmt: skip
    for name, row in figures["summary"].items():
        start, _, labels = name.rpartition(" ")
        gain = "" if start == "random" else f"{100 * row['gain']:+.2f} ± {100 * row['gain_half']:.2f}"
        lines.append(f"| {labels} | {start} | {100 * row['mean']:.2f} ± {100 * row['half']:.2f} | {gain} |")
    return "\n".join(lines)


def draw(figures, path):
    """The picture of the table: every seed a dot, the mean with its interval beside them."""
    from . import plots  # chooses matplotlib's backend

    figure, axes = plots.plt.subplots(1, len(LABELS), figsize=(8, 3.6), layout="constrained")
    for ax, labels in zip(axes, LABELS):
        for place, start in enumerate(STARTS):
            values, row = figures["cells"][f"{start} {labels}"], figures["summary"][f"{start} {labels}"]
            ax.plot([place - 0.12] * len(values), 100 * np.array(values), "o", color=plots.TARGET, ms=4, alpha=0.6)
            ax.errorbar(place + 0.12, 100 * row["mean"], 100 * row["half"], fmt="o", color=plots.OURS, capsize=5)
        ax.set_xticks(range(len(STARTS)), STARTS)
        ax.set(title=f"{labels:,} labels", xlim=(-0.6, len(STARTS) - 0.4))
    axes[0].set_ylabel("accuracy on the test digits, %")
    figure.savefig(path, dpi=130)
    click.echo(f"written to {path}")
