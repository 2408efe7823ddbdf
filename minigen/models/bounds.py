"""Lower bounds of ln p(x) for a model with latent variables, p(x) = integral of p(x | z) p(z) dz.

The integral is out of reach; an encoder q(z | x), a Gaussian whose mean and variance it gives, makes a bound of it.

The ELBO, derived twice
    by Jensen's inequality, ln being concave
        ln p(x) = ln E_q [ p(x, z) / q(z | x) ]  >=  E_q ln [ p(x, z) / q(z | x) ]  =: ELBO
    by Bayes' rule, p(x) = p(x, z) / p(z | x) for every z
        ln p(x) = E_q ln [ p(x, z) / q(z | x) ] + E_q ln [ q(z | x) / p(z | x) ]  =  ELBO + KL(q(z | x) || p(z | x))
The second says how large the gap is: the KL divergence from the encoder's Gaussian to the true posterior. Split
p(x, z) into p(x | z) p(z) and the ELBO is

    ELBO = E_q ln p(x | z) - KL(q(z | x) || p(z))               reconstruction, less what the code costs in nats

The importance-weighted bound: average k weights before the logarithm, which then has less to lose.

    w_i = p(x, z_i) / q(z_i | x),  z_i ~ q(z | x)      IWAE_k = E ln (1/k) sum_i w_i
    ELBO = IWAE_1 <= IWAE_k <= IWAE_{k+1} <= ln p(x),  and IWAE_k -> ln p(x) where the weights are bounded

The gradient with respect to the encoder's mu and sigma: z depends on them, so a sample of z has to as well.

    reparametrised    z = mu + sigma eps, eps ~ N(0, I):     d/dmu E f(z) = E f'(mu + sigma eps)
    score function    d/dmu E f(z) = E [ f(z) d/dmu ln q(z) ] = E [ f(z) (z - mu) / sigma^2 ]

Both are unbiased. The second knows f's values only, the first its slope: for f(z) = z^2 and sigma = 1 the variance of
one sample is 4 for the first and mu^4 + 14 mu^2 + 15 for the second, which also grows with the number of dimensions.

Shapes   mu, logvar (N, D), eps, z (N, K, D), log_px, log_w (N, K)
Source   Kingma and Welling, Auto-Encoding Variational Bayes, 2014, sections 2.2 to 2.4; Burda et al., Importance
         Weighted Autoencoders, ICLR 2016, eq. 8 and theorem 1; decks 001, 003 and 004, VAE
"""

from .. import ops
from ..tensor import Tensor


def reparametrise(mu, logvar, eps):
    """z = mu + sigma eps, sigma = exp(logvar / 2): K samples of N(mu, sigma^2) a row, through which gradients flow."""
    n, d = mu.shape
    return mu.reshape(n, 1, d) + ops.exp(logvar * 0.5).reshape(n, 1, d) * eps


def log_ratio(z, eps, logvar):
    """ln q(z | x) - ln p(z) in each dimension, in nats -> (N, K, D).

    With z = mu + sigma eps the square in ln q is eps^2, whatever mu and sigma, and the constants cancel:

        ln N(z; mu, sigma^2) - ln N(z; 0, 1) = ( z^2 - eps^2 - logvar ) / 2
    """
    n, _, d = z.shape
    return (z * z - eps * eps - logvar.reshape(n, 1, d)) * 0.5


def log_weights(log_px, z, eps, logvar):
    """ln w = ln p(x | z) + ln p(z) - ln q(z | x), in nats -> (N, K)."""
    return log_px - log_ratio(z, eps, logvar).sum(2)


def iwae_bound(log_w):
    """ln (1/k) sum_i w_i of each row.   log_w (N, K) -> (N,)

    Its gradient is sum_i v_i d ln w_i with the normalised weights v_i = w_i / sum_j w_j. The largest weight is taken
    out of the sum, so that exp neither overflows nor vanishes altogether; what is taken out does not change the
    result, so it is a constant to the tape.
    """
    top = Tensor(log_w.data.max(1, keepdims=True))
    return ops.log(ops.exp(log_w - top).mean(1)) + top.reshape(len(top))


def kl_to_prior(mu, logvar):
    """KL(q(z | x) || N(0, I)) by its formula, in each dimension, in nats -> (N, D)"""
    return ops.kl_gaussian(mu, logvar, "none")


def sampled_kl_to_prior(z, eps, logvar):
    """The same KL as the mean of ln q - ln p over K samples -> (N, D): right on average, and noisier."""
    return log_ratio(z, eps, logvar).mean(1)


def path_log_ratio(z, mu, logvar):
    """log_ratio with q's own mu and sigma held constant: its gradient comes by way of z only -> (N, K, D)

    What is left out, E d ln q(z; mu, sigma) / d(mu, sigma), is 0; its samples are not. So the gradient is right on
    average, and where q is the posterior that of ln w is 0 for every sample, not only on average.

    Source: Roeder et al., Sticking the Landing, NeurIPS 2017, section 3
    """
    n, _, d = z.shape
    mu, logvar = mu.detach().reshape(n, 1, d), logvar.detach().reshape(n, 1, d)
    away = z - mu
    return (z * z - away * away * ops.exp(-logvar) - logvar) * 0.5


def path_kl_to_prior(z, mu, logvar):
    """The KL as the mean of path_log_ratio over K samples -> (N, D)"""
    return path_log_ratio(z, mu, logvar).mean(1)


def with_share_of_gradient(z, share):
    """z itself, but only `share` of a gradient goes back through it.   share an array that broadcasts with z"""
    return z * share + z.detach() * (1 - share)


def elbo(log_px, kl):
    """E ln p(x | z) - KL of each row, from log_px (N, K) and the KL in each dimension (N, D) -> (N,)"""
    return log_px.mean(1) - kl.sum(1)


def free_bits(kl, least):
    """sum_d max(least, mean_n KL_nd): below `least` nats a dimension of the code costs nothing more.   kl (N, D) -> ()

    Without it, dimensions that say little at first are pressed onto the prior and never come back.
    Source: Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016, appendix C.8
    """
    mean = kl.mean(0)
    return (ops.maximum(mean, least) if least > 0 else mean).sum()
