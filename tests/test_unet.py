"""The two U-Nets: one whole training step equal to PyTorch's, odd sizes, and what initialisation promises."""

import numpy as np
import pytest
from tolerances import tolerance

from minigen import Tensor, grad, no_grad, ops
from minigen.gradcheck import check_grads
from minigen.models.classic_unet import ClassicUNet
from minigen.models.unet import UNet
from minigen.optim import AdamW
from minigen.random import Generator

SMALL = {"channels": 16, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "heads": 2, "groups": 8}


def shaken(network, seed=1, dtype=np.float32):
    """Give every parameter a random value: layers that start at zero would hide the gradients behind them."""
    generator = Generator(seed)
    for parameter in network.parameters():
        fan = max(1, parameter.size // parameter.shape[-1])
        noise = generator.normal(parameter.shape) / np.float32(fan**0.5)
        parameter.assign(parameter.data * (parameter.ndim == 1) + noise)
    return network.astype(dtype)


def batch(n=2, size=(8, 8), dtype=np.float32):
    generator = Generator(2)
    x, target = (generator.normal((n, *size, 1)).astype(dtype) for _ in range(2))
    return x, target, generator.integers(1, 1001, (n,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_one_training_step_equals_torchs(torch, dtype, size):
    """Loss, every gradient, and every weight after one AdamW step, from the same weights."""
    import torch_unet

    ours = shaken(UNet(Generator(0), **SMALL), dtype=dtype)
    theirs = torch_unet.TorchUNet(ch=16, mults=(1, 2), blocks=1, attn=(1,), heads=2)
    theirs = theirs.double() if dtype == np.float64 else theirs
    torch_unet.copy_weights(ours, theirs)
    x, target, t = batch(size=size, dtype=dtype)

    optimizer = AdamW(ours.parameters(), lr=1e-3, weight_decay=0.01)
    loss = ops.mse(ours(Tensor(x), t), Tensor(target))
    loss.backward()

    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.01)
    image, goal = (torch.from_numpy(a.transpose(0, 3, 1, 2).copy()) for a in (x, target))
    their_loss = torch.nn.functional.mse_loss(theirs(image, torch.from_numpy(t)), goal)
    their_loss.backward()

    # A gradient has passed some 20 layers, each with the table's error for a convolution.
    bound = 20 * tolerance("conv", dtype, 1)
    assert loss.item() == pytest.approx(their_loss.item(), rel=bound)
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        expected = torch_unet.to_ours(named[torch_unet.torch_name(name)].grad, p.data)
        assert abs(p.grad.data - expected).max() <= bound * max(abs(expected).max(), 1e-3), name
        assert abs(expected).max() > 0, f"{name} gets no gradient, so the comparison says nothing"

    # AdamW's first step is lr g / (|g| + eps). Two gradients that differ by d (checked above) may therefore step apart
    # by lr 2 d / |g|, and no more: where the true gradient is 0, as for the keys' bias, that is any step up to lr.
    gradients = {name: (p.grad.data, torch_unet.to_ours(named[torch_unet.torch_name(name)].grad, p.data))
                 for name, p in ours.named_parameters()}  # fmt: skip
    optimizer.step()
    their_optimizer.step()
    for name, p in ours.named_parameters():
        g, their_g = gradients[name]
        apart = np.minimum(2.0, 2 * abs(g - their_g) / np.maximum(abs(g), 1e-8))
        theirs_now = torch_unet.to_ours(named[torch_unet.torch_name(name)], p.data)
        assert (abs(p.data - theirs_now) <= 1e-3 * apart + 8 * np.finfo(dtype).eps * (1 + abs(p.data))).all(), name


def test_a_second_derivative_passes_through_the_whole_network():
    """Gradient of the gradient in float64, against finite differences: what WGAN-GP-like penalties will need."""
    network = shaken(UNet(Generator(0), **{**SMALL, "channels": 8}), dtype=np.float64)
    t = np.array([3])
    check_grads(lambda x: network(x, t), [Generator(3).normal((1, 4, 4, 1), np.float64)], order=2)


@pytest.mark.parametrize("size", [(5, 5), (7, 4), (1, 3)])
def test_odd_sizes_keep_their_size(size):
    network = UNet(Generator(0), **{**SMALL, "multipliers": (1, 2, 2)})
    assert network(Tensor(np.ones((2, *size, 1), np.float32)), np.array([1, 2])).shape == (2, *size, 1)


def test_every_parameter_gets_a_gradient():
    network = shaken(UNet(Generator(0), classes=3, patch=2, **SMALL))
    x, target, t = batch()
    ops.mse(network(Tensor(x), t, np.array([0, 2])), Tensor(target)).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not abs(p.grad.data).max() > 0]


def test_the_untrained_network_predicts_zero():
    """Its last convolution starts at zero, so the first prediction is zero whatever the input."""
    x, _, t = batch()
    assert not UNet(Generator(0), **SMALL)(Tensor(x), t).data.any()


def test_the_prediction_depends_on_time_and_label():
    network = shaken(UNet(Generator(0), classes=3, **SMALL))
    x, _, _ = batch()
    with no_grad():
        y = network(Tensor(x[:1].repeat(3, 0)), np.array([1, 500, 1]), np.array([0, 0, 1])).data
    assert abs(y[0] - y[1]).max() > 1e-3
    assert abs(y[0] - y[2]).max() > 1e-3


def test_dropout_acts_in_training_only():
    network = shaken(UNet(Generator(0), dropout=0.5, **SMALL))
    x, _, t = batch()
    with no_grad():
        assert abs(network(Tensor(x), t).data - network(Tensor(x), t).data).max() > 0
        network.eval()
        assert not (network(Tensor(x), t).data - network(Tensor(x), t).data).any()


def test_bad_input_is_named():
    network = UNet(Generator(0), patch=2, **SMALL)
    with pytest.raises(ValueError, match="patch must divide the image"):
        network(Tensor(np.ones((1, 7, 8, 1), np.float32)), np.array([1]))
    with pytest.raises(ValueError, match="labels must be given exactly when"):
        network(Tensor(np.ones((1, 8, 8, 1), np.float32)), np.array([1]), np.array([1]))


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_the_classic_unet_equals_torchs_layers(torch, size):
    """Forward and weight gradients, float64, with PyTorch's convolution, pooling and up-convolution."""
    from torch.nn import functional as F

    network = ClassicUNet(Generator(0), channels=4, depth=2).astype(np.float64)
    x = Generator(1).normal((2, *size, 1), np.float64)
    weights = {name: torch.tensor(p.data.copy(), requires_grad=True) for name, p in network.named_parameters()}

    def conv(h, name, padding=1):
        return F.conv2d(h, weights[f"{name}.weight"].permute(3, 2, 0, 1), weights[f"{name}.bias"], padding=padding)

    def pair(h, name):
        return F.relu(conv(F.relu(conv(h, f"{name}.first")), f"{name}.second"))

    h, skips = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), []
    for level in range(2):
        h = pair(h, f"down.{level}")
        skips.append(h)
        h = F.max_pool2d(h, 2)
    h = pair(h, "down.2")
    for level in range(2):
        skip = skips.pop()
        extra = [skip.shape[a] - 2 * h.shape[a] for a in (2, 3)]
        up = F.conv_transpose2d(
            h,
            weights[f"up.{level}.weight"].permute(3, 2, 0, 1),
            weights[f"up.{level}.bias"],
            stride=2,
            output_padding=extra,
        )
        h = pair(torch.cat([skip, up], 1), f"merge.{level}")
    expected = conv(h, "output", padding=0)

    y = network(Tensor(x))
    assert y.shape == (2, *size, 2)
    np.testing.assert_allclose(y.data, expected.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-10, atol=1e-12)
    g = Generator(4).normal(y.shape, np.float64)
    ours = grad(y, network.parameters(), Tensor(g))
    theirs = torch.autograd.grad(expected, list(weights.values()), torch.from_numpy(g.transpose(0, 3, 1, 2).copy()))
    for name, a, b in zip(weights, ours, theirs):
        np.testing.assert_allclose(a.data, b.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)
