"""Diffusion: how data is turned into noise step by step (process), at what pace (schedules), and back.

process.py      schedules.py     what is known without a network
objective.py    levels.py        what training minimises, and which levels it visits
likelihood.py                    the variational bound
samplers.py     solvers.py       from noise to data: DDPM and DDIM; solvers of the probability-flow ODE
inversion.py                     from data to its noise, and between two images
"""

from .inversion import ddim_invert, interpolate
from .likelihood import bound
from .objective import Objective
from .process import GaussianDiffusion
from .samplers import ddim_levels, ddim_sample, ddim_step, ddpm_sample, ddpm_step
from .schedules import Schedule, make_schedule
from .solvers import dpm_solver_sample, euler_sample, heun_sample

SAMPLERS = {
    "ddim": ddim_sample,
    "ddpm": ddpm_sample,
    "euler": euler_sample,
    "heun": heun_sample,
    "dpm++": dpm_solver_sample,
}

__all__ = [
    "SAMPLERS",
    "GaussianDiffusion",
    "Objective",
    "Schedule",
    "bound",
    "ddim_invert",
    "ddim_levels",
    "ddim_sample",
    "ddim_step",
    "ddpm_sample",
    "ddpm_step",
    "dpm_solver_sample",
    "euler_sample",
    "heun_sample",
    "interpolate",
    "make_schedule",
]
