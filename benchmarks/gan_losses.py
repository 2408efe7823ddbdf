"""Every loss of deck 004's table on MNIST, one DCGAN each: what its samples are worth, and if it keeps its promise.

    all             FID, precision, recall, share recognised, rarest and most frequent class, of n samples
    cgan, acgan     "asked": the share of samples that the project's classifier takes for the class asked for
    infogan         "asked": the same for the code, after codes are matched with classes one to one, as well as can be;
                    the classifier is independent, and the training saw no label
    began           "energy ratio": mean energy of generated samples over that of data, over the last tenth of the steps
    acgan           the same scores of 10,000 samples, and of n with truncated latents
    context         what a score means at its n: training images (the floor), and a PCA-Gaussian

began has networks of its own, half as wide, and a slower generator: with DCGAN's it collapses (docs/gan.md).

Every row is one training in a run folder of its own: it can be interrupted, and a finished one is not done again. What
is scored is the moving average of the generator's weights at the last step. The rate was chosen in trials of 800 steps
of the non-saturating loss, by FID against test images: 1e-3, not the paper's 2e-4. acgan is looked at more closely
because its samples are recognised most often.

Source   deck 004, "Alternative loss functions"; deck 000, "Trick 2: Truncation" (Brock et al., 2019)
"""

from pathlib import Path

import click
import numpy as np
from scipy.optimize import linear_sum_assignment

from minigen.data import load as load_data
from minigen.metrics import context, recognise, scores
from minigen.metrics.recognition import class_probabilities
from minigen.models.gan.losses import LOSSES
from minigen.random import Generator
from minigen.train import GANConfig, RunFolder, load

from .gan import once

CLOSER, MANY = "acgan", 10_000  # looked at more closely, with so many samples
BASE = {
    "data": "mnist",
    "arch": "dcgan",
    "channels": 32,
    "latent": 64,
    "batch_size": 64,
    "steps": 2000,
    "lr": 1e-3,
    "d_lr": 1e-3,
}
ROWS = {
    **{name: {"loss": name} for name in LOSSES},
    "infogan": {"loss": "infogan", "latent": 4},  # so little noise that the code has to tell the digits apart
    "wgan": {"loss": "wgan", "steps": 600},  # of the generator, each after five of the critic
    "wgan-gp": {"loss": "wgan-gp", "steps": 600},
    "began": {"loss": "began", "arch": "upsampling", "channels": 16, "bottleneck": 64, "lr": 5e-4, "gamma": 1.0},
}
TRUNCATION = (2.0, 1.0, 0.5, 0.25)
SHOWN = ("FID", "precision", "recall", "recognised")


def settings_of(row, data_dir=None, shorten=1):
    settings = {**BASE, **ROWS[row]}
    settings["steps"] //= shorten
    where = {"data_dir": str(data_dir)} if data_dir else {}
    return GANConfig(**settings, **where, seed=0, checkpoint_every=1000, sample_every=10**9)


def measure(folder, rows, n, data_dir=None, shorten=1):
    """Train and score the rows that are not yet there -> {row: figures}, each printed as it comes."""
    test, found = load_data("mnist", data_dir, "test").images, {}
    for row in rows:

        def score(path, row=row):
            model = load(path)
            figures = {"seconds": taken(path), **promises(path, row), **quality(model, test, n)}
            return figures | (closer(model, test, n, shorten) if row == CLOSER else {})

        found[row] = once(Path(folder) / row, settings_of(row, data_dir, shorten), score)
        click.echo(f"{row}: {promise(found[row])} {found[row]}")
    return found


def closer(model, test, n, shorten=1):
    """{"many samples": scores, "truncated at 2": scores, ...}"""
    truncated = {f"truncated at {tau:g}": quality(model, test, n, tau) for tau in TRUNCATION}
    return {"many samples": quality(model, test, MANY // shorten), **truncated}


def sizes(rows):
    """Every n that a figure of the rows has."""
    return sorted({part["n"] for row in rows.values() for part in (row, *parts(row).values()) if "n" in part})


def parts(row):
    """{name: scores} of what was looked at besides."""
    return {name: part for name, part in row.items() if isinstance(part, dict) and "n" in part}


def floors(data_dir, sizes):
    """{"training images, n = 2000": {name: {"value", "low", "high"}}, ...} of all that is not generated, at each n."""
    train, test = (load_data("mnist", data_dir, split).images for split in ("train", "test"))
    return {
        f"{name}, n = {n}": {"n": n, **kept(found)}
        for n in sizes
        for name, found in context(train, test, Generator(0), n).items()
    }


def taken(path):
    """Seconds of training, over all the processes that had a part in it."""
    clock = [line["seconds"] for line in RunFolder(path).read_metrics()]
    ends = [before for before, after in zip(clock, clock[1:]) if after < before]
    return round(sum(ends) + clock[-1], 1)


def quality(model, test, n, truncation=0.0):
    """The scores of n samples against n test images: {"n", name: {"value", "low", "high"}, "rarest", "commonest"}."""
    images = model.sample(n, seed=1, truncation=truncation)
    found, seen = scores(images, test, Generator(0), n), recognise(images)
    return {"n": n, **kept(found), "rarest": min(seen.classes), "commonest": max(seen.classes)}


def kept(found):
    """Of {name: Score} what the table shows."""
    return {name: {"value": found[name].value, "low": found[name].low, "high": found[name].high} for name in SHOWN}


def promises(path, row):
    """What this loss in particular undertakes to do."""
    if row == "began":
        last = RunFolder(path).read_metrics()
        last = last[-max(1, len(last) // 10) :]
        ratio = sum(line["d_fake"] for line in last) / sum(line["d_real"] for line in last)
        return {"energy ratio": ratio, "gamma": load(path).config.gamma}
    if row not in ("cgan", "acgan", "infogan"):
        return {}
    made = load(path).sample(2000, seed=2)  # classes or codes in turn: 0, 1, ..., 9, 0, 1, ...
    seen, asked = class_probabilities(made).argmax(1), np.arange(len(made)) % 10
    return {"asked": float((seen == (one_to_one(asked, seen)[asked] if row == "infogan" else asked)).mean())}


def one_to_one(codes, classes):
    """The class of each code, no class twice, for which most samples agree.   (n,), (n,) -> (10,)"""
    together = np.zeros((10, 10))
    np.add.at(together, (codes, classes), 1)
    return linear_sum_assignment(together, maximize=True)[1]


def table(rows, floors):
    """Markdown: a row a loss, with its promise in the last column; below them what is not generated."""
    lines = ["| loss | minutes | n | FID | precision | recall | recognised | classes | its promise |"]
    lines.append("|" + " --- |" * 9)
    for name in ROWS:
        if name in rows:
            row = rows[name]
            minutes = f"{row['seconds'] / 60:.1f}" if "seconds" in row else ""
            lines.append(f"| {name} | {minutes} | {' | '.join(cells(row))} | {promise(row)} |")
            lines += [f"| {name}, {key} |  | {' | '.join(cells(part))} |  |" for key, part in parts(row).items()]
    for name, row in floors.items():
        lines.append(f"| *{name.split(',')[0]}* |  | {' | '.join(cells(row))} |  |")
    return "\n".join(lines)


def draw(folder, rows, path, columns=12):
    """A PNG file: for every loss a row of samples, with classes in turn where it has any."""
    from minigen.pictures.style import new_figure, show_rows

    kept = [name for name in ROWS if name in rows and "diverged" not in rows[name]]
    samples = np.stack([load(Path(folder) / name).sample(columns, seed=3) for name in kept])
    figure = new_figure(7, 0.55 * len(kept), "the first samples of every loss")
    show_rows(figure.subplots(), samples, kept, gap=1)
    figure.savefig(path)


def cells(row):
    """n, the scores, and the range of the classes' shares."""
    if "n" not in row:
        return [""] * (2 + len(SHOWN))
    classes = f"{100 * row['rarest']:.1f}% to {100 * row['commonest']:.1f}%" if "rarest" in row else ""
    return [f"{row['n']}", *(interval(**row[name]) for name in SHOWN), classes]


def interval(value, low, high):
    """Three figures of each, and no power of ten."""
    value, low, high = (f"{number:.0f}" if number >= 100 else f"{number:.3g}" for number in (value, low, high))
    return f"{value} [{low}, {high}]"


def promise(row):
    if "diverged" in row:
        return row["diverged"]
    if "asked" in row:
        return f"{100 * row['asked']:.1f}% as asked"
    return f"energies as {row['energy ratio']:.2f} to 1, gamma {row['gamma']:g}" if "energy ratio" in row else ""
