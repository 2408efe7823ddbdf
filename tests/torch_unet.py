"""The U-Net of minigen/models/unet.py written again in PyTorch, from its documentation: an independent oracle.

Channels first and with separate layers, as PyTorch users write it. `copy_weights` carries our weights over,
`gradients` brings PyTorch's gradients back under our names and layouts.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, i, o, e, groups=8):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, i), nn.GroupNorm(groups, o)
        self.conv1, self.conv2 = nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)
        self.time = nn.Linear(e, o)
        self.skip = nn.Conv2d(i, o, 1) if i != o else None

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(emb)[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + (x if self.skip is None else self.skip(x))


class Attend(nn.Module):
    def __init__(self, c, heads, groups=8):
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(groups, c)
        self.query, self.key, self.value, self.output = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        n, c, h, w = x.shape

        def tokens(y):
            return y.reshape(n, self.heads, c // self.heads, h * w).transpose(-1, -2)

        z = self.norm(x)
        o = F.scaled_dot_product_attention(tokens(self.query(z)), tokens(self.key(z)), tokens(self.value(z)))
        return x + self.output(o.transpose(-1, -2).reshape(n, c, h, w))


class TorchUNet(nn.Module):
    def __init__(self, cin=1, ch=64, mults=(1, 2, 2), blocks=2, attn=(2,), heads=4):
        super().__init__()
        e = 4 * ch
        self.ch = ch
        self.time_in, self.time_out, self.input = nn.Linear(ch, e), nn.Linear(e, e), nn.Conv2d(cin, ch, 3, padding=1)
        self.down, self.up, c, skips = nn.ModuleList(), nn.ModuleList(), ch, [ch]

        def stage(i, o, level):
            return nn.ModuleDict({"block": Block(i, o, e), **({"attend": Attend(o, heads)} if level in attn else {})})

        for level, m in enumerate(mults):
            for _ in range(blocks):
                self.down.append(stage(c, ch * m, level))
                c = ch * m
                skips.append(c)
            if level < len(mults) - 1:
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
        self.middle = nn.ModuleDict({"block": Block(c, c, e), "attend": Attend(c, heads)})
        self.middle_block = Block(c, c, e)
        for level in reversed(range(len(mults))):
            for _ in range(blocks + 1):
                self.up.append(stage(c + skips.pop(), ch * mults[level], level))
                c = ch * mults[level]
            if level > 0:
                self.up.append(nn.ModuleDict({"conv": nn.Conv2d(c, c, 3, padding=1)}))
        self.norm, self.output = nn.GroupNorm(8, c), nn.Conv2d(c, cin, 3, padding=1)

    def forward(self, x, t):
        f = torch.exp(-math.log(1e4) * torch.arange(self.ch // 2, dtype=torch.float64) / (self.ch // 2))
        angle = t[:, None].double() * f
        emb = torch.cat([angle.sin(), angle.cos()], 1).to(x.dtype)
        emb = F.silu(self.time_out(F.silu(self.time_in(emb))))
        x = self.input(x)
        skips = [x]
        for part in self.down:
            x = apply(part, x, emb) if isinstance(part, nn.ModuleDict) else part(x)
            skips.append(x)
        x = self.middle_block(apply(self.middle, x, emb), emb)
        for part in self.up:
            if "conv" in part:
                x = part["conv"](F.interpolate(x, size=skips[-1].shape[2:], mode="nearest-exact"))
            else:
                x = apply(part, torch.cat([x, skips.pop()], 1), emb)
        return self.output(F.silu(self.norm(x)))


def apply(stage, x, emb):
    x = stage["block"](x, emb)
    return stage["attend"](x) if "attend" in stage else x


def torch_name(name):
    """minigen's dotted name -> PyTorch's: norms say weight and bias, attention has no module of its own here."""
    return name.replace(".attention.", ".").replace(".gamma", ".weight").replace(".beta", ".bias")


def to_torch(name, array, like):
    """Our layout -> PyTorch's: (KH, KW, C, K) -> (K, C, KH, KW), (D_in, D_out) -> (D_out, D_in[, 1, 1])."""
    tensor = torch.from_numpy(array.copy())
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    return tensor.T.reshape(like.shape) if tensor.ndim == 2 else tensor


def to_ours(tensor, like):
    """The way back."""
    array = tensor.detach().cpu().numpy()
    if like.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.reshape(like.shape[::-1]).T if like.ndim == 2 else array


def copy_weights(ours, theirs):
    state = dict(theirs.named_parameters())
    names = {torch_name(name) for name, _ in ours.named_parameters()}
    assert names == set(state), names ^ set(state)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            target = state[torch_name(name)]
            target.copy_(to_torch(name, parameter.data, target))
