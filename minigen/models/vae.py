"""The networks of a variational autoencoder.

    encoder   x -> mu, logvar          q(z | x) = N(z; mu, diag exp(logvar))
    decoder   z -> y                   p(x | z), whose parameters are y (models/likelihoods.py)

    mlp       784 - 200 - 200 - 50 and its mirror, tanh between: the network of Burda et al.
    conv      4x4 convolutions of stride 2, ReLU between, and their mirror of transposed convolutions

Both take a label, as 1 of `classes`, beside their input when the model is conditional: q(z | x, c), p(x | z, c).

Shapes   x (N, H, W, C) in [0, 1], labels (N,), mu, logvar (N, D), z (M, D) -> y (M, H, W, C * outputs)
Source   Kingma and Welling, 2014, appendix C; Burda et al., 2016, section 5; Sohn et al., 2015 (conditional)
"""

import numpy as np

from .. import nn, ops
from ..device import overwrite, to_device
from ..nn import init
from ..tensor import Tensor
from .coders import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, check_images

KINDS = ("mlp", "conv")


class VAENetwork(nn.Module):
    """Encoder, decoder and the likelihood between the decoder's outputs and an image.

    image_shape   (H, W, C)
    likelihood    of models/likelihoods.py
    kind, widths  "mlp" with the widths of the encoder's hidden layers, or "conv" with its channels; mirrored in the
                  decoder. Raises ValueError for no channels, or convolutions that would leave no pixel
    latent        D, at least 1
    classes       labels of a conditional model, 0 for none
    """

    def __init__(self, image_shape, likelihood, generator, kind="mlp", widths=(200, 200), latent=50, classes=0):
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if latent < 1:
            raise ValueError(f"latent must be at least 1, got {latent}")
        parameters = (*image_shape[:2], image_shape[2] * likelihood.outputs)
        self.image_shape, self.latent, self.classes, self.likelihood = tuple(image_shape), latent, classes, likelihood
        if kind == "mlp":
            tanh = {"activation": ops.tanh, "weight_init": init.xavier_uniform, "classes": classes}
            self.encoder = MLPEncoder(image_shape, widths, 2 * latent, generator, **tanh)
            self.decoder = MLPDecoder(latent, widths[::-1], parameters, generator, **tanh)
        else:
            self.encoder = ConvEncoder(image_shape, widths, 2 * latent, generator, classes=classes)
            self.decoder = ConvDecoder(latent, widths, parameters, generator, classes=classes)
        self.centre = nn.Buffer(init.zeros(self.image_shape))

    def begin_at(self, mean):
        """Start from the data's mean image (H, W, C): the encoder sees x - mean, the decoder begins by answering it.

        What can be learned stays the same, but it is learned sooner: inputs with a mean other than 0 stretch the loss
        along one direction (LeCun et al., Efficient BackProp, 1998, section 4.3), and a decoder that begins at 1/2
        everywhere spends its first epochs on finding the background.
        """
        overwrite(self.centre.data, mean)
        if isinstance(self.decoder, ConvDecoder):  # it begins with one value everywhere, which must be the mean pixel:
            mean = 0 * mean + mean.mean((0, 1))  # the mean of all outputs would not be the outputs at the mean
        self.decoder.begin_at(self.likelihood.outputs_at(mean))

    def encode(self, x, labels=None):
        """mu, logvar (N, D) of q(z | x). Raises ValueError for images of another size."""
        x = check_images(x, self.image_shape) - self.centre.data
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
