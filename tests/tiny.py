"""A run small enough to test with: noise of 8 x 8 pixels for data, a U-Net of a few thousand weights; and its end."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from minigen.data import write_idx
from minigen.train import MODELS, DDPMConfig

SETTINGS = {
    "data": "mnist",
    "batch_size": 8,
    "T": 8,
    "channels": 8,
    "multipliers": (1, 2),
    "blocks": 1,
    "heads": 2,
    "groups": 4,
    "dropout": 0.1,  # so that a resumed run must draw the same masks
    "ema_decay": 0.9,
    "warmup": 2,
}


def make_data(folder):
    """The files of an image set of 40 pictures under MNIST's names: five batches of 8 to an epoch."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    write_idx(folder / "train-images-idx3-ubyte.gz", rng.integers(0, 256, (40, 8, 8)).astype(np.uint8))
    write_idx(folder / "train-labels-idx1-ubyte.gz", rng.integers(0, 10, 40).astype(np.uint8))
    return folder


def config(data_dir, **changes):
    return DDPMConfig(**{**SETTINGS, "data_dir": str(data_dir), **changes})


@contextmanager
def ended_by_an_exception(model, step):
    """Inside, a run of that model is started, and an exception must end it in `step`, counted from 0."""

    class Broken(MODELS[model][2]):
        def step(self, batches, index):
            if index == step:
                raise ZeroDivisionError
            return super().step(batches, index)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setitem(MODELS, model, (*MODELS[model][:2], Broken))
        yield


def flags(settings):
    """The settings as the command line takes them."""
    values = {k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in settings.items()}
    return [part for name, value in values.items() for part in ("--" + name.replace("_", "-"), value)]


def command(*args, **options):
    """Start `minigen ARGS` as a process of its own, as a shell would."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "minigen", *map(str, args)], env=environment, **pipes, **options)
