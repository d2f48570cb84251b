"""What a run rests on: the papers of the theory, of the methods and of the data that its settings and tests use.

`references.bib` has the papers, and `METHODS` says when each is cited. A paper that a claim reproduces is named by the
claim itself (`claim.source`).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from analysis import claims
from analysis.measures.measured import Measure
from simulate.store.sets import DataSet

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A paper and the runs that rest on it.

    key: of its entry. what: what is taken from it. used(settings, tests): whether a data set with these settings, whose
    claim has these tests, uses it.
    """

    key: str
    what: str
    used: Callable[[Settings, Sequence[Measure]], bool]


def reads(*prefixes: str) -> Callable[[Settings, Sequence[Measure]], bool]:
    """Whether a test reads columns with one of these prefixes, or a data set without tests records them."""

    def used(settings: Settings, tests: Sequence[Measure]) -> bool:
        read = {prefix for test in tests for prefix in test.families}
        return bool(read & set(prefixes)) or (not tests and "ntk" in settings["observables"]["record"])

    return used


METHODS = (
    Method("roberts2022principles", "the theory", lambda s, t: True),
    Method("salmon2011parallel", "the random numbers", lambda s, t: True),
    Method("jacot2018neural", "the neural tangent kernel", reads("H")),
    Method("lee2019wide", "training at infinite width", lambda s, t: s["dynamics"]["name"] != "none"),
    Method("hanin2018products", "the law of log g at fixed L/n", lambda s, t: named(t, "log_kernel_exact")),
    Method("hanin2020finite", "moments of the NTK at fixed L/n", lambda s, t: named(t, "ntk_moments_exact")),
    Method("saxe2013exact", "orthogonal weights", lambda s, t: s["initialization"]["weights"] == "orthogonal"),
    Method("hendrycks2016gaussian", "GELU", lambda s, t: s["activation"]["name"] == "gelu"),
    Method("ramachandran2017searching", "swish", lambda s, t: s["activation"]["name"] == "swish"),
    Method("pedregosa2011scikit", "the handwritten digits", lambda s, t: s["inputs"]["source"] == "digits"),
    Method("lepage2002constrained", "fits with priors", lambda s, t: bool(t)),
    Method("holm1979simple", "the false-alarm rate of several tests", lambda s, t: bool(t)),
)


def named(tests: Iterable[Measure], name: str) -> bool:
    """Whether one of the tests has this name."""
    return name in {test.name for test in tests}


def references() -> dict[str, str]:
    """The BibTeX entries by their keys."""
    text = files("analysis").joinpath("references.bib").read_text()
    found = re.finditer(r"^@\w+\{(\w+),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)
    return {entry[1]: entry[0] for entry in found}


def keys_of(sets: Iterable[DataSet]) -> dict[str, str]:
    """The keys of the papers on which data sets rest, in the order of `METHODS`, each with what is taken from it.

    ValueError for a claim whose source has no entry.
    """
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    for data in sets:
        claim = data.settings.get("claim") or {}
        known = claims.tests()
        tests = [known[name] for name in claim.get("tests", ()) if name in known]
        found |= {m.key: m.what for m in METHODS if m.key not in found and m.used(data.settings, tests)}
        if source := claim.get("source"):
            sources[by_source(source)] = f"the numbers that {claim['name']} reproduces"
    ordered = {method.key: found[method.key] for method in METHODS if method.key in found}
    return ordered | {key: what for key, what in sources.items() if key not in ordered}


def by_source(source: str) -> str:
    """The key of the paper of a claim's source, as arXiv:2104.11734. ValueError where no entry has this number."""
    number = source.removeprefix("arXiv:")
    for key, entry in references().items():
        if f"eprint = {{{number}}}" in entry:
            return key
    raise ValueError(f"claim.source={source!r}: no such entry in analysis/references.bib; add one with this eprint")


def bibtex(sets: Iterable[DataSet]) -> str:
    """The BibTeX entries of all papers on which data sets rest, each below a line that says what is taken from it."""
    entries = references()
    return "\n\n".join(f"% {what}\n{entries[key]}" for key, what in keys_of(sets).items())
