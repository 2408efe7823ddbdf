"""Encoders and decoders, each other's mirror: the two halves of autoencoders and of VAEs.

    mlp     linear layers; without hidden ones affine, which is all that PCA needs
    conv    4 x 4 convolutions of stride 2 and a linear layer, and transposed convolutions back

A conditional model gives its label, (N, classes) of 0 and 1, to both halves, beside their input.

Shapes   x (N, H, W, C) -> (N, outputs); z (N, code) -> (N, *image_shape)
Source   decks 000 "Non-linear autoencoder", 004 "Autoencoders"; Sohn et al., NeurIPS 2015 (labels)
"""

from math import prod

from .. import nn, ops
from ..nn import init
from ..tensor import Tensor


class MLPEncoder(nn.Module):
    """A multi-layer perceptron: x (N, H, W, C) -> (N, outputs), through layers of the `hidden` widths.

    Without hidden layers it is affine. `activation` follows every hidden layer, and none follows the last.
    """

    def __init__(
        self, image_shape, hidden, outputs, generator, activation=ops.relu, weight_init=init.uniform_fan_in, classes=0
    ):
        self.image_shape, self.activation = tuple(image_shape), activation
        self.layers = linear_layers((prod(image_shape) + classes, *hidden, outputs), generator, weight_init)

    def forward(self, x, label=None):
        x = check_images(x, self.image_shape).reshape(x.shape[0], prod(self.image_shape))
        return perceptron(beside(x, label), self.layers, self.activation)


class MLPDecoder(nn.Module):
    """Its mirror: z (N, code) -> (N, *image_shape). `hidden` from the code to the image.

    A likelihood that needs several numbers a pixel takes them as channels: image_shape = (H, W, numbers).
    """

    def __init__(
        self, code, hidden, image_shape, generator, activation=ops.relu, weight_init=init.uniform_fan_in, classes=0
    ):
        self.image_shape, self.activation = tuple(image_shape), activation
        self.layers = linear_layers((code + classes, *hidden, prod(image_shape)), generator, weight_init)

    def forward(self, z, label=None):
        return perceptron(beside(z, label), self.layers, self.activation).reshape(z.shape[0], *self.image_shape)

    def begin_at(self, image):
        """Answer about `image`, an array of image_shape, to any code before training: it is the last layer's bias."""
        self.layers[-1].bias.assign(image.reshape(-1))


class ConvEncoder(nn.Module):
    """Convolutions of stride 2 and a linear layer: x (N, H, W, C) -> (N, outputs).

        H x W x C -> H/2 x W/2 x channels[0] -> H/4 x W/4 x channels[1] -> ... -> outputs       (rounded down)

    Windows of 4 x 4 with padding 1: every pixel lies in as many windows as any other, four, except at the border.
    Raises ValueError for no channels, and for images that halving brings to nothing.
    """

    def __init__(self, image_shape, channels, outputs, generator, activation=ops.relu, classes=0):
        self.image_shape, self.activation = tuple(image_shape), activation
        sizes = halvings(image_shape, len(channels))
        self.convs = [
            nn.Conv2d(i, o, 4, generator, stride=2, padding=1, weight_init=init.kaiming_normal)
            for i, o in zip((image_shape[2], *channels), channels)
        ]
        self.output = nn.Linear(prod(sizes[-1]) * channels[-1] + classes, outputs, generator)

    def forward(self, x, label=None):
        x = check_images(x, self.image_shape)
        for conv in self.convs:
            x = self.activation(conv(x))
        return self.output(beside(x.reshape(x.shape[0], prod(x.shape[1:])), label))


class ConvDecoder(nn.Module):
    """The mirror of ConvEncoder with the same channels: z (N, code) -> (N, *image_shape), odd sizes included."""

    def __init__(self, code, channels, image_shape, generator, activation=ops.relu, classes=0):
        self.activation, self.sizes = activation, halvings(image_shape, len(channels))
        self.input = nn.Linear(code + classes, prod(self.sizes[-1]) * channels[-1], generator)
        self.convs = [
            nn.ConvTranspose2d(i, o, 4, generator, stride=2, padding=1)
            for i, o in reversed(list(zip(channels, (image_shape[2], *channels))))
        ]

    def forward(self, z, label=None):
        x = self.input(beside(z, label)).reshape(z.shape[0], *self.sizes[-1], -1)
        for conv, size in zip(self.convs, reversed(self.sizes[:-1])):
            x = conv(self.activation(x), size)
        return x

    def begin_at(self, image):
        """Answer about the mean pixel of `image`, an array of image_shape, to any code before training."""
        self.convs[-1].bias.assign(image.mean((0, 1)))


# ---------------------------------------------------------------- parts of the parts


def linear_layers(widths, generator, weight_init):
    """Raises ValueError for a layer without numbers."""
    if min(widths) < 1:
        raise ValueError(f"widths of layers must be at least 1, got {widths}")
    return [nn.Linear(i, o, generator, weight_init=weight_init) for i, o in zip(widths, widths[1:])]


def perceptron(x, layers, activation):
    for layer in layers[:-1]:
        x = activation(layer(x))
    return layers[-1](x)


def beside(x, label):
    """x (N, D) with the label's columns after its own; x itself where there is no label."""
    return x if label is None else ops.concatenate([x, label], axis=1)


def halvings(image_shape, levels):
    """[(H, W), (H/2, W/2), ...]: the sizes before and after each of the strided convolutions, rounded down."""
    if levels < 1:
        raise ValueError("channels must hold at least one number, got none")
    sizes = [(image_shape[0] >> level, image_shape[1] >> level) for level in range(levels + 1)]
    if min(sizes[-1]) < 1:
        raise ValueError(
            f"images must be at least {2**levels} pixels high and wide to be halved {levels} times, got {image_shape}"
        )
    return sizes


def check_images(x, image_shape):
    """x as a Tensor. Raises ValueError unless it holds images of this shape."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.shape[1:] != image_shape:
        raise ValueError(f"images must be (N, {', '.join(map(str, image_shape))}), as the network's, got {x.shape}")
    return x
