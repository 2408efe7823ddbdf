"""PyTorch's side of the U-Net rows: the network of tests/torch_unet.py with the fused AdamW."""

import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.paired import Work
from benchmarks.sides.data import unet_batch
from benchmarks.sides.torch_forms import IMAGE, compiled, gradients, image, layout, load_weights, ours

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from torch_unet import TorchUNet, torch_name


def prepare(case, form, folder):
    torch.manual_seed(0)
    shape, (x, target, t) = case["shape"], unet_batch(case)
    given = image(x, form), image(target, form), torch.from_numpy(t)
    network = TorchUNet(ch=shape["width"]).to(memory_format=layout(form))
    names = [(name, torch_name(name)) for name in np.load(folder / "unet.npz").files]
    load_weights(network, folder / "unet.npz", names)
    optimizer, predict = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True), compiled(network, form)

    def train(x, target, t):
        loss = torch.nn.functional.mse_loss(predict(x, t), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return ours(loss)

    forward = torch.no_grad()(predict)

    def noise():
        return torch.randn(given[0].shape).contiguous(memory_format=layout(form))

    def levels():
        return torch.randint(1, 1001, given[2].shape)

    def check_train():
        first = {"loss": train(*given), **gradients(network, folder / "unet.npz", names)}
        return {**first, "loss after the step": train(*given)}

    def check_forward():
        return {"prediction": ours(forward(given[0], given[2]), IMAGE)}

    if shape["step"] == "train":
        return Work(lambda: train(noise(), noise(), levels()), check_train)
    return Work(lambda: forward(noise(), levels()), check_forward)
