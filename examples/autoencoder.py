"""Two autoencoders of the same size: a linear one, which is PCA, and a convolutional one. Which forgets less?

    python examples/autoencoder.py                    about a minute; pictures in autoencoder.png
    python examples/autoencoder.py --steps 20         to see that it runs

Ten digits, and below them what is left of them after a code of 16 numbers.
"""

from pathlib import Path

import click
import numpy as np

from minigen import Tensor, no_grad
from minigen.data import Batches, load, to_model_range
from minigen.models.autoencoder import Autoencoder
from minigen.models.coders import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from minigen.optim import AdamW, warmup_cosine
from minigen.pictures import save_picture
from minigen.random import Generator
from minigen.report import image_grid


@click.command()
@click.option("--steps", default=500, show_default=True)
@click.option("--code", default=16, show_default=True, help="numbers in a code")
@click.option("--out", default="autoencoder.png", type=click.Path(path_type=Path), show_default=True)
def main(steps, code, out):
    train, test = load("mnist-mini"), to_model_range(load("mnist-mini", split="test").images)
    shape, g = test.shape[1:], Generator(0)
    networks = {
        "linear": Autoencoder(MLPEncoder(shape, (), code, g), MLPDecoder(code, (), shape, g)),
        "convolutional": Autoencoder(ConvEncoder(shape, (16, 32), code, g), ConvDecoder(code, (16, 32), shape, g)),
    }
    rows = [test[:10]]
    for name, network in networks.items():
        fit(network, Batches(train.images, train.labels, 128, seed=0), steps)
        with no_grad():
            rows.append(network(Tensor(test[:10])).numpy())
            error = np.mean((network(Tensor(test)).numpy() - test) ** 2)
        print(f"{name}: mean squared error of a test pixel {error:.4f}")

    x = to_model_range(train.images).reshape(len(train), -1).astype(np.float64)
    dropped = np.linalg.eigvalsh(np.cov(x.T, bias=True))[:-code].sum() / x.shape[1]
    print(f"PCA, what no linear code of {code} numbers can beat on the training digits: {dropped:.4f}")
    save_picture(out, image_grid(np.concatenate(rows), columns=10))
    print(out)


def fit(network, batches, steps, lr=5e-3):
    generator, optimizer = Generator(1), AdamW(network.parameters())
    for step in range(steps):
        objective = network.objective(to_model_range(batches.batch_at(step)[0]), generator)
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.lr = lr * warmup_cosine(step, min(50, steps // 10), steps)
        optimizer.step()


if __name__ == "__main__":
    main()
