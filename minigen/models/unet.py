"""The U-Net of diffusion models: an image and its noise level in, a prediction of the same size out.

    x_t, t -> eps_theta(x_t, t)     (or x0 or v: the process decides what the prediction means)

            input conv                                                       norm, SiLU, output conv
                |------------------------- skip -----------------------------------^
             ResBlock, ResBlock ------------- skip ---------------- ResBlock, ResBlock, ResBlock
                   stride-2 conv                              nearest x2, conv
                     ResBlock, ResBlock ----- skip ----- ResBlock, ResBlock, ResBlock
                           ...                                    ...
                              ResBlock, attention, ResBlock

The way down halves the resolution and widens the channels; the way up mirrors it and reads, by
concatenation, what the way down saw at the same resolution. Each residual block adds the noise level
to every pixel. Odd sizes work: the way up takes its sizes from the way down.

A condition enters in one of three ways: labels, whose embedding is added to the noise level's; tokens (`context`),
which the pixels ask by cross-attention wherever there is self-attention; an image, which whoever calls concatenates
to x (conditional_unet.py does all of it).

Shapes   x (N, H, W, C_in), t (N,), labels (N,), context (N, M, E) -> (N, H, W, C_out)
Source   Ho et al., NeurIPS 2020, appendix B; Ronneberger et al., MICCAI 2015; deck 002, "Network Architectures".
         Labels: Dhariwal and Nichol, NeurIPS 2021, section 3. Cross-attention: Rombach et al., CVPR 2022, section 3.3;
         deck 004, "Conditioning mechanism"
"""

from .. import nn, ops
from ..nn import init
from ..tensor import Tensor


class UNet(nn.Module):
    """The network drawn above.

    channels          width at the first level; level i has channels * multipliers[i]
    blocks            residual blocks a level on the way down (one more on the way up)
    attention_levels  the levels, counted from 0, whose blocks are followed by attention; the middle always has it
    classes           number of labels for a class-conditional network, 0 for none
    context_width     width E of the tokens for cross-attention, 0 for none
    patch             work on patch x patch pixels as channels (pixel unshuffle): a quarter of the positions for 2
    """

    def __init__(
        self, generator, in_channels=1, out_channels=None, channels=64, multipliers=(1, 2, 2), blocks=2,
        attention_levels=(2,), heads=4, groups=8, dropout=0.0, classes=0, context_width=0, patch=1,
    ):  # fmt: skip
        time_width, width = 4 * channels, channels
        self.channels, self.patch, self.levels = channels, patch, len(multipliers)
        self.context_width = context_width
        self.time_in = nn.Linear(channels, time_width, generator)
        self.time_out = nn.Linear(time_width, time_width, generator)
        self.label = nn.Embedding(classes, time_width, generator) if classes else None
        self.input = nn.Conv2d(in_channels * patch**2, channels, 3, generator, padding=1)

        def stage(inputs, outputs, level):
            attends = heads if level in attention_levels else 0
            return Stage(inputs, outputs, time_width, attends, groups, dropout, generator, context_width)

        skips = [width]
        self.down: list[nn.Module] = []
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                self.down.append(stage(width, channels * multiplier, level))
                width = channels * multiplier
                skips.append(width)
            if level < self.levels - 1:
                self.down.append(nn.Conv2d(width, width, 3, generator, stride=2, padding=1))
                skips.append(width)

        self.middle = Stage(width, width, time_width, heads, groups, dropout, generator, context_width)
        self.middle_block = ResBlock(width, width, time_width, groups, dropout, generator)

        self.up: list[nn.Module] = []
        for level in reversed(range(self.levels)):
            for _ in range(blocks + 1):
                self.up.append(stage(width + skips.pop(), channels * multipliers[level], level))
                width = channels * multipliers[level]
            if level > 0:
                self.up.append(Upsample(width, generator))

        self.norm = nn.GroupNorm(groups, width, silu=True)
        out_channels = in_channels if out_channels is None else out_channels
        self.output = nn.Conv2d(width, out_channels * patch**2, 3, generator, padding=1, weight_init=init.zeros)

    def forward(self, x, t, labels=None, context=None):
        for name, given, wanted in (("labels", labels, self.label), ("context", context, self.context_width or None)):
            if (given is None) != (wanted is None):
                made = "classes" if name == "labels" else "context_width"
                found = "none" if given is None else "some"
                raise ValueError(f"{name} must be given exactly when the network has {made}: got {found}")
        if x.shape[1] % self.patch or x.shape[2] % self.patch:
            raise ValueError(f"patch must divide the image: got patch={self.patch}, x.shape={x.shape}")
        x, t = (a if isinstance(a, Tensor) else Tensor(a) for a in (x, t))
        emb = ops.sinusoidal_features(t.to(x.device), self.channels, dtype=x.dtype)
        emb = self.time_out(ops.silu(self.time_in(emb)))
        if self.label is not None:
            emb = emb + self.label(labels)
        emb = ops.silu(emb)

        x = self.input(ops.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        skips = [x]
        for part in self.down:
            x = part(x, emb, context) if isinstance(part, Stage) else part(x)
            skips.append(x)
        x = self.middle_block(self.middle(x, emb, context), emb)
        for part in self.up:
            if isinstance(part, Stage):
                x = part(ops.concatenate([x, skips.pop()], axis=-1), emb, context)
            else:
                x = part(x, skips[-1].shape[1:3])
        x = self.output(self.norm(x))
        return ops.pixel_shuffle(x, self.patch) if self.patch > 1 else x


class ResBlock(nn.Module):
    """y = skip(x) + conv(drop(SiLU(norm(conv(SiLU(norm(x))) + W emb))))

    x (N, H, W, C_in), emb (N, E), already through SiLU -> y (N, H, W, C_out). The last convolution starts at 0, so
    that the block starts as its skip. Source: Ho et al. 2020, appendix B; He et al., ECCV 2016 (pre-activation)
    """

    def __init__(self, inputs, outputs, time_width, groups, dropout, generator):
        self.norm1 = nn.GroupNorm(groups, inputs, silu=True)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, generator, padding=1)
        self.time = nn.Linear(time_width, outputs, generator)
        self.norm2 = nn.GroupNorm(groups, outputs, silu=True)
        self.dropout = nn.Dropout(dropout, generator)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, generator, padding=1, weight_init=init.zeros)
        self.skip = nn.Linear(inputs, outputs, generator) if inputs != outputs else None

    def forward(self, x, emb):
        h = self.conv1(self.norm1(x), self.time(emb))
        h = self.dropout(self.norm2(h))
        return self.conv2(h, residual=x if self.skip is None else self.skip(x))


class AttentionBlock(nn.Module):
    """y = x + attention(norm(x), context), every pixel a token.   x (N, H, W, C). The output projection starts at 0.

    The pixels ask each other, or, with context_width, the tokens of `context` (N, M, context_width): cross-attention.
    Source: Ho et al. 2020, appendix B; Wang et al., CVPR 2018 (non-local block); Rombach et al., CVPR 2022, eq. 3
    """

    def __init__(self, channels, heads, groups, generator, context_width=None):
        self.norm = nn.GroupNorm(groups, channels)
        self.attention = nn.Attention(channels, heads, generator, context_width, output_init=init.zeros)

    def forward(self, x, context=None):
        n, h, w, c = x.shape
        return x + self.attention(self.norm(x).reshape(n, h * w, c), context).reshape(n, h, w, c)


class Stage(nn.Module):
    """A residual block, followed where heads > 0 by attention among the pixels, and to the context if there is one."""

    def __init__(self, inputs, outputs, time_width, heads, groups, dropout, generator, context_width=0):
        self.block = ResBlock(inputs, outputs, time_width, groups, dropout, generator)
        self.attend = AttentionBlock(outputs, heads, groups, generator) if heads else None
        asks = heads and context_width
        self.ask = AttentionBlock(outputs, heads, groups, generator, context_width) if asks else None

    def forward(self, x, emb, context=None):
        x = self.block(x, emb)
        x = x if self.attend is None else self.attend(x)
        return x if self.ask is None else self.ask(x, context)


class Upsample(nn.Module):
    """Nearest-neighbour resize to the size of the next skip, then a 3x3 convolution.   x (N, H, W, C) -> (N, P, Q, C)

    Source: Odena et al., Distill 2016 (why not a transposed convolution: checkerboards)
    """

    def __init__(self, channels, generator):
        self.conv = nn.Conv2d(channels, channels, 3, generator, padding=1)

    def forward(self, x, size):
        if size == (2 * x.shape[1], 2 * x.shape[2]):
            return ops.upsample_conv2d(x, self.conv.weight, self.conv.bias)
        return self.conv(ops.resize_nearest(x, size))
