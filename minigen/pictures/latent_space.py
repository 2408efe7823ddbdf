"""Codes of images, and ways through the space that they lie in.

    quantile_grid   z_ij = (Phi^-1(u_j), Phi^-1(u_i)),  u = the centres of `side` equal cells of (0, 1)
                    Every cell of the grid has the same probability under the prior N(0, I), so a picture of the grid
                    shows each kind of image about as often as the model draws it.
    along_axis      z + (t - z_k) e_k          one coordinate takes the values t, the others stay
    line            (1 - t) z_0 + t z_1        t = 0 ... 1
    analogy         B' = A' - A + B            A' is to A as B' is to B; through a decoder g that is affine, exactly
                                               g(B') = g(A') - g(A) + g(B)
    drawn_like      draws from the Gaussian with the mean and the covariance of the codes
    farthest        points amid the codes, and yet as far as can be from all of them
    empty_share     how much of that Gaussian has no code near

Shapes   codes (N, D), float64
Source   Kingma and Welling, Auto-Encoding Variational Bayes, 2014, appendix A (grid); decks 004 "VAEs: Generating
         Data" (manifold, "Vary z_1"), 003 "From Autoencoder to VAE (cont'd)" (A' - A + B = B')
"""

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import norm

from ..data import to_uint8
from ..train.vae import VAE
from . import PictureError

# ---------------------------------------------------------------- the model's two halves


class Codes:
    """The codes of uint8 images (N, H, W, C): mean (N, D), and logvar (N, D), or None where codes are certain (AE).

    generator   binarises the images, where the model was trained on such
    Raises PictureError for a conditional model, whose codes say only what the label does not.
    """

    def __init__(self, model, images, generator):
        if getattr(model.config, "classes", 0):
            raise PictureError("pictures of codes need a model without labels, this one is conditional")
        variational = isinstance(model, VAE)
        mean, logvar = model.encode(images, seed=generator) if variational else (model.encode(images), None)
        self.mean, self.logvar = (None if a is None else a.astype(np.float64) for a in (mean, logvar))

    def draw(self, generator):
        """z ~ q(z|x), one for each image (N, D); the code itself where it is certain."""
        if self.logvar is None:
            return self.mean
        return self.mean + np.exp(self.logvar / 2) * generator.normal(self.mean.shape, np.float64)

    @property
    def kl(self):
        """KL(q(z|x), N(0, I)) of each axis in nats, mean over the images (D,): what the axis says about the image."""
        return np.mean(self.mean**2 + np.exp(self.logvar) - self.logvar - 1, axis=0) / 2

    def by_information(self):
        """The axes, the one that says most first: by KL, or by variance where codes are certain."""
        return np.argsort(-(self.mean.var(0) if self.logvar is None else self.kl), kind="stable")


def decoded(model, codes):
    """The mean image of each code (N, D) -> uint8 (N, H, W, C)."""
    return to_uint8(model.decode(codes))


# ---------------------------------------------------------------- ways


def quantile_grid(side):
    """(side, side, 2): rows from the top, where z_2 is greatest; columns from the left, where z_1 is least."""
    if side < 1:
        raise ValueError(f"side must be at least 1, got {side}")
    z = norm.ppf((np.arange(side) + 0.5) / side)
    return np.stack(np.broadcast_arrays(z[None, :], z[::-1, None]), axis=-1)


def along_axis(code, axis, values):
    """(len(values), D): `code` (D,) with its coordinate `axis` replaced by each of the values."""
    codes = np.repeat(np.asarray(code, np.float64)[None], len(values), axis=0)
    codes[:, axis] = values
    return codes


def line(start, end, steps):
    """(steps, ...): from `start` to `end`, both included, in equal steps."""
    t = np.linspace(0, 1, steps).reshape(-1, *[1] * np.ndim(start))
    return (1 - t) * start + t * end


def analogy(changed, unchanged, codes):
    """A' - A + B with mean codes for A' and A: changed (N, D), unchanged (M, D), codes B (K, D) -> B' (K, D)."""
    return np.mean(changed, 0, np.float64) - np.mean(unchanged, 0, np.float64) + codes


def drawn_like(codes, n, generator):
    """n draws (n, D) from the Gaussian that has the mean and the covariance of the codes (N, D)."""
    mean, factor = cloud(codes)
    return mean + generator.normal((n, codes.shape[1]), np.float64) @ factor.T


def farthest(codes, n, generator, candidates=4000):
    """n points (n, D) within 2 deviations of the codes' mean, the farthest from all codes first, none near another.

    Greedy: the farthest of random candidates, then the farthest of those half a deviation away from it, and so on.
    """
    mean, factor = cloud(codes)
    inside = generator.normal((candidates, codes.shape[1]), np.float64)
    inside = inside[np.linalg.norm(inside, axis=1) <= 2]
    places = mean + inside @ factor.T
    distance, chosen = nearest(codes, places), []
    for _ in range(n):
        chosen.append(distance.argmax())
        distance[np.linalg.norm(inside - inside[chosen[-1]], axis=1) < 0.5] = 0
    return places[chosen]


def empty_share(codes, generator, near=0.2, draws=20_000):
    """How much of the codes' Gaussian has no code near: the share of draws with none within `near` deviations."""
    return float(np.mean(nearest(codes, drawn_like(codes, draws, generator)) > near))


def nearest(codes, places):
    """The distance of each place (M, D) to the nearest code (N, D) -> (M,).

    In deviations of the codes (Mahalanobis), so a stretched cloud has no gaps for that.
    """
    _, factor = cloud(codes)
    tree = cKDTree(np.linalg.solve(factor, codes.T).T)
    return tree.query(np.linalg.solve(factor, places.T).T)[0]


def cloud(codes):
    """Mean (D,), and a factor F (D, D) of the covariance, F F^T, of the codes (N, D)."""
    return codes.mean(0), np.linalg.cholesky(np.atleast_2d(np.cov(codes.T)))
