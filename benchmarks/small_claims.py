"""Claims at sizes that `benchmarks.mutants` can judge ten times: networks of each data set, and narrower sweeps."""

from dataclasses import dataclass

from simulate.api import read_sweep


@dataclass(frozen=True)
class Small:
    """networks: of each data set. settings: what replaces those of the experiment. apart: mutants that have no part in
    what the claim measures, in addition to those that `without` finds."""

    networks: int
    settings: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


def overrides(claim: str) -> tuple[str, ...]:
    """The settings of the claim of the experiment of that name."""
    return f"experiment={claim}", "workers=1", "ensemble.device=cpu", *CLAIMS[claim].settings


def without(claim: str) -> tuple[str, ...]:
    """The mutants that have no part in a claim: its networks are not trained, or record no NTK that has their rates."""
    points = read_sweep(overrides(claim))
    if any(max(point.observables.steps, default=0) for point in points):
        return CLAIMS[claim].apart
    rates = any(name.startswith("ntk") for point in points for name in point.observables.record)
    return *CLAIMS[claim].apart, "one training step too few", *(() if rates else ("fan-out rates",))


_ONLY_KERNELS = tuple(f"~claim.tests.{name}" for name in ("Theta1_controlled", "A_controlled", "B_controlled",
                      "D_controlled", "F_controlled", "ntk_one_step"))  # fmt: skip
_NARROW = ("network.width=16,24,32,48",)
_ROUGH = ("network.width=32,48,64,96",)
_UNEQUAL = ("network.width=[16,32,16],[24,48,24],[32,64,32],[64,128,64]",)


def _paired(widths: list[int], depths: list[int], *layers: list[list[int]]) -> tuple[str, ...]:
    """A sweep of widths with depths, recorded layers and, where they are given, those of outputs."""
    names = ("network.width", "network.depth", "observables.layers", "observables.output_layers")
    lists = zip(names, (widths, depths, *layers), strict=False)
    return (f"sweep.zip={{{','.join(f'{name}:{values}' for name, values in lists)}}}".replace(" ", ""),)


CLAIMS: dict[str, Small] = {
    "general": Small(40_000, _UNEQUAL),
    "general_controlled": Small(40_000, (*_UNEQUAL, "observables=kernel", *_ONLY_KERNELS)),
    "ntk": Small(40_000, ("network.width=16,24,32,64",)),
    "first_steps": Small(40_000),
    "vertex_and_metric": Small(10_000),
    "exact_laws": Small(10_000),
    "reach": Small(20_000, ("activation=relu,tanh", "network.width=16,32,64")),
    "relu_movement": Small(10_000, ("network.width=64,128,256,512",)),
    "representation_coefficients": Small(3_000, ("network.depth=3", *_ROUGH)),
    "residual_wide": Small(10_000, _ROUGH),
    "posterior_ntk": Small(10_000, apart=("uniform weights",)),  # prior_ntk is of networks without weights
    "ntk_change_controlled": Small(1_500, ("network.depth=2", *_ROUGH)),
    "sgd_over_steps": Small(4_000, ("dynamics.steps=4", "observables.steps=[0,2,4]", *_ROUGH)),
    "exact_preactivations": Small(50_000),
    "six_point_controlled": Small(20_000, ("network.width=16,32,48,64",)),
    "six_point": Small(200_000, ("network.width=16,32,48,64",)),
    "orthogonal": Small(10_000, ("activation=tanh,relu",)),
    "preactivations": Small(5_000, _ROUGH),
    "tensors": Small(3_000, ("network.width=16,24,32,64",)),
    "independence": Small(10_000, ("network.width=16,24,32,64",)),
    "general_wide": Small(1_000, ("network.width=[32,64,32],[48,96,48],[64,128,64],[96,192,96]",)),
    "general_training": Small(300, ("network.width=[32,16],[48,24],[64,32],[96,48]",)),
    "quadratic_model": Small(3_000),
    "trained_distribution": Small(200, _NARROW),
    "representation_learning": Small(200, ("network.depth=3", *_NARROW)),
    "taylor_models": Small(200, _NARROW),
    "infinite_width_training": Small(300, _ROUGH),
    "generalisation": Small(200, _NARROW),
    "cross_entropy": Small(300, _NARROW),
    "trained_cumulants": Small(300, _NARROW),
    "teacher_controlled": Small(300, _ROUGH),
    "general_differentials": Small(200, ("network.width=[16,32,16],[24,48,24],[32,64,32],[48,96,48]",)),
    "gelu_sign": Small(3_000),
    "ntk_controlled": Small(1_000, _NARROW),
    "next_order_ntk": Small(1_000, ("activation=tanh", "network.width=8,12,16,24")),
    "next_order": Small(3_000, ("activation=tanh",)),
    "residual": Small(1_000, _ROUGH),
    "orthogonal_training": Small(200, _NARROW),
    "residual_training": Small(200, _NARROW),
    "training_against_readout": Small(200, _NARROW),
    "cross_entropy_controlled": Small(200, _NARROW),
    "generalisation_signs": Small(300, _NARROW),
    "aspect_ratio_to_one": Small(1_000, _paired([16, 32], [18, 34], [[2, 3, 5, 9, 17], [2, 3, 5, 9, 17, 33]])),
    "aspect_ratio_rank": Small(1_000, _paired([16, 32], [18, 34], [[2, 3, 5, 9, 17], [2, 3, 5, 9, 17, 33]])),
    "vertex_collapse": Small(1_000, ("network.width=48,64,96,128",)),
    "independence_controlled": Small(500, _NARROW),
    "universality_vertex": Small(500, ("activation=tanh,relu", "network.width=48,64,96,128")),
    "derivative_orders": Small(500, _NARROW),
    "derivatives": Small(500, _NARROW),
    "ntk_mean": Small(3_000),
    "teacher": Small(300, _NARROW),
    "teacher_wide": Small(200, _ROUGH),
    "universality": Small(300, ("activation=tanh,relu", "network.width=48,64,96,128")),
    "universality_coefficients": Small(300, ("activation=tanh,relu", *_ROUGH)),
    "ntk_universality": Small(300, ("activation=tanh,relu", *_ROUGH)),
    "next_order_pair": Small(2_000, _NARROW),
    "orthogonal_wide": Small(500, ("activation=tanh,relu", "network.width=48,64,96,128")),
    # Its controls need networks without weights.
    "bayes_against_training": Small(
        500, ("network.depth=3", "network.width=64,96,128,192"), apart=("uniform weights",)
    ),
    "linear_model": Small(32),
    "taylor_coefficients": Small(100, _NARROW),
    "taylor_over_steps": Small(100, _NARROW),
    "algorithms_over_steps": Small(100, _NARROW),
    "coordinate_check": Small(200, ("sweep.zip=null", "network.width=32,64,128,256")),
    "aspect_ratio": Small(500, _paired([16, 32], [34, 66], [[2, 3, 5, 9, 17, 33], [2, 3, 5, 9, 17, 33, 65]])),
    "aspect_ratio_ntk": Small(
        500, _paired([16, 32], [17, 33], [[2, 3, 5, 9, 17], [3, 5, 9, 17, 33]], [[2, 3, 5, 9, 17], [3, 5, 9, 17, 33]])
    ),
    "optimal_aspect_ratio": Small(
        500, _paired([16, 32], [18, 34], [[2, 3, 4, 5, 8, 9, 17], [2, 3, 4, 5, 8, 9, 17, 33]])
    ),
    "algorithm_dependence": Small(50, _NARROW),
    "criticality": Small(200, _ROUGH),
}
