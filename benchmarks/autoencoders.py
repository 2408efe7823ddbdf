"""Autoencoders of every kind on MNIST beside PCA: held-out error at one code size, and the digits themselves.

All are trained by `minigen train ae` on 60,000 images and measured on the 10,000 test images; errors are of a pixel in
[-1, 1]. PCA is exact: the leading eigenvectors of the training images' covariance.
"""

from pathlib import Path

import click
import numpy as np

from minigen.data import load, to_model_range
from minigen.random import Generator
from minigen.report import image_grid
from minigen.train import AEConfig, RunFolder, resume, start
from minigen.train import load as load_run

CODE, SHOWN = 32, 12  # numbers in a code; digits in a row of the picture
RUNS = {  # name: the flags of its training
    "linear": {"kind": "linear", "steps": 1500, "lr": 1e-2},
    "mlp": {"kind": "mlp", "steps": 2000},
    "conv": {"kind": "conv", "steps": 1200, "lr": 4e-3},
    "denoising": {"kind": "denoising", "steps": 1200, "lr": 4e-3},
    "sparse": {"kind": "sparse", "steps": 1000},
}


def measure(folder, data_dir=None, only=tuple(RUNS)):
    """Train what is not trained yet, each in a run folder of its own -> {"pca": {...}, "linear": {...}, ...}."""
    test = load("mnist", data_dir, "test").images
    mean, axes = components(load("mnist", data_dir).images)
    rows = {"pca": {"code": CODE, "mse": mse((flat(test) - mean) @ axes @ axes.T + mean, flat(test))}}
    for name in only:
        model = trained(Path(folder) / name, RUNS[name], data_dir)
        rows[name] = {**RUNS[name], "code": model.code_size, "mse": model.mse(test)}
        if name == "sparse":
            rows[name]["nnz"] = float((model.encode(test) != 0).sum(1).mean())
        if name == "denoising":
            noisy = model.network.corrupt(to_model_range(test), Generator(0))
            restored = model.reconstruct(noisy)
            rows[name] |= {"noisy": mse(noisy, to_model_range(test)), "restored": mse(restored, to_model_range(test))}
        click.echo(f"{name}: {rows[name]}")
    return rows


def trained(folder, settings, data_dir):
    """The model of a run; trained first, or to its end, where it is not."""
    config = AEConfig(data="mnist", data_dir=data_dir, **({} if settings["kind"] == "sparse" else {"code": CODE}),
                      **settings)  # fmt: skip
    if not (folder / "config.json").exists():
        start(config, folder)
    elif [step for step, _ in RunFolder(folder).checkpoint_files()][:1] != [config.steps]:
        resume(folder, {"data_dir": data_dir})
    return load_run(folder)


def components(images):
    """PCA: the mean (784,) and the CODE leading components (784, CODE)."""
    x = flat(images)
    mean = x.mean(0)
    return mean, np.linalg.eigh(np.cov((x - mean).T))[1][:, -CODE:]


def flat(images):
    return to_model_range(images).reshape(len(images), -1).astype(np.float64)


def mse(a, b):
    return float(((a - b) ** 2).mean())


def table(rows):
    """Markdown: the held-out error of each kind beside PCA's, and how many numbers of an image's code are not 0."""
    lines = [
        "| kind | numbers in a code | not zero | test MSE of a pixel | of PCA's |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        nnz, share = row.get("nnz", row["code"]), row["mse"] / rows["pca"]["mse"]
        lines.append(f"| {name} | {row['code']} | {nnz:.4g} | {row['mse']:.4f} | {100 * share:.0f}% |")
    return "\n".join(lines)


def draw(folder, data_dir, path):
    """Test digits above their reconstructions: by PCA, and by each kind that has codes of CODE numbers."""
    from . import plots

    test = load("mnist", data_dir, "test").images[:SHOWN]
    mean, axes = components(load("mnist", data_dir).images)
    by_pca = ((flat(test) - mean) @ axes @ axes.T + mean).reshape(test.shape)
    rows = {"test digits": to_model_range(test), "PCA": by_pca}
    rows |= {name: trained(Path(folder) / name, RUNS[name], data_dir).reconstruct(test) for name in list(RUNS)[:3]}
    figure, axes = plots.plt.subplots(len(rows), 1, figsize=(7, 0.62 * len(rows)), layout="constrained")
    for ax, (name, images) in zip(axes, rows.items()):
        ax.imshow(image_grid(images, columns=SHOWN), cmap="gray")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.spines[:].set_visible(False)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    click.echo(f"written to {path}")
