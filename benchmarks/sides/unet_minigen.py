"""Our side of the U-Net rows: 6.47 M parameters at width 64."""

from functools import partial

from benchmarks.paired import Work
from benchmarks.sides.data import unet_batch
from benchmarks.sides.minigen_networks import gradients, share_weights
from minigen import Tensor, no_grad, ops
from minigen.kernels._memory import unchanged_weights
from minigen.models.unet import UNet
from minigen.optim import AdamW
from minigen.random import Generator


def build(width=64):
    """The network, and train(x, target, t) -> loss: one whole step."""
    network = UNet(Generator(0), channels=width, multipliers=(1, 2, 2), blocks=2, attention_levels=(2,))
    optimizer = AdamW(network.parameters(), lr=1e-4)

    def train(x, target, t):
        loss = ops.mse(network(Tensor(x), t), Tensor(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.data

    return network, train


def draw(generator, n=32, pixels=32):
    """A batch of noise: the draws belong to the step, in training as in sampling."""
    image = (n, pixels, pixels, 1)
    return generator.normal(image), generator.normal(image), generator.integers(1, 1001, (n,))


def prepare(case, form, folder):
    shape, generator, given = case["shape"], Generator(1), unet_batch(case)
    network, train = build(shape["width"])
    share_weights(case, folder, unet=network)

    def forward(x, t):
        with no_grad():
            return network(Tensor(x), t).data

    def run_train():
        train(*draw(generator, shape["n"], shape["pixels"]))

    def sampling():
        """The steps of a sampler without end: what it derives from the weights, it keeps from step to step."""
        with no_grad(), unchanged_weights():
            while True:
                x, t = generator.normal(given[0].shape), generator.integers(1, 1001, given[2].shape)
                yield network(Tensor(x), t)

    def check_train():
        return {"loss": train(*given), **gradients(network), "loss after the step": train(*given)}

    if shape["step"] == "train":
        return Work(run_train, check_train)
    return Work(partial(next, sampling()), lambda: {"prediction": forward(given[0], given[2])})
