"""python -m benchmarks NAME: every figure that the README and the closing notes cite, made again."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import click
import numpy as np

RESULTS = Path(__file__).parent / "results"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Measurements of minigen. Timings are of this machine: read ratios, not seconds."""


@main.command()
@click.option("--repetitions", default=11, show_default=True)
def models(repetitions):
    """Training and sampling step of the 6.47 M-parameter U-Net against PyTorch's best eager form."""
    from .paired import Side, compare

    rows = {}
    for form in ("channels_last", "nchw"):
        ours, theirs = Side("benchmarks.sides.unet_minigen"), Side("benchmarks.sides.unet_torch", form)
        for name in ours.names:
            mine, other, ratio = compare(ours, theirs, name, repetitions)
            rows[f"{name}, torch {form}"] = {"minigen_ms": 1e3 * mine, "torch_ms": 1e3 * other, "torch/minigen": ratio}
            click.echo(f"{name:8} minigen {1e3 * mine:6.0f} ms  torch {form} {1e3 * other:6.0f} ms  ratio {ratio:.2f}")
        mine, other = ours.peak_memory(), theirs.peak_memory()
        rows[f"memory, torch {form}"] = {"minigen_mb": mine, "torch_mb": other, "minigen/torch": mine / other}
        click.echo(f"memory   minigen {mine:6.0f} MB  torch {form} {other:6.0f} MB  ratio {mine / other:.2f}")
        ours.close(), theirs.close()
    write("models", rows)


@main.command()
def startup():
    """Import, --help, and the first training step with a cold and a warm kernel cache."""
    from .startup import measure

    rows = measure()
    for name, seconds in rows.items():
        click.echo(f"{name:44} {seconds:6.2f} s")
    write("startup", rows)


@main.command()
@click.option("--seeds", default="0,1,2", show_default=True, help="seeds, separated by commas")
@click.option("--samples", default=256, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="also write the first seed's samples there")
def ddpm(seeds, samples, picture):
    """`minigen train ddpm` with no flags from a cold cache: time, and what share of its samples is recognised."""
    from .ddpm import measure

    rows = measure([int(seed) for seed in seeds.split(",")], samples, picture)
    write("ddpm", rows)


def write(name, figures):
    """Keep figures with what made them: command, commit, machine."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    record = {
        "command": "python -m benchmarks " + " ".join(sys.argv[1:]),
        "commit": commit,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    click.echo(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
