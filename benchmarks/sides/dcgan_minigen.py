"""Our side of the DCGAN: generator and discriminator of 32x32 images, one Adam step each."""

import numpy as np

from benchmarks.paired import Work
from benchmarks.sides.data import dcgan_batch
from benchmarks.sides.minigen_networks import gradients, share_weights
from minigen import Tensor, nn, ops
from minigen.optim import Adam
from minigen.random import Generator


def up(inputs, outputs, stride, padding, generator):
    return nn.ConvTranspose2d(inputs, outputs, 4, generator, stride, padding, bias=False)


def down(inputs, outputs, generator, bias=False):
    return nn.Conv2d(inputs, outputs, 4, generator, stride=2, padding=1, bias=bias)


def networks(latent, width, g):
    """z (N, 1, 1, latent) -> image (N, 32, 32, 1) -> score (N, 1, 1, 1).   Radford et al., ICLR 2016"""
    generator = nn.Sequential(
        up(latent, 4 * width, 1, 0, g), nn.BatchNorm(4 * width), ops.relu,
        up(4 * width, 2 * width, 2, 1, g), nn.BatchNorm(2 * width), ops.relu,
        up(2 * width, width, 2, 1, g), nn.BatchNorm(width), ops.relu,
        nn.ConvTranspose2d(width, 1, 4, g, 2, 1), ops.tanh,
    )  # fmt: skip
    discriminator = nn.Sequential(
        down(1, width, g, bias=True), ops.leaky_relu,
        down(width, 2 * width, g), nn.BatchNorm(2 * width), ops.leaky_relu,
        down(2 * width, 4 * width, g), nn.BatchNorm(4 * width), ops.leaky_relu,
        nn.Conv2d(4 * width, 1, 4, g),
    )  # fmt: skip
    return generator, discriminator


def training(generator, discriminator, real):
    """train(z) -> both losses: a step of the discriminator, then one of the generator through it."""
    g_step, d_step = (Adam(network.parameters(), lr=2e-4) for network in (generator, discriminator))
    real, yes = Tensor(real), np.ones((len(real), 1, 1, 1), real.dtype)
    no = np.zeros_like(yes)

    def train(z):
        fake = generator(Tensor(z))
        d_loss = ops.bce_with_logits(discriminator(real), yes)
        d_loss = d_loss + ops.bce_with_logits(discriminator(Tensor(fake.data)), no)
        d_step.zero_grad()
        d_loss.backward()
        d_step.step()

        discriminator.requires_grad(False)  # its weights are constants of the generator's step
        g_loss = ops.bce_with_logits(discriminator(fake), yes)
        g_step.zero_grad()
        g_loss.backward()
        g_step.step()
        discriminator.requires_grad(True)
        return {"discriminator's loss": d_loss.data, "generator's loss": g_loss.data}

    return train


def prepare(case, form, folder):
    shape, rng, (real, z) = case["shape"], Generator(1), dcgan_batch(case)
    pair, doubles = (networks(shape["latent"], shape["width"], Generator(0)) for _ in range(2))
    share_weights(case, folder, generator=pair[0], discriminator=pair[1])
    train = training(*pair, real)

    def check():
        """Losses of two steps in float32; gradients in float64.

        Next to the kink of LeakyReLU a last digit decides on a slope of 1 or 0.2, and one such activation moves a
        float32 gradient by a percent: float64 has none so close.
        """
        for single, double in zip(pair, doubles):
            double.load_state_dict(single.state_dict())
            double.astype(np.float64)
        training(*doubles, real.astype(np.float64))(z.astype(np.float64))
        found = {f"{who}'s {name}": g for who, d in zip(WHO, doubles) for name, g in gradients(d).items()}
        return {**found, **train(z), **{f"{name} after the step": loss for name, loss in train(z).items()}}

    return Work(lambda: train(rng.normal(z.shape)), check)


WHO = "generator", "discriminator"
