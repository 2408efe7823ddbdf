"""Toy data whose truth is known: 2-D point sets to look at, and a 1-D mixture with every density in closed form.

    points, labels = TOY_SETS["ring8"](1000, Generator(0))     # (n, 2) float32, (n,) int64
    train = load_points("ring8")                               # a fixed 50,000 of them, to train on

The mixture stays one under diffusion. Noise a sample to level alpha_bar,

    xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps,         eps ~ N(0, 1)

and every component is still Gaussian: mean sqrt(alpha_bar) mu_k, variance alpha_bar sigma_k^2 + 1 - alpha_bar.
So the marginal of xt is again a mixture; its score and the best possible guess of the noise follow.

Sources
    ring of 8      Metz et al., Unrolled GANs, ICLR 2017 (radius 2, sigma 0.02)
    grid of 25     Lin et al., PacGAN, NeurIPS 2018 (means 2 apart, variance 0.0025)
    swiss roll     Sohl-Dickstein et al., ICML 2015, figure 1
    checkerboard   Grathwohl et al., FFJORD, ICLR 2019
    1-D Gaussian   deck 000, "GAN example"
    mixture        Prince, Understanding Deep Learning, chapter 18
"""

from dataclasses import dataclass

import numpy as np

from ..random import Generator

# ---------------------------------------------------------------- Gaussian modes in the plane


@dataclass(frozen=True)
class Modes:
    """Equally likely round Gaussians N(centre_k, sigma^2 I), centres (K, D); D = 2 but for GAUSSIAN1D.

    Of a 2-D Gaussian, 1 - exp(-9/2) = 98.889% lie within 3 sigma: no sampler does better.
    """

    centres: np.ndarray
    sigma: float

    def sample(self, n, generator):
        """n points (n, D) float32 and the mode of each (n,) int64."""
        labels = generator.integers(0, len(self.centres), (n,))
        points = self.centres[labels] + self.sigma * generator.normal((n, self.centres.shape[1]))
        return points.astype(np.float32), labels


def _ring(k, radius):
    angle = 2 * np.pi * np.arange(k) / k
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _grid(k, spacing):
    ticks = spacing * (np.arange(k) - (k - 1) / 2)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


RING8 = Modes(_ring(8, radius=2.0), sigma=0.02)
GRID25 = Modes(_grid(5, spacing=2.0), sigma=0.05)
MODES = {"ring8": RING8, "grid25": GRID25}
GAUSSIAN1D = Modes(np.array([[3.0]]), sigma=1.0)  # the data of deck 000's "GAN example"

# ---------------------------------------------------------------- curves and squares


def two_moons(n, generator, noise=0.1):
    """Two half circles of radius 1 that reach into each other, with Gaussian noise -> (n, 2) float32, moon (n,) int64.

    Moon 0: (cos t, sin t). Moon 1: (1 - cos t, 1/2 - sin t), t uniform in (0, pi).
    """
    labels = generator.integers(0, 2, (n,))
    t = np.pi * generator.uniform((n,))
    upper = np.stack([np.cos(t), np.sin(t)], axis=1)
    lower = np.stack([1 - np.cos(t), 0.5 - np.sin(t)], axis=1)
    points = np.where(labels[:, None] == 0, upper, lower) + noise * generator.normal((n, 2))
    return points.astype(np.float32), labels


def swiss_roll(n, generator, noise=0.02):
    """The spiral r = t / (4.5 pi), t uniform in (1.5 pi, 4.5 pi) -> (n, 2) float32, the turn's half 0..2 (n,) int64."""
    u = generator.uniform((n,))
    t = 1.5 * np.pi * (1 + 2 * u)
    curve = (t / (4.5 * np.pi))[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1)
    points = curve + noise * generator.normal((n, 2))
    return points.astype(np.float32), (3 * u).astype(np.int64)


def checkerboard(n, generator):
    """Uniform on the 8 dark squares, of side 2, of a 4 x 4 board on [-4, 4]^2 -> (n, 2) float32, square (n,) int64.

    Square k lies in column k // 2; a square is dark where column + row is even.
    """
    labels = generator.integers(0, 8, (n,))
    column = labels // 2
    row = 2 * (labels % 2) + column % 2
    corner = 2.0 * np.stack([column, row], axis=1) - 4.0
    return (corner + 2.0 * generator.uniform((n, 2))).astype(np.float32), labels


TOY_SETS = {
    "ring8": RING8.sample,
    "grid25": GRID25.sample,
    "two-moons": two_moons,
    "swiss-roll": swiss_roll,
    "checkerboard": checkerboard,
    "gaussian1d": GAUSSIAN1D.sample,
}
TOY_CLASSES = {"ring8": 8, "grid25": 25, "two-moons": 2, "swiss-roll": 3, "checkerboard": 8, "gaussian1d": 1}

# ---------------------------------------------------------------- a toy set as a data set


@dataclass(frozen=True)
class PointSet:
    """Labelled points: what an ImageSet is for pictures. points (n, D) float32, labels (n,) int64, names of classes."""

    name: str
    points: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    @property
    def images(self):
        """The points, under the name by which training asks for samples."""
        return self.points

    def __len__(self):
        return len(self.points)


POINTS = {"train": 50_000, "test": 10_000}


def load_points(name, split="train"):
    """A toy set as a PointSet: the same points at every call, others in the other split."""
    points, labels = TOY_SETS[name](POINTS[split], Generator(0).child(f"{name} {split}"))
    return PointSet(name, points, labels, tuple(str(k) for k in range(TOY_CLASSES[name])))


# ---------------------------------------------------------------- the 1-D mixture


@dataclass(frozen=True)
class Mixture1d:
    """p(x) = sum over k of w_k N(x; mu_k, sigma_k^2). All arithmetic in float64; x of any shape.

    The defaults are the distribution of Understanding Deep Learning, chapter 18.
    """

    mu: tuple[float, ...] = (1.5, -0.216, 0.45, -1.875)
    sigma: tuple[float, ...] = (0.3, 0.15, 0.525, 0.075)
    w: tuple[float, ...] = (0.2, 0.3, 0.35, 0.15)

    def logpdf(self, x):
        """log p(x), nats."""
        return np.logaddexp.reduce(self._log_joint(x), axis=-1)

    def pdf(self, x):
        """p(x)."""
        return np.exp(self.logpdf(x))

    def score(self, x):
        """d log p / dx = sum over k of p(k | x) (mu_k - x) / sigma_k^2."""
        log_joint = self._log_joint(x)
        posterior = np.exp(log_joint - np.logaddexp.reduce(log_joint, axis=-1, keepdims=True))
        pull = (np.array(self.mu) - np.asarray(x, float)[..., None]) / np.square(self.sigma)
        return (posterior * pull).sum(axis=-1)

    def sample(self, n, generator):
        """n values (n,) float64."""
        uniform = generator.uniform((n,), dtype=np.float64)
        k = np.searchsorted(np.cumsum(self.w)[:-1], uniform)
        return np.array(self.mu)[k] + np.array(self.sigma)[k] * generator.normal((n,), dtype=np.float64)

    def marginal(self, alpha_bar):
        """The mixture that xt follows at level alpha_bar; alpha_bar = 1 gives this one, 0 gives N(0, 1)."""
        if not 0 <= alpha_bar <= 1:
            raise ValueError(f"alpha_bar must lie in [0, 1], got {alpha_bar}")
        mu = np.sqrt(alpha_bar) * np.array(self.mu)
        variance = alpha_bar * np.square(self.sigma) + 1 - alpha_bar
        return Mixture1d(tuple(mu), tuple(np.sqrt(variance)), self.w)

    def best_eps(self, xt, alpha_bar):
        """E[eps | xt] = -sqrt(1 - alpha_bar) * score of the marginal: what a perfect eps-network returns."""
        return -np.sqrt(1 - alpha_bar) * self.marginal(alpha_bar).score(xt)

    def _log_joint(self, x):
        """log w_k + log N(x; mu_k, sigma_k^2): (*, K)."""
        z = (np.asarray(x, float)[..., None] - np.array(self.mu)) / np.array(self.sigma)
        return np.log(self.w) - np.log(self.sigma) - 0.5 * np.log(2 * np.pi) - 0.5 * z * z
