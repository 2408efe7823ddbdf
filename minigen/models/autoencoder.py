"""Autoencoders: networks that must bring their input back through a code, from one composable definition.

    z = f(x~)                    the encoder; x~ is the input x, or a corrupted copy of it
    r(x~) = g(z)                 the decoder, the reconstruction

    minimise   E(x) = 1/2 ||g(f(x~)) - x||^2 + penalty(z)          summed over an image, the mean over images

    kind         f, g                                   x~                              penalty
    linear       affine                                 x                               none
    mlp, conv    networks, each other's mirror          x                               none
    sparse       shrink(affine), unit-norm atoms        x                               c ||z||_1
    denoising    any of these                           x + sigma eps, or pixels lost   none, or c ||z||_1

**Linear = PCA.** For n centred inputs as the rows of X, let W = W_f W_g have rank k. Then sum_i E(x_i) =
1/2 ||X W - X||^2, which by Eckart and Young is least when X W is X projected on its k leading right singular vectors:
the principal components. What is lost there is

    1/2 sum of sigma_j^2 over j > k = n / 2 * sum of the dropped eigenvalues of the covariance X^T X / n

Only the subspace is determined: g(A^-1 (A z)) = g(z) for every invertible A, so single columns of W_g need not be
components. All other stationary points are saddles (Baldi and Hornik 1989), so descent gets there. Biases do the
centring: the best ones send the mean of the data to itself.

Shapes   x (N, H, W, C), pixels in [-1, 1] -> z (N, K) -> (N, H, W, C)
Source   deck 000 "Linear autoencoder" to "Denoising autoencoder", 003 "Let's Start from Autoencoder", 004
         "Autoencoders"; Baldi and Hornik, Neural Networks 2, 1989; Vincent et al., JMLR 11, 2010
"""

from math import log, prod
from typing import NamedTuple

import numpy as np

from .. import nn, ops
from ..device import device_of, to_device
from ..nn import init
from ..tensor import Tensor

# ---------------------------------------------------------------- sparse codes


class Shrink(nn.Module):
    """Soft thresholding: z = sign(u) max(|u| - theta, 0), with one learnt theta > 0 for each of the `units`.

    It is where an L1 penalty leads. For orthonormal atoms D the best code of x solves, for each k alone,

        min over z_k of   1/2 (z_k - d_k . x)^2 + c |z_k|     ->     z_k = shrink(d_k . x, theta = c)

    so this layer behind a linear one can be exact; for other atoms it is one step of ISTA with a learnt matrix.
    Unlike the gradient of |z|, it gives zeros that are zero: nnz can be counted. u (N, units) -> z (N, units)

    Source: Gregor and LeCun, ICML 2010, section 3; Donoho and Johnstone, Biometrika 1994 (soft thresholding)
    """

    def __init__(self, units, start=0.1):
        self.log_threshold = nn.Parameter(init.ones((units,)) * np.float32(log(start)))

    def forward(self, u):
        threshold = ops.exp(self.log_threshold)
        return ops.relu(u - threshold) - ops.relu(-u - threshold)


class Dictionary(nn.Module):
    """A linear decoder with atoms of length 1: x^ = sum over k of z_k d_k + b,  d_k = w_k / ||w_k||.

    With free lengths the L1 penalty would be void: atoms a times as long need codes a times as small for the same
    image, so the penalty could be made as small as one likes. z (N, K) -> (N, *image_shape)

    Source: Olshausen and Field, Nature 1996 (why the lengths must be held)
    """

    def __init__(self, units, image_shape, generator):
        self.image_shape = tuple(image_shape)
        std = prod(image_shape) ** -0.5  # lengths begin near 1, so that steps turn the atoms
        self.weight = nn.Parameter(init.normal((units, prod(image_shape)), generator, std))
        self.bias = nn.Parameter(init.zeros((prod(image_shape),)))

    def atoms(self):
        """The unit vectors d_k: (K, H * W * C)."""
        return self.weight / ops.sqrt((self.weight * self.weight).sum(axis=1, keepdims=True))

    def forward(self, z):
        return ops.linear(z, self.atoms(), self.bias).reshape(z.shape[0], *self.image_shape)


# ---------------------------------------------------------------- corruptions and penalties


class GaussianNoise:
    """x~ = x + sigma eps,  eps ~ N(0, I).

    The best denoiser is the posterior mean, and r(x~) = x~ + sigma^2 grad log p_sigma(x~), where p_sigma is the density
    of x~: an autoencoder that removes noise has learnt the score (Tweedie; Vincent, Neural Computation 2011). For
    x ~ N(0, S) both are linear:  r(x~) = S (S + sigma^2 I)^-1 x~,  score = -(S + sigma^2 I)^-1 x~.
    """

    def __init__(self, sigma):
        if not sigma >= 0:
            raise ValueError(f"sigma must be at least 0, got {sigma}")
        self.sigma = sigma

    def __call__(self, x, generator):
        return x + x.dtype.type(self.sigma) * generator.normal(x.shape, x.dtype, device_of(x))


class MaskingNoise:
    """Each pixel, with all its channels, is lost with probability p: x~ = `lost` there, black by default.

    Source: Vincent et al., JMLR 11, 2010, section 3.3
    """

    def __init__(self, p, lost=-1.0):
        if not 0 <= p < 1:
            raise ValueError(f"p must lie in [0, 1), got {p}")
        self.p, self.lost = p, lost

    def __call__(self, x, generator):
        kept = generator.bernoulli(1 - self.p, (*x.shape[:-1], 1), device_of(x))
        return device_of(x).xp.where(kept, x, x.dtype.type(self.lost))


class L1:
    """c ||z||_1, the mean over images: the convex stand-in for c nnz(z), whose gradient is 0 wherever it exists."""

    def __init__(self, c):
        if not c >= 0:
            raise ValueError(f"c must be at least 0, got {c}")
        self.c = c

    def __call__(self, z):
        return ops.absolute(z).sum() * (self.c / z.shape[0])


# ---------------------------------------------------------------- the autoencoder


class Objective(NamedTuple):
    """loss = error + penalty; error = 1/2 ||r(x~) - x||^2, the mean over images; codes (N, K). All Tensors."""

    loss: Tensor
    error: Tensor
    codes: Tensor


class Autoencoder(nn.Module):
    """r(x) = g(f(x)), and the objective above.

    corruptions   functions (array x, generator) -> array x~, applied in turn; only `objective` corrupts
    penalty       a function of the codes, a Tensor (N, K) -> a scalar; None for none
    """

    def __init__(self, encoder, decoder, corruptions=(), penalty=None):
        self.encoder, self.decoder, self.corruptions, self.penalty = encoder, decoder, corruptions, penalty

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def corrupt(self, x, generator):
        """x~ for an array of images x (N, H, W, C); x itself where nothing corrupts."""
        for corruption in self.corruptions:
            x = corruption(x, generator)
        return x

    def objective(self, x, generator):
        """-> Objective of an array of images x (N, H, W, C). The target is x, not its corrupted copy."""
        codes = self.encoder(Tensor(self.corrupt(x, generator)))
        error = ops.mse(self.decoder(codes), Tensor(x), reduction="sum") * (0.5 / len(x))
        return Objective(error if self.penalty is None else error + self.penalty(codes), error, codes)


class CodeGaussian(nn.Module):
    """N(mean, covariance) of the codes that training has seen, the recent ones weighing more.

        mean <- d mean + (1 - d) m        covariance <- d covariance + (1 - d) (S + d (m - mean)(m - mean)^T)

    with a batch's m and S, divisor N, and the mean of before on the right: both are then exactly the moments of all
    codes, each batch with its weight. (The last term is the variance between the old mean and the batch's.)
    """

    def __init__(self, size):
        self.mean, self.covariance = nn.Buffer(init.zeros((size,))), nn.Buffer(init.zeros((size, size)))

    def update(self, codes, decay):
        """Take a batch of codes (N, K) in; decay is d, the weight of the past."""
        mean, covariance = self.mean.data, self.covariance.data
        batch = codes.mean(0)
        centred, shift = codes - batch, batch - mean
        spread = centred.T @ centred / len(codes) + decay * shift[:, None] * shift
        covariance *= decay
        covariance += (1 - decay) * spread
        mean += (1 - decay) * shift

    def draw(self, n, generator):
        """n codes (n, K), NumPy float32: mean + U sqrt(Lambda) eps, with the covariance = U Lambda U^T."""
        mean, covariance = (np.asarray(to_device(b.data, "cpu"), np.float64) for b in (self.mean, self.covariance))
        variances, axes = np.linalg.eigh(covariance)
        eps = generator.normal((n, len(mean)), np.float64) * np.sqrt(np.maximum(variances, 0))
        return (mean + eps @ axes.T).astype(np.float32)
