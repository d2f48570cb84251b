"""Claims over variants: points that differ in width alone form a variant, and each variant has its own fits."""

from pathlib import Path

import numpy as np
import pytest

import analysis
import simulate
from analysis.points import Point, variants
from simulate.settings.reader import SettingsError

TINY = ["workers=1", "ensemble.device=cpu", "ensemble.networks=64", "network.depth=3"]


def labels(folder: Path, *overrides: str) -> dict[str, list[int]]:
    sets = simulate.sweep(*TINY, f"output={folder}", *overrides)
    return {v.label: [p.n for p in v.points] for v in variants([Point(data) for data in sets])}


def test_widths_alone_are_one_variant(tmp_path: Path) -> None:
    assert labels(tmp_path, "network.width=16,4,8") == {"": [4, 8, 16]}


def test_the_activation_names_what_follows_from_it(tmp_path: Path) -> None:
    """relu and tanh differ in C_W, too, which follows from the activation and is left out of the label."""
    got = labels(tmp_path, "activation=relu,tanh", "network.width=4,8")
    assert got == {"relu": [4, 8], "tanh": [4, 8]}


def test_labels_name_each_setting_that_tells_variants_apart(tmp_path: Path) -> None:
    got = labels(tmp_path, "initialization=gaussian", "initialization.C_W=0.5,1.5", "network.depth=3,5")
    assert set(got) == {f"depth={L} C_W={C}" for L in (3, 5) for C in (0.5, 1.5)}
    assert "slope=0.1" in " ".join(labels(tmp_path / "s", "activation=leaky_relu", "activation.slope=0.1,0.2"))


def test_more_networks_or_another_seed_is_no_other_variant(tmp_path: Path) -> None:
    sets = simulate.sweep(*TINY, f"output={tmp_path}/a", "network.width=4")
    sets += simulate.sweep(*TINY, f"output={tmp_path}/b", "network.width=8", "ensemble.seed=5", "ensemble.networks=70")
    assert len(variants([Point(data) for data in sets])) == 1


COMMON = ["workers=1", "ensemble.device=cpu", "ensemble.networks=20000", "network.width=24,32,48,64,128"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("variants")
    simulate.sweep(
        "experiment=universality", "activation=relu,tanh", "network.depth=16", "observables.layers=[4,6,8,12,16]",
        f"output={root}/universality", *COMMON,
    )  # fmt: skip
    simulate.sweep(
        "experiment=ntk_universality", "activation=relu,tanh", "network.depth=12", "observables.layers=[4,6,8,12]",
        "observables.output_layers=[4,6,8,12]", f"output={root}/ntk_universality", *COMMON,
        "ensemble.networks=4000",
    )  # fmt: skip
    simulate.sweep("experiment=criticality", f"output={root}/criticality", *COMMON, "ensemble.networks=6000")
    return root


def test_claims_over_variants_to_the_report(swept: Path) -> None:
    """Three small experiments do not disagree with the theory, the figures are drawn, and every variant has
    series but ReLU networks at L/n = 1/2, whose D a few of 4,000 networks carry."""
    result = analysis.analyze(swept, output=swept / "report")
    by_claim = {verdict.claim: verdict for verdict in result.verdicts}
    assert set(by_claim) == {"universality", "ntk_universality", "criticality"}
    for verdict in by_claim.values():
        assert verdict.verdict != "disagrees", verdict.reason
    by_test: dict[str, set[str]] = {}
    for verdict in by_claim.values():
        for j in verdict.judged:
            by_test.setdefault(j.fit.series.test, set()).add(j.fit.series.variant)
    assert by_test["V_slope"] == by_test["V_collapse"] == {"relu", "tanh"}
    assert by_test["D_exponent"] == {"tanh"}
    (untested,) = (e for e in by_claim["ntk_universality"].not_tested if e.test == "D_exponent")
    assert untested.reason.startswith("tail-dominated: a few of 4,000 networks carry the estimates at n=24 from l=")
    assert by_test["K_power_law"] == {"C_W=1.0"}
    assert by_test["K_exponential"] == {"C_W=0.8", "C_W=1.25"}
    html = (swept / "report" / "report.html").read_text()
    assert "C_W=1.25" in html
    assert {p.stem for p in (swept / "report" / "figures").glob("*.png")} >= {"universality-classes"}


def test_another_activation_under_the_name_is_found(swept: Path) -> None:
    """Negative control: data of tanh are labelled sin, which has the same class and slope and another curve."""
    sets = [data for data in simulate.find(swept / "universality") if data.settings["activation"]["name"] == "tanh"]
    for data in sets:
        data.manifest["settings"]["activation"]["name"] = "sin"
    verdict = analysis.analyze(sets).verdicts[0]
    assert verdict.verdict == "disagrees"
    assert {"V_collapse"} <= {j.fit.series.test for j in verdict.judged if j.rejected}


def test_another_rate_of_the_flow_is_found(swept: Path) -> None:
    """Negative control: below criticality the settings state a C_W that is 6 % too large."""
    sets = [data for data in simulate.find(swept / "criticality") if data.settings["initialization"]["C_W"] == 0.8]
    for data in sets:
        data.manifest["settings"]["initialization"]["C_W"] = 0.85
    verdict = analysis.analyze(sets).verdicts[0]
    assert verdict.verdict == "disagrees"
    assert {"K", "K_exponential"} <= {j.fit.series.test for j in verdict.judged if j.rejected}


def test_scale_of_inputs(tmp_path: Path) -> None:
    """inputs.scale=critical puts every sample at K*, and a number multiplies |x|^2."""
    point = analysis.theory.critical("gelu")
    data = simulate.run(*TINY, "activation=gelu", "inputs.scale=critical", f"output={tmp_path}/a")
    x = data.samples()[0]
    np.testing.assert_allclose(point.C_b + point.C_W * (x**2).mean(axis=1), point.K_star, rtol=1e-12)
    twice = simulate.run(*TINY, "inputs.scale=2.5", f"output={tmp_path}/b").samples()[0]
    np.testing.assert_allclose((twice**2).mean(axis=1), 2.5, rtol=1e-12)


def test_ray(tmp_path: Path) -> None:
    data = simulate.run(*TINY, "inputs=ray", "inputs.squares=[0.5,2.0]", f"output={tmp_path}/r")
    x = data.samples()[0]
    np.testing.assert_allclose((x**2).mean(axis=1), [0.5, 2.0], rtol=1e-12)
    np.testing.assert_allclose(x[1], 2 * x[0], rtol=1e-12)


def test_scaled_rates_are_what_the_theory_says(tmp_path: Path) -> None:
    from simulate.api import read_one

    got = read_one(["dynamics.scaling=critical", "dynamics.lambda_b=0.5", "dynamics.lambda_W=2.0", "network.depth=5"])
    b, W = analysis.theory.equal_shares("tanh", 5)
    np.testing.assert_allclose(got.dynamics.lambda_b, 0.5 * np.array(b))
    np.testing.assert_allclose(got.dynamics.lambda_W, 2.0 * np.array(W))


def test_layers_and_tuples_of_the_columns(tmp_path: Path) -> None:
    """Only the chosen samples have columns, and their values are bit for bit those of the full table."""
    base = [*TINY, "network.width=6", "network.outputs=2", "inputs.count=3", "inputs.classes=[0,1,2]"]
    record = ["observables.record=[outputs,ntk,dntk]", "observables.output_layers=[2,3]", "ensemble.block=64"]
    full = simulate.run(*base, *record, f"output={tmp_path}/all")
    choice = "observables.tuples={ntk: [[1,0],[2,2]], dntk: [[0,0,1]]}"
    part = simulate.run(*base, *record, choice, f"output={tmp_path}/some")
    assert {tuple(sorted(c[2:])) for c in part.layout.indices(part.family("H"))} == {(0, 1), (2, 2)}
    for prefix in ("H", "dH", "z"):
        names = full.layout.names(full.family(prefix))
        columns = [names.index(name) for name in part.layout.names(part.family(prefix))]
        assert len(columns) < len(names) or prefix == "z"
        np.testing.assert_array_equal(full.read(prefix)[..., columns], part.read(prefix))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["observables.tuples={ntk: [[0,0,0]]}"], "observables.tuples"),
        (["observables.tuples={kernel: [[0,0]]}"], "observables.tuples"),
        (["observables.output_layers=[0]"], "observables.output_layers"),
        (["network.outputs=9", "network.width=8", "observables.output_layers=[2,3]"], "8 neurons"),
        (["inputs.scale=-1"], "inputs.scale"),
        (["inputs.scale=critical", "initialization=gaussian", "initialization.C_W=1.2"], "initialization=critical"),
        (["inputs.scale=critical", "inputs.normalization=none"], "one length"),
        (["inputs=ray", "inputs.squares=[]"], "inputs.squares"),
        (["dynamics.scaling=critical", "activation=softplus", "initialization=gaussian"], "dynamics.scaling"),
    ],
)
def test_wrong_settings(overrides: list[str], message: str) -> None:
    from simulate.api import read_one

    with pytest.raises(SettingsError, match=message.replace(".", r"\.")):
        read_one([*TINY, *overrides])


def test_a_sample_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"observables\.tuples"):
        simulate.run(*TINY, "observables=ntk", "observables.tuples={ntk: [[0,7]]}", f"output={tmp_path}/x")
    assert not (tmp_path / "x").exists()
