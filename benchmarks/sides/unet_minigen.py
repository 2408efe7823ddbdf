"""Our side of the U-Net benchmark: 6.47 M parameters, 32x32x1."""

from minigen import Tensor, no_grad, ops
from minigen.models.unet import UNet
from minigen.optim import AdamW
from minigen.random import Generator


def prepare(batch_size="32"):
    n, generator = int(batch_size), Generator(0)
    network = UNet(generator, channels=64, multipliers=(1, 2, 2), blocks=2, attention_levels=(2,))
    optimizer = AdamW(network.parameters(), lr=1e-4)
    shape = (n, 32, 32, 1)

    def train():
        x, target, t = generator.normal(shape), generator.normal(shape), generator.integers(1, 1001, (n,))
        loss = ops.mse(network(Tensor(x), t), Tensor(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def forward():
        with no_grad():
            network(Tensor(generator.normal(shape)), generator.integers(1, 1001, (n,)))

    return {"train": train, "forward": forward}
