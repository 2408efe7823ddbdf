"""Diffusion: how data is turned into noise step by step (process), at what pace (schedules), and back (samplers)."""

from .process import GaussianDiffusion
from .samplers import ddim_levels, ddim_sample, ddim_step, ddpm_sample, ddpm_step
from .schedules import Schedule, make_schedule

__all__ = [
    "GaussianDiffusion",
    "Schedule",
    "ddim_levels",
    "ddim_sample",
    "ddim_step",
    "ddpm_sample",
    "ddpm_step",
    "make_schedule",
]
