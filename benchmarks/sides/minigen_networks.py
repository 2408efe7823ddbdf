"""What our network sides share: weights that both libraries start from, gradients to compare."""

import numpy as np

from benchmarks.cases import generator
from benchmarks.sides.data import random_weights


def share_weights(case, folder, **networks):
    """Give the networks weights drawn from the case's seed and write them where the other side reads them."""
    for prefix, network in networks.items():
        parameters = dict(network.named_parameters())
        arrays = random_weights({name: p.data for name, p in parameters.items()}, generator(case["name"] + prefix))
        for name, p in parameters.items():
            p.assign(arrays[name])
        np.savez(folder / f"{prefix}.npz", **arrays)


def gradients(network):
    """{"gradient NAME": array}"""
    return {f"gradient {name}": p.grad.data.copy() for name, p in network.named_parameters()}
