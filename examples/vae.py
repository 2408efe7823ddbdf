"""A variational autoencoder on MNIST: train it, look at samples, ask for the likelihood of digits it has not seen.

    python examples/vae.py                       a minute on two cores, 10,000 digits that ship with the package
    python examples/vae.py --steps 20            to see that it runs

The same on the command line: minigen train vae; minigen sample runs/vae-1; minigen eval runs/vae-1 --nll
"""

import click

from minigen.data import load
from minigen.random import Generator
from minigen.report import save_images
from minigen.train import VAEConfig, start
from minigen.train import load as load_run


@click.command()
@click.option("--steps", default=3000, show_default=True)
@click.option("--out", default="runs/vae-example", show_default=True, help="a folder that does not exist yet")
def main(steps, out):
    # 784 - 200 - 200 - 20 and its mirror; half of the steps on the ELBO, half on the bound of 5 importance samples
    run = start(VAEConfig(steps=steps, latent=20, k=(1, 5), lr=2e-3), out)
    model = load_run(run.path)  # with the moving average of the weights

    path = run.path / "samples" / "digits.png"
    save_images(path, model.sample(64, seed=0))
    click.echo(f"64 samples: {path}")

    test = load("mnist-mini", split="test").images[:100]
    found = model.nll(test, Generator(0), samples=200, progress=True)
    click.echo(f"-ln p(x) of {found['images']} test digits: {found['nll']:.1f} +- {found['standard_error']:.1f} nats")


if __name__ == "__main__":
    main()
