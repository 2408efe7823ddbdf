"""What is kept of a measurement: its figures, and what made them."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import click
import numpy as np

from minigen.train.checkpoint import write_whole

from .page import RESULTS
from .paired import cores


def how():
    """The command and the commit that figures come from."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent)
    return {"command": "python -m benchmarks " + " ".join(sys.argv[1:]), "commit": commit.stdout.strip()}


def write(name, figures):
    """Keep figures with what made them: command, commit, machine."""
    path = RESULTS / f"{name}.json"
    write_record(path, figures)
    click.echo(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def write_record(path, figures):
    """The file is whole at any time, whatever interrupts the writing."""
    record = {
        **how(),
        "machine": f"{platform.machine()}, {cores()} cores",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "figures": figures,
    }
    write_whole(path, (json.dumps(record, indent=2) + "\n").encode())
