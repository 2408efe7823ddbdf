"""The networks of a variational autoencoder.

    encoder   x -> mu, logvar          q(z | x) = N(z; mu, diag exp(logvar))
    decoder   z -> y                   p(x | z), whose parameters are y (models/likelihoods.py)

    mlp       784 - 200 - 200 - 50 and its mirror, tanh between: the network of Burda et al.
    conv      4x4 convolutions of stride 2, ReLU between, and their mirror of transposed convolutions

Both take a label, as 1 of `classes`, beside their input when the model is conditional: q(z | x, c), p(x | z, c).

Shapes   x (N, H, W, C) in [0, 1], labels (N,), mu, logvar (N, D), z (M, D) -> y (M, H, W, C * outputs)
Source   Kingma and Welling, 2014, appendix C; Burda et al., 2016, section 5; Sohn et al., 2015 (conditional)
"""

from math import prod

import numpy as np

from .. import nn, ops
from ..device import to_device
from ..nn import init
from ..tensor import Tensor


class MLP(nn.Module):
    """Linear layers with tanh between them. widths: inputs, hidden units ..., outputs; two are one linear map."""

    def __init__(self, widths, generator):
        pairs = zip(widths, widths[1:])
        self.layers = [nn.Linear(i, o, generator, weight_init=init.xavier_uniform) for i, o in pairs]

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = ops.tanh(layer(x))
        return self.layers[-1](x)


class MLPEncoder(nn.Module):
    """x (N, H, W, C), label (N, classes) or None -> (N, 2 D)"""

    def __init__(self, image_shape, hidden, latent, classes, generator):
        self.mlp = MLP((prod(image_shape) + classes, *hidden, 2 * latent), generator)

    def forward(self, x, label):
        return self.mlp(beside(x.reshape(len(x), -1), label))


class MLPDecoder(nn.Module):
    """z (M, D), label (M, classes) or None -> y (M, H, W, outputs)"""

    def __init__(self, image_shape, outputs, hidden, latent, classes, generator):
        self.shape = (*image_shape[:2], outputs)
        self.mlp = MLP((latent + classes, *hidden[::-1], prod(self.shape)), generator)

    def forward(self, z, label):
        return self.mlp(beside(z, label)).reshape(len(z), *self.shape)


class ConvEncoder(nn.Module):
    """x (N, H, W, C), label (N, classes) or None -> (N, 2 D)"""

    def __init__(self, image_shape, channels, latent, classes, generator):
        widths = [image_shape[2], *channels]
        conv = {"size": 4, "generator": generator, "stride": 2, "padding": 1, "weight_init": init.kaiming_normal}
        self.convs = [nn.Conv2d(i, o, **conv) for i, o in zip(widths, widths[1:])]
        inputs = prod(sizes(image_shape, channels)[-1]) * channels[-1] + classes
        self.output = nn.Linear(inputs, 2 * latent, generator, weight_init=init.xavier_uniform)

    def forward(self, x, label):
        for conv in self.convs:
            x = ops.relu(conv(x))
        return self.output(beside(x.reshape(len(x), -1), label))


class ConvDecoder(nn.Module):
    """z (M, D), label (M, classes) or None -> y (M, H, W, outputs)"""

    def __init__(self, image_shape, outputs, channels, latent, classes, generator):
        self.sizes = sizes(image_shape, channels)[::-1]
        self.shape = (*self.sizes[0], channels[-1])
        self.input = nn.Linear(latent + classes, prod(self.shape), generator, weight_init=init.kaiming_normal)
        widths = [*channels[::-1], outputs]
        conv = {"size": 4, "generator": generator, "stride": 2, "padding": 1, "weight_init": init.kaiming_normal}
        self.convs = [nn.ConvTranspose2d(i, o, **conv) for i, o in zip(widths, widths[1:])]

    def forward(self, z, label):
        y = self.input(beside(z, label)).reshape(len(z), *self.shape)
        for conv, size in zip(self.convs, self.sizes[1:]):
            y = conv(ops.relu(y), size)
        return y


class VAENetwork(nn.Module):
    """Encoder, decoder and the likelihood between the decoder's outputs and an image.

    image_shape   (H, W, C)
    likelihood    of models/likelihoods.py
    kind, widths  "mlp" with the widths of the encoder's hidden layers, or "conv" with its channels; mirrored in the
                  decoder. Raises ValueError for convolutions that would leave no pixel
    latent        D
    classes       labels of a conditional model, 0 for none
    """

    def __init__(self, image_shape, likelihood, generator, kind="mlp", widths=(200, 200), latent=50, classes=0):
        if kind == "conv" and not widths:
            raise ValueError("widths of a conv network must hold at least one number of channels, got none")
        outputs = image_shape[2] * likelihood.outputs
        self.image_shape, self.latent, self.classes, self.likelihood = tuple(image_shape), latent, classes, likelihood
        encoder, decoder = {"mlp": (MLPEncoder, MLPDecoder), "conv": (ConvEncoder, ConvDecoder)}[kind]
        self.encoder = encoder(self.image_shape, widths, latent, classes, generator)
        self.decoder = decoder(self.image_shape, outputs, widths, latent, classes, generator)

    def encode(self, x, labels=None):
        """mu, logvar (N, D) of q(z | x)."""
        return ops.split(self.encoder(x, self.one_hot(labels, x)), 2, axis=1)

    def decode(self, z, labels=None):
        """y, the parameters of p(x | z)."""
        return self.decoder(z, self.one_hot(labels, z))

    def one_hot(self, labels, like):
        """Labels (N,) -> (N, classes) of 0 and 1. Raises ValueError unless they are given exactly where needed."""
        if (labels is None) != (self.classes == 0):
            given = "none" if labels is None else "some"
            raise ValueError(f"labels must be given exactly where the model has classes ({self.classes}), got {given}")
        if labels is None:
            return None
        labels = np.asarray(labels)
        if labels.shape != (len(like),) or not ((labels >= 0) & (labels < self.classes)).all():
            raise ValueError(
                f"labels must be ({len(like)},) and lie in 0..{self.classes - 1}, got {labels.shape}: {labels[:10]}"
            )
        return Tensor(to_device((labels[:, None] == np.arange(self.classes)).astype(like.dtype), like.device))


def sizes(image_shape, channels):
    """(H, W) of the image and after each halving. Raises ValueError where nothing would be left."""
    found = [(image_shape[0] >> level, image_shape[1] >> level) for level in range(len(channels) + 1)]
    if not all(found[-1]):
        raise ValueError(f"channels must halve the image at most to one pixel: got {channels} for images {image_shape}")
    return found


def beside(x, label):
    return x if label is None else ops.concatenate([x, label], axis=1)
