"""What training minimises: the squared error of the target, weighted by level, and the bound where it is needed.

The errors of one prediction are proportional in all forms,

    |d eps|^2 = snr_t |d x0|^2      |d v|^2 = (snr_t + 1) |d x0|^2      |d mean|^2 = c_t^2 |d x0|^2

with c_t the coefficient of x0 in the posterior's mean. So a loss is a choice of weight in front of |d x0|^2, and which
target the network speaks changes only what it has to say, not what the loss is:

    weighting   in front of |d x0|^2
    simple      the target's own factor above: plain mean squared error, so it depends on the target
    x0          1
    eps         snr_t                        Ho's simple loss (eq. 14), whatever is predicted
    v           snr_t + 1
    min-snr     min(snr_t, gamma)            Hang et al.: min(snr, gamma) / snr for eps, / (snr + 1) for v
    vlb         c_t^2 / (2 beta_t)           the term L_{t-1} of the bound, sigma_t^2 = beta_t; nats a dimension, and
                                             beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)) for eps (deck 004)

A network that learns the variance has no use for it in these: its loss is

    L_hybrid = L_simple + lambda L_vlb                           L_vlb = T E_t[L_{t-1}], nats a dimension

in which the bound sees the prediction as a constant and moves only the variance.

Source   Ho et al., DDPM, 2020, eq. 8, 12, 14; Hang et al., Min-SNR Weighting Strategy, 2023, section 3.4 (v
         has snr + 1 below); Nichol and Dhariwal, Improved DDPM, 2021, eq. 16. Decks 001 "All below targets are
         equivalent" (w, w', w''), 004 "Loss formulation and simplification, step 4"
"""

from math import prod

import numpy as np

from ..ops import mse
from .likelihood import PIXEL, reverse_term
from .process import at, check_alike

WEIGHTINGS = ("simple", "x0", "eps", "v", "min-snr", "vlb")


class Objective:
    """The training loss of a process.

    weighting   see above; gamma is min-snr's
    vlb_weight  lambda of the hybrid loss, for a process with learned variance
    bin_width   of the data, see likelihood.py
    Raises ValueError for an unknown weighting.
    """

    def __init__(self, process, weighting="simple", gamma=5.0, vlb_weight=1e-3, bin_width=PIXEL):
        self.process, self.vlb_weight, self.bin_width = process, vlb_weight, bin_width
        self.weights = level_weights(process, weighting, gamma)

    def losses(self, model, x0, t, eps):
        """The loss of each sample, (N,), a Tensor: noised to its level t, and asked there. Shapes: process.py."""
        process = self.process
        xt = process.q_sample(x0, t, eps)
        prediction, share = process.split(model(xt, t))
        target = process.target_of(x0, t, eps)
        check_alike("prediction of the model", prediction, target)
        errors = mse(prediction, target, "none").reshape(len(t), -1).mean(1)
        losses = errors * at(self.weights, t, errors)
        if share is not None:
            term = reverse_term(process, prediction.detach(), share, x0, xt, t, "learned", self.bin_width)
            losses = losses + term * (self.vlb_weight * process.T / prod(x0.shape[1:]))
        return losses

    def loss(self, model, x0, t, eps):
        """The mean of `losses`, a scalar Tensor."""
        return self.losses(model, x0, t, eps).mean()


def level_weights(process, weighting="simple", gamma=5.0):
    """The factor of the target's mean squared error at each level, (T + 1,) float64; entry 0 is never used."""
    factors = error_factors(process)
    by_x0 = {
        "simple": factors[process.target],
        "x0": factors["x0"],
        "eps": factors["eps"],
        "v": factors["v"],
        "min-snr": np.minimum(factors["eps"], gamma),
        "vlb": factors["mean"] / (2 * np.exp(process.log_beta)),
    }
    if weighting not in by_x0:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {weighting!r}")
    return by_x0[weighting] / factors[process.target]


def error_factors(process):
    """{target: |d target|^2 / |d x0|^2 of one prediction, at each level}; entry 0, where snr is infinite, is 1."""
    snr = np.concatenate([[1.0], process.schedule.snr[1:]])
    x0 = np.concatenate([[1.0], process.posterior_x0[1:]])
    return {"x0": np.ones_like(snr), "eps": snr, "v": snr + 1, "mean": x0**2}
