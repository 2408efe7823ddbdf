"""Run the cases of a suite: compare what the sides compute, and only then how long they take."""

import os
import platform
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

from .paired import Side, SideError
from .sides.ceiling_numpy import CASES as CEILINGS

FLOOR = 1e-3
WARM_UP = 2
OPTIONAL = "compile"  # the one form that a machine may be unable to run: it needs a C++ compiler


# ---------------------------------------------------------------- agreement


def disagreement(ours, theirs):
    """The largest difference between two sets of arrays, relative to the largest value of the array it is found in.

    Where a true gradient is zero (attention's keys have no use for a bias), both sides hold only rounding; so an array
    is never held to less than FLOOR of the largest value of its kind: gradients against gradients, the rest alone.
    Infinite where names or shapes differ, or a value is not finite.
    """
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return float("inf")
    if not all(np.isfinite(a).all() for side in (ours, theirs) for a in side.values()):
        return float("inf")
    largest = {name: float(abs(a).max()) for name, a in theirs.items()}
    least = FLOOR * max([size for name, size in largest.items() if "gradient" in name], default=0.0)
    worst = 0.0
    for name, expected in theirs.items():
        scale = max(largest[name], least if "gradient" in name else 0.0)
        difference = float(abs(ours[name].astype(np.float64) - expected).max())
        worst = max(worst, difference / scale if scale else float("inf") if difference else 0.0)
    return worst


# ---------------------------------------------------------------- one row


def measure(case, ours, opponents, repetitions, tick=lambda: None):
    """-> one row of the results. `opponents`: {form: Side}; a row on which the sides disagree carries no timing."""
    row, present = agreement(case, ours, opponents)
    if row.get("refused"):
        return row
    row["ours_ms"], row["ours_spread"] = None, None
    times = rounds({"ours": ours, **present}, repetitions, tick)
    mine = times.pop("ours")
    row["ours_ms"], row["ours_spread"] = 1e3 * median(mine), spread(mine)
    if times:
        form = min(times, key=lambda name: median(times[name]))
        ratios = [theirs / ours for ours, theirs in zip(mine, times[form])]
        row["torch_ms"], row["torch_form"] = 1e3 * median(times[form]), form
        row["forms_ms"] = {name: 1e3 * median(values) for name, values in times.items()}
        row["ratio"], row["spread"] = median(ratios), spread(ratios)
    else:
        row["spread"] = row["ours_spread"]
    return row


def agreement(case, ours, opponents):
    """The row's first half: the error against every form that can run, and those forms."""
    row = {"name": case.name, "target": case.target, "tolerance": case.tolerance, "notes": []}
    row |= {"flops": case.flops, "bytes": case.bytes} if case.flops else {}
    ours.prepare(case)
    mine, errors, present = ours.check(), {}, {}
    for form, side in opponents.items():
        try:
            side.prepare(case)
            errors[form] = disagreement(mine, side.check())
            present[form] = side
        except SideError as error:
            if form != OPTIONAL:
                raise
            row["notes"].append(f"torch.compile left out: {str(error).splitlines()[0][:200]}")
    row["max_error"] = max(errors.values(), default=None)
    if errors and not row["max_error"] <= case.tolerance:
        worst = max(errors, key=errors.get)
        row["refused"] = f"differs from torch ({worst}) by {row['max_error']:.1e}, allowed {case.tolerance:.0e}"
    return row, present


def rounds(sides, repetitions, tick):
    """{name: seconds of every repetition}, all sides once a round."""
    for _ in range(min(WARM_UP, repetitions)):
        for side in sides.values():
            side.time()
    times = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, side in sides.items():
            times[name].append(side.time())
        tick()
    return times


def spread(values):
    """Distance between the quartiles over the median."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)


# ---------------------------------------------------------------- a suite


def run(cases, forms_wanted, repetitions, threads, folder, report, tick):
    """-> {"machine", "results"}. One process for our side and one for each form serves all cases.

    `report(row)` is called after every row. forms_wanted: forms of PyTorch to run, () for none.
    """
    forms = list(dict.fromkeys(form for case in cases for form in case.forms if form in forms_wanted))
    with ExitStack() as stack:
        machine = {**facts(threads), **ceilings(folder, threads)}

        def open_side(library, form):
            side = Side(library, form, folder, threads)
            stack.callback(side.close)
            machine.update(side.facts())
            return side

        ours, opponents = open_side("minigen", "numba"), {form: open_side("torch", form) for form in forms}
        results = []
        for case in cases:
            chosen = {form: side for form, side in opponents.items() if form in case.forms}
            results.append(measure(case, ours, chosen, repetitions, tick))
            report(results[-1])
    return {"machine": machine, "results": results}


def run_memory(cases, forms_wanted, repetitions, threads, folder, report, tick):
    """-> {"machine", "results"}: peak resident memory, every case and form in a process of its own.

    The comparison of results keeps copies, so other processes than those that are measured make it.
    """
    machine, results = facts(threads), []
    for case in cases:
        forms = [form for form in case.forms if form in forms_wanted]
        with ExitStack() as stack:
            ours, *theirs = (Side("torch" if form else "minigen", form or "numba", folder, threads)
                             for form in (None, *forms))  # fmt: skip
            for side in (ours, *theirs):
                stack.callback(side.close)
                machine.update(side.facts())
            row, present = agreement(case, ours, dict(zip(forms, theirs)))
        if not row.get("refused"):
            peaks = {form: peak(case, form, repetitions, threads, folder, tick) for form in (None, *present)}
            row |= memory_row(peaks.pop(None), peaks)
        results.append(row)
        report(row)
    return {"machine": machine, "results": results}


def peak(case, form, repetitions, threads, folder, tick):
    """{"process": MB, "step": MB} of one side after its steps."""
    side = Side("torch" if form else "minigen", form or "numba", folder, threads)
    try:
        side.prepare(case)
        for _ in range(WARM_UP):
            side.time()
        before = side.memory()["process"]
        side.forget_peak()
        for _ in range(repetitions):
            side.time()
            tick()
        after = side.memory()
        return {"process": max(before, after["process"]), "step": after["step"]}
    finally:
        side.close()


def memory_row(mine, theirs):
    """ratio = torch / ours, as everywhere, against the form of PyTorch that needs least."""
    row = {"ours_mb": mine["process"], "ours_step_mb": mine["step"]}
    if theirs:
        form = min(theirs, key=lambda name: theirs[name]["process"])
        row |= {"torch_mb": theirs[form]["process"], "torch_step_mb": theirs[form]["step"], "torch_form": form}
        row |= {"forms_mb": {name: peak["process"] for name, peak in theirs.items()}}
        row["ratio"] = row["torch_mb"] / row["ours_mb"]
    return row


# ---------------------------------------------------------------- the machine


def facts(threads):
    """What is known without a side's process. The sides add versions, BLAS kernel and SIMD lanes."""
    return {"cpu": cpu_model(), "architecture": platform.machine(), "system": platform.system(),
            "threads": threads, "processors": os.cpu_count()}  # fmt: skip


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def ceilings(folder, threads):
    """The best of a few runs: GB/s of a copy, GFLOP/s of BLAS's float32 product."""
    side = Side("numpy", "ceiling", folder, threads)
    try:
        best = {}
        for name, case in CEILINGS.items():
            side.prepare(case)
            best[name] = min(side.time() for _ in range(5))
        return {"copy GB/s": CEILINGS["copy"].bytes / best["copy"] / 1e9,
                "sgemm GFLOP/s": CEILINGS["sgemm"].flops / best["sgemm"] / 1e9}  # fmt: skip
    finally:
        side.close()
