"""The two ceilings of the roofline, in a process without either library: a copy between arrays, BLAS's product."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.cases import Case
from benchmarks.paired import Work

COPIED, SIDE = 1 << 28, 2048  # bytes of an array, far more than any cache; rows and columns of a matrix
CASES = {
    "copy": Case("ceiling copy", "ceiling", {"what": "copy"}, 0.0, bytes=2.0 * COPIED),  # read once, written once
    "sgemm": Case("ceiling sgemm", "ceiling", {"what": "sgemm"}, 0.0, flops=2.0 * SIDE**3),
}


def prepare(case, form, folder):
    return Work({"copy": copy, "sgemm": sgemm}[case["shape"]["what"]](), dict)


def copy():
    threads = int(os.environ["OMP_NUM_THREADS"])
    source, target = (np.ones((threads, COPIED // threads), np.uint8) for _ in range(2))
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.copyto, target, source))


def sgemm():
    a, b = (np.random.default_rng(i).standard_normal((SIDE, SIDE), np.float32) for i in range(2))
    c = np.empty_like(a)
    return lambda: np.matmul(a, b, out=c)
