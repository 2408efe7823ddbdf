"""The inputs of the kernel cases, drawn with NumPy: each side makes the same ones for itself.

Layouts are minigen's: images (N, H, W, C), filters (KH, KW, C, K), tokens (N, L, heads, width).
"""

import numpy as np

from benchmarks.cases import generator


def kernel_inputs(case):
    """{name: float32 array} for a case of the side "kernels"."""
    shape, rng = case["shape"], generator(case["name"])
    return {name: rng.standard_normal(size, np.float32) for name, size in SHAPES[shape["kernel"]](**shape).items()}


def conv(n, c, k, pixels, size, stride, transposed, **_):
    """A transposed convolution reads `small` pixels and writes `large`; its filter is that of the way back."""
    to = pixels * stride if transposed else pixels // stride
    filters = (size, size, k, c) if transposed else (size, size, c, k)
    return {"x": (n, pixels, pixels, c), "w": filters, "dy": (n, to, to, k)}


def groupnorm_silu(n, c, pixels, **_):
    image = (n, pixels, pixels, c)
    return {"x": image, "gamma": (c,), "beta": (c,), "dy": image}


def attention(n, tokens, heads, width, **_):
    return dict.fromkeys(("q", "k", "v", "dy"), (n, tokens, heads, width))


def softmax(rows, length, **_):
    return {"x": (rows, length), "dy": (rows, length)}


def adamw(count, shape, **_):
    return {"p": (count, *shape), "g": (count, *shape)}


SHAPES = {"conv": conv, "groupnorm_silu": groupnorm_silu, "attention": attention, "softmax": softmax, "adamw": adamw}


# ---------------------------------------------------------------- networks


def random_weights(parameters, rng):
    """{name: array}: normal over sqrt(fan-in); vectors move a little from where they start.

    Layers that start at zero would hide the gradients behind them from the comparison.
    """
    return {
        name: rng.standard_normal(a.shape, np.float32) / np.float32((a.size / a.shape[-1]) ** 0.5)
        if a.ndim > 1
        else a + 0.1 * rng.standard_normal(a.shape, np.float32)
        for name, a in parameters.items()
    }


def unet_batch(case):
    """x, target (N, H, W, 1), t (N,)"""
    shape, rng = case["shape"], generator(case["name"])
    image = (shape["n"], shape["pixels"], shape["pixels"], 1)
    x, target = rng.standard_normal(image, np.float32), rng.standard_normal(image, np.float32)
    return x, target, rng.integers(1, 1001, shape["n"])


def vae_batch(case):
    """x (N, 784) in [0, 1], eps (N, latent)"""
    shape, rng = case["shape"], generator(case["name"])
    return rng.random((shape["n"], 784), np.float32), rng.standard_normal((shape["n"], shape["latent"]), np.float32)


def dcgan_batch(case):
    """Real images (N, 32, 32, 1) in [-1, 1], z (N, 1, 1, latent)"""
    shape, rng = case["shape"], generator(case["name"])
    real = rng.random((shape["n"], 32, 32, 1), np.float32) * 2 - 1
    return real, rng.standard_normal((shape["n"], 1, 1, shape["latent"]), np.float32)
