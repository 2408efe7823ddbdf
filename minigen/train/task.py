"""What the training loop needs to know of a model: a Task has networks, optimisers, averages, one generator and a step.

A VAE, a GAN and a diffusion model differ in their `step`; everything around it (loop.py, checkpoints, run
folders) is the same for all. What a checkpoint must hold follows from the parts:

    model/<network>/<parameter or buffer>     ema/<network>/<parameter>     optimizer/<name>/<state vector>
    header: the generator's seed and counter, the number of updates of each average

The data's position is the step itself (data/batches.py), so it needs no entry of its own.
"""

import math

import numpy as np

from ..device import overwrite, to_device
from ..nn import Module
from ..optim import EMA, Optimizer
from ..random import Generator
from .config import TrainConfig


class NonFinite(ArithmeticError):
    """A number of training became NaN or infinite: which one."""


class Task:
    """Base of what can be trained. A subclass fills in the attributes and writes `step` and `sample`.

    Averages go by the name of their network. Every random number of training comes from the generator.
    """

    config: TrainConfig
    networks: dict[str, Module]
    optimizers: dict[str, Optimizer]
    averages: dict[str, EMA]
    generator: Generator
    pictured = 64  # samples in a picture
    remark: str | None = None  # what a person should be told of the last step
    lost = False  # whether training should end with that remark

    def step(self, batches, index):
        """One training step on batch `index` -> {name: number} for the metrics, "loss" among them.

        Raises NonFinite, with the weights unchanged, where the loss is NaN or infinite.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def sample(self, n, generator):
        """-> n images (n, H, W, C) in [-1, 1], or points (n, D), from the averaged weights and the given generator."""
        raise NotImplementedError(f"{type(self).__name__} has no sample")

    # ------------------------------------------------------------ state

    def state(self):
        """-> (arrays {name: array}, header {name: JSON value}): all that the next step depends on."""
        arrays: dict[str, np.ndarray] = {}
        for name, network in self.networks.items():
            arrays |= {f"model/{name}/{key}": array for key, array in network.state_dict().items()}
        for name in self.averages:
            arrays |= {f"ema/{name}/{key}": array for key, array in self._average_by_name(name)}
        for name, optimizer in self.optimizers.items():
            arrays |= {f"optimizer/{name}/{key}": array for key, array in optimizer.state_dict().items()}
        header = {"generator": self.generator.state(), "ema_updates": {k: e.updates for k, e in self.averages.items()}}
        return {name: to_device(array, "cpu") for name, array in arrays.items()}, header

    def load_state(self, arrays, header):
        """Continue where `state()` was taken. Raises ValueError for arrays that do not fit."""
        for name, network in self.networks.items():
            network.load_state_dict(under(f"model/{name}/", arrays))
        for name, average in self.averages.items():
            saved = under(f"ema/{name}/", arrays)
            for key, part in self._average_by_name(name):
                overwrite(part, saved[key])  # a view of the averaged vector
            average.updates = header["ema_updates"][name]
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(under(f"optimizer/{name}/", arrays))
        self.generator.load_state(header["generator"])

    def _average_by_name(self, name):
        """(parameter's name, its part of the averaged vector): names outlive a change of the vector's order."""
        names = {id(p): key for key, p in self.networks[name].named_parameters()}
        average = self.averages[name]
        return [(names[id(p)], part) for p, part in average.flat.views(average.average)]


def under(prefix, arrays):
    """The arrays whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def check_finite(**numbers):
    """Raises NonFinite, which names it, for a number that is NaN or infinite."""
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise NonFinite(f"{name} is {number}")
