"""The README's table of measurements, made from benchmarks/results: python -m benchmarks.report"""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def table():
    """Markdown: what, how much, and the command that measures it."""
    ddpm, startup, models = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("ddpm", "startup", "models")
    )
    rows = [*ddpm_rows(ddpm["figures"]), *startup_rows(startup["figures"]), *model_rows(models["figures"])]
    commands = {"ddpm": ddpm["command"], "startup": startup["command"], "models": models["command"]}
    lines = ["| what | measured | command |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {value} | `{commands[name]}` |" for name, what, value in rows)])


def ddpm_rows(figures):
    worst, others = figures["worst"], figures["impostors"]
    n = figures["seed 0"]["n"]
    classes = [share for name, row in figures.items() if name.startswith("seed") for share in row["classes"]]
    impostors = ", ".join(f"{kind} {100 * others[kind]:.1f}%" for kind in ("noise", "shuffled", "averaged"))
    return [
        (
            "ddpm",
            "`minigen train ddpm`, cold kernel cache, two cores, worst of seeds 0 to 2",
            f"{worst['seconds']:.0f} s",
        ),
        ("ddpm", f"its samples recognised at confidence 0.9, n = {n}, worst seed", f"{100 * worst['recognised']:.1f}%"),
        ("ddpm", "rarest and most frequent class, all seeds", f"{100 * min(classes):.1f}%, {100 * max(classes):.1f}%"),
        ("ddpm", "real test digits recognised", f"{100 * others['real']:.1f}%"),
        ("ddpm", "what is no digit, recognised (noise, shuffled pixels, two digits averaged)", impostors),
    ]


def startup_rows(figures):
    return [("startup", name, f"{seconds:.2f} s") for name, seconds in figures.items()]


def model_rows(figures):
    def slowest(name):
        return min(row["torch/minigen"] for key, row in figures.items() if key.startswith(f"{name},"))

    memory = max(row["minigen/torch"] for key, row in figures.items() if key.startswith("memory"))
    return [
        (
            "models",
            "U-Net training step, 6.47 M parameters: PyTorch's time / ours (its best eager form)",
            f"{slowest('train'):.2f}",
        ),
        ("models", "the same network's sampling step", f"{slowest('forward'):.2f}"),
        ("models", "peak memory of the training: ours / PyTorch's", f"{memory:.2f}"),
    ]


if __name__ == "__main__":
    print(table())
