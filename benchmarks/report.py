"""The README's table of measurements, made from benchmarks/results: python -m benchmarks.report"""

import json

from .cases import TITLES
from .page import RESULTS


def table():
    """Markdown: what, how much, and the command that measures it."""
    records = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    rows = [
        *ddpm_rows(records["ddpm"]["figures"]),
        *startup_rows(records["startup"]["figures"]),
        *model_rows(records["models"]["results"]),
        *memory_rows(records["memory"]["results"]),
        *vae_rows(records["vae"]["figures"]),
        *gan_rows(records["gan_losses"]["figures"]),
    ]
    lines = ["| what | measured | command |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {value} | `{records[name]['command']}` |" for name, what, value in rows)])


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


def model_rows(results):
    return [
        ("models", f"{title(row)}: time of PyTorch's fastest form ({row['torch_form']}) / ours", f"{row['ratio']:.2f}")
        for row in results
    ]


def memory_rows(results):
    return [
        ("memory", f"peak memory, {title(row)}: ours / PyTorch's ({row['torch_form']})", f"{1 / row['ratio']:.2f}")
        for row in results
    ]


def vae_rows(figures):
    """The likelihoods, with what they cost; a stage that began at another's weights paid for those too."""
    rows = []
    for name, row in figures.items():
        minutes = (row["cpu_seconds"] + row["cpu_seconds_before"]) / 60
        what = f"`{name}` on binarised MNIST: -ln p(x) of {row['images']:,} test images, {row['samples']:,} samples"
        value = f"{row['nll']:.2f} ± {row['standard_error']:.2f} nats (published: {row['published']})"
        rows.append(("vae", f"{what}, after {minutes:.0f} minutes of one core", value))
    return rows


def gan_rows(figures):
    """The DCGAN that is told classes, with what its FID stands between."""
    row, floor = figures["rows"]["acgan"], figures["context"]
    many, minutes = row["many samples"], row["seconds"] / 60
    ends = [floor[f"{name}, n = {many['n']}"]["FID"]["value"] for name in ("training images", "PCA-Gaussian")]
    return [
        (
            "gan_losses",
            f"DCGAN on MNIST (acgan), {minutes:.0f} minutes: of {many['n']:,} samples recognised at confidence 0.9",
            f"{100 * many['recognised']['value']:.1f}%",
        ),
        (
            "gan_losses",
            "rarest and most frequent class",
            f"{100 * many['rarest']:.1f}%, {100 * many['commonest']:.1f}%",
        ),
        (
            "gan_losses",
            f"FID of its samples (training images; a PCA-Gaussian), n = {many['n']:,}",
            "{:.0f} ({:.0f}; {:.0f})".format(many["FID"]["value"], *ends),
        ),
    ]


def title(row):
    """The row's name in words: "unet train 32x64x32" -> TITLES["unet train"]."""
    return TITLES[row["name"].rpartition(" ")[0]]


if __name__ == "__main__":
    print(table())
