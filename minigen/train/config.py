"""Settings: one dataclass a model is the only source of its defaults, its command-line flags and a run's config.json.

    @dataclass(frozen=True)
    class DDPMConfig(TrainConfig):
        T: int = setting(1000, "noise levels", at_least=1)

A model's class names a second one, `Sampling`: the settings of its `sample`, and flags of `minigen sample`.
`setting` keeps the help text and the limits beside the default. Making the dataclass checks every value,
wherever it came from: Python, a flag or a file.
"""

import difflib
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar


class SettingError(ValueError):
    """A setting that cannot be used: its name, the value given and what was expected."""


def setting(
    default: Any, help: str, choices=(), at_least=-math.inf, below=math.inf, at_most=math.inf, resumable=False
) -> Any:
    """A dataclass field with its default, its help text and its limits, at_least <= value < below, value <= at_most.

    choices     the values allowed, or a function that gives them
    resumable   whether a resumed run may be given another value
    """
    limits = {"choices": choices, "at_least": at_least, "below": below, "at_most": at_most}
    return field(default=default, metadata={"help": help, "resumable": resumable, **limits})


def _data_sets():
    from ..data.registry import DATA_SETS

    return tuple(DATA_SETS)


@dataclass(frozen=True)
class Settings:
    """Fields made by `setting`, all checked: SettingError for a value of the wrong type or beyond its limits, and for
    values that do not go together."""

    def __post_init__(self):
        for entry in fields(self):
            check_setting(entry, getattr(self, entry.name))
        for wrong, text in self._conflicts():
            if wrong:
                raise SettingError(text)

    def _conflicts(self):
        """(whether, what to say) for values that do not go together."""
        return ()


@dataclass(frozen=True)
class TrainConfig(Settings):
    """What every model's training has."""

    model: ClassVar[str]

    data: str = setting("mnist-mini", "data set to learn from", choices=_data_sets)
    data_dir: str | None = setting(None, "folder that holds the data set (mnist-mini needs none)", resumable=True)
    steps: int = setting(1500, "steps in all; the learning rate falls to 0 over them", at_least=1, resumable=True)
    batch_size: int = setting(32, "images in a step", at_least=1)
    lr: float = setting(2e-3, "learning rate of AdamW at its peak", at_least=0)
    warmup: int = setting(100, "steps of linear warm-up (at most a tenth of all)", at_least=0)
    weight_decay: float = setting(0.0, "weight decay of AdamW", at_least=0)
    clip_norm: float = setting(1.0, "longest gradient; a longer one is scaled down", at_least=1e-12)
    ema_decay: float = setting(0.995, "decay of the weights' moving average", at_least=0, below=1)
    seed: int = setting(0, "seed of everything random", at_least=0, below=2**64)
    device: str = setting("cpu", "where to compute", choices=("cpu", "cuda"))
    checkpoint_every: int = setting(100, "steps between checkpoints", at_least=1)
    sample_every: int = setting(1000, "steps between sample pictures", at_least=1)

    def to_dict(self):
        """The settings by name, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`. Raises SettingError for an unknown name, and suggests the nearest."""
        names = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in names:
                raise SettingError(f"{cls.model} has no setting {name!r}{did_you_mean(name, names)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def check_setting(entry, value):
    """Raises SettingError unless `value` has the type of the field's default and keeps its limits."""
    limits, expected = entry.metadata, type(entry.default)
    if entry.default is None:
        accepted = value is None or isinstance(value, str)
    elif expected is tuple:
        accepted = isinstance(value, tuple) and all(type(v) is int for v in value)
    else:
        accepted = type(value) is expected or (expected is float and type(value) is int)
    if not accepted:
        kind = {tuple: "whole numbers", int: "a whole number", float: "a number"}.get(expected, "text")
        raise SettingError(f"{entry.name} must be {kind}, got {value!r}")
    options = choices_of(entry)
    if options and value not in options:
        hint = did_you_mean(value, options)
        raise SettingError(f"{entry.name} must be one of {', '.join(options)}, got {value!r}{hint}")
    numbers = value if expected is tuple else (value,) if expected in (int, float) else ()
    low, below, high = limits["at_least"], limits["below"], limits["at_most"]
    if not all(low <= number < below and number <= high for number in numbers):
        above = f" and below {below}" if below < math.inf else f" and at most {high}" if high < math.inf else ""
        wanted = f"at least {low}{above}" if low > -math.inf else f"a finite number{above}"
        raise SettingError(f"{entry.name} must be {wanted}, got {value!r}")


def choices_of(entry):
    """The values that a field allows; () where any will do."""
    choices = entry.metadata["choices"]
    return choices() if callable(choices) else choices


def did_you_mean(name, names):
    """The hint "; did you mean 'x'?" with the nearest of `names`, or nothing where none is near."""
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
