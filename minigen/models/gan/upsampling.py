"""The networks of BEGAN: 3x3 convolutions and nearest-neighbour upsampling, no norm, a decoder without bounds.

    generator, decoder   z -> 7x7 -> 14x14 -> 28x28             linear; then at each size a 3x3 convolution, leaky ReLU
    encoder              28x28 -> 14x14 -> 7x7 -> code          4x4 convolutions of stride 2, leaky ReLU; linear last

Generator and decoder are of one kind, as in the paper, but for the end: the paper's are both linear, and so is the
decoder here; the generator, whose samples are to be images, ends in tanh (on digits it learned faster so). Batch norm
would tie the energies of a batch together; He's weights keep the signal's size in its place. The paper's ELU is a
leaky ReLU here.

Shapes   z (N, latent) -> images (N, H, W, C), in [-1, 1] where bounded;   images -> codes (N, bottleneck)
Source   Berthelot et al., 2017, section 3.5 and figure 1; deck 004, table, row BEGAN
"""

from ... import nn, ops
from ...nn import init

WEIGHTS = init.kaiming_normal
SMALLEST = 8  # pixels a side at most where the generator begins, if the image can be halved that often


def sides(shape):
    """Sides of the images (H, W, C) and of their halves, the smallest first: 28 -> [7, 14, 28].

    Raises ValueError for images that are not square, or cannot be halved down to 8 pixels or fewer.
    """
    side = shape[0]
    found = [side]
    while len(shape) == 3 and found[0] > SMALLEST and found[0] % 2 == 0:
        found.insert(0, found[0] // 2)
    if len(shape) != 3 or shape[0] != shape[1] or found[0] > SMALLEST:
        raise ValueError(
            "upsampling makes square images that can be halved down to 8 pixels a side or fewer, such as 28x28, 32x32 "
            f"and 64x64, got samples of shape {shape}"
        )
    return found


class UpsamplingGenerator(nn.Module):
    """z, made 7x7 pixels by a linear layer and doubled until it is an image.   z (N, latent) -> (N, H, W, C)

    bounded   end in tanh: for a generator. The autoencoder's decoder is linear at its end
    """

    def __init__(self, latent, shape, generator, channels=32, bounded=True):
        first, *larger = sides(shape)
        self.bounded = bounded
        self.smallest = (first, first, channels)
        self.project = nn.Linear(latent, first * first * channels, generator, weight_init=WEIGHTS)
        self.convs = nn.Sequential(_conv(channels, channels, generator), ops.leaky_relu)
        self.up = nn.Sequential(*[layer for _ in larger for layer in (Doubled(channels, generator), ops.leaky_relu)])
        self.output = nn.Conv2d(channels, shape[-1], 3, generator, padding=1)

    def forward(self, z, labels=None):
        h = self.project(z).reshape(len(z), *self.smallest)
        y = self.output(self.up(self.convs(h)))
        return ops.tanh(y) if self.bounded else y


class Doubled(nn.Module):
    """Nearest-neighbour upsampling and a 3x3 convolution.   x (N, H, W, C) -> (N, 2H, 2W, C)"""

    def __init__(self, channels, generator):
        self.conv = _conv(channels, channels, generator)

    def forward(self, x):
        return ops.upsample_conv2d(x, self.conv.weight, self.conv.bias)


class UpsamplingEncoder(nn.Module):
    """The way back: channels, 2 channels, 3 channels ... the smaller the picture.   images -> (N, bottleneck)"""

    def __init__(self, shape, bottleneck, generator, channels=32):
        first, *larger = sides(shape)
        layers, width = [_conv(shape[-1], channels, generator), ops.leaky_relu], channels
        for i in range(len(larger)):
            halved = nn.Conv2d(width, (i + 2) * channels, 4, generator, stride=2, padding=1, weight_init=WEIGHTS)
            layers, width = [*layers, halved, ops.leaky_relu], (i + 2) * channels
        self.layers = nn.Sequential(*layers, _conv(width, width, generator), ops.leaky_relu)
        self.output = nn.Linear(first * first * width, bottleneck, generator)

    def forward(self, x):
        return self.output(self.layers(x).reshape(len(x), -1))


def _conv(inputs, outputs, generator):
    return nn.Conv2d(inputs, outputs, 3, generator, padding=1, weight_init=WEIGHTS)
