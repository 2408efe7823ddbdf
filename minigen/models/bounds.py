"""Lower bounds of ln p(x) that a VAE is trained on: the ELBO, and the importance-weighted bound of k samples.

    w_i = p(x, z_i) / q(z_i | x),   z_i ~ q(z | x)
    IWAE_k = E ln (1/k) sum_i w_i          ELBO = IWAE_1 <= IWAE_k <= IWAE_{k+1} <= ln p(x)

Shapes   mu, logvar (N, D), eps, z (N, K, D), log_px, log_w (N, K)
Source   Burda et al., Importance Weighted Autoencoders, ICLR 2016, eq. 8
"""

import math

from .. import ops
from ..tensor import Tensor


def reparametrise(mu, logvar, eps):
    """z = mu + sigma eps, sigma = exp(logvar / 2): a sample of N(mu, sigma^2) whose gradient reaches mu and sigma."""
    n, d = mu.shape
    return mu.reshape(n, 1, d) + ops.exp(logvar * 0.5).reshape(n, 1, d) * eps


def log_weights(log_px, z, eps, logvar):
    """ln w = ln p(x | z) + ln p(z) - ln q(z | x), in nats -> (N, K).

    With z = mu + sigma eps the square in ln q is eps^2, whatever mu and sigma:

        ln p(z) - ln q(z | x) = sum_d ( -z^2 + eps^2 + logvar ) / 2
    """
    n, _, d = z.shape
    return log_px + ((eps * eps - z * z).sum(2) + logvar.sum(1).reshape(n, 1)) * 0.5


def iwae_bound(log_w):
    """ln (1/k) sum_i w_i of each row, stable for weights of any size.   log_w (N, K) -> (N,)

    The largest weight of a row is taken out of the sum: its gradient cancels, so it is a constant.
    """
    top = Tensor(log_w.data.max(1, keepdims=True))
    return ops.log(ops.exp(log_w - top).mean(1)) + top.reshape(len(top))


def elbo(log_px, mu, logvar):
    """ln p(x | z) - KL(q(z | x) || p(z)), the KL by its formula, of each row -> (N,). log_px (N, 1)"""
    return log_px.mean(1) - ops.kl_gaussian(mu, logvar, "none").sum(1)


LN_2PI = math.log(2 * math.pi)
