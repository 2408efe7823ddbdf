"""Modes: of a toy set whose modes are known, how many does a generator find, and how much of it lies on none?

    high quality    a sample within 3 sigma of its nearest mode; of true samples in 2-D 98.889% are
    modes covered   modes that are nearest to at least one high-quality sample

One stray sample covers a mode, so the number depends on n; the papers use 2,500. The shares of the modes tell
"all there" from "just there": 1 / K each is even.

Source   Srivastava et al., VEEGAN, NeurIPS 2017, section 4.1; Lin et al., PacGAN, NeurIPS 2018, section 4.1
"""

from typing import NamedTuple

import numpy as np

from .interval import bootstrap


class ModeCount(NamedTuple):
    """n samples; modes covered, of how many; the share within 3 sigma; each mode's share of those, (K,)."""

    n: int
    covered: int
    modes: int
    near: float
    shares: np.ndarray

    def __str__(self):
        return (
            f"{self.covered} of {self.modes} modes, {100 * self.near:.1f}% within 3 sigma, "
            f"rarest mode {100 * self.shares.min():.1f}% of them (n = {self.n})"
        )


def count_modes(points, modes):
    """How the points (n, d) lie about `modes`, a data.Modes (RING8, GRID25) -> ModeCount.

    Raises ValueError for points of another dimension, or none.
    """
    mode, near = assign(points, modes)
    return _count(mode, near, len(modes.centres), np.ones(len(near), np.int64))


def mode_scores(points, modes, generator):
    """Modes covered and the share within 3 sigma, with bootstrap intervals -> {name: Score}. Raises: count_modes."""
    mode, near = assign(points, modes)
    n, k = len(near), len(modes.centres)
    return {
        "modes covered": bootstrap(lambda drawn, _: _count(mode, near, k, drawn).covered, n, generator, (0, k)),
        "within 3 sigma": bootstrap(lambda drawn, _: _count(mode, near, k, drawn).near, n, generator, (0, 1)),
    }


def assign(points, modes):
    """The nearest mode of each point (n,), and whether it lies within 3 sigma (n,)."""
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != modes.centres.shape[1] or not len(points):
        raise ValueError(f"points must be (n, {modes.centres.shape[1]}) with n >= 1, got {points.shape}")
    distance = np.linalg.norm(points[:, None] - modes.centres, axis=2)
    mode = distance.argmin(1)
    return mode, distance[np.arange(len(points)), mode] <= 3 * modes.sigma


def _count(mode, near, k, counts):
    of_mode = np.bincount(mode[near], weights=counts[near], minlength=k)
    total = of_mode.sum()
    return ModeCount(len(mode), int((of_mode > 0).sum()), k, float(total / len(mode)), of_mode / max(total, 1))
