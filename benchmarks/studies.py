"""Commands that train models or measure them: what each shows is in the file of its name, its figures in results/."""

import sys
from pathlib import Path

import click

from .page import RESULTS
from .record import how, write, write_record


@click.command()
@click.option("--seeds", default="0,1,2", show_default=True, help="seeds, separated by commas")
@click.option("--samples", default=256, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="also write the first seed's samples there")
def ddpm(seeds, samples, picture):
    """`minigen train ddpm` with no flags from a cold cache: time, and what share of its samples is recognised."""
    from .ddpm import measure

    rows = measure([int(seed) for seed in seeds.split(",")], samples, picture)
    write("ddpm", rows)


@click.command()
@click.option("--data-dir", help="folder that holds MNIST")
@click.option("--folder", default="runs/vae-benchmark", show_default=True, help="where the runs are kept")
@click.option("--stage", "stages", multiple=True, help="only this one, several times for several [default: all]")
@click.option("--shorten", default=1, show_default=True, help="a trial: so many times fewer steps, images and samples")
@click.option("--picture", type=click.Path(path_type=Path), help="also draw likelihood against epochs there")
def vae(data_dir, folder, stages, shorten, picture):
    """The published likelihoods of VAE and IWAE on binarised MNIST; some hours of one core, resumable."""
    from .vae import STAGES, draw, measure

    rows = measure(folder, data_dir, stages or tuple(STAGES), shorten, how()["commit"])
    if shorten == 1:
        write("vae", rows)
    if picture:
        draw(rows, picture)


@click.command()
@click.option("--folder", default="runs/autoencoders", show_default=True, help="run folders; trained ones are kept")
@click.option("--data-dir", help="folder with the four MNIST files")
@click.option("--picture", type=click.Path(path_type=Path), help="also draw the reconstructions there")
def autoencoders(folder, data_dir, picture):
    """Autoencoders of every kind beside PCA: held-out error on MNIST at one code size."""
    from .autoencoders import draw, measure, table

    rows = measure(folder, data_dir)
    click.echo(table(rows))
    write("autoencoders", rows)
    if picture:
        draw(folder, data_dir, picture)


@click.command()
@click.option("--folder", default="runs/pretraining", show_default=True, help="finished cells are kept there")
@click.option("--seeds", default="0,1,2,3,4", show_default=True, help="seeds, separated by commas")
@click.option("--data-dir", help="folder with the four MNIST files")
@click.option("--picture", type=click.Path(path_type=Path), help="also draw the table there")
def pretraining(folder, seeds, data_dir, picture):
    """A classifier that begins with an autoencoder's encoder, with few labels: 100 and 1,000, five seeds.

    Processes with seeds of their own may share a folder; figures are kept when all five seeds are asked for.
    """
    from .pretraining import SEEDS, draw, measure, table

    chosen = tuple(int(seed) for seed in seeds.split(","))
    figures = measure(folder, data_dir, chosen)
    if chosen == SEEDS:
        click.echo(table(figures))
        write("pretraining", figures)
    if picture:
        draw(figures, picture)


@click.command()
@click.option("--picture", type=click.Path(path_type=Path), help="also draw error against calls of the network there")
def order(picture):
    """How fast each sampler's error falls with its steps, under an exact score: fitted orders. Nothing is trained."""
    from .order import measure, plot

    rows = measure()
    for data, samplers in rows.items():
        for name, row in samplers.items():
            last = f"error at {row['steps'][-1]} steps {row['errors'][-1]:.2g}"
            click.echo(f"{data:10} {name:6} slope {row['slope']:.2f}   {last}")
    write("order", rows)
    if picture:
        plot(rows, picture)
        click.echo(f"written to {picture}")


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="folder of MNIST  [default: $MINIGEN_DATA]")
@click.option("--sizes", default="1000,2000,10000", show_default=True, help="n, separated by commas")
@click.option("--picture", type=click.Path(path_type=Path), help="also draw the Frechet distance against n")
def scores(data_dir, sizes, picture):
    """Scores of MNIST's training images and of a PCA-Gaussian against its test images: what a score means at its n."""
    from .scores import draw, measure

    figures = measure(data_dir, [int(n) for n in sizes.split(",")])
    write("scores", figures)
    if picture:
        draw(figures["curve"], picture)


@click.command("score-checks")
@click.option("--data-dir", type=click.Path(path_type=Path), help="folder of MNIST  [default: $MINIGEN_DATA]")
def score_checks(data_dir):
    """Why scores take features from before the ReLU, and how often their intervals hold: about ten minutes."""
    from .score_checks import feature_table, interval_table, measure

    figures = measure(data_dir)
    click.echo(feature_table(figures["features"]) + "\n\n" + interval_table(figures["intervals"]))
    write("score_checks", figures)


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
def bound(run):
    """The likelihood bound of the DDPM in the folder RUN, which has 1000 levels: estimated, and level by level."""
    from minigen.train import held_out, load

    from .bound import measure, table

    model = load(run)
    if model.config.model != "ddpm" or model.process.T != 1000:
        raise click.UsageError(f"RUN must be a ddpm of 1000 levels, and {run} is not")
    figures = measure(model, held_out(run).images)
    click.echo(table(figures["rows"]))
    write("bound", figures)


@click.command("ddim-table")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--n", default=2000, show_default=True, type=click.IntRange(4), help="images in every cell")
@click.option("--steps", default="10,20,50,100,1000", show_default=True, help="columns, separated by commas")
@click.option("--exact", type=click.IntRange(1), help="in place of RUN's network, the exact one for so many images")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="where the figures are kept, cell by cell  [default: benchmarks/results/ddim_table.json, or ..._exact.json]",
)
@click.option("--picture", type=click.Path(path_type=Path), help="also draw the table there")
def ddim_table(run, n, steps, exact, out, picture):
    """FID against sampling steps and noise (deck 003) for the DDPM in the folder RUN. Goes on if it was stopped."""
    from minigen.data import load as load_data
    from minigen.train import held_out, load

    from . import ddim_table as harness

    model, columns = load(run), [int(count) for count in steps.split(",")]
    if model.config.model != "ddpm":
        raise click.UsageError(f"RUN must be a ddpm, and {run} is a {model.config.model}")
    if not 1 <= min(columns) <= max(columns) <= model.process.T:
        raise click.UsageError(
            f"--steps must lie between 1 and {model.process.T}, the model's noise levels, got {steps}"
        )
    train, test = load_data(model.config.data, model.config.data_dir).images, held_out(run).images
    out = out or RESULTS / ("ddim_table_exact.json" if exact else "ddim_table.json")
    if exact:
        model = harness.ExactNetwork(model.process.schedule, train[:exact])
    try:
        figures = harness.measure(
            model, train, test, n, columns, harness.begun(out), lambda found: write_record(out, found),
            progress=sys.stderr.isatty(),
        )  # fmt: skip
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(harness.table(figures))
    if picture:
        harness.draw(figures, picture)


@click.command()
@click.option("--data", default="ring8,grid25", show_default=True, help="of ring8, grid25, mnist, separated by commas")
@click.option("--data-dir", type=click.Path(path_type=Path), help="folder of MNIST")
@click.option("--seeds", default="0", show_default=True, help="seeds, separated by commas")
@click.option("--filter", "text", default="", help="only rows whose name contains this text; figures are then not kept")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/gan"), show_default=True, help="runs")
def gan(data, data_dir, seeds, text, folder):
    """The tricks of GAN training, one at a time. Interrupted, it goes on where it was, cell by cell."""
    from . import gan as ablation

    tricks, sets, found = [name for name in ablation.TRICKS if text in name], data.split(","), {}
    if not tricks or set(sets) - set(ablation.BASE):
        raise click.UsageError(f"there is nothing to do for --data {data} and --filter {text!r}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in sets:
        rows = ablation.measure(folder, name, [int(seed) for seed in seeds.split(",")], tricks, data_dir)
        found |= rows
        if not text:
            write(f"gan_{name}", rows)
    click.echo(ablation.table(found))


@click.command("gan-losses")
@click.option("--data-dir", type=click.Path(path_type=Path), help="folder of MNIST")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/gan-losses"), show_default=True)
@click.option("--row", "rows", multiple=True, help="only this one, several times for several  [default: all]")
@click.option("--n", default=2000, show_default=True, type=click.IntRange(100, 10_000), help="samples of a row")
@click.option("--shorten", default=1, show_default=True, help="a trial: so many times fewer steps")
@click.option("--picture", type=click.Path(path_type=Path), help="also draw samples of every row there")
def gan_losses(data_dir, folder, rows, n, shorten, picture):
    """Every GAN loss on MNIST: the scores of its samples, and whether it keeps its promise. Resumable, row by row."""
    from . import gan_losses as study

    if unknown := set(rows) - set(study.ROWS):
        raise click.UsageError(f"--row must be one of {', '.join(study.ROWS)}, got {', '.join(sorted(unknown))}")
    folder.mkdir(parents=True, exist_ok=True)
    found = study.measure(folder, rows or tuple(study.ROWS), n, data_dir, shorten)
    floors = study.floors(data_dir, study.sizes(found))
    click.echo(study.table(found, floors))
    if set(found) == set(study.ROWS) and shorten == 1:
        write("gan_losses", {"rows": found, "context": floors})
    if picture:
        study.draw(folder, found, picture)


@click.command()
@click.option(
    "--run", type=click.Path(path_type=Path, exists=True), help="a class-conditional run  [default: train one]"
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="folder with the four MNIST files, to train on")
@click.option("--samples", default=200, show_default=True, help="at each scale")
@click.option("--steps", default=25, show_default=True, help="of DDIM")
@click.option("--picture", type=click.Path(path_type=Path), help="also plot the figures there")
def guidance(run, data_dir, samples, steps, picture):
    """Classifier-free guidance on MNIST: class accuracy against the scale, by the project's classifier."""
    from .guidance import measure

    write("guidance", measure(run, data_dir, samples, steps, picture))


ALL = (autoencoders, bound, ddim_table, ddpm, gan, gan_losses, guidance, order, pretraining, score_checks, scores, vae)
