"""Random numbers whose whole state is two integers, a seed and a counter.

    rng = Generator(seed=0)
    x = rng.normal((64, 28, 28, 1))         # float32; the counter has moved by ceil(64*28*28 / 4)
    noise = rng.child("noise")              # an independent stream, the same one at every call

Two integers fit into a checkpoint, so a resumed run draws what the uninterrupted one would have
drawn, bit for bit. There is no global generator: whoever draws numbers is handed one.

How a word becomes a number, and how many positions a draw uses, is said once, in kernels/philox.py.
Draws use positions of the family `high = 0`; a child's seed is enciphered from the families 1 (whole
number labels) and 2 (text labels) of its parent's key, so no draw ever shows it.

Source   Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC'11, section 2 (streams by key)
"""

import hashlib
from functools import partial
from math import prod
from operator import index

import numpy as np

from .device import device as find_device
from .device import to_device
from .dispatch import dispatch, kernel


class Generator:
    """A stream of random numbers: Philox4x32-10 under the key `seed`, next to draw at `counter`.

    seed and counter are whole numbers in [0, 2**64). Raises TypeError or ValueError otherwise. Every
    draw moves the counter by the positions it uses up: ceil(n / 4) for n words of 32 bits. device="cuda" draws
    the same numbers on the GPU (normals to a few ulps); whole numbers and orders are drawn where they are used, on
    the CPU.
    """

    def __init__(self, seed, counter=0):
        self.seed = _whole_number("seed", seed)
        self.counter = _whole_number("counter", counter)

    def __repr__(self):
        return f"Generator(seed={self.seed}, counter={self.counter})"

    # ------------------------------------------------------------ draws

    def uniform(self, shape, dtype=np.float32, device="cpu"):
        """Uniform on the open interval (0, 1), on a grid of 2^-23 (float32) or 2^-32 (float64). n words."""
        return self._draw("philox_uniform", shape, dtype, device)

    def normal(self, shape, dtype=np.float32, device="cpu"):
        """N(0, 1) by Box-Muller. n words; float32 draws are the float64 draws, rounded."""
        return self._draw("philox_normal", shape, dtype, device)

    def integers(self, low, high, shape):
        """Whole numbers low, ..., high - 1 as int64. 2n words.

        floor(r * range / 2^64) of a 64-bit r: each value's probability is within 2^-64 of 1 / range,
        the price of a draw that uses the same number of words whatever it finds.
        Raises TypeError unless both are whole numbers, ValueError unless 1 <= high - low <= 2**32.
        """
        low, high = index(low), index(high)
        span = high - low
        if not 1 <= span <= 2**32:
            raise ValueError(f"integers needs 1 <= high - low <= 2**32, got low={low}, high={high}")
        shape, n = _size(shape)
        words = self._words(2 * n).astype(np.uint64)
        lower, upper, span, word = words[0::2], words[1::2], np.uint64(span), np.uint64(32)
        picked = (upper * span + (lower * span >> word)) >> word  # long multiplication: no 96-bit product
        return (picked.astype(np.int64) + low).reshape(shape)

    def permutation(self, n):
        """0, ..., n - 1 in random order, as int64. 2n words.

        The order that sorts n random 64-bit keys. Two keys are equal, and their order not random,
        with probability below n^2 / 2^65.
        """
        n = index(n)  # Python's integers have no limit, the counter of a NumPy one would
        if n < 0:
            raise ValueError(f"permutation needs n >= 0, got n={n}")
        words = self._words(2 * n).astype(np.uint64)
        return np.argsort(words[0::2] | words[1::2] << np.uint64(32), kind="stable")

    def bernoulli(self, p, shape, device="cpu"):
        """True with probability p (to 2^-33), as bool. p: a number, or an array that broadcasts to shape. n words."""
        if not np.all((np.asarray(p) >= 0) & (np.asarray(p) <= 1)):
            raise ValueError(f"bernoulli needs probabilities p in [0, 1], got {p}")
        return self.uniform(shape, np.float64, device) < (to_device(p, device) if np.ndim(p) else p)

    # ------------------------------------------------------------ streams and state

    def child(self, label):
        """An independent generator for a named purpose; draws nothing from this one and ignores its counter.

        child seed = the first two words of Philox(key = seed, counter = (label, family)), family 1 for a
        whole number in [0, 2**64), 2 for a text, of which SHA-256's first 8 bytes are taken. Different labels
        can meet only as random 64-bit numbers do: with probability about m^2 / 2^65 among m children.
        """
        if isinstance(label, str):
            family, number = 2, int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little")
        else:
            family, number = 1, _whole_number("label", label)
        low, high = dispatch("philox_bits", self.seed, (family << 64) + number, 2)
        return Generator(int(low) + (int(high) << 32))

    def state(self):
        """{"seed", "counter"}: all there is to save."""
        return {"seed": self.seed, "counter": self.counter}

    def load_state(self, state):
        """Continue where `state()` was taken. Raises ValueError unless it holds exactly seed and counter."""
        if set(state) != {"seed", "counter"}:
            raise ValueError(f"state must hold seed and counter, got {sorted(state)}")
        self.seed = _whole_number("seed", state["seed"])
        self.counter = _whole_number("counter", state["counter"])

    def _draw(self, name, shape, dtype, device):
        """The numbers where they are wanted: the same stream on every device, and no copy from one to the other."""
        shape, n = _size(shape)
        draw = kernel(name, "cuda") if find_device(device).name == "cuda" else partial(dispatch, name)
        numbers = draw(self.seed, self.counter, n, dtype)
        self._advance(n)
        return numbers.reshape(shape)

    def _words(self, n):
        words = dispatch("philox_bits", self.seed, self.counter, n)
        self._advance(n)
        return words

    def _advance(self, n):
        self.counter += -(-n // 4)


def _whole_number(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if not 0 <= value < 2**64:
        raise ValueError(f"{name} must lie in [0, 2**64), got {value}")
    return int(value)


def _size(shape):
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if any(axis < 0 for axis in shape):
        raise ValueError(f"shape must not hold negative lengths, got {shape}")
    return shape, prod(map(int, shape))
