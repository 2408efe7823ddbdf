"""A two-dimensional latent space of handwritten digits, seen whole: train a small VAE and draw what it has learned.

    python examples/latent_space.py              a minute on two cores, 10,000 digits that ship with the package
    python examples/latent_space.py --steps 20   to see that it runs

The same on the command line: minigen train vae --latent 2; minigen plot runs/vae-1 manifold. docs/vae.md explains
the pictures.
"""

import click
import numpy as np

from minigen.data import load
from minigen.pictures import save_picture
from minigen.pictures.latent_space import line
from minigen.pictures.vae import latents, manifold
from minigen.random import Generator
from minigen.report import image_grid
from minigen.train import VAEConfig, start
from minigen.train import load as load_run


@click.command()
@click.option("--steps", default=4000, show_default=True)
@click.option("--out", default="runs/latent-space", show_default=True, help="a folder that does not exist yet")
def main(steps, out):
    run = start(VAEConfig(steps=steps, latent=2), out)
    model, test, generator = load_run(run.path), load("mnist-mini", split="test"), Generator(0)

    for draw in (latents, manifold):
        path = run.path / f"{draw.__name__}.png"
        save_picture(path, draw(model, test, generator))
        click.echo(f"{draw.__name__}: {path}")

    # the way from a 3 to an 8, by hand: encode, walk, decode
    ends = [np.flatnonzero(test.labels == label)[0] for label in (3, 8)]
    codes, _ = model.encode(test.images[ends], seed=generator)
    save_picture(run.path / "from-3-to-8.png", image_grid(model.decode(line(*codes, 12)), columns=12))


if __name__ == "__main__":
    main()
