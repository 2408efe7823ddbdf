"""`minigen eval RUN`: what a trained model is worth, in numbers."""

import json
import sys
from pathlib import Path

import click

from .flags import SEED, came_from_user, device_option, one_line_errors, run_argument, weights_option, with_default
from .sample import OfRun


@click.command("eval", cls=OfRun)
@run_argument
@click.option("--nll", is_flag=True, help="negative log-likelihood of the test images")
@click.option("--scores", is_flag=True, help="FID, precision, recall and others of generated images; modes of points")
@click.option("--n", type=click.IntRange(min=1), help="images to score  [default: all test images]")
@click.option("--samples", type=click.IntRange(min=1), help="samples of the estimate  [default: the model's]")
@with_default("--seed", 0, SEED, "of the estimate")
@weights_option
@device_option
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="write the numbers there too")
def evaluate(run, nll, scores, n, samples, seed, weights, device, out, **settings):
    """Measure the trained model in the folder RUN on the test images of its data set.

    \b
    minigen eval runs/vae-1 --nll                  log-likelihood by importance sampling
    minigen eval runs/ddpm-1 --scores --n 2000     its images beside training images and a PCA-Gaussian's
    minigen eval runs/gan-1 --scores               of points on a ring or a grid: the modes they cover

    For --scores the model draws as many images as it is scored against, by the flags of `minigen sample`.
    """
    from ..train import load

    if nll == scores:
        raise click.UsageError("say what to measure: --nll or --scores")
    given = {key: value for key, value in settings.items() if came_from_user(key)}
    idle = list(given) if nll else ["samples"] if samples is not None else []
    if idle:
        flag = "--" + idle[0].replace("_", "-")
        raise click.UsageError(f"{flag} says nothing about {'--nll' if nll else '--scores'}: leave it out")
    with one_line_errors():
        model = load(run, weights, device)
        numbers = likelihood(model, run, n, samples, seed) if nll else generation(model, run, n, seed, given)
    if out is not None:
        out.write_text(json.dumps(numbers, indent=2) + "\n")


def likelihood(model, run, n, samples, seed):
    """Print what model.nll says of n test images -> {name: number}."""
    from ..random import Generator
    from ..train import held_out

    if not hasattr(model, "nll"):
        raise click.UsageError(f"--nll: {type(model).__name__} has no likelihood")
    images = held_out(run).images[:n]
    numbers = model.nll(images, Generator(seed), samples=samples, progress=sys.stderr.isatty())
    for name, value in numbers.items():
        click.echo(f"{name:24} {value:.6g}")
    return numbers


def generation(model, run, n, seed, given):
    """Print the scores of n generated images or points in context -> {column: {name: {value, low, high, n}}}."""
    from dataclasses import asdict

    from ..data import MODES
    from ..data import load as load_data
    from ..metrics import mode_scores, scores_in_context, table
    from ..random import Generator
    from ..train import held_out

    test, modes = held_out(run).images, MODES.get(model.config.data)
    if modes is None and test.shape[1:] != (28, 28, 1):
        raise click.UsageError(f"--scores: the classifier knows digits of 28 x 28 x 1, the data has {test.shape[1:]}")
    if n is not None and not 4 <= n <= len(test):
        raise click.UsageError(f"--n must lie between 4 and {len(test)}, the test images, got {n}")
    samples = model.sample(n or len(test), seed=seed, progress=sys.stderr.isatty(), **given)
    if modes is None:
        train = load_data(model.config.data, model.config.data_dir).images
        columns = scores_in_context(samples, train, test, Generator(seed), len(samples))
    else:
        both = {"samples": samples, "test points": test[: len(samples)]}
        columns = {title: mode_scores(points, modes, Generator(seed)) for title, points in both.items()}
    click.echo(table(columns))
    return {title: {name: asdict(score) for name, score in found.items()} for title, found in columns.items()}
