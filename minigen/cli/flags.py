"""From a settings dataclass to flags, and the commands that take the folder RUN of a trained model."""

from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import click


class RunFailed(Exception):
    """A command that ended early, with the exit code for it."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


# ---------------------------------------------------------------- kinds of values


class Nearest(click.Choice):
    """A choice that suggests the nearest name for a wrong one."""

    def convert(self, value, param, ctx):
        from ..train.config import did_you_mean

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


SEED = click.IntRange(0, 2**64 - 1)


# ---------------------------------------------------------------- a flag for every setting


def options_of(settings_class):
    """The click options of a dataclass whose fields are made by train.config.setting."""
    return [option_of(entry) for entry in fields(settings_class)]


def option_of(entry):
    from ..train.config import choices_of

    choices, default, kind = choices_of(entry), entry.default, type(entry.default)
    if choices:
        kind = Nearest(choices)
    elif kind is tuple:
        kind, default = WholeNumbers(), ",".join(map(str, default))
    elif default is None:
        kind = click.Path(path_type=str, resolve_path=True)
    flag = "--" + entry.name.replace("_", "-")
    return click.Option([flag, entry.name], type=kind, default=default, show_default=True, help=entry.metadata["help"])


def with_default(flag, default, kind, text):
    return click.option(flag, type=kind, default=default, show_default=True, help=text)


def came_from_user(name):
    from click.core import ParameterSource

    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def in_a_file_name(given):
    """{"eta": 1.0, "label": (3, 7)} -> "-eta-1.0-label-3,7": other settings are another file."""
    texts = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in given.items()}
    return "".join(f"-{name}-{text}" for name, text in texts.items())


# ---------------------------------------------------------------- commands on a run


run_argument = click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
weights_option = with_default(
    "--weights", "ema", Nearest(("ema", "model")), "the weights' moving average, or the last weights"
)
device_option = click.option(
    "--device", type=Nearest(("cpu", "cuda")), help="where to compute  [default: where it was trained]"
)


@contextmanager
def one_line_errors():
    """What can be wrong with a run becomes one line and exit code 1; settings that cannot be used, wrong usage."""
    from ..device import NoGPU
    from ..train import RunError, SettingError

    try:
        yield
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    except (RunError, NoGPU) as error:
        raise RunFailed(str(error)) from error
