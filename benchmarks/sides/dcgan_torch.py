"""PyTorch's side of the DCGAN, with the fused Adam and the discriminator frozen in the generator's step."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.paired import Work
from benchmarks.sides.data import dcgan_batch
from benchmarks.sides.torch_forms import compiled, gradients, image, layout, load_weights, ours


def networks(latent, width):
    generator = nn.Sequential(
        nn.ConvTranspose2d(latent, 4 * width, 4, 1, 0, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU(),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(4 * width, 1, 4, 1, 0),
    )  # fmt: skip
    return generator, discriminator


def load(network, path, form):
    """Our weights into the network; returns the pairs of names."""
    renamed = {"layers.": "", "gamma": "weight", "beta": "bias"}
    names = []
    for ours_ in np.load(path).files:
        theirs = ours_
        for old, new in renamed.items():
            theirs = theirs.replace(old, new)
        names.append((ours_, theirs))
    load_weights(network.to(memory_format=layout(form)), path, names)
    return names


def training(generator, discriminator, real, form="eager"):
    """train(z) -> both losses: a step of the discriminator, then one of the generator through it."""
    g_step, d_step = (
        torch.optim.Adam(network.parameters(), lr=2e-4, fused=True) for network in (generator, discriminator)
    )
    draw, judge, bce = compiled(generator, form), compiled(discriminator, form), F.binary_cross_entropy_with_logits
    yes, no = real.new_ones(len(real), 1, 1, 1), real.new_zeros(len(real), 1, 1, 1)

    def train(z):
        fake = draw(z)
        d_loss = bce(judge(real), yes) + bce(judge(fake.detach()), no)
        d_step.zero_grad()
        d_loss.backward()
        d_step.step()

        discriminator.requires_grad_(False)
        g_loss = bce(judge(fake), yes)
        g_step.zero_grad()
        g_loss.backward()
        g_step.step()
        discriminator.requires_grad_(True)
        return {"discriminator's loss": ours(d_loss), "generator's loss": ours(g_loss)}

    return train


def prepare(case, form, folder):
    torch.manual_seed(0)
    shape, (real, z) = case["shape"], (image(a, form) for a in dcgan_batch(case))
    paths = [folder / f"{who}.npz" for who in WHO]
    pair = networks(shape["latent"], shape["width"])
    names = [load(network, path, form) for network, path in zip(pair, paths)]
    train = training(*pair, real, form)

    def check():
        """As on our side (dcgan_minigen.py says why): losses in float32, gradients in float64."""
        doubles = [copy.deepcopy(network).double() for network in pair]
        training(*doubles, real.double())(z.double())
        found = {
            f"{who}'s {name}": g
            for who, *rest in zip(WHO, doubles, paths, names)
            for name, g in gradients(*rest).items()
        }
        return {**found, **train(z), **{f"{name} after the step": loss for name, loss in train(z).items()}}

    return Work(lambda: train(torch.randn_like(z)), check)


WHO = "generator", "discriminator"
