"""Paired timing: two programs in their own processes, asked in turn for one repetition at a time.

Two libraries in one process share thread pools and ruin each other; two runs one after the other meet a
machine that is busier or hotter. So each side is a process that waits, runs one repetition when it is told
to, and says how long it took. What is reported is the median of the ratios of neighbouring repetitions.

A side is a Python file with `prepare() -> {name: function}`; this file, run as a program, serves it.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from statistics import median

# Set on some machines to keep OpenBLAS from kernels that older builds got wrong; they slow NumPy down.
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Side:
    """One program, `module`, in a process of its own."""

    def __init__(self, module, *arguments):
        environment = {k: v for k, v in os.environ.items() if k not in SLOWING}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.paired", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.names = self.ask("names")

    def ask(self, request):
        """Send one line, read one JSON line back. Raises RuntimeError where the program ended."""
        print(request, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args[-1]} ended with exit code {self.process.wait()}")
        return json.loads(answer)

    def time(self, name):
        """Seconds of one repetition."""
        return self.ask(f"time {name}")

    def peak_memory(self):
        """The largest resident size so far, in MB."""
        return self.ask("memory")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(ours, theirs, name, repetitions=11, warm_up=3):
    """(median of our seconds, of theirs, of the paired ratios theirs / ours)"""
    for _ in range(warm_up):
        ours.time(name), theirs.time(name)
    pairs = [(ours.time(name), theirs.time(name)) for _ in range(repetitions)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(b / a for a, b in pairs)


def serve(module, *arguments):
    functions = importlib.import_module(module).prepare(*arguments)
    for line in sys.stdin:
        request, _, name = line.strip().partition(" ")
        if request == "names":
            answer = list(functions)
        elif request == "memory":
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        else:
            started = time.perf_counter()
            functions[name]()
            answer = time.perf_counter() - started
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
