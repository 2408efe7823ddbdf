"""`minigen train NAME`: one command a model, with a flag for every setting of its dataclass."""

from pathlib import Path

import click

from .flags import RunFailed, came_from_user, one_line_errors, options_of


class Models(click.Group):
    """One subcommand a model, made from its settings when the group is used."""

    def make_context(self, *args, **options):
        from ..train import MODELS

        self.commands = {name: train_command(name, classes) for name, classes in MODELS.items()}
        return super().make_context(*args, **options)


@click.group(cls=Models)
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
    callback = train_callback(name, config_class)
    return click.Command(name, params=own + options_of(config_class), callback=callback, help=text, short_help=about)


def train_callback(name, config_class):
    def run(out, resume, **settings):
        from ..report import save_images
        from ..train import Diverged, Stopped
        from ..train.start import resume as go_on
        from ..train.start import start

        given = {key: value for key, value in settings.items() if came_from_user(key)}
        try:
            with one_line_errors():
                if resume:
                    folder = go_on(out or newest_run(name), given, save_images)
                else:
                    refuse_existing(out)
                    folder = start(config_class(**settings), out, save_images)
        except Diverged as error:
            raise RunFailed(str(error)) from error
        except Stopped as error:
            raise RunFailed(f"{error}; go on with --resume", 128 + error.signal) from error
        click.echo(f"done; draw from it with: minigen sample {folder}")

    return run


def refuse_existing(out):
    if out is not None and out.exists() and any(out.iterdir()):
        raise click.UsageError(f"{out} exists already: add --resume to go on with it, or choose another --out")


def newest_run(name):
    from ..train.run_folder import numbered
    from ..train.start import RUNS

    found = numbered(RUNS, name)
    if not found:
        raise click.UsageError(f"--resume found no {RUNS}/{name}-N in this folder: name the run with --out")
    return found[0][1]
