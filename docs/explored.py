"""What the explorer shows for chosen settings. It runs in the browser, on `analysis.theory` alone."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis import theory
from analysis.theory.tensors import RECURSIONS

LARGEST = 1e12  # curves end where a tensor grows beyond it
UNKNOWN = (ValueError, ArithmeticError, KeyError)
TENSORS = tuple(RECURSIONS)


def critical(activation: str, skip: float = 0.0) -> dict[str, Any]:
    """The critical point of docs/theory.md (4.1) and r*, docs/theory.md (6.8), of two neurons; why there is none under
    "reason", if so."""
    try:
        point = theory.critical(activation, skip)
        found = {"C_b": point.C_b, "C_W": point.C_W, "class": point.universality_class}
    except UNKNOWN as error:
        return {"reason": str(error)}
    try:
        nu = theory.exponents(activation).coefficient["V"]
        return {**found, "r_star": theory.information.optimal_ratio(nu, 2)} if skip == 0 else found
    except UNKNOWN:
        return found


def explored(given: Mapping[str, Any]) -> dict[str, Any]:
    """One tensor over the layers of a network, with K and Theta of the first input.

    given: activation, as `theory.activation` takes it; C_b, C_W, depth, lambda_b, lambda_W, skip; squares, |x|^2/n_0 of
    one or two inputs, and cosine, of the angle between them; tensor. Each component of it is a list over layers 1 to
    depth, which ends where it grows beyond all measure. unit: the powers of K and Theta by which it is measured at
    criticality; None where there are none. ValueError for settings that `theory.flow` refuses.
    """
    cosine, squares = float(given["cosine"]), [float(square) for square in given["squares"]]
    if not (abs(cosine) <= 1 and min(squares) > 0):
        raise ValueError("inputs: squares above 0, and a cosine from -1 to 1")
    directions = np.array([[1.0, 0.0], [cosine, np.sqrt(1 - cosine**2)]])[: len(squares)]
    inputs = directions * np.sqrt(2 * np.array(squares))[:, None]
    name = str(given["tensor"])
    flow = theory.flow(
        str(given["activation"]), int(given["depth"]), float(given["C_b"]), float(given["C_W"]), inputs,
        float(given["lambda_b"]), float(given["lambda_W"]), tensors=("K", "Theta", name), skip=float(given["skip"]),
    )  # fmt: skip
    values = flow[name]
    curves = {}
    for at in np.ndindex(values.shape[1:]):
        digits = "".join(map(str, at))
        curve = values[(slice(None), *at)]
        small = np.logical_and.accumulate(np.isfinite(curve) & (np.abs(curve) < LARGEST))
        curves[",".join(digits[k : k + 2] for k in range(0, len(digits), 2))] = curve[small].tolist()
    K, Theta = (flow[letter].reshape(len(values), -1)[:, 0].tolist() for letter in ("K", "Theta"))
    return {"curves": curves, "K": K, "Theta": Theta, "unit": theory.UNITS.get(name)}


def answer(question: str) -> str:
    """`explored` or, without a tensor, `critical`, from and to JSON."""
    given = json.loads(question)
    try:
        found = explored(given) if "tensor" in given else critical(given["activation"], float(given["skip"]))
    except UNKNOWN as error:
        found = {"error": str(error)}
    return json.dumps(found)
