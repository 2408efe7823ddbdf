"""How likely a diffusion model finds data: the variational bound, term by term, in nats.

A diffusion model is a VAE whose latents are x_1 ... x_T and whose encoder, q, has nothing to learn:

    -log p(x0) <=  KL(q(x_T | x0) || N(0, I))                                       L_T, the prior's term
                 + sum over t = 2 ... T of  E KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t))       L_{t-1}
                 + E[-log p(x0 | x_1)]                                              L_0, the decoder's term

with E over q(x_t | x0). Both sides of every KL are Gaussian: q's posterior has the mean and variance of process.py, the
model's p has the mean at its x0_hat and the variance sigma_t^2,

    "beta"        beta_t
    "posterior"   beta tilde_t (at t = 1 that of t = 2, being 0)
    "learned"     in between, geometrically: exp(share log beta_t + (1 - share) log beta tilde_t)

p(x0 | x_1) is a Gaussian density, or, for data that was rounded to bins of width w, its integral over the bin, the
outermost bins reaching to infinity. Bits a dimension = nats / (dimensions ln 2); for 8-bit images w = 2 / 255.

Shapes   x0, x_t (N, ...); each term (N,), summed over the other axes
Source   Ho et al., DDPM, 2020, eq. 5, 13; Nichol and Dhariwal, Improved DDPM, 2021, eq. 15; decks 000 "Evidence lower
         bound", 001 "Diffusion Model is a VAE", 003 "Learning of Diffusion Models", 004 "Loss formulation, step 1"
         (whose equations 19 to 21 sum over t >= 1 where t > 1 is meant)
"""

import math

import numpy as np
from tqdm import tqdm

from ..autograd import no_grad
from ..device import device_of, to_device
from ..ops import absolute, exp, gaussian_nll, kl_gaussian, kl_gaussians, log, log_ndtr, where
from ..tensor import Tensor
from .process import at

PIXEL = 2 / 255  # the width of a bin of 8-bit images in [-1, 1]
VARIANCES = ("beta", "posterior", "learned")


def bound(process, model, x0, generator, levels, variance="posterior", bin_width=PIXEL, progress=False):
    """The terms of the bound for each x0 -> {"L_T", "L_t", "L_0"}, each (N,) float64 in nats; L_t is the middle sum.

    levels      network calls for each sample, 2 ... T: one for L_0, the rest spread over the levels 2 ... T as
                `strata` says, an unbiased estimate; levels = T visits every one
    variance    of the model's steps, see above
    bin_width   None for the density of continuous data
    Every call draws fresh noise. Raises ValueError for levels out of range.
    """
    if not min(2, process.T) <= levels <= process.T:
        raise ValueError(f"levels must lie in 2 ... T = {process.T}, got {levels}")
    x64 = x0.astype(np.float64)
    terms = {"L_T": to_device(prior_term(process, x64).data, "cpu"), "L_t": np.zeros(len(x0))}
    chosen, weights = strata(process.T, levels - 1, len(x0), generator)
    columns = [np.ones(len(x0), np.int64), *chosen.T]
    for i, t in enumerate(tqdm(columns, disable=not progress, leave=False)):
        eps = generator.normal(x0.shape, x0.dtype, device_of(x0))
        xt = process.q_sample(x0, t, eps)
        with no_grad():
            output = model(xt, t)
            output = (output.data if isinstance(output, Tensor) else output).astype(np.float64)
            prediction, share = process.split(output)
            term = reverse_term(process, prediction, share, x64, xt.astype(np.float64), t, variance, bin_width)
        term = to_device(term.data, "cpu")
        if i == 0:
            terms["L_0"] = term
        else:
            terms["L_t"] += weights[:, i - 1] * term
    return terms


def strata(T, draws, n, generator):
    """For each of n samples `draws` levels of 2 ... T, and weights that make sum(weight * L) an estimate of the sum.

    -> t (n, draws) int64, weights (n, draws). The line from 0 to 1 is cut into `draws` equal parts, one point is drawn
    in each, and it is a level by the distribution p(t) ~ 1 / t, for L_{t-1} falls about as fast: the weight is
    1 / (draws p(t)). With draws = T - 1 every level is taken once, with weight 1.
    """
    if draws == T - 1:
        return np.tile(np.arange(2, T + 1), (n, 1)), np.ones((n, draws))
    p = 1 / np.arange(2, T + 1)
    p /= p.sum()
    points = (np.arange(draws) + generator.uniform((n, draws), np.float64)) / draws
    index = np.searchsorted(np.cumsum(p)[:-1], points, side="right")
    return index + 2, 1 / (draws * p[index])


# ---------------------------------------------------------------- the terms


def prior_term(process, x0):
    """L_T = KL(N(sqrt(alpha_bar_T) x0, 1 - alpha_bar_T) || N(0, 1)), (N,). No network has a say in it."""
    T = np.full(len(x0), process.T)
    logvar = x0 * 0 + at(2 * np.log(np.maximum(process.noise, 1e-300)), T, x0)
    return per_sample(kl_gaussian(x0 * at(process.signal, T, x0), logvar, "none"))


def reverse_term(process, prediction, share, x0, xt, t, variance, bin_width=PIXEL):
    """L_{t-1} of each sample, (N,), a Tensor: the KL where t > 1, the decoder's term L_0 where t = 1.

    prediction, share   of process.split; share only for variance "learned"
    """
    noisy = Tensor(xt)  # a Tensor's arithmetic, wherever it stands: an array of CuPy knows nothing of Tensors
    x0_hat, _ = process.x0_and_eps(prediction, noisy, t)
    mean, _ = process.posterior(x0_hat, noisy, t)
    true_mean, _ = process.posterior(x0, xt, t)
    logvar = reverse_logvar(process, share, xt, t, variance)
    true_logvar = xt * 0 + at(process.log_posterior_variance, t, xt)
    kl = kl_gaussians(true_mean, true_logvar, mean, logvar, "none")
    first = at((np.arange(process.T + 1) == 1).astype(np.float64), t, x0) == 1
    decoder = gaussian_nll(x0, mean, logvar, "none") if bin_width is None else bin_nll(x0, mean, logvar, bin_width)
    return per_sample(where(first, decoder, kl))


def reverse_logvar(process, share, xt, t, variance):
    """log sigma_t^2 of the model's step, of xt's shape. Raises ValueError for another variance, or none learned."""
    check_variance(process, variance)
    low, high = at(process.log_posterior_variance, t, xt), at(process.log_beta, t, xt)
    if variance == "learned":
        return share * high + (1 - share) * low
    return xt * 0 + (high if variance == "beta" else low)


def check_variance(process, variance):
    if variance not in VARIANCES:
        raise ValueError(f"variance must be one of {', '.join(VARIANCES)}, got {variance!r}")
    if variance == "learned" and not process.learned_variance:
        raise ValueError("variance is 'learned', but this model has learned none: use 'beta' or 'posterior'")


def bin_nll(x, mean, logvar, width):
    """-log of the mass of N(mean, e^logvar) in the bin of x: [x - w/2, x + w/2], to infinity at x = -1 and x = 1.

    Far from the mean a difference of two cumulated masses is 0 - 0 or 1 - 1. By symmetry the bin may lie below the
    mean, at distance c = |x - mean|, where the logarithms of both masses stay exact:
        log(Phi(b) - Phi(a)) = log Phi(b) + log(1 - exp(log Phi(a) - log Phi(b)))      a, b = (-c -+ w/2) / sigma
    Source: Ho et al., eq. 13
    """
    inverse, data, x = exp(logvar * -0.5), x, Tensor(x)
    below, above = ((x - mean) + width / 2) * inverse, ((mean - x) + width / 2) * inverse
    distance = absolute(x - mean)
    upper = log_ndtr((width / 2 - distance) * inverse)
    lower = log_ndtr((-distance - width / 2) * inverse)
    inside = upper + log(1 - exp(lower - upper))
    return -where(data < -1 + width / 4, log_ndtr(below), where(data > 1 - width / 4, log_ndtr(above), inside))


def per_sample(values):
    return values.reshape(len(values), -1).sum(1)


def bits_per_dim(nats, dimensions):
    """nats / (dimensions ln 2)"""
    return nats / (dimensions * math.log(2))
