"""Choose the digits of mnist-mini from the four original MNIST files.

    python examples/data/make_mnist_mini.py FOLDER_WITH_MNIST [OUT]

1,000 training and 200 test digits of each class, training from training and test from test. Within a class
the digits are ranked by SHA-256 of "SEED:split:index" and the first are taken: a choice as random as any,
that no library's random generator can change under us. They keep the order of the original files.

The same input gives the same digits everywhere, and the same bytes wherever Python's zlib compresses alike.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np

from minigen.data.idx import read_idx, write_idx
from minigen.data.registry import MNIST_MINI

SEED = 0
PER_CLASS = {"train": 1000, "t10k": 200}


def choose(labels, split):
    """Positions (ascending) of the first PER_CLASS digits of each class in the order of their hashes."""

    def rank(index):
        return hashlib.sha256(f"{SEED}:{split}:{index}".encode()).digest()

    by_class = (sorted(np.flatnonzero(labels == digit), key=rank) for digit in range(10))
    return np.sort(np.concatenate([ranked[: PER_CLASS[split]] for ranked in by_class]))


def make(source, out):
    """Read the four files in `source`, write the four of mnist-mini into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for split in PER_CLASS:
        images, labels = f"{split}-images-idx3-ubyte.gz", f"{split}-labels-idx1-ubyte.gz"
        chosen = choose(read_idx(source / labels), split)
        for name in (images, labels):
            write_idx(out / name, read_idx(source / name)[chosen])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Choose the digits of mnist-mini.")
    parser.add_argument("source", type=Path, help="folder with the four MNIST files")
    parser.add_argument("out", type=Path, nargs="?", default=MNIST_MINI.embedded, help="default: into the package")
    arguments = parser.parse_args()
    make(arguments.source, arguments.out)
