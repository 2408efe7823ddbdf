"""Paired timing: programs in their own processes, asked in turn for one repetition at a time.

Two libraries in one process share thread pools and ruin each other; two runs one after the other meet a
machine that is busier or hotter. So each side is a process that waits, runs one repetition when it is told
to, and says how long it took. What is reported is the median of the ratios of neighbouring repetitions.

A side serves the cases of benchmarks/cases.py with the files benchmarks/sides/{side}_{library}.py, each of which has

    prepare(case, form, folder) -> Work        what to run and time, and what to compare

This file, run as a program, is such a process: one line of JSON in, one out.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Set on some machines to keep OpenBLAS from kernels that older builds got wrong; they slow NumPy down.
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREADS = ("MINIGEN_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LEAST_SECONDS = 0.05  # a repetition repeats what is short until the clock's own error does not count
PAUSE_SECONDS = 0.02  # idle workers of the side that has just run spin for some milliseconds: let them fall asleep


class Work(NamedTuple):
    """run() is timed; check() -> {name: array} of the same computation on the given inputs, in minigen's layouts."""

    run: Callable
    check: Callable


class SideError(RuntimeError):
    """The other process could not do what it was asked to."""


def cores():
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Side:
    """One library ("minigen" or "torch") in one form, in a process of its own."""

    def __init__(self, library, form, folder, threads):
        environment = {name: value for name, value in os.environ.items() if name not in SLOWING}
        environment |= {name: str(threads) for name in THREADS}
        self.folder, self.name = Path(folder), f"{library}-{form}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.paired", library, form, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip

    def ask(self, **request):
        """One line of JSON there, one back. Raises SideError where the program says so or has ended."""
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SideError(f"the process of {self.name} ended with exit code {self.process.wait()}")
        answer = json.loads(answer)
        if isinstance(answer, dict) and "error" in answer:
            raise SideError(answer["error"])
        return answer

    def prepare(self, case):
        """Build the case, forget the one before it."""
        self.ask(do="prepare", case=case.to_dict())

    def check(self):
        """{name: array}: what the case computes from its inputs. The arrays travel as files."""
        names = self.ask(do="check")
        return {name: np.load(self.folder / f"{self.name}-{i}.npy") for i, name in enumerate(names)}

    def time(self):
        """Seconds of one run; the mean of several where one is short."""
        time.sleep(PAUSE_SECONDS)
        return self.ask(do="time")

    def facts(self):
        """What the process runs on: versions, threads, BLAS kernel."""
        return self.ask(do="facts")

    def forget_peak(self):
        """Measure `memory()["step"]` from here."""
        self.ask(do="forget peak")

    def memory(self):
        """{"process": peak resident MB since the start, "step": since forget_peak, None where the system is silent}"""
        return self.ask(do="memory")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---------------------------------------------------------------- inside the process


def serve(library, form, folder):
    """Answer requests until the other end closes. What libraries print goes to the error output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                work = None  # free its memory first
                case = request["case"]
                module = importlib.import_module(f"benchmarks.sides.{case['side']}_{library}")
                work, answer = module.prepare(case, form, Path(folder)), True
            else:
                answer = REQUESTS[request["do"]](work, library, form, Path(folder))
        except Exception as error:  # told to the other end, which decides
            answer = {"error": f"{type(error).__name__}: {str(error).strip()}"}
        print(json.dumps(answer), file=answers, flush=True)


def answer_check(work, library, form, folder):
    results = work.check()
    for i, array in enumerate(results.values()):
        np.save(folder / f"{library}-{form}-{i}.npy", array)
    return list(results)


def answer_time(work, *_):
    seconds_of_a_run(work)  # after a pause processor and caches take some 50 ms to come back, which no training pays
    return seconds_of_a_run(work)


def seconds_of_a_run(work):
    """The mean of as many as take LEAST_SECONDS."""
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < LEAST_SECONDS:
        work.run()
        calls += 1
    return elapsed / calls


def answer_facts(work, library, *_):
    return importlib.import_module(f"benchmarks.sides.{library}_facts").facts()


def answer_forget_peak(*_):
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from what is resident now
    except OSError:
        return False
    return True


def answer_memory(*_):
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    try:
        status = Path("/proc/self/status").read_text()
        step = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except OSError:
        step = None
    return {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, "step": step}


REQUESTS = {
    "check": answer_check, "time": answer_time, "facts": answer_facts,
    "forget peak": answer_forget_peak, "memory": answer_memory,
}  # fmt: skip


if __name__ == "__main__":
    serve(*sys.argv[1:])
