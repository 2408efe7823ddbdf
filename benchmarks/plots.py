"""The pictures of a suite's results, as PNG."""

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .page import batch

OURS, TORCH, TARGET = "#1b6ca8", "#e07b39", "#777777"


def save(suite, record, folder):
    """Write the suite's pictures into `folder`; returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in record["results"] if not row.get("refused")]
    paths = []
    for name, draw in PICTURES[suite].items():
        figure = draw(rows, record["machine"])
        if figure is not None:
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=130)
            plt.close(figure)
    return paths


def ratios(rows, machine):
    """Bars of torch / ours, a tick at the target."""
    rows = [row for row in rows if row.get("ratio")]
    if not rows:
        return None
    figure, axes = plt.subplots(figsize=(8, 1.4 + 0.24 * len(rows)), layout="constrained")
    places = range(len(rows))
    axes.barh(places, [row["ratio"] for row in rows], color=OURS, height=0.7)
    for place, row in zip(places, rows):
        if row.get("target"):
            axes.plot([row["target"]] * 2, [place - 0.42, place + 0.42], color=TORCH, lw=2.5,
                      label="target" if place == 0 else None)  # fmt: skip
        axes.text(row["ratio"], place, f" {row['ratio']:.2f}", va="center", fontsize=7)
    axes.axvline(1, color=TARGET, lw=1, ls="--")
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * max(max(row["ratio"], row.get("target") or 0) for row in rows))
    axes.set_xlabel("PyTorch's fastest form / ours (right of the dashed line we are ahead)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right")
    return figure


def roofline(rows, machine):
    """Operations a second against operations a byte, under what the machine was measured to allow."""
    rows = [row for row in rows if row.get("flops")]
    if not rows or "sgemm GFLOP/s" not in machine:
        return None
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    top, slope = machine["sgemm GFLOP/s"], machine["copy GB/s"]
    x = [row["flops"] / row["bytes"] for row in rows]
    knee, ends = top / slope, (min(x) / 2, max(x) * 2)
    axes.plot([ends[0], knee, ends[1]], [slope * ends[0], top, top], color=TARGET)
    axes.text(knee / 2, slope * knee / 2, f"copy {slope:.0f} GB/s  ", ha="right", va="bottom", color=TARGET)
    axes.text(knee, 1.05 * top, f"sgemm {top:.0f} GFLOP/s", ha="right", va="bottom", color=TARGET)
    kinds = list(dict.fromkeys(row["name"].split()[0] for row in rows))
    for a, row in zip(x, rows):
        colour = plt.cm.tab10(kinds.index(row["name"].split()[0]) % 10)
        ours, torch = (row["flops"] / row[side] / 1e6 if row.get(side) else None for side in ("ours_ms", "torch_ms"))
        if torch:
            axes.plot([a, a], [ours, torch], color=colour, lw=0.7)
            axes.plot([a], [torch], "o", mfc="white", mec=colour, ms=5)
        axes.plot([a], [ours], "o", color=colour, ms=5)
    for i, kind in enumerate(kinds):
        axes.plot([], [], "o", color=plt.cm.tab10(i % 10), label=kind)
    axes.set(xscale="log", yscale="log", xlabel="operations of the direct method / byte read or written once",
             ylabel="GFLOP/s (above the roof: Winograd multiplies less)",
             title="filled: minigen, open: PyTorch's fastest form")  # fmt: skip
    axes.legend(loc="lower right", fontsize=8)
    return figure


LABELS = {"ours_ms": "minigen", "torch_ms": "PyTorch, fastest form"}


def memory(rows, machine):
    """Bars of the peak of every form."""
    bars = {}
    for row in rows:
        bars["minigen"] = row["ours_mb"]
        bars |= {f"PyTorch, {form}": mb for form, mb in row.get("forms_mb", {}).items()}
    if not bars:
        return None
    figure, axes = plt.subplots(figsize=(6, 1.2 + 0.5 * len(bars)), layout="constrained")
    drawn = axes.barh(list(bars), list(bars.values()), color=[OURS, *[TORCH] * (len(bars) - 1)])
    axes.bar_label(drawn, fmt=" %.0f MB")
    axes.invert_yaxis()
    axes.set(xlabel="peak resident memory, MB", title=rows[0]["name"], xlim=(0, 1.2 * max(bars.values())))
    return figure


def scaling(rows, machine):
    """For batch, width and image size: the cost of one image above, the ratio below."""
    if not rows:
        return None
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained", sharex="col")
    points = [(tuple(map(int, re.search(r"(\d+)x(\d+)x(\d+)", row["name"]).groups())), row) for row in rows]
    for column, what in enumerate(("batch", "width", "image size")):
        line = sorted((p[column], row) for p, row in points if all(
            p[i] == usual for i, usual in enumerate(USUAL) if i != column))  # fmt: skip
        above, below = axes[0][column], axes[1][column]
        for side, colour in (("ours_ms", OURS), ("torch_ms", TORCH)):
            shown = [(x, row[side] / batch(row)) for x, row in line if row.get(side)]
            above.plot(*zip(*shown), color=colour, marker="o", label=LABELS[side]) if shown else None
        above.set(title=what, xscale="log", yscale="log")
        shown = [(x, row["ratio"]) for x, row in line if row.get("ratio")]
        below.plot(*zip(*shown), color=OURS, marker="o") if shown else None
        below.axhline(1, color=TARGET, lw=1, ls="--")
        below.set(xlabel=what, ylim=(0, None))
        below.set_xticks([x for x, _ in line], [str(x) for x, _ in line])
        below.minorticks_off()
    axes[0][0].set_ylabel("ms an image")
    axes[1][0].set_ylabel("PyTorch / ours")
    axes[0][0].legend()
    return figure


USUAL = (32, 64, 32)  # batch, width and image size of the points that the other axes pass through
PICTURES = {
    "kernels": {"kernels": ratios, "roofline": roofline},
    "models": {"models": ratios},
    "memory": {"memory": memory},
    "scaling": {"scaling": scaling},
}
