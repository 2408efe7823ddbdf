"""`minigen eval RUN`: what a trained model is worth, in numbers."""

import json
import sys
from pathlib import Path

import click

from .flags import SEED, device_option, one_line_errors, run_argument, weights_option, with_default


@click.command("eval")
@run_argument
@click.option("--nll", is_flag=True, help="negative log-likelihood of the test images")
@click.option("--n", type=click.IntRange(min=1), help="images to score  [default: all test images]")
@click.option("--samples", type=click.IntRange(min=1), help="samples of the estimate  [default: the model's]")
@with_default("--seed", 0, SEED, "of the estimate")
@weights_option
@device_option
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="write the numbers there too")
def evaluate(run, nll, n, samples, seed, weights, device, out):
    """Measure the trained model in the folder RUN on the test images of its data set.

    \b
    minigen eval runs/vae-1 --nll                  log-likelihood by importance sampling
    """
    from ..random import Generator
    from ..train import held_out, load

    if not nll:
        raise click.UsageError("say what to measure: --nll")
    with one_line_errors():
        model = load(run, weights, device)
        if not hasattr(model, "nll"):
            raise click.UsageError(f"--nll: {type(model).__name__} has no likelihood")
        images = held_out(run).images[:n]
        numbers = model.nll(images, Generator(seed), samples=samples, progress=sys.stderr.isatty())
    for name, value in numbers.items():
        click.echo(f"{name:24} {value:.6g}")
    if out is not None:
        out.write_text(json.dumps(numbers, indent=2) + "\n")
