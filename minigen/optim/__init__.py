"""Optimisers, learning-rate schedules, and the moving average of the weights."""

from .ema import EMA
from .flat import FlatParameters
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedule import warmup, warmup_cosine
