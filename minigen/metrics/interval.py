"""Score: a number with its sample size and an interval that says how much it would move if drawn again.

    bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13)
        draw n of the n generated samples with replacement, and n of the n real ones; score again; 200 times
        low, high = value + the 2.5th and 97.5th percentile of the replicates - their mean

A replicate never copies samples. It counts how often each was drawn, so a statistic is a function of two arrays
of counts, which sum to n each; ones give the score itself.

Why the replicates are centred. Some scores are biased: two samples of one and the same distribution have a Frechet
distance above 0, because a spread that comes from chance counts as a difference. A replicate is a sample of a
sample, so it carries that bias twice, and the plain percentiles may lie above the score itself. Only their spread
about their own mean is used. What the interval brackets is therefore the expected score *at this n*, bias and all;
it says nothing of the limit of many samples. Scores at different n differ by their biases, so `<` refuses them.

A bootstrap cannot see what did not occur: a share of 0 or 1 has an interval of width 0. (Where 0 of n samples
have a property, up to 3 / n of all may: at 95%, (1 - 3 / n)^n = exp(-3) = 0.05.)
"""

import math
from dataclasses import dataclass

import numpy as np

REPLICATES = 200
LEVEL = 95  # per cent


@dataclass(frozen=True)
class Score:
    """A value, the ends of its 95% interval, and the number n of samples on each side."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self):
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n = {self.n})"

    def __lt__(self, other):
        """Which is lower? Raises ValueError for scores at different n."""
        if self.n != other.n:
            raise ValueError(f"scores at different n cannot be compared, got n = {self.n} and n = {other.n}")
        return self.value < other.value


def bootstrap(statistic, n, generator, within=(-math.inf, math.inf)):
    """The Score of statistic(generated_counts, real_counts), a number.

    n        samples on each side
    within   the values that the statistic can take: the ends of the interval stay inside
    """
    once = np.ones(n, np.int64)
    value = float(statistic(once, once))
    replicates = [statistic(counts(n, generator), counts(n, generator)) for _ in range(REPLICATES)]
    tails = np.percentile(replicates, [50 - LEVEL / 2, 50 + LEVEL / 2])
    low, high = np.clip(value + tails - np.mean(replicates), *within)
    return Score(value, float(low), float(high), n)


def counts(n, generator):
    """How often each of n samples is among n draws with replacement -> (n,), with sum n."""
    return np.bincount(generator.integers(0, n, (n,)), minlength=n)
