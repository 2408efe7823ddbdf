"""The two networks of a variational autoencoder, and how they meet.

    encoder   x -> mu, logvar          q(z | x) = N(z; mu, diag exp(logvar))
    decoder   z -> y                   p(x | z), whose parameters are y (models/likelihoods.py)

    mlp       784 - 200 - 200 - 50 and its mirror, tanh between: the network of Burda et al.

Shapes   x (N, H, W, C) in [0, 1], mu, logvar (N, D), z (M, D) -> y (M, H, W, C * outputs)
Source   Kingma and Welling, 2014, appendix C; Burda et al., 2016, section 5
"""

from math import prod

from .. import nn, ops
from ..nn import init


class MLP(nn.Module):
    """Linear layers with tanh between them. widths: inputs, hidden units ..., outputs; two: one linear map."""

    def __init__(self, widths, generator):
        pairs = zip(widths, widths[1:])
        self.layers = [nn.Linear(i, o, generator, weight_init=init.xavier_uniform) for i, o in pairs]

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = ops.tanh(layer(x))
        return self.layers[-1](x)


class MLPEncoder(nn.Module):
    """x (N, H, W, C) -> (N, 2 D)"""

    def __init__(self, image_shape, hidden, latent, generator):
        self.mlp = MLP((prod(image_shape), *hidden, 2 * latent), generator)

    def forward(self, x):
        return self.mlp(x.reshape(len(x), -1))


class MLPDecoder(nn.Module):
    """z (M, D) -> y (M, H, W, outputs)"""

    def __init__(self, image_shape, outputs, hidden, latent, generator):
        self.shape = (*image_shape[:2], outputs)
        self.mlp = MLP((latent, *hidden, prod(self.shape)), generator)

    def forward(self, z):
        return self.mlp(z).reshape(len(z), *self.shape)


class VAENetwork(nn.Module):
    """Encoder, decoder and the likelihood between the decoder's outputs and an image.

    image_shape   (H, W, C)
    hidden        widths of the encoder's hidden layers; the decoder's are the same, reversed
    """

    def __init__(self, image_shape, likelihood, hidden, latent, generator):
        outputs = image_shape[2] * likelihood.outputs
        self.image_shape, self.latent, self.likelihood = tuple(image_shape), latent, likelihood
        self.encoder = MLPEncoder(image_shape, hidden, latent, generator)
        self.decoder = MLPDecoder(image_shape, outputs, hidden[::-1], latent, generator)

    def encode(self, x):
        """mu, logvar (N, D) of q(z | x)."""
        return ops.split(self.encoder(x), 2, axis=1)

    def decode(self, z):
        """y, the parameters of p(x | z)."""
        return self.decoder(z)
