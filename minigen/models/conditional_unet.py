"""A U-Net that is told what to draw: eps_theta(x_t, t, y), and eps_theta(x_t, t) with y left out.

    kind      y                     how it enters the U-Net (unet.py)
    class     a label               its embedding is added to that of the noise level
    tokens    a label               4 tokens tau(y), which the pixels ask by cross-attention
    image     an image of x's size  concatenated: more channels of the input
    hybrid    both                  the image concatenated, the tokens asked

Q = W_Q x, K = W_K tau(y), V = W_V tau(y): nothing tells the tokens' order, so they are a set.

One network serves with and without its condition. Where `given` is False, y is replaced by a *null condition*, which
is learned like any label: the label `classes`, one more row of the table, and a null colour in place of the image's
pixels. In training `given` is drawn at random (train/condition.py); in sampling guidance asks for both
(diffusion/guidance.py).

Shapes   x (N, H, W, C), t (N,), labels (N,) integers 0 ... classes - 1, image (N, H, W, C), given (N,) bool,
         True = told -> (N, H, W, out_channels)
Source   Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, section 3.2; Rombach et al., High-Resolution Image
         Synthesis with Latent Diffusion Models, CVPR 2022, section 3.3. Deck 004, "Conditioning mechanism" and the
         conditioning keys 'concat', 'crossattn', 'hybrid' of "Image super resolution"
"""

from .. import nn, ops
from ..device import device_of, to_device
from ..nn import init
from ..tensor import Tensor
from .unet import UNet

KINDS = ("class", "tokens", "image", "hybrid")
TOKENS = 4


class ConditionalUNet(nn.Module):
    """The network of the table above. `settings` are those of the UNet. Raises ValueError for another kind."""

    def __init__(self, generator, kind, classes, in_channels=1, out_channels=None, channels=64, **settings):
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind, self.classes = kind, classes
        self.takes_label, self.takes_image = kind != "image", kind in ("image", "hybrid")
        attends, self.width = kind in ("tokens", "hybrid"), 4 * channels
        self.unet = UNet(
            generator,
            in_channels=in_channels * (2 if self.takes_image else 1),
            out_channels=in_channels if out_channels is None else out_channels,
            channels=channels,
            classes=classes + 1 if kind == "class" else 0,
            context_width=self.width if attends else 0,
            **settings,
        )
        self.tokens = nn.Embedding(classes + 1, TOKENS * self.width, generator) if attends else None
        self.null_image = nn.Parameter(init.zeros((in_channels,))) if self.takes_image else None

    def forward(self, x, t, labels=None, image=None, given=None):
        """The prediction for x at levels t; without a condition, and where `given` is False, that of p(x)."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        if given is None:
            given = device_of(x.data).xp.full(len(x), labels is not None or image is not None)
        self._check(x, labels, image, given)
        if self.takes_image:
            x = ops.concatenate([x, self._image_or_null(x, image, given)], axis=-1)
        if not self.takes_label:
            return self.unet(x, t)
        labels = self._labels_or_null(x, labels, given)
        if self.tokens is None:
            return self.unet(x, t, labels)
        return self.unet(x, t, context=self.tokens(labels).reshape(len(x), TOKENS, self.width))

    def _labels_or_null(self, x, labels, given):
        xp = device_of(given).xp
        return xp.where(given, self.classes if labels is None else to_device(labels, device_of(given)), self.classes)

    def _image_or_null(self, x, image, given):
        null = ops.broadcast_to(self.null_image, x.shape)
        return null if image is None else ops.where(given.reshape(-1, 1, 1, 1), image, null)

    def _check(self, x, labels, image, given):
        if given.shape != (len(x),) or given.dtype != bool:
            raise ValueError(f"given must be bool({len(x)},), one a sample, got {given.dtype}{given.shape}")
        for name, value, takes in (("labels", labels, self.takes_label), ("image", image, self.takes_image)):
            if value is not None and not takes:
                raise ValueError(f"{name} given, but a network of kind {self.kind!r} takes none")
            if value is None and takes and given.any():
                raise ValueError(f"{name} must be given to a network of kind {self.kind!r}, or `given` be False")
        if labels is not None and (labels.shape != (len(x),) or not ((labels >= 0) & (labels < self.classes)).all()):
            raise ValueError(f"labels must be (N,) = ({len(x)},) whole numbers 0 ... {self.classes - 1}, got {labels}")
        if image is not None and image.shape != x.shape:
            raise ValueError(f"image must have the shape of x, {x.shape}, got {image.shape}")
