"""The command line: `minigen train NAME`, then `sample`, `eval`, `plot` and `profile` on the run folder it made.

    train.py     a command a model; its flags are the fields of the model's settings dataclass (train/config.py)
    sample.py    new images; its flags are those of the model's `Sampling` dataclass
    edit.py      pictures that agree with one of yours
    evaluate.py  numbers      plot.py  pictures      profile.py  where the time goes
    data.py      data sets, and what this installation is made of
    flags.py     from a dataclass to flags: no default and no help text is written twice

Exit codes   0 done    1 failed    2 wrong usage    130, 143 stopped by SIGINT, SIGTERM (128 + the signal, as shells do)
An error is one line on stderr; with MINIGEN_DEBUG=1 its traceback stands before it.
Imports wait until the command that needs them runs: `minigen --help` must not load the library.
"""

import os
import sys

import click

from .. import __version__
from .data import data, info
from .edit import edit
from .evaluate import evaluate
from .flags import RunFailed
from .plot import plot
from .profile import profile
from .sample import sample
from .train import train

SIGINT_CODE = 130


def main(args=None):
    """Run the command line and leave with its exit code."""
    try:
        sys.exit(root.main(args, prog_name="minigen", standalone_mode=False) or 0)
    except click.ClickException as error:  # wrong usage, and what commands report themselves
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(SIGINT_CODE)
    except (OSError, ValueError, MemoryError, RunFailed) as error:
        if os.environ.get("MINIGEN_DEBUG"):
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.code if isinstance(error, RunFailed) else 1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def root():
    """Deep generative models from scratch, made to be read.

    \b
    minigen train ddpm                    train a diffusion model on handwritten digits
    minigen sample runs/ddpm-1            draw 64 new digits from it
    minigen COMMAND --help                what a command can do
    """


for command in (train, sample, edit, evaluate, plot, profile, data, info):
    root.add_command(command)
