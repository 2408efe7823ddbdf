"""python -m benchmarks NAME: every figure that the README and the closing notes cite, made again."""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import click
from tqdm import tqdm

from minigen.device import NoGPU
from minigen.device import device as find_device

from . import cases, compare, gpu, page, studies, suite
from .page import RESULTS
from .paired import cores
from .record import how, write

WHAT = {
    "kernels": "Convolutions, norms, attention, softmax, AdamW: one row a shape and pass, and the roofline.",
    "models": "Training and sampling steps of whole networks.",
    "memory": "Peak memory of the U-Net's training step.",
    "scaling": "The U-Net's training step against batch, width and image size.",
}
REPETITIONS = {"kernels": 15, "models": 11, "memory": 5, "scaling": 5}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Measurements of minigen. Timings are of this machine: read ratios, not seconds."""


def add_suite(name):
    """One command for each suite; all take the same options."""

    @main.command(name, help=f"{WHAT[name]} Exit code 1 where the two libraries disagree.")
    @click.option("--against", type=click.Choice(["torch"]), help="the opponent; without one, only our side is timed")
    @click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
    @click.option(
        "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="write the figures there"
    )
    @click.option("--plot", type=click.Path(file_okay=False, path_type=Path), help="write pictures into this folder")
    @click.option("--filter", "text", default="", help="only rows whose name contains this text")
    @click.option("--forms", help="forms of PyTorch to run, separated by commas [default: all that the row has]")
    @click.option("--repetitions", type=click.IntRange(1), default=REPETITIONS[name], show_default=True)
    @click.option("--threads", type=click.IntRange(1), default=cores(), help="of both sides [default: every core]")
    @click.option(
        "--record", is_flag=False, flag_value="", metavar="[MACHINE]", callback=check_machine,
        help="keep a full run: benchmarks/results and benchmarks/RESULTS.md; a name sets it beside other machines",
    )  # fmt: skip
    def command(against, device, json_path, plot, text, forms, repetitions, threads, record):
        if device == "cuda":
            require_gpu(name, record)
        chosen = [case for case in getattr(cases, name)() if text in case.name]
        wanted = check_forms(forms) if check_opponent(against) else ()
        if not chosen:
            stop(f"no row of {name} contains {text!r}")
        if record is not None and (text or forms or not against):
            stop("--record keeps full runs only: give --against torch, and neither --filter nor --forms")
        results = measure(name, chosen, wanted, repetitions, threads, device)
        refused = [row["name"] for row in results["results"] if row.get("refused")]
        keep(name, results, json_path, plot, None if refused else record)
        if refused:
            click.echo(f"the two libraries disagree on {len(refused)} of {len(chosen)} rows", err=True)
            sys.exit(1)


def measure(name, chosen, forms, repetitions, threads, device):
    """Run the suite under a progress bar, a line a row."""
    runner = gpu.run if device == "cuda" else suite.run_memory if name == "memory" else suite.run
    sides = 1 + len(forms) if name == "memory" else 1
    with tempfile.TemporaryDirectory() as folder, tqdm(
        total=len(chosen) * repetitions * sides, desc=name, unit="round", leave=False
    ) as bar:  # fmt: skip
        figures = runner(
            chosen, forms, repetitions, threads, folder, lambda row: bar.write(page.line(row)), lambda: bar.update()
        )
    for fact, value in figures["machine"].items():
        click.echo(f"  {fact:16} {page.shown(value)}")
    return {**how(), **figures}


def check_machine(context, option, name):
    """None without --record, "" where it names no machine, else the name."""
    if name and not name.isalnum():
        raise click.BadParameter(f"a machine's name becomes part of a file's: letters and digits, got {name!r}")
    return name


def require_gpu(name, record):
    if name != "kernels":
        stop(f"--device cuda measures kernels only, not {name}")
    if record is not None:
        stop("--record keeps figures of the CPU: leave it out with --device cuda, and use --json")
    try:
        find_device("cuda")
    except NoGPU as error:
        stop(str(error))


def check_opponent(against):
    if against and importlib.util.find_spec("torch") is None:
        stop("--against torch needs PyTorch, which is not installed: pip install 'minigen[parity]'")
    return against


def check_forms(forms):
    known = {*cases.IMAGE_FORMS, *cases.PLAIN_FORMS}
    wanted = set(forms.split(",")) if forms else known
    if wanted - known:
        stop(f"--forms knows {', '.join(sorted(known))}, got {', '.join(sorted(wanted - known))}")
    return wanted


def stop(message):
    click.echo(f"error: {message}", err=True)
    sys.exit(2)


def keep(name, results, json_path, plot, record):
    """Write what was asked for."""
    text = json.dumps(results, indent=2) + "\n"
    written = []
    if json_path:
        json_path.write_text(text)
        written.append(json_path)
    if plot:
        from . import plots

        written += plots.save(name, results, plot)
    if record is not None:
        written += [RESULTS / (f"{name}-{record}.json" if record else f"{name}.json"), page.PAGE]
        written[-2].write_text(text)
        page.PAGE.write_text(page.page(page.committed()))
    for path in written:
        click.echo(f"written to {path}")


for _name in WHAT:
    add_suite(_name)


@main.command("compare", help=compare.__doc__.partition(": ")[0] + ". Exit code 1 where a row is worse.")
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def compare_command(old, new):
    text, regression = compare.text(*(json.loads(path.read_text()) for path in (old, new)))
    click.echo(text)
    sys.exit(int(regression))


@main.command()
def startup():
    """Import, --help, and the first training step with a cold and a warm kernel cache."""
    from .startup import measure

    rows = measure()
    for name, seconds in rows.items():
        click.echo(f"{name:44} {seconds:6.2f} s")
    write("startup", rows)


@main.command("cuda-facts")
@click.option("--record", is_flag=True, help="write benchmarks/results/cuda-facts.json and CUDA_FACTS.md")
def cuda_facts(record):
    """What each CUDA kernel asks of a GPU, counted on the CPU and read from the compiler (extra cuda-check)."""
    from . import cuda_facts as facts

    _, nvrtc = facts.harness()
    if nvrtc.missing():
        stop(nvrtc.missing())
    figures = facts.facts()
    click.echo("\n".join(facts.table(figures)))
    if record:
        write("cuda-facts", figures)
        facts.PAGE.write_text(facts.page(json.loads((RESULTS / "cuda-facts.json").read_text())))
        click.echo(f"written to {facts.PAGE}")


for study in studies.ALL:
    main.add_command(study)


if __name__ == "__main__":
    main()
