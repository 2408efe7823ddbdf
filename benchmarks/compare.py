"""What changed between two results of one suite: python -m benchmarks compare OLD.json NEW.json

A row is a regression where it became slower by more than MARGIN and by more than the spread of both measurements, or
where it is no longer there or was refused. Where both files have a ratio to PyTorch, that decides, since a busy machine
slows both sides down; otherwise our own time (or memory) does.
"""

MARGIN = 0.10
SAME_MACHINE = ("cpu", "threads", "torch", "BLAS kernel", "SIMD lanes")


def compare(old, new):
    """-> [(name, before, after, change, verdict)]; change = how many times slower (or larger), None where unknown."""
    before, after = ({row["name"]: row for row in record["results"]} for record in (old, new))
    lines = []
    for name in [*before, *(name for name in after if name not in before)]:
        a, b = before.get(name), after.get(name)
        if b is None:
            lines.append((name, figure(a), "-", None, "REGRESSION: gone"))
        elif b.get("refused") and a is not None and a.get("refused"):
            lines.append((name, "refused", "refused", None, "refused, as before"))
        elif b.get("refused"):
            lines.append((name, figure(a), "refused", None, f"REGRESSION: {b['refused']}"))
        elif a is None or a.get("refused"):
            lines.append((name, "-", figure(b), None, "new"))
        else:
            change = slower(a, b)
            allowed = max(MARGIN, (a.get("spread") or 0) + (b.get("spread") or 0))
            verdict = "REGRESSION" if change > 1 + allowed else "better" if change < 1 / (1 + allowed) else "same"
            lines.append((name, figure(a), figure(b), change, verdict))
    return lines


def slower(a, b):
    if a.get("ratio") and b.get("ratio"):
        return a["ratio"] / b["ratio"]
    unit = "ours_mb" if "ours_mb" in a else "ours_ms"
    return b[unit] / a[unit]


def figure(row):
    """ "12.3 ms (ratio 2.10)" """
    if row is None or row.get("refused"):
        return "-"
    size = f"{row['ours_mb']:.0f} MB" if "ours_mb" in row else f"{row['ours_ms']:.3g} ms"
    return f"{size} (ratio {row['ratio']:.2f})" if row.get("ratio") else size


def differences(old, new):
    """What is not the same about the two machines, in words."""
    return [
        f"{fact}: {old['machine'].get(fact)} then, {new['machine'].get(fact)} now"
        for fact in SAME_MACHINE
        if old["machine"].get(fact) != new["machine"].get(fact)
    ]


def text(old, new):
    """The table to print, and whether there is a regression."""
    lines = compare(old, new)
    width = max([len(line[0]) for line in lines], default=0)
    out = [f"warning: another machine or version: {difference}" for difference in differences(old, new)]
    for name, before, after, change, verdict in lines:
        by = f"{change:5.2f}x" if change is not None else "      "
        out.append(f"{name:{width}}  {before:>24}  {after:>24}  {by}  {verdict}")
    bad = sum(line[4].startswith("REGRESSION") for line in lines)
    out.append(f"{bad} of {len(lines)} rows are worse" if bad else f"no regression in {len(lines)} rows")
    return "\n".join(out), bad > 0
