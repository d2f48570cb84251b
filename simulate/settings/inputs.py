"""Settings of inputs and targets: their source, number and length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulate.settings.network import Activation, Initialization, critical_point
from simulate.settings.reader import Reader, SettingsError, integer, nonempty, real

NORMALIZATIONS = ("none", "unit", "centered")


@dataclass(frozen=True)
class Inputs:
    """The source of the samples and how they are normalised.

    count: train samples, or all where none are trained on; None takes all rows of a file. test: test samples. scale:
    factor of |x|^2 after the normalization. dimension: n_0 of sphere, gaussian, teacher and ray. squares: |x|^2 / n_0
    of each sample of a ray. classes: the digits taken. path: the file. teacher, targets: width and outputs of the
    teacher.
    """

    source: str
    count: int | None
    test: int
    seed: int
    normalization: str
    scale: float = 1.0
    dimension: int | None = None
    squares: tuple[float, ...] = ()
    classes: tuple[int, ...] = ()
    path: str | None = None
    teacher: int = 0
    targets: int = 0


def read_inputs(r: Reader, activation: Activation, initialization: Initialization) -> Inputs:
    source = r.choice("source", ("digits", "sphere", "gaussian", "teacher", "ray", "file"))
    count = None if source in ("file", "ray") and r.raw("count") is None else r.integer("count", 1, 10_000)
    test = r.integer("test", 0, 10_000)
    common: dict[str, Any] = {
        "source": source,
        "count": count,
        "test": test,
        "seed": r.integer("seed", 0),
        "normalization": r.choice("normalization", NORMALIZATIONS),
        "scale": r.get("scale", lambda v: v if v == "critical" else real(v, 0.0, True), "critical, or a number > 0"),
    }
    if common["scale"] == "critical":
        common["scale"] = _critical_scale(r, source, common["normalization"], activation, initialization)
    if source == "ray":

        def squares(value: Any) -> tuple[float, ...]:
            out = tuple(real(v, 0.0, strict=True) for v in value)
            if not out:
                raise ValueError
            return out

        common["squares"] = r.get("squares", squares, "the |x|^2 / n_0 of each sample, as [1.0,1.2]")
    if source in ("sphere", "gaussian", "teacher", "ray"):
        common["dimension"] = r.integer("dimension", 1, 10**7)
    if source == "teacher":
        common["teacher"], common["targets"] = r.integer("teacher", 1, 10**5), r.integer("targets", 1, 10**4)
    if source == "digits":

        def classes(value: Any) -> tuple[int, ...]:
            out = tuple(integer(v, 0, 9) for v in value)
            if len(set(out)) != len(out) or len(out) < 2:
                raise ValueError
            return out

        common["classes"] = r.get("classes", classes, "two or more different digits, as [0,1]")
    if source == "file":
        common["path"] = r.get("path", nonempty, "a .npy, .npz or .csv file")
    r.close()
    return Inputs(**common)


def _critical_scale(
    r: Reader, source: str, normalization: str, activation: Activation, initialization: Initialization
) -> float:
    """|x|^2 / n_0 at which K(1) is the fixed point K* of a half-stable activation; 1 for other activations, for which
    no length is special."""
    if normalization == "none" and source != "sphere":
        raise SettingsError(
            r.key("scale"), "critical", "inputs.normalization=unit or centered gives samples one length"
        )
    try:
        tuned = critical_point(activation)
    except ValueError as error:
        raise SettingsError(r.key("scale"), "critical", str(error)) from None
    if (tuned.C_b, tuned.C_W) != (initialization.C_b, initialization.C_W):
        raise SettingsError(
            r.key("scale"), "critical", "there is a fixed point to scale to with initialization=critical"
        )
    return (tuned.K_star - tuned.C_b) / tuned.C_W if tuned.universality_class == "half-stable" else 1.0
