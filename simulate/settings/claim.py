"""The form of an experiment's claim; the analysis judges the claim itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulate.settings.observables import Observables
from simulate.settings.reader import Reader, choice, integer, nonempty
from simulate.settings.training import ALGORITHMS


def read_claim(claim: Any, observables: Observables) -> Mapping[str, Any] | None:
    """The claim, whose form and layers are checked here; SettingsError for the first thing that is wrong."""
    if claim is None:
        return None
    r = Reader(claim, "claim")
    r.get("name", nonempty, "a name")
    r.get("statement", nonempty, "the claim in a sentence")
    if "noise" in r.config:
        r.real("noise", 0.0)
    if "source" in r.config:
        r.get("source", nonempty, "the paper whose numbers it reproduces, as arXiv:2508.11522")
    tests = Reader(r.raw("tests"), "claim.tests")
    for name in tests.config:
        test = Reader(tests.raw(name), tests.key(name))
        test.real("precision", 0.0, strict=True)
        if "reference" in test.config:
            test.get("reference", _reference, f"one of {', '.join(ALGORITHMS)}, or a depth of the sweep")
        if "layers" in test.config:
            recorded = f"a list of recorded layers, observables.layers={list(observables.layers)}"
            test.get("layers", lambda v: [choice(layer, observables.layers) for layer in v], recorded)
        test.close()
    r.close()
    return claim


def _reference(value: Any) -> Any:
    return choice(value, tuple(ALGORITHMS)) if isinstance(value, str) else integer(value, 1)
