"""The kernel rows on a GPU: python -m benchmarks kernels --device cuda [--against torch]

A GPU works through a queue while Python goes on, so a clock of the CPU would show how long the asking took. Two
*events* in the queue, one before the work and one behind it, are stamped by the GPU itself when it gets there:

    flush | event | kernels of one run | event          seconds = second stamp - first

The flush overwrites an array larger than the L2 cache, so that every run finds its inputs in the GPU's memory, not in
the cache where the run before left them. While it lasts the kernels behind it are queued, so launches that are shorter
than Python's way to them do not wait for Python.

Both libraries run in this process, in turn; comparison before timing, medians and ratios are those of suite.py. PyTorch
multiplies in float32 here, as we do (its cuDNN would take TF32 by default), and cuDNN picks its fastest algorithm.
"""

import importlib
import os

from minigen.device import cuda

from . import suite
from .sides.ceiling_numpy import CASES as CEILINGS
from .sides.ceiling_numpy import COPIED, SIDE

RUNS = 10  # of one repetition, whose median counts
FLUSHED = 4  # times the L2 cache


class Clock:
    """Seconds on the GPU. event() makes an event with record() and synchronize(); elapsed(a, b) gives milliseconds."""

    def __init__(self, event, elapsed, flush):
        self.event, self.elapsed, self.flush = event, elapsed, flush

    def seconds(self, run):
        """The GPU's time for run(): the median of some runs, each with an empty cache."""
        return suite.median(self._once(run) for _ in range(RUNS))

    def _once(self, run):
        start, end = self.event(), self.event()
        self.flush()
        start.record()
        run()
        end.record()
        end.synchronize()
        return self.elapsed(start, end) / 1e3


def cupy_clock(cupy):
    cache = cupy.cuda.runtime.getDeviceProperties(0)["l2CacheSize"]
    buffer = cupy.zeros(FLUSHED * cache, "uint8")
    return Clock(cupy.cuda.Event, cupy.cuda.get_elapsed_time, lambda: buffer.fill(1))


class GPUSide:
    """One library in one form, with the methods that suite.measure asks of a side."""

    def __init__(self, library, form, clock):
        self.library, self.form, self.clock, self.work = library, form, clock, None

    def prepare(self, case):
        self.work = None  # free its memory first
        module = importlib.import_module(f"benchmarks.sides.{case.side}_{self.library}")
        self.work = module.prepare(case.to_dict(), self.form, None)

    def check(self):
        return self.work.check()

    def time(self):
        return self.clock.seconds(self.work.run)


def run(cases, forms_wanted, repetitions, threads, folder, report, tick):
    """-> {"machine", "results"}, as suite.run gives them. Raises NoGPU where there is none."""
    cupy = cuda().xp
    clock = cupy_clock(cupy)
    machine = {**suite.facts(threads), **facts(cupy), **ceilings(cupy, clock)}
    forms = list(dict.fromkeys(form for case in cases for form in case.forms if form in forms_wanted))
    if forms:
        machine |= torch_on_gpu(threads)
    ours, opponents = GPUSide("minigen", "cuda", clock), {form: GPUSide("torch", form, clock) for form in forms}
    results = []
    for case in cases:
        chosen = {form: side for form, side in opponents.items() if form in case.forms}
        results.append(suite.measure(case, ours, chosen, repetitions, tick))
        report(results[-1])
    return {"machine": machine, "results": results}


def torch_on_gpu(threads):
    """Let PyTorch's sides work on the GPU, in float32 -> its facts. Both libraries use the default stream."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    import torch

    from .sides import torch_forms

    torch_forms.DEVICE = "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return {"torch": torch.__version__, "cuDNN": torch.backends.cudnn.version()}


def facts(cupy):
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        "GPU": properties["name"].decode(),
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "L2 MB": properties["l2CacheSize"] / 1e6,
        "cupy": cupy.__version__,
        "CUDA": cupy.cuda.runtime.runtimeGetVersion(),
    }


def ceilings(cupy, clock):
    """The roofline: GB/s of a copy, GFLOP/s of cuBLAS's float32 product; under the names of the CPU's."""
    source, target = (cupy.zeros(COPIED, "uint8") for _ in range(2))
    a, b = (cupy.ones((SIDE, SIDE), "float32") for _ in range(2))
    copied = clock.seconds(lambda: target.__setitem__(..., source))
    multiplied = clock.seconds(lambda: cupy.matmul(a, b))
    return {"copy GB/s": CEILINGS["copy"].bytes / copied / 1e9,
            "sgemm GFLOP/s": CEILINGS["sgemm"].flops / multiplied / 1e9}  # fmt: skip
