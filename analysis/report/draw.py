"""The figures of a claim and their files."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import tails
from analysis.inference import Inferred
from analysis.measures import shown
from analysis.measures.measured import Measure
from analysis.measures.preactivations import kernel_mean, vertex
from analysis.points import OUT_OF_RANGE, Point, Variant
from analysis.report.ntk import frozen_ntk, lacks_ntk, ntk_variance
from analysis.report.panels import PANELS, fit_panels, shows_asked
from analysis.report.plain import plain
from analysis.report.posterior_figures import figures as of_posteriors
from analysis.report.preactivations import (
    classes,
    collapse,
    density,
    depths,
    lacks_classes,
    lacks_depths,
    lacks_outputs,
    lacks_vertex,
)  # fmt: skip
from analysis.report.style import STYLE, Drawn
from analysis.report.trained import lacks_training, trained
from analysis.result import Claim, Result
from analysis.streams import of_first
from analysis.verdicts import Judged

Panel = Callable[..., Axes]


@dataclass(frozen=True)
class Kind:
    """A figure of a claim. lacks: what points miss for it, empty where nothing. shows: what it is of. panels: what
    draws each of its axes, with their relative heights if they share the horizontal one, else they stand in a row."""

    caption: str
    size: tuple[float, float]
    lacks: Callable[[Sequence[Point]], str]
    shows: Measure
    panels: tuple[Panel, ...]
    heights: tuple[float, ...] = ()

    def draw(self, variants: Sequence[Variant]) -> Figure:
        figure = Figure(figsize=self.size)
        if self.heights:
            axes = figure.subplots(len(self.panels), 1, squeeze=False, sharex=True, height_ratios=self.heights)
        else:
            axes = figure.subplots(1, len(self.panels), squeeze=False)
        for panel, ax in zip(self.panels, axes.flat, strict=True):
            panel(variants, ax)
            if self.heights:
                ax.label_outer()
        return figure


# Figures of claims whose points differ in width alone; OF_VARIANTS holds those of claims with several variants.
FIGURES = {
    "collapse": Kind(
        "Four-point vertex of sample 0 over the square of the kernel against the aspect ratio, all widths. Lines: "
        "theory at order 1/n, and dashed with order 1/n².",
        (5.4, 5.2), lacks_vertex, vertex, (collapse, partial(collapse, ratio=True)), (3, 1),
    ),
    "density": Kind(
        "Density of output 0 at sample 0 over networks of the narrowest width, and its ratio to the Gaussian.",
        (5.4, 5.2), lacks_outputs, shown.density, (density, partial(density, ratio=True)), (2, 1.4),
    ),
    "frozen_ntk": Kind(
        "Neural tangent kernel against the frozen NTK (left), and its variance against width (right).",
        (8.6, 3.8), lacks_ntk, shown.ntk, (frozen_ntk, ntk_variance),
    ),
    "trained": Kind(
        "Outputs after training on train and test samples: networks of each width against the closed form and its "
        "one-standard-deviation band.",
        (6.4, 3.8), lacks_training, shown.trained, (trained,),
    ),
}  # fmt: skip
OF_VARIANTS = {
    "classes": Kind(
        "Four-point vertex over the square of the kernel against the aspect ratio, and over its prediction. Lines: "
        "theory at order 1/n. Colours are universality classes, markers activations.",
        (6.4, 6.4), lacks_classes, vertex, (classes, partial(classes, ratio=True)), (2, 1),
    ),
    "depths": Kind(
        "Kernels of all samples against depth at the largest width. Lines: infinite width.",
        (6.0, 4.4), lacks_depths, kernel_mean, (depths,),
    ),
}  # fmt: skip


POSTERIOR = "posterior"  # figures of inference have it where others have the name of a claim


def write_all(
    result: Result, folder: Path, posteriors: Mapping[str, Inferred] | None = None
) -> tuple[list[Drawn], list[str]]:
    """Write every figure for which the claims have data, and those of posteriors by data set, as SVG and PNG. Returns
    them, and a line for each that is left out because its theory cannot be computed, or is not of all networks."""
    folder.mkdir(parents=True, exist_ok=True)
    out: list[Drawn] = []
    left_out: list[str] = []

    def save(figure: Figure, claim: str, name: str, caption: str) -> None:
        if (layout := figure.get_layout_engine()) is not None:  # once for both files, as it takes half of the time
            layout.execute(figure)
            figure.set_layout_engine("none")
        for kind in ("svg", "png"):
            # The file holds no date, so that the same data give the same bytes.
            undated = {"Date": None} if kind == "svg" else None
            figure.savefig(folder / f"{_file(claim, name)}.{kind}", metadata=undated)
        out.append(Drawn(claim, caption, folder / f"{_file(claim, name)}.svg", figure.get_figwidth()))

    with matplotlib.style.context(STYLE):
        for name, caption, drawn in plain(result) if not result.claims else ():
            save(drawn, "", name, caption)
        for name, caption, drawn in of_posteriors(posteriors or {}):
            save(drawn, POSTERIOR, name, caption)
        for whole, verdict in zip(result.claims, result.verdicts, strict=True):
            claim = _with_found(whole, result)
            for name, kind in (OF_VARIANTS if len(claim.variants) > 1 else FIGURES).items():
                if kind.lacks(claim.points):
                    continue
                try:
                    save(kind.draw(claim.variants), claim.name, name, kind.caption)
                except OUT_OF_RANGE as error:
                    left_out.append(f"{claim.name}: the figure {name} is left out: {error}")
                    continue
                if any(of_first(kind.shows, point) for point in claim.points):
                    why = "rows were not kept, nor sums of what it shows (ensemble.keep=sums)"
                    left_out.append(f"{claim.name}: the figure {name} is of the first networks: {why}")
            for test in claim.tests:
                fits = [j.fit for j in sorted(verdict.of_test(test), key=decides)]
                if fits:
                    more = f" ({PANELS} of {len(fits)} drawn; the table holds all)" if len(fits) > PANELS else ""
                    caption = f"Test {test}: measured (circles), fit with its band, leading coefficient (diamond) and "
                    asked = " with the deviation that is asked (grey)" if shows_asked(fits[0]) else ""
                    if any(math.isfinite(fit.series.following) for fit in fits):
                        asked += ", dashed with its next order"
                    caption += f"prediction (black line){asked}, those that decide first; below, residual pulls{more}."
                    if any(fit.series.without for fit in fits):
                        caption += f" Open circles are {tails.WORD} estimates, which the fit leaves out."
                    save(fit_panels(fits), claim.name, f"fit-{test}", caption)
    return out, left_out


def decides(judged: Judged) -> tuple[int, float, float]:
    """Series in the order in which they decide a test: those that disagree by their p-values, then those that see least
    of what is asked."""
    p = min(judged.p_pull, judged.p_fit)
    seen = judged.visible / judged.fit.series.precision
    return (0, p, -seen) if judged.rejected else (1, -seen, p)


def _with_found(claim: Claim, result: Result) -> Claim:
    """The claim whose points know what was found at them."""

    def known(point: Point) -> Point:
        return replace(point, found=result.found[point.data.path])

    return replace(claim, variants=tuple(replace(v, points=tuple(map(known, v.points))) for v in claim.variants))


def _file(claim: str, name: str) -> str:
    """The name of a figure's file without its ending, of characters that every system takes."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in "-".join(filter(None, [claim, name])))
