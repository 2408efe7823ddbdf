"""How likely a trained DDPM finds test images, by the variational bound, and what a cheap estimate of it is worth.

    --n 300                  50 levels an image, drawn so that the estimate is unbiased (diffusion/likelihood.py)
    --n 10                   the same for the first ten of these images
    --n 10 --samples 1000    every level of these ten: what the row above estimates

The rows are named by the flags with which `minigen eval RUN --nll` prints the same figures.
docs/diffusion.md shows them.
"""

from tqdm import tqdm

from minigen.random import Generator

from .ddim_table import digest

ROWS = {"--n 300": (300, None), "--n 10": (10, None), "--n 10 --samples 1000": (10, 1000)}  # images, calls for each
TERMS = ("L_T", "L_t", "L_0")


def measure(model, images):
    """{"weights": SHA-256, "rows": {"--n 300": what model.nll says, ...}}"""
    rows = {name: model.nll(images[:n], Generator(0), samples) for name, (n, samples) in tqdm(ROWS.items())}
    return {"weights": digest(model), "rows": rows}


def table(rows):
    """Markdown: the bound and its three terms."""
    lines = ["| `minigen eval RUN --nll` | bound, ± its standard error | L_T | L_t | L_0 |", "| --- |" + " --- |" * 4]
    for name, row in rows.items():
        terms = " | ".join(f"{row[f'{term} bits/dim']:.3f}" for term in TERMS)
        lines.append(f"| `{name}` | {row['bits/dim']:.3f} ± {row['standard error']:.3f} | {terms} |")
    return "\n".join(lines)
