"""A diffusion model on handwritten digits: train it, draw with it in three ways, let it finish digits cut in half.

    python examples/diffusion.py                 a few minutes on two cores, digits that ship with the package
    python examples/diffusion.py --steps 20      to see that it runs

The same on the command line: minigen train ddpm; minigen sample runs/ddpm-1; minigen edit runs/ddpm-1 inpaint
--image digit.png --mask keep.png. docs/diffusion.md and docs/editing.md say what else it can be asked.
"""

import click
import numpy as np

from minigen.data import load, to_model_range
from minigen.pictures import save_picture
from minigen.report import image_grid
from minigen.train import DDPMConfig, start
from minigen.train import load as load_run
from minigen.train.edit import edit

SAMPLERS = {
    "ddim": {"sampler": "ddim", "steps": 25},  # no fresh noise: the first noise decides all
    "ddim with noise": {"sampler": "ddim", "steps": 25, "eta": 1.0},
    "dpm-solver": {"sampler": "dpm++", "steps": 12},  # second order: fewer steps do
}


@click.command()
@click.option("--steps", default=1500, show_default=True)
@click.option("--out", default="runs/diffusion-example", show_default=True, help="a folder that does not exist yet")
def main(steps, out):
    run = start(DDPMConfig(steps=steps), out)
    model = load_run(run.path)  # with the moving average of the weights

    rows = [model.sample(8, seed=0, **how) for how in SAMPLERS.values()]
    save_picture(run.path / "samplers.png", image_grid(np.concatenate(rows), columns=8))
    click.echo(f"a row each of {', '.join(SAMPLERS)}: {run.path / 'samplers.png'}")

    digit = to_model_range(load("mnist-mini", split="test").images[0])
    upper_half = np.arange(28)[:, None] < np.full(28, 14)  # (28, 28), True where the digit is known
    versions, _ = edit(model, "inpaint", digit, upper_half, n=7, steps=25)
    save_picture(run.path / "lower-halves.png", image_grid(np.concatenate([digit[None], versions]), columns=8))
    click.echo(f"a digit, and seven ways to finish its upper half: {run.path / 'lower-halves.png'}")


if __name__ == "__main__":
    main()
