"""Modules with parameters, the layers made of them, and initial weights."""

from . import init
from .layers import (
    Attention,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    FourierFeatures,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
)
from .module import Buffer, Module, Parameter, Sequential, watch
