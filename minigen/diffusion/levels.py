"""Which noise levels a training batch visits, and how its losses are weighted so that the mean stays the mean.

The loss is an average over t = 1 ... T, and a batch is a handful of them. Drawn by any probabilities p(t) > 0, with the
weight 1 / (T p(t)) it stays that average on average:

    E[w(t) L_t] = sum over t of p(t) L_t / (T p(t)) = (1 / T) sum of L_t

    uniform      each level drawn by itself, p = 1 / T                           Ho, Algorithm 1
    stratified   p = 1 / T, but the levels of a batch spread evenly over it     Kingma et al. 2021, appendix I.1
    importance   p(t) ~ sqrt(E[L_t^2]) of the last losses seen at t              Nichol and Dhariwal, section 3.3

The loss depends on the level more than on the image, so a batch that covers all levels has a less noisy gradient. Of
all p, the last has the least variance; it pays where losses differ by powers of ten between levels, as the bound's do.

Source   Kingma et al., Variational Diffusion Models, 2021; Nichol and Dhariwal, Improved DDPM, 2021, eq. 18
"""

import numpy as np

SEEN = 10  # losses that are remembered of each level
UNIFORM = 1e-3  # share of the draws that stay uniform, so that no level is forgotten


class UniformLevels:
    """Levels drawn independently; the base of the others.

    keeps_history   whether the losses of every step are wanted, on the CPU
    """

    keeps_history = False

    def __init__(self, T):
        self.T = T

    def draw(self, n, generator):
        """-> levels t (n,) int64 in 1 ... T, and weights (n,) float64."""
        return generator.integers(1, self.T + 1, (n,)), np.ones(n)

    def update(self, t, losses):
        """Take in the unweighted losses (n,) of levels t."""

    def state(self):
        """{name: array} for the checkpoint."""
        return {}

    def load_state(self, arrays):
        """Continue where `state` was taken."""


class StratifiedLevels(UniformLevels):
    """Levels spread evenly over 1 ... T, beginning anywhere."""

    def draw(self, n, generator):
        return stratified_levels(n, self.T, generator), np.ones(n)


class ImportanceLevels(UniformLevels):
    """Levels drawn by the root mean square of their last losses; uniformly until all were seen SEEN times."""

    keeps_history = True

    def __init__(self, T):
        super().__init__(T)
        self.losses = np.zeros((T + 1, SEEN))
        self.counts = np.zeros(T + 1, np.int64)

    def probabilities(self):
        """p (T + 1,) float64, p[0] = 0."""
        p = np.zeros(self.T + 1)
        p[1:] = 1 / self.T
        if self.counts[1:].min() >= SEEN:
            size = np.sqrt((self.losses**2).mean(1))
            p[1:] = (1 - UNIFORM) * size[1:] / size[1:].sum() + UNIFORM / self.T
        return p

    def draw(self, n, generator):
        p = self.probabilities()
        points = (generator.uniform((1,), np.float64) + np.arange(n) / n) % 1
        t = 1 + np.searchsorted(np.cumsum(p[1:])[:-1], points, side="right")
        return t, 1 / (self.T * p[t])

    def update(self, t, losses):
        for level, loss in zip(t, losses):
            self.losses[level, self.counts[level] % SEEN] = loss
            self.counts[level] += 1

    def state(self):
        return {"losses": self.losses.copy(), "counts": self.counts.copy()}

    def load_state(self, arrays):
        self.losses[...], self.counts[...] = arrays["losses"], arrays["counts"]


LEVELS = {"uniform": UniformLevels, "stratified": StratifiedLevels, "importance": ImportanceLevels}


def stratified_levels(n, T, generator):
    """n levels, each uniform on 1, ..., T, and one in every n-th part of that range: -> int64 (n,).

        t_i = 1 + floor(T ((u + i / n) mod 1))        u ~ U(0, 1), one for the whole batch

    Source: Kingma et al., Variational Diffusion Models, NeurIPS 2021, appendix I.1
    """
    u = generator.uniform((1,), np.float64)
    return 1 + np.minimum(T * ((u + np.arange(n) / n) % 1), T - 1).astype(np.int64)
