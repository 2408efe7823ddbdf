"""What is measured: one `Case` a row, with the target that the row is held to.

A case is data. benchmarks/sides builds it once in minigen and once in PyTorch, in processes of their own; the
inputs of both come from `inputs(case)`, which NumPy draws from a seed that the name fixes.

    conv3x3 32x64x96x28         batch x input channels C x output channels K x input height and width
    conv4x4s2, convt4x4s2       window 4, stride 2, padding 1; convt is the transposed convolution
    groupnorm_silu 32x64x32     batch x channels x height and width; 8 groups; forward and backward
    attention 32x256x4x32       batch x tokens x heads x width of a head; forward and backward
    softmax 32768x256           rows x length of a row; forward and backward
    adamw 22x3x3x128x256        number of parameters x shape of each
    unet train 32x64x32         batch x width of the first level x height and width of the image, one channel

Tolerance: both sides compute the same thing before anything is timed, and the largest difference, relative to the
largest value of the array it is found in, must stay below it. Winograd's transforms cost digits (kernels/winograd.py),
so what they touch is allowed 1e-4; the rest is held to the rounding of its sums.
"""

import zlib
from dataclasses import asdict, dataclass

import numpy as np

IMAGE_FORMS = ("nchw", "channels_last", "compile")  # compile: torch.compile of the channels-last form
PLAIN_FORMS = ("eager", "compile")  # where no image has a layout
WINOGRAD, DIRECT = 1e-4, 1e-5


@dataclass(frozen=True)
class Case:
    """One row: `side` names the files benchmarks/sides/{side}_minigen.py and _torch.py, `shape` is what they get."""

    name: str
    side: str
    shape: dict
    tolerance: float
    forms: tuple = IMAGE_FORMS
    target: float | None = None  # torch's time / ours (memory: torch's / ours)
    flops: float = 0.0  # of the direct method; 0: the row has no place under the roofline
    bytes: float = 0.0  # every array read or written once

    def to_dict(self):
        return asdict(self)


def generator(name):
    """NumPy's generator for the inputs of the case of that name: the same in every process."""
    return np.random.default_rng(zlib.crc32(name.encode()))


# ---------------------------------------------------------------- kernels

PASSES = ("forward", "input grad", "weight grad")


def conv_cases(kind, size, n, c, k, pixels, target, stride=1, transposed=False):
    """The three passes of one convolution."""
    padding = (size - 1) // 2
    small, large = (pixels, pixels * stride) if transposed else (pixels // stride, pixels)
    weights, flops = size * size * c * k, 2.0 * n * small * small * size * size * c * k
    numbers = n * (c * pixels**2 + k * (large if transposed else small) ** 2) + weights
    for which in PASSES:
        shape = {"n": n, "c": c, "k": k, "pixels": pixels, "size": size, "stride": stride, "padding": padding}
        yield Case(
            f"{kind} {n}x{c}x{k}x{pixels} {which}", "kernels",
            {"kernel": "conv", "pass": which, "transposed": transposed, **shape},
            WINOGRAD if size == 3 else DIRECT, IMAGE_FORMS, target, flops, 4.0 * numbers,
        )  # fmt: skip


def norm_case(n, c, pixels):
    numbers = n * c * pixels * pixels
    return Case(
        f"groupnorm_silu {n}x{c}x{pixels}", "kernels", {"kernel": "groupnorm_silu", "n": n, "c": c, "pixels": pixels},
        4e-5, IMAGE_FORMS, 1.0, 20.0 * numbers, 4.0 * 5 * numbers,
    )  # fmt: skip


def attention_case(n, tokens, heads=4, width=32):
    """2 products of tokens x tokens x width forward, 5 backward."""
    return Case(
        f"attention {n}x{tokens}x{heads}x{width}", "kernels",
        {"kernel": "attention", "n": n, "tokens": tokens, "heads": heads, "width": width},
        DIRECT, PLAIN_FORMS, 1.0, 14.0 * n * heads * tokens**2 * width, 4.0 * 12 * n * tokens * heads * width,
    )  # fmt: skip


def softmax_case(rows, length):
    return Case(
        f"softmax {rows}x{length}", "kernels", {"kernel": "softmax", "rows": rows, "length": length},
        1e-5, PLAIN_FORMS, 1.0, 10.0 * rows * length, 4.0 * 5 * rows * length,
    )  # fmt: skip


def kernels():
    """The passes of the networks below at the sizes in which those use them, and a few awkward sizes."""
    rows = []
    for c, pixels in ((64, 32), (128, 16), (256, 8)):
        rows += conv_cases("conv3x3", 3, 32, c, c, pixels, target=2.0)
    for c, pixels in ((40, 28), (96, 14)):
        rows += conv_cases("conv3x3", 3, 32, c, c, pixels, target=1.5)
    for n, c, pixels in ((1, 64, 32), (32, 1, 32), (32, 64, 31)):  # batch 1, one channel, an odd size: no cliff
        rows += conv_cases("conv3x3", 3, n, c, 64, pixels, target=None)
    for c, k, pixels in ((64, 128, 16), (128, 256, 8)):
        rows += conv_cases("conv4x4s2", 4, 64, c, k, pixels, target=1.0, stride=2)
        rows += conv_cases("convt4x4s2", 4, 64, k, c, pixels // 2, target=1.0, stride=2, transposed=True)
    for c, k, pixels in ((128, 128, 16), (192, 64, 32)):
        rows += conv_cases("conv1x1", 1, 32, c, k, pixels, target=1.0)
    rows += [norm_case(32, 64, 32), norm_case(32, 128, 16)]
    rows += [attention_case(32, tokens) for tokens in (64, 256, 1024)]
    rows += [softmax_case(32768, 256), softmax_case(128, 1000)]
    count, shape = 22, (3, 3, 128, 256)
    numbers = count * int(np.prod(shape))
    rows.append(Case(
        f"adamw {count}x{'x'.join(map(str, shape))}", "kernels", {"kernel": "adamw", "count": count, "shape": shape},
        1e-5, PLAIN_FORMS, 1.0, 12.0 * numbers, 4.0 * 7 * numbers,
    ))  # fmt: skip
    return rows


# ---------------------------------------------------------------- whole networks


def unet_case(step, n=32, width=64, pixels=32, target=None, forms=IMAGE_FORMS):
    shape = {"step": step, "n": n, "width": width, "pixels": pixels}
    return Case(f"unet {step} {n}x{width}x{pixels}", "unet", shape, UNET_TOLERANCE, forms, target)


UNET_TOLERANCE = 1e-4  # some 30 convolutions deep, most of them by Winograd
TITLES = {
    "unet train": "U-Net training step, 6.47 M parameters, batch 32, 32x32",
    "unet forward": "the same network's sampling step (forward, no gradient)",
    "vae train": "MLP VAE 784-400-20 training step, batch 128",
    "dcgan train": "DCGAN 32x32 training step, batch 64",
}


def models():
    return [
        unet_case("train", target=2.2),
        unet_case("forward", target=2.0),
        Case("vae train 128x784x400x20", "vae", {"n": 128, "hidden": 400, "latent": 20}, 1e-5, PLAIN_FORMS, 1.4),
        Case("dcgan train 64x64x32", "dcgan", {"n": 64, "width": 64, "latent": 64}, 1e-3, IMAGE_FORMS, 1.2),
    ]


def memory():
    return [unet_case("train", target=1 / 0.7)]


def scaling():
    """One of batch, width and image size at a time. torch.compile is left out: it was never the fastest form here,
    and it compiles for minutes at every new shape."""
    forms = ("nchw", "channels_last")
    points = [{"n": n} for n in (1, 2, 4, 8, 16, 32, 64, 128)]
    points += [{"width": width} for width in (32, 96, 128)]
    points += [{"pixels": pixels} for pixels in (16, 24, 48, 64)]
    return [unet_case("train", forms=forms, **point) for point in points]


SUITES = {"kernels": kernels, "models": models, "memory": memory, "scaling": scaling}
