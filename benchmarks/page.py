"""benchmarks/RESULTS.md, made from benchmarks/results by `python -m benchmarks SUITE --record [MACHINE]`.

A record is called {suite}.json, or {suite}-{machine}.json where a machine was named."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"
SUITES = ("models", "kernels", "memory", "scaling")

INTRODUCTION = """# Measured

Written by the commands that stand over the tables; do not edit. Every library and form runs in a process of its own;
all take turns, one repetition a round; a figure is the median of the rounds. **ratio** is torch / ours (above 1: we are
faster, or smaller), the median of the ratios of neighbouring repetitions with the fastest form of PyTorch in that row.
**spread** is the distance between the quartiles of those ratios over their median. **error** is the largest difference
between the two results, relative to the largest value of the array it is found in, measured before any timing; a row
beyond its tolerance carries no timing. benchmarks/cases.py says what the names mean.
"""
NOTES = {
    "models": "A whole training step: forward, backward, optimiser. Forms of PyTorch: `nchw`, `channels_last`, "
    "`compile` (torch.compile), `eager`; all with fused optimisers, and without gradients to frozen weights.",
    "kernels": "GFLOP/s counts the direct method's operations, so Winograd can stand above the measured product. "
    "*of roof* is the least time that the measured ceilings allow for those operations and for reading and writing "
    "every array once, over our time.",
    "memory": "Peak resident memory of the process, and in brackets of the steps alone.",
    "scaling": "One of batch, width and image size at a time; names are batch x width x image size.",
}


def page(records):
    """The whole page from {name: record}, in the order of the suites; a suite's unnamed record comes first."""
    order = sorted(records, key=lambda name: (SUITES.index(name.partition("-")[0]), name))
    return "\n".join([INTRODUCTION, *(section(name, records[name]) for name in order)])


def committed():
    """{name: record} of the committed results."""
    paths = sorted(RESULTS.glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in paths if path.stem.partition("-")[0] in SUITES}


def section(name, record):
    machine = ", ".join(f"{fact} {shown(value)}" for fact, value in record["machine"].items())
    name, _, where = name.partition("-")
    head = f"## {name}{f', on {where}' if where else ''}\n", f"`{record['command']}`\n", f"{NOTES[name]}\n"
    return "\n".join([*head, f"Machine: {machine}.\n", *table(name, record), ""])


def table(name, record):
    columns = COLUMNS[name]
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for row in record["results"]:
        if row.get("refused"):
            lines.append(f"| {row['name']} | refused: {row['refused']} |" + " |" * (len(columns) - 2))
        else:
            lines.append("| " + " | ".join(cell(row, record["machine"]) for cell in columns.values()) + " |")
    notes = dict.fromkeys(note for row in record["results"] for note in row.get("notes", []))
    return [*lines, *(f"\n{note}" for note in notes)]


def line(row):
    """One row for the terminal."""
    if row.get("refused"):
        return f"{row['name']:42} REFUSED: {row['refused']}"
    unit = "MB" if "ours_mb" in row else "ms"
    key = unit.lower()
    text = f"{row['name']:42} ours {row[f'ours_{key}']:8.4g} {unit}"
    if row.get("ratio"):
        text += f"   torch {row[f'torch_{key}']:8.4g} {unit} ({row['torch_form']})   ratio {row['ratio']:.2f}"
        text += f" (target {row['target']:.2g})" if row.get("target") else ""
        text += f"   error {row['max_error']:.0e}"
    return "\n".join([text + (f"   spread {100 * row['spread']:.0f}%" if "spread" in row else ""), *row["notes"]])


def shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------- cells


def ms(key):
    return lambda row, machine: f"{row[key]:.3g}" if row.get(key) is not None and row[key] < 1000 else whole(row, key)


def mb(side):
    def cell(row, machine):
        step = row.get(f"{side}_step_mb")
        return whole(row, f"{side}_mb") + (f" ({step:.0f})" if step else "")

    return cell


def whole(row, key):
    return f"{row[key]:.0f}" if row.get(key) is not None else ""


def error(row, machine):
    return f"{row['max_error']:.0e}" if row.get("max_error") is not None else ""


def percent(row, machine):
    return f"{100 * row['spread']:.0f}%" if row.get("spread") is not None else ""


def ratio(row, machine):
    return f"**{row['ratio']:.2f}**" if row.get("ratio") else ""


def target(row, machine):
    return f"{row['target']:.2g}" if row.get("target") else ""


def per_image(key):
    """Milliseconds for one image of the batch."""
    return lambda row, machine: f"{row[key] / batch(row):.3g}" if row.get(key) else ""


def batch(row):
    return int(row["name"].split()[2].split("x")[0])


def gflops(row, machine):
    return f"{row['flops'] / row['ours_ms'] / 1e6:.0f}" if row.get("flops") else ""


def of_roof(row, machine):
    roof = roof_ms(row, machine)
    return f"{100 * roof / row['ours_ms']:.0f}%" if roof else ""


def roof_ms(row, machine):
    """The least milliseconds that the measured ceilings allow, None where one is not known."""
    if not row.get("flops") or "sgemm GFLOP/s" not in machine:
        return None
    return 1e3 * max(row["flops"] / 1e9 / machine["sgemm GFLOP/s"], row["bytes"] / 1e9 / machine["copy GB/s"])


def name_of(row, machine):
    return row["name"]


def form(row, machine):
    return row.get("torch_form", "")


TIMED = {"name": name_of, "ours, ms": ms("ours_ms"), "torch, ms": ms("torch_ms"), "form": form,
         "ratio": ratio, "target": target, "spread": percent, "error": error}  # fmt: skip
COLUMNS = {
    "models": TIMED,
    "kernels": {**TIMED, "GFLOP/s": gflops, "of roof": of_roof},
    "memory": {"name": name_of, "ours, MB": mb("ours"), "torch, MB": mb("torch"), "form": form, "ratio": ratio,
               "target": target, "error": error},
    "scaling": {**{key: cell for key, cell in TIMED.items() if key != "target"},
                "ours, ms an image": per_image("ours_ms"), "torch, ms an image": per_image("torch_ms")},
}  # fmt: skip
