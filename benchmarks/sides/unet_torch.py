"""PyTorch's side of the U-Net benchmark: the network of tests/torch_unet.py, in the form that is asked for.

nchw            as PyTorch stores images by default
channels_last   as its CPU convolutions like it best
Both with the fused AdamW, which is faster than the default.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from torch_unet import TorchUNet


def prepare(form="channels_last", batch_size="32"):
    torch.set_num_threads(len(__import__("os").sched_getaffinity(0)))
    torch.manual_seed(0)
    n, layout = int(batch_size), torch.channels_last if form == "channels_last" else torch.contiguous_format
    network = TorchUNet().to(memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def image():
        return torch.randn(n, 1, 32, 32).contiguous(memory_format=layout)

    def train():
        loss = torch.nn.functional.mse_loss(network(image(), torch.randint(1, 1001, (n,))), image())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def forward():
        network(image(), torch.randint(1, 1001, (n,)))

    return {"train": train, "forward": forward}
