"""A conditional GAN on eight Gaussians in a ring, with its loop written out: two networks, two optimisers, one game.

    python examples/gan.py                       a minute
    python examples/gan.py --steps 20            to see that it runs

The same on the command line: minigen train gan --data ring8 --arch mlp --loss cgan. Without labels some of the eight
are left out, which docs/gan.md is about. The losses are in minigen/models/gan/losses.py, each beside its equation, the
loop that serves all of them in minigen/train/gan.py.
"""

from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from minigen import Tensor, no_grad
from minigen.data import MODES
from minigen.metrics import count_modes
from minigen.models.gan.losses import NonSaturating
from minigen.models.gan.mlp import MLPDiscriminator, MLPGenerator
from minigen.optim import Adam
from minigen.pictures import save_picture
from minigen.pictures.style import new_figure, plain
from minigen.random import Generator

LATENT, BATCH = 8, 256


@click.command()
@click.option("--steps", default=3000, show_default=True)
@click.option("--out", default="runs/gan-example.png", show_default=True, type=click.Path(path_type=Path))
def main(steps, out):
    generator, data, loss = Generator(0), MODES["ring8"], NonSaturating()
    G = MLPGenerator(LATENT, (2,), generator, width=64, depth=2, classes=len(data.centres))
    D = MLPDiscriminator((2,), generator, width=64, depth=2, classes=len(data.centres))
    g_step = Adam(G.parameters(), lr=2e-3, betas=(0.5, 0.99))
    d_step = Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.99))

    def draw(labels):
        return G(Tensor(generator.normal((len(labels), LATENT))), labels)

    bar = tqdm(range(steps), unit="step")
    for _ in bar:
        g_step.lr = d_step.lr = 2e-3 * (1 - bar.n / steps)  # the players come to rest
        real, labels = data.sample(BATCH, generator)
        fake = draw(labels).detach()  # so that a step of D leaves G alone
        d_loss = loss.discriminator(D(Tensor(real), labels), D(fake, labels))
        d_step.zero_grad()
        d_loss.backward()
        d_step.step()

        g_loss = loss.generator(D(draw(labels), labels))
        g_step.zero_grad()
        g_loss.backward()  # D gets gradients too; its zero_grad forgets them
        g_step.step()
        bar.set_postfix(D=f"{d_loss.item():.2f}", G=f"{g_loss.item():.2f}", refresh=False)

    with no_grad():
        samples = draw(np.arange(2500) % len(data.centres)).numpy()
    click.echo(count_modes(samples, data))
    figure = new_figure(4, 4, "data in grey, samples in blue")
    axes = plain(figure.subplots())
    for points, colour in ((data.sample(2500, generator)[0], "0.8"), (samples, "tab:blue")):
        axes.scatter(*np.transpose(points), s=2, linewidths=0, color=colour)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_picture(out, figure)
    click.echo(f"picture: {out}")


if __name__ == "__main__":
    main()
