"""Where the time goes: what every operation costs, forward and backward.

    with minigen.profile() as p:
        step()
    print(p)                     # operation, calls, ms, share, forward, backward, MB, GB/s, GFLOP, GFLOP/s
    print(p.table("module"))     # the same by the module that made the operation
    p.save("where.png")          # a picture: the modules from the outside in, and under each its operations

How it works. A clock runs in exactly one place at a time. To enter an operation or leave one is to `switch`:

    seconds[where we were] += now - last switch

So the times are exclusive (what an operation spends in operations that it makes is theirs, not its own) and their
sum is the wall time, whatever happens. What no operation claims is Python around them, in a row of its own.

    forward     made while no backward is under way
    backward    the arithmetic of a fused operation's `backward_fast`, and every operation that a plain backward makes
                in turn (of a Conv2d: Conv2dInputGrad, Conv2dWeightGrad); all belong to the module that made it
    update      the steps of optimisers and moving averages
    bytes       arrays in and arrays out, each once: the least that must move. A view moves nothing.
    FLOPs       2 for every multiply-add of a product as its formula states it, padding included (FLOPS below).
                Winograd's convolution does fewer, so its GFLOP/s may exceed what the machine can do. Elementwise
                work has none here: memory bounds it, and GB/s tells how well it does.

The first call of a kernel compiles it: run one step before the block. A GPU works on while Python goes on, so there
the clock has to wait for it: profile(clock=gpu_clock), which makes the whole slower than it is unobserved.
"""

import sys
import threading
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from math import prod
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from . import autograd
from .autograd import Fused, Operation, is_recording
from .device import cuda, device_of
from .nn import Module
from .ops.attention import Attention
from .ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad, ResidualConv2d
from .ops.linear import Linear, MatMul
from .ops.resize import UpsampleConv2d
from .optim import EMA, Optimizer
from .tensor import Tensor

OUTSIDE = "outside operations"  # Python: the modules' forward, batches, printing
TAPE = "the tape"  # sorting the graph, handing gradients on, freeing what was saved
OWN = "this profile"  # what it costs to look
NOT_OPERATIONS = (TAPE, OUTSIDE, OWN)

# Multiply-adds by the shapes of the inputs and of the result.
FLOPS = {
    **dict.fromkeys((Conv2d, ResidualConv2d, UpsampleConv2d), lambda x, w, *more, y: 2 * prod(y) * prod(w[:3])),
    Conv2dInputGrad: lambda dy, w, y: 2 * prod(dy) * prod(w[:3]),
    Conv2dWeightGrad: lambda x, dy, y: 2 * prod(dy) * prod(y[:3]),
    MatMul: lambda a, b, y: 2 * prod(y) * a[-1],
    Linear: lambda x, w, bias, y: 2 * prod(y) * x[-1],
    Attention: lambda q, k, v, y: 2 * prod(q[:3]) * k[1] * (q[3] + v[3]),  # Q K^T, P V
}
BACKWARD_FLOPS = {
    UpsampleConv2d: lambda needs, x, w, *bias, y: 2 * prod(y) * prod(w[:3]) * sum(needs[:2]),
    # Q K^T once more (the probabilities were not kept), dO V^T, P^T dO, dS K, dS^T Q
    Attention: lambda needs, q, k, v, y: 2 * prod(q[:3]) * k[1] * (3 * q[3] + 2 * v[3]),
    Linear: lambda needs, x, w, bias, y: 2 * prod(y) * x[-1] * sum(needs[:2]),  # G W^T, X^T G
}


class Place(NamedTuple):
    """Where the clock runs: the phase ("forward", "backward", "update" or ""), the module, the operation."""

    phase: str
    path: tuple[str, ...]
    name: str


@dataclass
class Row:
    """What one place has cost. calls: how often its arithmetic ran."""

    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    flops: int = 0

    def add(self, other):
        self.calls, self.seconds = self.calls + other.calls, self.seconds + other.seconds
        self.bytes, self.flops = self.bytes + other.bytes, self.flops + other.flops


class Profile:
    """What `profile` has seen.

    rows          {Place: Row}
    seconds       wall time of the block, the sum of all rows
    block_peak    most bytes alive at one time on top of what was alive before the block; None without memory=True
    process_peak  most bytes that the process ever held in memory; None where the system does not say
    """

    block_peak: int | None = None
    process_peak: int | None = None

    def __init__(self, clock):
        self.clock, self.thread = clock, threading.get_ident()
        self.rows: defaultdict[Place, Row] = defaultdict(Row)
        self.paths: dict[int, tuple[str, ...]] = {}  # of modules, by id
        self.roots: list[Module] = []  # held, so that no id is given away again
        self.here, self.last = Place("", (), OUTSIDE), clock()

    @property
    def seconds(self):
        return sum(row.seconds for row in self.rows.values())

    # ---------------------------------------------------------------- the clock

    def switch(self, place):
        """The time since the last switch belongs to where we were; from now on it belongs to `place`."""
        now, before = self.clock(), self.here
        self.rows[before].seconds += now - self.last
        self.here, self.last = place, now
        return before

    def spend(self, place, function, *args, **options):
        """function(...), with its time given to `place`."""
        before = self.switch(place)
        try:
            return function(*args, **options)
        finally:
            self.switch(before)

    def watched(self, hook, original):
        """A replacement for `original`: the hook runs it, told where we were; the hook's own time goes to OWN."""

        @wraps(original)
        def replacement(*args, **options):
            if threading.get_ident() != self.thread:  # one clock cannot be in two places
                return original(*args, **options)
            here = self.switch(Place("", (), OWN))
            try:
                return hook(here, original, *args, **options)
            finally:
                self.switch(here)

        return replacement

    # ---------------------------------------------------------------- what is watched

    def operation(self, here, call, op, *inputs):
        place = Place(here.phase or "forward", here.path, type(op).__name__)
        op.made_in = here.path  # for its backward
        result = self.spend(place, call, op, *inputs)
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        flops = FLOPS[type(op)](*op.shapes, y=result.shape) if type(op) in FLOPS else 0
        self.rows[place].add(Row(1, 0.0, moved(arrays, result.data), flops))
        return result

    def gradients(self, here, call, op, g, needs):
        place = Place("backward", getattr(op, "made_in", ()), type(op).__name__)
        grads = self.spend(place, call, op, g, needs)
        if isinstance(op, Fused) and not is_recording():  # else the operations that it made are counted
            arrays = [a.data for a in (g, *op.inputs, *grads) if a is not None]
            flops = BACKWARD_FLOPS[type(op)](needs, *op.shapes, y=g.shape) if type(op) in BACKWARD_FLOPS else 0
            self.rows[place].add(Row(1, 0.0, sum(map(size, arrays)), flops))
        return grads

    def propagate(self, here, call, *args):
        return self.spend(Place("backward", here.path, TAPE), call, *args)

    def module(self, here, call, module, *inputs, **options):
        path = self.path_of(module, here.path)
        return self.spend(Place(here.phase or "forward", path, OUTSIDE), call, module, *inputs, **options)

    def update(self, here, call, owner, *args, **options):
        place = Place("update", here.path, type(owner).__name__)
        self.rows[place].calls += 1
        return self.spend(place, call, owner, *args, **options)

    def path_of(self, module, outer):
        """("UNet", "down", "0", "block", "conv1"): the class of the outermost module called, then attributes."""
        if id(module) not in self.paths:
            self.roots.append(module)
            root = (*outer, type(module).__name__)
            for name, part in module.named_modules():
                self.paths[id(part)] = (*root, *name.split(".")) if name else root
        return self.paths[id(module)]

    # ---------------------------------------------------------------- what is shown

    def __str__(self):
        return self.table()

    def table(self, by="operation"):
        """One row for each operation, or with by="module" for each module, the dearest first; the last is the sum."""
        if by not in ("operation", "module"):
            raise ValueError(f"by must be 'operation' or 'module', got {by!r}")
        groups: defaultdict[str, Group] = defaultdict(Group)
        for place, row in self.rows.items():
            inside = by == "module" and place.path
            groups[".".join(place.path) if inside else place.name].add(place, row)
            groups[""].add(place, row)
        total = groups.pop("")
        dearest = sorted(groups.items(), key=lambda item: -item[1].all.seconds)
        width = max(map(len, [by, *groups]))
        heads = ("calls", "ms", "share", "forward", "backward", "MB", "GB/s", "GFLOP", "GFLOP/s")
        lines = [line(width, by, heads), *(line(width, name, g.cells(self.seconds)) for name, g in dearest)]
        return "\n".join([*lines, line(width, "sum: wall time", total.cells(self.seconds)), *self.memory_lines()])

    def memory_lines(self):
        if self.block_peak is not None:
            yield f"peak memory of the block, on top of what was there: {self.block_peak / 1e6:,.1f} MB"
        if self.process_peak is not None:
            yield f"peak memory of the process so far: {self.process_peak / 1e6:,.1f} MB"

    def save(self, path):
        """Write the picture (PNG): time to the right, modules from the outside in downwards. See flame.py."""
        from .flame import save

        save(self, Path(path))


class Group:
    """Rows that are shown as one, and their seconds in each phase."""

    def __init__(self):
        self.all, self.phases = Row(), defaultdict(float)

    def add(self, place, row):
        self.all.add(row)
        self.phases[place.phase] += row.seconds

    def cells(self, total):
        row, seconds = self.all, self.all.seconds or float("inf")
        return (
            f"{row.calls:,}" if row.calls else "",
            f"{1e3 * row.seconds:,.2f}",
            f"{row.seconds / (total or 1):.1%}",
            *(f"{1e3 * self.phases[phase]:,.2f}" if self.phases[phase] else "" for phase in ("forward", "backward")),
            *(f"{row.bytes / 1e6:,.1f}" if row.bytes else "", f"{row.bytes / seconds / 1e9:,.1f}" if row.bytes else ""),
            *(f"{row.flops / 1e9:,.2f}" if row.flops else "", f"{row.flops / seconds / 1e9:,.0f}" if row.flops else ""),
        )


def line(width, name, cells):
    return f"{name:{width}}" + "".join(f"{cell:>10}" for cell in cells)


# ---------------------------------------------------------------- bytes


def size(array):
    """The bytes behind an array; what a broadcast repeats (stride 0) is there once. A Python number has none."""
    strides = getattr(array, "strides", ())
    if 0 not in strides:
        return getattr(array, "nbytes", 0) if strides else 0
    return array.itemsize * prod(n for n, stride in zip(array.shape, strides) if stride or not n)


def moved(inputs, result):
    """Bytes in and out; none where the result is a view of an input: a reshape, a transpose, a slice."""
    may_share_memory = device_of(result).xp.may_share_memory
    if any(may_share_memory(x, result) for x in inputs if hasattr(x, "strides")):
        return 0
    return sum(map(size, inputs)) + size(result)


def process_peak():
    """Most bytes that this process ever held in memory, by the system's account; None where it keeps none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def block_peak(p):
    """Note the block's peak as tracemalloc sees it: NumPy reports every array to it."""
    import tracemalloc

    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield
    finally:
        p.block_peak = tracemalloc.get_traced_memory()[1] - before
        if ours:
            tracemalloc.stop()


# ---------------------------------------------------------------- the block

_open: Profile | None = None


def gpu_clock():
    """Seconds, once the GPU has done all that was asked of it: then a time is that of the work, not of asking."""
    cuda().xp.cuda.get_current_stream().synchronize()
    return perf_counter()


def clock_for(device):
    """The clock that tells how long the work on a device takes."""
    return gpu_clock if device == "cuda" else perf_counter


@contextmanager
def profile(memory=False, clock=perf_counter):
    """Measure what runs inside the block -> Profile, to be printed or saved as a picture.

    memory   also note the peak of the CPU's memory, exactly, with tracemalloc: slower, so look at the times without it
    clock    a function that returns seconds; gpu_clock where the work is done by a GPU
    Only the thread that opened the block is watched. Raises RuntimeError where a profile is open already.
    """
    # While the block is open, the few methods through which everything passes are replaced by ones that first look at
    # the clock. That is the simplest way and an honest one: the tape has no hooks that would cost time, or a
    # reader's attention, when nobody measures; and what is measured is the very code that otherwise runs.
    global _open
    if _open is not None:
        raise RuntimeError("a profile is open already: one clock cannot be in two places, use one profile around both")
    p = _open = Profile(clock)
    watched = [
        (Operation, "__call__", p.operation),
        (Operation, "gradients", p.gradients),
        (autograd, "propagate", p.propagate),
        (Module, "__call__", p.module),
        (Optimizer, "step", p.update),
        (EMA, "update", p.update),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
    try:
        with block_peak(p) if memory else nullcontext():
            for (owner, name, hook), (_, _, original) in zip(watched, originals):
                setattr(owner, name, p.watched(hook, original))
            p.last = clock()
            try:
                yield p
            finally:
                p.switch(p.here)
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
        p.process_peak, _open = process_peak(), None
