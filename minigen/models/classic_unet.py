"""The classic U-Net for segmentation: the lecture's contracting and expanding path, block by block.

    contracting block   3x3 conv, ReLU, 3x3 conv, ReLU; max-pooling with stride 2; channels double
    expanding block     2x2 up-convolution; concatenation with the contracting features; 3x3 conv, ReLU, 3x3 conv, ReLU;
                        channels halve

The convolutions are padded, so the output has the size of the input (the paper's are not, and it crops).

Shapes   x (N, H, W, C_in) -> (N, H, W, C_out), any H, W of at least 2^depth
Source   Ronneberger et al., MICCAI 2015, figure 1; deck 002, "U-Net"
"""

from .. import nn, ops
from ..nn import init


class ClassicUNet(nn.Module):
    """`depth` contracting blocks, a bottom, and as many expanding blocks; `channels` at the top."""

    def __init__(self, generator, in_channels=1, out_channels=2, channels=64, depth=4):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        widths = [channels * 2**level for level in range(depth + 1)]
        inputs = [in_channels, *widths[:-1]]
        self.depth = depth
        self.down = [ConvPair(i, o, generator) for i, o in zip(inputs, widths)]
        self.up = [nn.ConvTranspose2d(2 * w, w, 2, generator, stride=2) for w in reversed(widths[:-1])]
        self.merge = [ConvPair(2 * w, w, generator) for w in reversed(widths[:-1])]
        self.output = nn.Conv2d(channels, out_channels, 1, generator)

    def forward(self, x):
        if min(x.shape[1:3]) < 2**self.depth:
            raise ValueError(
                f"x must be at least {2**self.depth} pixels high and wide for depth={self.depth}, got x.shape={x.shape}"
            )
        skips = []
        for pair in self.down[:-1]:
            x = pair(x)
            skips.append(x)
            x = ops.max_pool2d(x, 2)
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge):
            skip = skips.pop()
            x = merge(ops.concatenate([skip, up(x, skip.shape[1:3])], axis=-1))
        return self.output(x)


class ConvPair(nn.Module):
    """3x3 conv, ReLU, 3x3 conv, ReLU.   x (N, H, W, C_in) -> (N, H, W, C_out)"""

    def __init__(self, inputs, outputs, generator):
        self.first = nn.Conv2d(inputs, outputs, 3, generator, padding=1, weight_init=init.kaiming_normal)
        self.second = nn.Conv2d(outputs, outputs, 3, generator, padding=1, weight_init=init.kaiming_normal)

    def forward(self, x):
        return ops.relu(self.second(ops.relu(self.first(x))))
