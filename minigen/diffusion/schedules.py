"""Noise schedules: how much noise each of the T steps adds.

    q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I)        alpha_t = 1 - beta_t
    alpha_bar_t = alpha_1 alpha_2 ... alpha_t                    the share of x0's variance left at level t
    snr_t = alpha_bar_t / (1 - alpha_bar_t)                      signal to noise ratio

Levels run from 0 (data: beta_0 = 0, alpha_bar_0 = 1) to T (nearly pure noise), so every table has
T + 1 entries and is indexed by the level itself, without an offset. All tables are float64: near
t = 0, 1 - alpha_bar_t is a small difference of numbers near 1, which float32 gets wrong in the third digit.

A schedule is a beta, a rule for beta_1 ... beta_T:

    linear    beta_t rises linearly from 1e-4 to 0.02 at T = 1000; for other T, times 1000 / T, which
              keeps the sum of the betas (10.05) and, nearly, alpha_bar_T, which is about exp(-that sum)
    cosine    alpha_bar(u) = cos^2((u + s) / (1 + s) * pi / 2), scaled to alpha_bar(0) = 1; u = t / T, s = 0.008
    sigmoid   alpha_bar(u) = (sigmoid(3) - sigmoid(6 u - 3)) / (sigmoid(3) - sigmoid(-3))

The last two reach alpha_bar(1) = 0 and so beta_T = 1; beta is clipped at 0.999, after which
alpha_bar is again the product of the alphas.

Source   linear: Ho et al., Denoising Diffusion Probabilistic Models, 2020, section 4; its rescaling: Nichol and
         Dhariwal, Improved DDPM, 2021, section 4. cosine: the same paper, eq. 17. sigmoid: Jabri, Fleet and Chen,
         Scalable Adaptive Computation for Iterative Generation, 2022, start -3, end 3, tau 1.
         Decks 000 "Diffusion kernel", 001 "Noise schedule", 004 "Model the diffusion/forward process"
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np

MAX_BETA = 0.999


@dataclass(frozen=True, eq=False)
class Schedule:
    """The tables of one schedule, each (T + 1,) float64, indexed by the level t = 0 ... T.

    Raises ValueError unless beta is a float64 vector with beta[0] = 0 and 0 < beta[t] < 1 elsewhere.
    """

    name: str
    beta: np.ndarray

    def __post_init__(self):
        beta = self.beta
        if beta.dtype != np.float64 or beta.ndim != 1 or len(beta) < 2:
            raise ValueError(f"beta must be a float64 vector of T + 1 >= 2 entries, got {beta.dtype}{beta.shape}")
        if beta[0] != 0 or not np.all((beta[1:] > 0) & (beta[1:] < 1)):
            raise ValueError(
                f"beta must have beta[0] = 0 and 0 < beta[t] < 1 for t >= 1, got beta[0]={beta[0]}, "
                f"beta[1:] from {beta[1:].min()} to {beta[1:].max()}"
            )

    @property
    def T(self):
        """The number of steps, which is also the noisiest level."""
        return len(self.beta) - 1

    @cached_property
    def alpha(self):
        return 1 - self.beta

    @cached_property
    def alpha_bar(self):
        return np.cumprod(self.alpha)

    @cached_property
    def snr(self):
        """alpha_bar / (1 - alpha_bar); infinite at level 0."""
        with np.errstate(divide="ignore"):
            return self.alpha_bar / (1 - self.alpha_bar)


def make_schedule(name, T=1000):
    """The schedule called `name` ("linear", "cosine" or "sigmoid") with T steps.

    Raises ValueError for an unknown name (suggesting the nearest), for T < 1, and for a linear
    schedule of T <= 20 steps, whose beta_T = 0.02 * 1000 / T would reach 1.
    """
    if name not in BETAS:
        nearest = get_close_matches(str(name), BETAS, n=1, cutoff=0)[0]
        raise ValueError(f"no schedule is called {name!r}: did you mean {nearest!r}? There are {', '.join(BETAS)}")
    if T < 1:
        raise ValueError(f"T, the number of steps, must be at least 1, got {T}")
    return Schedule(name, np.concatenate([[0.0], BETAS[name](T)]))


def linear_beta(T):
    if T <= 20:
        raise ValueError(f"the linear schedule needs T > 20 (at T={T}, beta_T = 20 / T would reach 1): use 'cosine'")
    return np.linspace(1e-4, 0.02, T) * (1000 / T)


def cosine_beta(T):
    s = 0.008
    return beta_from(np.cos((np.arange(T + 1) / T + s) / (1 + s) * np.pi / 2) ** 2)


def sigmoid_beta(T):
    start, end = -3.0, 3.0
    u = np.arange(T + 1) / T
    return beta_from(sigmoid(end) - sigmoid(start + (end - start) * u))


def beta_from(alpha_bar):
    """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, clipped; any constant factor of alpha_bar cancels."""
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], MAX_BETA)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


BETAS = {"linear": linear_beta, "cosine": cosine_beta, "sigmoid": sigmoid_beta}
