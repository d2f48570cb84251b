"""The explorer, docs/explorer.html: the theory of one input for chosen activation, C_b and C_W, without a server.

    python docs/explorer.py      # as `make docs` does; in ten seconds

The page holds tables that `analysis.theory` computed beforehand at the offered values, between which it does not
interpolate: numpy and scipy for a browser cannot be had from the package registries that a build reaches.
"""

import sys
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import configs  # noqa: E402
from analysis import theory  # noqa: E402

PAGE = ROOT / "docs" / "explorer.html"
TENSORS = ("K", "Theta", "V", "G1", "Theta1", "A", "B", "D", "F")
DEPTH = 32
SHARES = (0.6, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4, 1.6)  # of the critical C_W
MORE_BIAS = (0.0, 0.1)  # added to the critical C_b
LARGEST = 1e12  # tables end where a tensor grows beyond it


def activations() -> dict[str, theory.Critical]:
    """The activations that have a critical point, with it."""
    found = {}
    for name in configs.options("activation"):
        try:
            found[name] = theory.critical(name)
        except ValueError:
            continue
    return found


def table(name: str, C_b: float, C_W: float, depth: int = DEPTH) -> dict[str, list[float]]:
    """Each tensor at layers 1 to depth for one input with |x|^2 = n_0, and rates lambda_b = lambda_W = 1; shorter where
    one grows beyond all measure."""
    flow = theory.flow(name, depth, C_b, C_W, np.ones((1, 1)), lambda_b=1.0, lambda_W=1.0, tensors=TENSORS)
    values = np.stack([flow[tensor].reshape(depth, -1)[:, 0] for tensor in TENSORS])
    small = np.logical_and.accumulate((np.abs(values) < LARGEST).all(axis=0))
    return {t: [float(f"{x:.6g}") for x in row[small]] for t, row in zip(TENSORS, values, strict=True)}


def tables() -> list[dict[str, Any]]:
    """All tables with their settings. Those that theory cannot compute are left out."""
    found = []
    for name, point in activations().items():
        for more in MORE_BIAS:
            for share in SHARES:
                C_b, C_W = point.C_b + more, point.C_W * share
                given = {"activation": name, "C_b": float(f"{C_b:.6g}"), "C_W": float(f"{C_W:.6g}")}
                critical = more == 0 and share == 1
                try:
                    found.append({**given, "critical": critical, "tensors": table(name, C_b, C_W)})
                except (ValueError, OverflowError):
                    continue
    return found


def page(made: list[dict[str, Any]]) -> str:
    """The page with its tables."""
    folders = [str(ROOT / "docs"), str(ROOT / "analysis" / "report")]
    loader = jinja2.FileSystemLoader(folders)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    units = {name: theory.UNITS[name] for name in TENSORS if name in theory.UNITS}
    return environment.get_template("explorer.html.jinja").render(
        data={"tables": made, "units": units, "names": TENSORS}
    )


if __name__ == "__main__":
    PAGE.write_text(page(tables()))
