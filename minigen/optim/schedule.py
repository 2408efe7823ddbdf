"""Learning-rate schedules: a factor in [0, 1] that multiplies the base rate, as a function of the step."""

from math import cos, pi


def warmup(step, length):
    """Linear from 1/length at step 0 to 1 at step length - 1. Goyal et al. 2017, section 2.2"""
    return min(1.0, (step + 1) / length) if length > 0 else 1.0


def warmup_cosine(step, length, total, floor=0.0):
    """Linear warm-up over `length` steps, then half a cosine down to `floor` at step `total`.

    Source: Loshchilov and Hutter, ICLR 2017, eq. 5.
    Raises ValueError unless 0 <= length < total.
    """
    if not 0 <= length < total:
        raise ValueError(f"the warm-up must be shorter than the whole: got length={length}, total={total}")
    if step < length:
        return warmup(step, length)
    progress = min(1.0, (step - length) / (total - length))
    return floor + (1 - floor) * 0.5 * (1 + cos(pi * progress))
