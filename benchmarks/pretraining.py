"""An autoencoder's encoder as the start of a classifier: does it help where labels are few?

    pretrain      a denoising autoencoder on all 60,000 images, no label seen
    random        encoder and linear head from random weights, both trained on the labelled images
    frozen        the pretrained encoder as it is; only the head is trained
    fine-tuned    the pretrained encoder, and then both trained

Two encoders: `mlp`, one layer of 512 rectified features, pretrained anew for every seed; `conv`, two convolutions and a
code of 32 numbers, pretrained once, by the run `denoising` of `python -m benchmarks autoencoders`.

Five seeds; each draws its own labelled images (as many of every class), random weights, heads and batches. The three
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
from minigen.models.coders import ConvEncoder, MLPDecoder, MLPEncoder
from minigen.optim import AdamW, warmup_cosine
from minigen.random import Generator
from minigen.train.checkpoint import write_whole

from .autoencoders import CODE, trained
from .autoencoders import RUNS as AUTOENCODERS

SHAPE, HIDDEN = (28, 28, 1), 512
LOST, PRETRAINING, PRETRAINING_LR = 0.3, 2000, 3e-3  # mlp: share of pixels blackened; steps
NETWORKS = {  # width of the features; steps with labels, and their learning rate
    "mlp": {"features": HIDDEN, "steps": 500, "lr": 1e-3},
    "conv": {"features": CODE, "steps": 300, "lr": 2e-3},
}
FROZEN_LR = 1e-2  # a head alone bears, and needs, longer steps
LABELS, SEEDS = (100, 1000), (0, 1, 2, 3, 4)
STARTS = ("random", "frozen", "fine-tuned")
CELLS = [f"{network} {labels} {start}" for network in NETWORKS for labels in LABELS for start in STARTS]


def measure(folder, data_dir=None, seeds=SEEDS):
    """{"cells": {"mlp 100 random": [accuracy of each seed], ...}, "summary": ...}; what is done is kept in `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    conv = trained(folder.parent / "autoencoders" / "denoising", AUTOENCODERS["denoising"], data_dir).network.encoder
    train, test = (load("mnist", data_dir, split) for split in ("train", "test"))
    with tqdm(total=len(seeds) * len(CELLS), unit="cell") as bar:
        by_seed = [cells_of(seed, train, test, conv.state_dict(), folder, bar) for seed in seeds]
    cells = {name: [done[name] for done in by_seed] for name in CELLS}
    return {"cells": cells, "summary": summary(cells) if len(seeds) > 1 else {}}


def cells_of(seed, train, test, conv_weights, folder, bar):
    """{"mlp 100 random": accuracy, ...} of one seed; those in `folder` already are not computed again."""
    kept = folder / f"seed-{seed}.json"
    done = json.loads(kept.read_text()) if kept.exists() else {}
    for name in CELLS:
        network, labels, start = name.split()
        if name not in done:
            few = subset(train.labels, int(labels), Generator(seed).child("labelled"))
            encoder = new_encoder(network, Generator(seed).child("encoder"))
            if start != "random" and network == "conv":
                encoder.load_state_dict(conv_weights)
            elif start != "random":
                encoder.load_state_dict(pretrained(train.images, seed, folder / f"encoder-{seed}.safetensors"))
            done[name] = classify(network, encoder, start, train.images[few], train.labels[few], test, seed)
            write_whole(kept, json.dumps(done, indent=2).encode())
            bar.write(f"seed {seed}, {name}: {100 * done[name]:.2f}%")
        bar.update()
    return done


def new_encoder(network, generator):
    if network == "conv":
        return ConvEncoder(SHAPE, (16, 32), CODE, generator)
    return nn.Sequential(MLPEncoder(SHAPE, (), HIDDEN, generator), ops.relu)


def pretrained(images, seed, path):
    """The weights of an mlp encoder that learnt to remove noise from all images; from `path` where they are there."""
    if path.exists():
        return load_file(path)
    generator = Generator(seed).child("pretraining")
    encoder = new_encoder("mlp", generator)
    network = Autoencoder(encoder, MLPDecoder(HIDDEN, (), SHAPE, generator), (MaskingNoise(LOST),))
    optimizer = AdamW(network.parameters())
    batches = Batches(images, np.zeros(len(images), np.int64), 128, seed)  # labels are not seen
    with tqdm(range(PRETRAINING), desc=f"pretraining, seed {seed}", unit="step", leave=False) as bar:
        for step in bar:
            x = to_model_range(batches.batch_at(step)[0])
            descend(optimizer, network.objective(x, generator).loss, PRETRAINING_LR, step, PRETRAINING)
    save_file(encoder.state_dict(), path)
    return encoder.state_dict()


def subset(labels, n, generator):
    """Indices of n images, n / 10 of every class."""
    members = [np.flatnonzero(labels == k) for k in range(10)]
    return np.concatenate([images[generator.permutation(len(images))[: n // 10]] for images in members])


def classify(network, encoder, start, images, labels, test, seed):
    """Train a classifier that begins with `encoder` on the labelled images -> its share of right answers on `test`."""
    settings = NETWORKS[network]
    head = nn.Linear(settings["features"], 10, Generator(seed).child("head"))
    classifier = nn.Sequential(encoder, head)
    if start == "frozen":
        encoder.requires_grad(False)
    optimizer = AdamW((head if start == "frozen" else classifier).parameters())
    batches, lr, steps = Batches(images, labels, 50, seed), settings["lr"], settings["steps"]
    for step in tqdm(range(steps), desc=f"{network} {len(labels)} {start}", unit="step", leave=False):
        x, y = batches.batch_at(step)
        loss = ops.cross_entropy(classifier(Tensor(to_model_range(x))), y)
        descend(optimizer, loss, FROZEN_LR if start == "frozen" else lr, step, steps)
    with no_grad():
        answers = [classifier(Tensor(to_model_range(test.images[i : i + 500]))).data.argmax(1)
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
        baseline = cells[f"{name.rpartition(' ')[0]} random"]
        (mean, half), (gain, gain_half) = interval(values), interval(np.subtract(values, baseline))
        rows[name] = {"mean": mean, "half": half, "gain": gain, "gain_half": gain_half}
    return rows


def table(figures):
    """Markdown: the accuracy of each start on the test images, and its gain over the random start, in %."""
    lines = ["| encoder | labels | start | test accuracy, % | gain over the random start, % |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, row in figures["summary"].items():
        network, labels, start = name.split()
        gain = "" if start == "random" else f"{100 * row['gain']:+.2f} ± {100 * row['gain_half']:.2f}"
        lines.append(f"| {network} | {labels} | {start} | {100 * row['mean']:.2f} ± {100 * row['half']:.2f} | {gain} |")
    return "\n".join(lines)


def draw(figures, path):
    """The picture of the table: every seed a dot, the mean with its interval beside them."""
    from . import plots  # chooses matplotlib's backend

    panels = [f"{network} {labels}" for labels in LABELS for network in NETWORKS]
    figure, axes = plots.plt.subplots(1, len(panels), figsize=(12, 3.4), layout="constrained")
    for ax, panel in zip(axes, panels):
        for place, start in enumerate(STARTS):
            values, row = figures["cells"][f"{panel} {start}"], figures["summary"][f"{panel} {start}"]
            ax.plot([place - 0.12] * len(values), 100 * np.array(values), "o", color=plots.TARGET, ms=4, alpha=0.6)
            ax.errorbar(place + 0.12, 100 * row["mean"], 100 * row["half"], fmt="o", color=plots.OURS, capsize=5)
        ax.set_xticks(range(len(STARTS)), STARTS)
        network, labels = panel.split()
        ax.set(title=f"{network}, {int(labels):,} labels", xlim=(-0.6, len(STARTS) - 0.4))
    axes[0].set_ylabel("accuracy on the test digits, %")
    figure.savefig(path, dpi=130)
    click.echo(f"written to {path}")
