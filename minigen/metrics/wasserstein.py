"""Sliced Wasserstein distance: look at both clouds along random lines, where the distance is exact.

    on a line, n points against n     W^2 = mean over i of (a_(i) - b_(i))^2       the i-th smallest against the i-th
    SWD = sqrt(mean over lines of W^2)                                             lines uniform on the sphere

In one dimension the best way to move one sample onto another keeps the order, so sorting finds it. For round
Gaussians in d dimensions the mean over all lines has a closed form: SWD^2 = |m1 - m2|^2 / d + (s1 - s2)^2.

In `scores` it compares pixels, the only score there that no classifier has filtered: what it sees is brightness
and its distribution over places, not digits. It is biased as FID is: the same n on both sides.

Source   Rabin et al., Wasserstein barycenter and its application to texture mixing, SSVM 2011; Bonneel et al.,
         Sliced and Radon Wasserstein barycenters of measures, 2015.
         (Karras et al. 2018 slice patches, we slice images.)
"""

import numpy as np

from .frechet import check_same_n

LINES = 128


def sliced_wasserstein(generated, real, generator, lines=LINES):
    """SWD of two clouds (n, d) along `lines` random lines. Raises ValueError unless both have the same n and d."""
    return Slices(generated, real, generator, lines).distance()


class Slices:
    """Two clouds (n, d) on the same random lines, sorted once: replicates of the bootstrap only repeat and drop."""

    def __init__(self, generated, real, generator, lines=LINES):
        check_same_n(generated, real)
        directions = generator.normal((np.shape(real)[1], lines), np.float64)
        directions /= np.linalg.norm(directions, axis=0)
        self.generated, self.real = (sorted_along(cloud, directions) for cloud in (generated, real))

    def distance(self, generated_counts=None, real_counts=None):
        """SWD. counts: interval.py."""
        a, b = drawn(self.generated, generated_counts), drawn(self.real, real_counts)
        return float(np.sqrt(np.mean((a - b) ** 2)))  # every line has n points, so the mean of means is the mean


def sorted_along(cloud, directions):
    """For every line (column of directions): the order of the points along it, and their places in that order."""
    places = (np.asarray(cloud) @ directions).T
    order = places.argsort(axis=1)
    return order, np.take_along_axis(places, order, axis=1)


def drawn(side, counts):
    """The sorted places (lines, n), each as often as its point was drawn."""
    order, places = side
    if counts is None:
        return places
    return np.repeat(places.ravel(), counts[order].ravel()).reshape(places.shape)
