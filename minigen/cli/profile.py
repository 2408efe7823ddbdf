"""`minigen profile RUN`: where the time of a training step goes."""

from pathlib import Path

import click

from .flags import Nearest, one_line_errors, run_argument, with_default


@click.command()
@run_argument
@with_default("--steps", 3, click.IntRange(min=1), "training steps to look at, after one that compiles")
@with_default("--by", "operation", Nearest(("operation", "module")), "what a row of the table is")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="picture  [default: RUN/profile.png]")
def profile(run, steps, by, out):
    """Where the time of a training step goes: a table, and a picture. The run itself is left as it is.

    \b
    minigen profile runs/ddpm-1 --by module
    """
    from ..profiler import clock_for
    from ..profiler import profile as measured
    from ..train.start import training_of

    with one_line_errors():
        batches, task = training_of(run)
    task.step(batches, 0)
    with measured(clock=clock_for(task.config.device)) as p:
        for step in range(1, 1 + steps):
            task.step(batches, step)
    click.echo(p.table(by))
    path = out or run / "profile.png"
    p.save(path)
    click.echo(path)
