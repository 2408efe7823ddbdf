"""A baseline without a network: the Gaussian that has the training images' mean and covariance.

    x = m + V sqrt(l) z        l, V: the largest eigenvalues of the pixels' covariance and their vectors, z ~ N(0, I)

What a generative model is worth shows beside it: it knows every mean, every variance and every correlation of two
pixels, and nothing else. A linear autoencoder or a linear VAE can learn no more than this.
"""

import numpy as np


class PCAGaussian:
    """Fitted to images (N, H, W, C) in [-1, 1]; keeps the `components` largest directions.

    Raises ValueError for fewer than 2 images.
    """

    def __init__(self, images, components=64, block=4096):
        if np.ndim(images) != 4 or len(images) < 2:
            raise ValueError(f"images must be (N, H, W, C) with N >= 2, got {np.shape(images)}")
        self.shape = images.shape[1:]
        pixels = images.reshape(len(images), -1)
        self.mean = pixels.mean(0, dtype=np.float64)
        covariance = np.zeros((len(self.mean), len(self.mean)))
        for i in range(0, len(pixels), block):  # all at once in float64, MNIST would take a gigabyte
            centred = pixels[i : i + block] - self.mean
            covariance += centred.T @ centred / (len(pixels) - 1)
        values, vectors = np.linalg.eigh(covariance)  # in rising order
        self.deviations = np.sqrt(np.maximum(values[-components:], 0))
        self.directions = vectors[:, -components:]

    def sample(self, n, generator):
        """-> n images (n, H, W, C), float32, clipped to [-1, 1]."""
        z = generator.normal((n, len(self.deviations)), np.float64)
        pixels = self.mean + (z * self.deviations) @ self.directions.T
        return pixels.clip(-1, 1).astype(np.float32).reshape(n, *self.shape)
