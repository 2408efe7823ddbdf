"""The Gaussian diffusion process: what is known about x_t without any network.

    one step       x_t = sqrt(alpha_t) x_{t-1} + sqrt(beta_t) eps                           Ho eq. 2
    in one jump    x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps                   Ho eq. 4
    one step back, if x0 were known (Bayes: the product of two Gaussians in x_{t-1})        Ho eq. 6, 7
        q(x_{t-1} | x_t, x0) = N(mean, variance)
        mean     = sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) x0
                 + sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) x_t
        variance = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t        ("beta tilde"; 0 at t = 1)

A network is trained to predict one of four targets. Given x_t and t, each tells the others, because (x_t, v) is
(x0, eps) rotated by the angle whose cosine is a and whose sine is b, and the mean above is linear in x0 and x_t:

    x_t =  a x0 + b eps        x0  = a x_t - b v        a = sqrt(alpha_bar_t)
    v   = -b x0 + a eps        eps = b x_t + a v        b = sqrt(1 - alpha_bar_t)

so the errors of one and the same prediction are proportional (objective.py makes one loss of them).

A network that also learns the variance of its step back has twice the channels: the target, and per pixel a number
u, of which (u + 1) / 2 is the share of log beta_t in the log variance, the rest being log beta tilde_t's. At level 1
beta tilde is 0, and has no logarithm: there the value of level 2 stands for it.

Shapes   x0, x_t, eps, v (N, ...) float32 or float64, arrays of NumPy or CuPy, or Tensors
         t (N,) integers 1 ... T, on the CPU
Source   Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020. v: Salimans and Ho, Progressive
         Distillation, 2022, appendix D. Learned variance: Nichol and Dhariwal, Improved DDPM, 2021, eq. 15, with u as
         their program has it. Decks 000 "Diffusion kernel", "Reparameterization of target"; 001 "All below targets
         are equivalent"; 004 "Loss formulation and simplification". (Decks without the bar write alpha_t for
         alpha_bar_t.)
"""

import numpy as np

from ..device import device_of, to_device
from ..tensor import Tensor

TARGETS = ("eps", "x0", "v", "mean")


class GaussianDiffusion:
    """A schedule, what the network predicts, and whether it also learns the variance of its step back.

    target   "eps", "x0", "v" or "mean". Raises ValueError for another.
    """

    def __init__(self, schedule, target="eps", learned_variance=False):
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
        self.schedule, self.target, self.learned_variance = schedule, target, learned_variance
        beta, alpha_bar = schedule.beta, schedule.alpha_bar
        before = np.concatenate([[1.0], alpha_bar[:-1]])  # alpha_bar_{t-1}; what stands at level 0 is never used
        noise = np.where(alpha_bar < 1, 1 - alpha_bar, 1)
        self.posterior_variance = (1 - before) / noise * beta
        self.posterior_x0 = np.sqrt(before) * beta / noise
        self.posterior_xt = np.sqrt(schedule.alpha) * (1 - before) / noise
        self.signal, self.noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
        variance = self.posterior_variance[2:]
        first = variance[:1] if self.T > 1 else beta[1:]
        self.log_posterior_variance = np.log(np.concatenate([first, first, variance]))  # entry 0 is never used
        self.log_beta = np.log(np.concatenate([beta[1:2], beta[1:]]))

    @property
    def T(self):
        return self.schedule.T

    # ------------------------------------------------------------ forward, and one step back

    def q_step(self, x, t, eps):
        """x_t from x = x_{t-1}: sqrt(alpha_t) x + sqrt(beta_t) eps. Shapes: the module's docstring."""
        t = self._checked(t, x, x_previous=x, eps=eps)
        return x * at(np.sqrt(self.schedule.alpha), t, x) + eps * at(np.sqrt(self.schedule.beta), t, x)

    def q_sample(self, x0, t, eps):
        """x_t from x0 in one jump: sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps."""
        t = self._checked(t, x0, x0=x0, eps=eps)
        return x0 * at(self.signal, t, x0) + eps * at(self.noise, t, x0)

    def posterior(self, x0, xt, t):
        """Mean (N, ...) and variance (N, 1, ..., 1) of q(x_{t-1} | x_t, x0). The variance is 0 at t = 1."""
        t = self._checked(t, x0, x0=x0, xt=xt)
        mean = x0 * at(self.posterior_x0, t, x0) + xt * at(self.posterior_xt, t, x0)
        return mean, at(self.posterior_variance, t, x0)

    # ------------------------------------------------------------ the four targets

    def split(self, output):
        """The network's output (N, ..., C) -> prediction, None; where it learns the variance, (N, ..., 2C) ->
        prediction, share of log beta in the log variance, both (N, ..., C).
        """
        if not self.learned_variance:
            return output, None
        width = output.shape[-1] // 2
        return output[..., :width], output[..., width:] * 0.5 + 0.5

    def x0_and_eps(self, prediction, xt, t, source=None):
        """What a prediction of `source` (the process's own target unless given) says about x0 and eps."""
        t = self._checked(t, xt, prediction=prediction, xt=xt)
        a, b = at(self.signal, t, xt), at(self.noise, t, xt)
        source = source or self.target
        if source == "eps":
            return (xt - prediction * b) / a, prediction
        if source == "x0":
            return prediction, (xt - prediction * a) / b
        if source == "v":
            return xt * a - prediction * b, xt * b + prediction * a
        if source == "mean":
            x0 = (prediction - xt * at(self.posterior_xt, t, xt)) / at(self.posterior_x0, t, xt)
            return x0, (xt - x0 * a) / b
        raise ValueError(f"source must be one of {', '.join(TARGETS)}, got {source!r}")

    def target_of(self, x0, t, eps, target=None):
        """What the network should say: eps, x0, v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0, or the mean of
        q(x_{t-1} | x_t, x0).
        """
        t = self._checked(t, x0, x0=x0, eps=eps)
        target = target or self.target
        if target == "v":
            return eps * at(self.signal, t, x0) - x0 * at(self.noise, t, x0)
        if target == "mean":
            return self.posterior(x0, self.q_sample(x0, t, eps), t)[0]
        if target in TARGETS:
            return {"eps": eps, "x0": x0}[target]
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")

    def _checked(self, t, like, **arrays):
        """t as an index, after every complaint about it and about arrays that must match `like`."""
        t = np.asarray(t)
        if like.dtype not in (np.float32, np.float64):
            raise TypeError(f"{next(iter(arrays))} must be float32 or float64, got {like.dtype}")
        for name, array in arrays.items():
            check_alike(name, array, like)
        if t.dtype.kind not in "iu" or t.shape != like.shape[:1]:
            raise ValueError(f"t must hold one integer a sample, shape {like.shape[:1]}, got {t.dtype}{t.shape}")
        if t.size and not 1 <= t.min() <= t.max() <= self.T:
            raise ValueError(f"t must lie in 1 ... T = {self.T}, got {t.min()} ... {t.max()}")
        return t


def at(table, t, x):
    """table[t] as a coefficient of x: shape (N, 1, ..., 1), looked up in float64, cast to x's dtype last.

    Tables and levels are on the CPU; the N numbers that are asked for go to where x is.
    """
    coefficient = table[t].astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1))
    return to_device(coefficient, device_of(x.data if isinstance(x, Tensor) else x))


def check_alike(name, array, like):
    """Broadcasting or a silent float64 would hide a mistake, so neither is allowed."""
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(f"{name} must be {like.dtype}{like.shape}, got {array.dtype}{array.shape}")
