"""Scores of generated images."""

from .recognition import Recognition, acceptance_of_impostors, recognise
