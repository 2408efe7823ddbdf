"""What can be known of the CUDA kernels' speed without a GPU: what each version asks of the hardware, and what the
compiler makes of it. `python -m benchmarks cuda-facts --record` writes the table that tests hold the kernels to.

Counted on the CPU (tests/cuda_on_cpu), for the launches of cuda_cases.py at the sizes of a U-Net's layer:

    sectors     32-byte sectors of global memory a request (a load or store of a warp), and the fewest that would do
    conflicts   times that lanes wait for each other at a bank of shared memory, in per cent of the least time there
    barriers    a block
    flop        additions and the like one, a fused multiply-add two; functions (exp, sqrt ...) one each
    flop/byte   over the sectors moved, each as often as it is asked for: no cache is modelled
    lanes       of 32, that take part in a request of memory: what divergence and ragged ends leave

From NVRTC, for every architecture: registers and spills a thread, static shared memory, blocks of this size that fit a
multiprocessor, 16-byte loads, tensor-core instructions.
"""

import re
import sys
from pathlib import Path

from . import cuda_cases as cases

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PAGE = Path(__file__).parent / "CUDA_FACTS.md"

# Of a multiprocessor: registers, bytes of shared memory, threads, blocks.
# Source: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
LIMITS = {
    75: (65536, 64 * 1024, 1024, 16),
    80: (65536, 164 * 1024, 2048, 32),
    90: (65536, 228 * 1024, 2048, 32),
    100: (65536, 228 * 1024, 2048, 32),
}
RESERVED_SHARED = {75: 0, 80: 1024, 90: 1024, 100: 1024}  # bytes a block that the system keeps for itself


def harness():
    """The test support that runs and compiles CUDA here; not part of the package."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    from cuda_on_cpu import nvrtc, standin

    return standin, nvrtc


# ---------------------------------------------------------------- on the CPU


def launches():
    """-> [Call] of every version of every launcher, once for each kernel and set of parameters."""
    standin, _ = harness()
    found = {}
    with standin.installed(count=True) as cupy:
        for name in cases.names():
            for version in cases.versions(name):
                try:
                    cases.run(name, cases.arguments(name, cases.TYPICAL, cupy), version)
                except cases.NotCovered:
                    continue
        for call in cupy.launches:
            found.setdefault((call.file, call.kernel, call.parameters), call)
    return [found[key] for key in sorted(found)]


def counted(call):
    """One launch's counters as the table's columns."""
    c = call.counters
    moved = 32 * sum(c["sectors"])
    flop = c["operations"] + c["functions"]
    return {
        "grid": call.grid,
        "block": call.block,
        "dynamic_shared": call.shared,
        "sectors": ratio(sum(c["sectors"]), sum(c["requests"])),
        "fewest_sectors": ratio(sum(c["fewest_sectors"]), sum(c["requests"])),
        "conflicts": ratio(100 * (c["wavefronts"] - c["fewest_wavefronts"]), c["fewest_wavefronts"]),
        "barriers": ratio(c["barriers"], call.grid[0] * call.grid[1] * call.grid[2]),
        "flop": flop,
        "bytes": moved,
        "intensity": ratio(flop, moved),
        "lanes": ratio(c["lanes"], c["all_requests"]),
    }


def ratio(a, b):
    return round(a / b, 2) if b else 0.0


# ---------------------------------------------------------------- from the compiler


def least_architecture(code, kernel):
    """The architecture that the ladder in the file's header states for the version of a kernel."""
    version = re.search(r"_v(\d+)$", kernel)
    ladder = dict(re.findall(r"^//\s+v(\d+)\s.*\bsm_(\d+)", code, re.MULTILINE))
    if not ladder:
        raise ValueError(f"the file of {kernel} begins without a ladder of versions and least architectures")
    return int(ladder[version[1]]) if version else min(map(int, ladder.values()))


def compiled(calls):
    """-> for each call {architecture: facts}, from its least architecture up."""
    _, nvrtc = harness()
    programs = {(call.code, call.parameters) for call in calls}
    jobs = [(*program, a) for program in sorted(programs) for a in nvrtc.ARCHITECTURES]
    results = dict(zip(jobs, nvrtc.facts(jobs)))
    found = []
    for call in calls:
        least = least_architecture(call.code, call.kernel)
        wanted = [a for a in nvrtc.ARCHITECTURES if a >= least]
        facts = {a: results[(call.code, call.parameters, a)][call.kernel] for a in wanted}
        found.append({str(a): {**fact, "blocks": resident_blocks(a, fact, call)} for a, fact in facts.items()})
    return found


def resident_blocks(architecture, fact, call):
    """How many blocks of this launch a multiprocessor holds at once.

    A warp's registers are handed out in units of 256; shared memory counts static, dynamic and reserved.
    """
    registers, shared, threads, blocks = LIMITS[architecture]
    warps = -(-call.block[0] * call.block[1] * call.block[2] // 32)
    of_block = warps * (-(-fact["registers"] * 32 // 256) * 256)
    memory = fact["shared"] + call.shared + RESERVED_SHARED[architecture]
    return min(blocks, threads // (32 * warps), registers // of_block, shared // memory if memory else blocks)


# ---------------------------------------------------------------- the table


def facts():
    """-> [{"file", "kernel", "parameters", the columns, "compiled": {architecture: ...}}]"""
    calls = launches()
    return [
        {**identity(call), **counted(call), "compiled": compiler_facts}
        for call, compiler_facts in zip(calls, compiled(calls))
    ]


def identity(call):
    defines = [option.removeprefix("-D") for option in call.parameters if option.startswith("-D")]
    return {"file": call.file, "kernel": call.kernel, "parameters": " ".join(defines)}


def page(record):
    """The committed page, from the record that is committed beside it."""
    text = __doc__.partition("\n\n")[2]
    lines = ["# Facts about the CUDA kernels", "", f"Written by `{record['command']}`; do not edit.", ""]
    lines += ["*Counted on a CPU and read from the compiler; nothing here was measured on a GPU.*", ""]
    lines += ["```", text.strip(), "```", ""]
    for file in dict.fromkeys(row["file"] for row in record["figures"]):
        rows = [row for row in record["figures"] if row["file"] == file]
        lines += [f"## {file}", "", *table(rows), ""]
    return "\n".join(lines)


COUNTED = ["kernel", "parameters", "sectors (fewest)", "conflicts", "barriers", "flop", "flop/byte", "lanes"]
COMPILED = ["registers", "spills", "shared", "blocks", "16-byte loads", "tensor"]


def table(rows):
    heads = [*COUNTED, *COMPILED]
    lines = ["| " + " | ".join(heads) + " |", "| --- | --- |" + " ---: |" * (len(heads) - 2)]
    return lines + ["| " + " | ".join(cells(row)) + " |" for row in rows]


def cells(row):
    """Facts of the compiler are lists over the architectures, or one number where they agree."""
    parameters = " ".join(p for p in row["parameters"].split() if p != "REAL=float")
    yield from (f"`{row['kernel']}`", parameters, f"{row['sectors']:.3g} ({row['fewest_sectors']:.3g})")
    yield from (f"{row['conflicts']:.0f}%", f"{row['barriers']:.3g}", f"{row['flop']:,}", f"{row['intensity']:.2g}")
    yield f"{row['lanes']:.3g}"
    facts = row["compiled"].values()
    for values in (
        [fact["registers"] for fact in facts],
        [fact["spill_stores"] + fact["spill_loads"] for fact in facts],
        [fact["shared"] + row["dynamic_shared"] for fact in facts],
        [fact["blocks"] for fact in facts],
        [fact["ldg128"] for fact in facts],
        [fact["hmma"] for fact in facts],
    ):
        yield str(values[0]) if len(set(values)) == 1 else " ".join(map(str, values))
