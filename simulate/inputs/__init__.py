"""Inputs and targets of an ensemble: real digits, random directions, a user's file, or a user's arrays."""

from simulate.inputs.features import mapped
from simulate.inputs.samples import Given, Samples, check_first_kernel, load, resolved, scaled

__all__ = ["Given", "Samples", "check_first_kernel", "load", "mapped", "resolved", "scaled"]
