"""`minigen data`: list, download and check the data sets; `minigen info`: what this installation is made of."""

from pathlib import Path

import click

from .flags import RunFailed


@click.group()
def data():
    """List, download and check the data sets."""


data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="folder of the data sets  [default: $MINIGEN_DATA, else ~/.cache/minigen/data]",
)


@data.command("list")
def data_list():
    """The data sets there are."""
    from ..data import DATA_SETS

    for entry in DATA_SETS.values():
        click.echo(f"{entry.name:14} {entry.about}  (licence: {entry.licence})")


@data.command("download")
@click.argument("name")
@data_dir
def data_download(name, data_dir):
    """Fetch the data set NAME; goes on where it broke off, and checks what came."""
    from ..data import download

    for path in download(known_data_set(name), data_dir):
        click.echo(path)


@data.command("check")
@click.argument("name")
@data_dir
def data_check(name, data_dir):
    """Compare the files of the data set NAME with the published digests.

    The exit code is 1 unless all are there and none differs.
    """
    from ..data import check

    verdicts = check(known_data_set(name), data_dir)
    for v in verdicts:
        size = f"{v.size} bytes" if v.path else ""
        click.echo("  ".join(filter(None, [f"{v.status:9}", str(v.path or v.file), size, v.detail])))
    if any(v.status in ("mismatch", "missing") for v in verdicts):
        raise RunFailed(f"{name} is not complete: fetch it with: minigen data download {name}", 1)


def known_data_set(name):
    """The name itself; wrong usage, with the nearest name, for one that is not in the registry."""
    from ..data.registry import find_data_set

    try:
        return find_data_set(name).name
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.command()
def info():
    """What this installation is made of: versions, kernels, BLAS, threads, GPU."""
    from ..info import info as collect

    for name, value in collect().items():
        click.echo(f"{name:13} {value}")
