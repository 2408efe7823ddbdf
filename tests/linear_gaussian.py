"""A VAE that is linear and Gaussian throughout, in float64: there p(x), p(z | x) and the ELBO are closed forms.

    z ~ N(0, I),  x given z ~ N(W z + b, s^2 I)      so x ~ N(b, W W^T + s^2 I)
    p(z | x) = N(M^-1 W^T (x - b), s^2 M^-1),  M = W^T W + s^2 I      (Bishop, PRML, section 12.2)

The columns of W are orthogonal, so that M is diagonal and an encoder can be the posterior itself.
"""

import numpy as np

from minigen.random import Generator
from minigen.train import VAE, VAEConfig

S = 0.5
B = np.array([0.3, -0.2, 0.1, 0.0])
W = np.array([[1.0, 0.5], [1.0, -0.5], [-0.4, 0.6], [0.4, 0.6]])  # (pixels, latents)
M = W.T @ W + S**2 * np.eye(2)


def vae(encoder_weight=None, encoder_bias=None, logvar=None):
    """The model with images (1, 4, 1), and an encoder mu = x A + a, logvar; by default the posterior."""
    model = VAE(VAEConfig(likelihood="gaussian", sigma=S, hidden=(), latent=2), (1, 4, 1), Generator(0))
    model.network.astype(np.float64)
    weight = W @ np.linalg.inv(M) if encoder_weight is None else encoder_weight
    bias = -B @ weight if encoder_bias is None else encoder_bias
    logvar = np.log(S**2 / np.diag(M)) if logvar is None else logvar
    encoder, decoder = model.network.encoder.layers[0], model.network.decoder.layers[0]
    encoder.weight.assign(np.concatenate([weight, np.zeros((4, 2))], axis=1))
    encoder.bias.assign(np.concatenate([bias, logvar]))
    decoder.weight.assign(W.T)
    decoder.bias.assign(B)
    return model


def poor_vae():
    """An encoder that is off in its mean and too wide, so that every bound has a gap and every weight a limit."""
    posterior = np.log(S**2 / np.diag(M))
    return vae(0.6 * W @ np.linalg.inv(M), np.array([0.3, -0.2]), posterior + np.array([0.8, 0.4]))


def data(n, seed=0):
    """Draws of x, as images (n, 1, 4, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2)) @ W.T + B + S * rng.standard_normal((n, 4))
    return x.reshape(n, 1, 4, 1)


def log_p(x):
    """ln N(x; b, W W^T + s^2 I) -> (n,)"""
    return log_normal(x.reshape(len(x), -1), B, W @ W.T + S**2 * np.eye(4))


def log_normal(x, mean, covariance):
    """ln N(x; mean, covariance) of each row."""
    away = x - mean
    square = (away * np.linalg.solve(covariance, away.T).T).sum(1)
    return -0.5 * (square + np.linalg.slogdet(covariance)[1] + len(covariance) * np.log(2 * np.pi))


def corners(n, d):
    """2 d points (n, 2 d, d) with the mean and covariance of N(0, I): they average a quadratic function exactly."""
    points = np.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])
    return np.broadcast_to(points, (n, 2 * d, d)).copy()
