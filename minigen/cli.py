"""The command line: `minigen train ddpm`, `minigen sample RUN`, `minigen profile RUN`, `minigen data`, `minigen info`.

The flags of `train` are the fields of the model's settings dataclass (train/config.py): no default and no
help text is written twice.

Exit codes   0 done    1 failed    2 wrong usage    130, 143 stopped by SIGINT, SIGTERM (128 + the signal, as shells do)
An error is one line on stderr; with MINIGEN_DEBUG=1 its traceback stands before it.
Imports wait until the command that needs them runs: `minigen --help` must not load the library.
"""

import os
import sys
from dataclasses import fields
from pathlib import Path

import click

from . import __version__

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


class RunFailed(Exception):
    """A run that ended early, with the exit code for it."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def root():
    """Deep generative models from scratch, made to be read.

    \b
    minigen train ddpm                    train a diffusion model on handwritten digits
    minigen sample runs/ddpm-1            draw 64 new digits from it
    minigen COMMAND --help                what a command can do
    """


# ---------------------------------------------------------------- from a dataclass to flags


class Nearest(click.Choice):
    """A choice that suggests the nearest name for a wrong one."""

    def convert(self, value, param, ctx):
        from .train.config import did_you_mean

        if value not in self.choices:
            hint = did_you_mean(value, self.choices)
            self.fail(f"{value!r} is not one of {', '.join(self.choices)}{hint}", param, ctx)
        return value


class WholeNumbers(click.ParamType):
    """1,2,2 -> (1, 2, 2); an empty text -> ()."""

    name = "N,N,..."

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(",") if part)
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,2,2", param, ctx)


def option_of(entry):
    """The click option of one dataclass field made by train.config.setting."""
    from .train.config import choices_of

    choices, default, kind = choices_of(entry), entry.default, type(entry.default)
    if choices:
        kind = Nearest(choices)
    elif kind is tuple:
        kind, default = WholeNumbers(), ",".join(map(str, default))
    elif default is None:
        kind = click.Path(path_type=str, resolve_path=True)
    flag = "--" + entry.name.replace("_", "-")
    return click.Option([flag, entry.name], type=kind, default=default, show_default=True, help=entry.metadata["help"])


# ---------------------------------------------------------------- train


class Models(click.Group):
    """One subcommand a model, made from its settings when the group is used."""

    def make_context(self, *args, **options):
        from .train import MODELS

        self.commands = {name: train_command(name, classes) for name, classes in MODELS.items()}
        return super().make_context(*args, **options)


@root.command(cls=Models)
def train():
    """Train a model: `minigen train ddpm`."""


def train_command(name, classes):
    """`minigen train NAME`, with a flag for every setting of the model."""
    config_class, model_class, _ = classes
    about = model_class.__doc__.splitlines()[0]
    text = f"""{about}

    \b
    minigen train {name}                                   on the digits that ship with minigen
    minigen train {name} --data mnist --data-dir DIR       on the real MNIST in DIR
    minigen train {name} --steps 200 --out my-run          shorter, into a folder of your choice
    minigen train {name} --out my-run --resume             go on after an interruption, bit for bit

    Ctrl-C writes a checkpoint first; a second one stops at once. With --resume all settings come from the
    run's config.json. Only --data-dir and --steps may be changed; more --steps also stretch the learning-rate
    schedule from there on.
    """
    where = click.Path(path_type=Path, file_okay=False)
    own = [
        click.Option(["--out"], type=where, help=f"run folder; must be new, unless resumed.  [default: runs/{name}-N]"),
        click.Option(["--resume"], is_flag=True, help="go on with the run in --out, or with the newest in runs/"),
    ]
    options = [option_of(entry) for entry in fields(config_class)]
    callback = train_callback(name, config_class)
    return click.Command(name, params=own + options, callback=callback, help=text, short_help=about)


def train_callback(name, config_class):
    def run(out, resume, **settings):
        from .device import NoGPU
        from .report import save_images
        from .train import Diverged, RunError, SettingError, Stopped
        from .train.start import resume as go_on
        from .train.start import start

        given = {key: value for key, value in settings.items() if came_from_user(key)}
        try:
            if resume:
                folder = go_on(out or newest_run(name), given, save_images)
            else:
                refuse_existing(out)
                folder = start(config_class(**settings), out, save_images)
        except SettingError as error:
            raise click.UsageError(str(error)) from error
        except (Diverged, RunError, NoGPU) as error:
            raise RunFailed(str(error), 1) from error
        except Stopped as error:
            raise RunFailed(f"{error}; go on with --resume", 128 + error.signal) from error
        click.echo(f"done; draw from it with: minigen sample {folder}")

    return run


def came_from_user(name):
    from click.core import ParameterSource

    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def refuse_existing(out):
    if out is not None and out.exists() and any(out.iterdir()):
        raise click.UsageError(f"{out} exists already: add --resume to go on with it, or choose another --out")


def newest_run(name):
    from .train.run_folder import numbered
    from .train.start import RUNS

    found = numbered(RUNS, name)
    if not found:
        raise click.UsageError(f"--resume found no {RUNS}/{name}-N in this folder: name the run with --out")
    return found[0][1]


# ---------------------------------------------------------------- sample


def with_default(flag, default, kind, text):
    return click.option(flag, type=kind, default=default, show_default=True, help=text)


@root.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@with_default("--n", 64, click.IntRange(min=1), "images to draw")
@with_default("--sampler", "ddim", Nearest(("ddim", "ddpm")), "ddpm visits every noise level")
@with_default("--steps", 50, click.IntRange(min=1), "steps of ddim")
@with_default("--eta", 0.0, click.FloatRange(0, 1), "noise of ddim; 0: none, 1: as much as ddpm")
@with_default("--seed", 0, click.IntRange(0, 2**64 - 1), "another seed draws other images")
@with_default("--weights", "ema", Nearest(("ema", "model")), "the weights' moving average, or the last weights")
@click.option("--device", type=Nearest(("cpu", "cuda")), help="where to compute  [default: where it was trained]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="picture  [default: in RUN/samples]")
def sample(run, n, sampler, steps, eta, seed, weights, device, out):
    """Draw images from the trained model in the folder RUN, as one PNG picture.

    \b
    minigen sample runs/ddpm-1 --n 100 --seed 7 --out digits.png
    """
    from .device import NoGPU
    from .report import save_images
    from .train import RunError, load

    if out is not None and out.suffix.lower() != ".png":
        raise click.UsageError(f"--out must end in .png, got {out}")
    try:
        model = load(run, weights, device)
    except (RunError, NoGPU) as error:
        raise RunFailed(str(error), 1) from error
    levels = model.process.T
    if sampler == "ddim" and steps > levels:
        raise click.UsageError(f"--steps must be at most {levels}, the run's number of noise levels, got {steps}")
    images = model.sample(n, sampler, steps, eta, seed, progress=sys.stderr.isatty())
    path = out or run / "samples" / f"{sampler}-{n}-seed-{seed}-{weights}.png"
    save_images(path, images)
    click.echo(path)


# ---------------------------------------------------------------- profile


@root.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@with_default("--steps", 3, click.IntRange(min=1), "training steps to look at, after one that compiles")
@with_default("--by", "operation", Nearest(("operation", "module")), "what a row of the table is")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="picture  [default: RUN/profile.png]")
def profile(run, steps, by, out):
    """Where the time of a training step goes: a table, and a picture. The run itself is left as it is.

    \b
    minigen profile runs/ddpm-1 --by module
    """
    from .device import NoGPU
    from .profiler import clock_for
    from .profiler import profile as measured
    from .train import RunError
    from .train.start import training_of

    try:
        batches, task = training_of(run)
    except (RunError, NoGPU) as error:
        raise RunFailed(str(error), 1) from error
    task.step(batches, 0)
    with measured(clock=clock_for(task.config.device)) as p:
        for step in range(1, 1 + steps):
            task.step(batches, step)
    click.echo(p.table(by))
    path = out or run / "profile.png"
    p.save(path)
    click.echo(path)


# ---------------------------------------------------------------- data


@root.group()
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
    from .data import DATA_SETS

    for entry in DATA_SETS.values():
        click.echo(f"{entry.name:14} {entry.about}  (licence: {entry.licence})")


@data.command("download")
@click.argument("name")
@data_dir
def data_download(name, data_dir):
    """Fetch the data set NAME; goes on where it broke off, and checks what came."""
    from .data import download

    for path in download(known_data_set(name), data_dir):
        click.echo(path)


@data.command("check")
@click.argument("name")
@data_dir
def data_check(name, data_dir):
    """Compare the files of the data set NAME with the published digests.

    The exit code is 1 unless all are there and none differs.
    """
    from .data import check

    verdicts = check(known_data_set(name), data_dir)
    for v in verdicts:
        size = f"{v.size} bytes" if v.path else ""
        click.echo("  ".join(filter(None, [f"{v.status:9}", str(v.path or v.file), size, v.detail])))
    if any(v.status in ("mismatch", "missing") for v in verdicts):
        raise RunFailed(f"{name} is not complete: fetch it with: minigen data download {name}", 1)


def known_data_set(name):
    """The name itself; wrong usage, with the nearest name, for one that is not in the registry."""
    from .data.registry import find_data_set

    try:
        return find_data_set(name).name
    except ValueError as error:
        raise click.UsageError(str(error)) from error


# ---------------------------------------------------------------- info


@root.command()
def info():
    """What this installation is made of: versions, kernels, BLAS, threads, GPU."""
    from .info import info as collect

    for name, value in collect().items():
        click.echo(f"{name:13} {value}")
