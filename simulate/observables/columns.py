"""Observables: the families of columns that each writes, what it needs and what it costs. No torch here.

A new observable is a record that is added to OBSERVABLES and, for the prefix of each family, a function that is
decorated with `simulate.observables.measure.whole` or `.components`. Settings, layouts, manifests and readers follow.
"""

from simulate.observables.family import Family
from simulate.observables.record import NEEDS, Observable
from simulate.observables.refusals import (
    averages,
    both,
    conditioned,
    conditioned_by_law,
    no_model,
    of_prior,
    two_neurons,
    without_weights,
)
from simulate.registry import Registry

__all__ = ["NEEDS", "OBSERVABLES", "Observable", "recorded"]

OBSERVABLES: Registry[Observable] = Registry("observable")
PAIR = ((0,), (1,))
HESSIANS = ((0, 2), (1, 3))  # of ddII, each with its direction; in z_a z_b H_cd, too, a belongs to c and b to d

OBSERVABLES.add(
    Observable(
        "kernel",
        (Family("g", "layers", "conditional kernel g_ab = C_b + (C_W/n) sum_j s_ja s_jb, PDLT ch. 4", 2,
                symmetry=PAIR),),
        residual=True, of_kernels=True,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "kernel_controls",
        (Family("c", "layers",
                "kernel that the layer below would give at infinite width below it, less K: mean zero at any width", 2,
                symmetry=PAIR),),
        needs=("controls",),
        refusals=without_weights("kernel_controls"), of_kernels=True,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "log_w",
        (Family("logw", "end", "log evidence of the targets given the kernel of layer L, the network's weight"),),
        refusals=conditioned,
        residual=True,
        of_kernels=True,
    )
)
OBSERVABLES.add(
    Observable(
        "posterior",
        (Family("lw", "end", "log evidence of the targets with noise k, the network's weight", by_noise=True),
         Family("mu", "end", "mean of output z_i;a given the targets with noise k, and g", 1, "output", by_noise=True),
         Family("var", "end", "variance of an output at sample a given the targets with noise k, and g", 1,
                by_noise=True)),
        needs=("posterior",),
        refusals=of_prior, of_kernels=True,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "weight_controls",
        (Family("x", "end", "linear part of lw in the normals of each layer, at infinite width: mean zero at any width",
                by_noise=True),
         Family("xm", "end", "the same of mu, the mean of output z_i;a", 1, "output", by_noise=True)),
        needs=("controls", "linear_weights", "posterior"),
        refusals=both(of_prior, without_weights("weight_controls")), of_kernels=True,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "moments",
        tuple(
            Family(f"m{k}", "layers", f"mean over the layer's neurons of the product of {k} preactivations", k,
                   symmetry=tuple((slot,) for slot in range(k)))
            for k in (1, 2, 3, 4)
        ),
        residual=True,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "outputs",
        (Family("z", "output_layers", "output z_i;a of neuron i at sample a", 1, "output"),),
        any_network=True,
    )
)
OBSERVABLES.add(
    Observable(
        "ntk",
        (Family("H", "output_layers", "neural tangent kernel H_ij;ab of the outputs, PDLT ch. 8", 2, "output", PAIR),),
        needs=("ntk",),
        choosable=True,
        any_network=True,
        pulled=lambda D, outputs: outputs * D,
    )
)
OBSERVABLES.add(
    Observable(
        "prior_ntk",
        (Family("H0", "output_layers", "the NTK before the last layer was drawn given targets", 2, "output", PAIR),),
        needs=("ntk", "prior"),
        refusals=conditioned_by_law,
    )
)
OBSERVABLES.add(
    Observable(
        "ntk_sums",
        tuple(
            Family(prefix, "layers", f"mean of {what} at sample a over the layer's weights, given the layers below", 1)
            for prefix, what in (
                ("h", "H_ii"),
                ("y", "z_i z_j H_ij"),
                ("b", "H_ij^2"),
                ("w", "z_i H_ij H_jk z_k"),
            )
        ),
        needs=("weights",),
        refusals=averages("ntk_sums"),
        matrices=3,
    )
)
OBSERVABLES.add(
    Observable(
        "ntk_loops",
        (Family("t3", "layers",
                "mean of H_ij H_jk H_ki at sample a over the layer's weights, given the layers below", 1),),
        needs=("weights",),
        refusals=averages("ntk_loops"),
        matrices=4,
        squares=1,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "response",
        (Family("response", "layers", "sin^2 between z_a and its response to a change of the input across it", 1),),
        needs=("response",),
        refusals=two_neurons("response"),
    )
)
OBSERVABLES.add(
    Observable(
        "angles",
        (Family("angle", "layers", "sin^2 of the angle between z_a and z_b over the layer's neurons", 2,
                symmetry=PAIR),),
        refusals=two_neurons("angles"),
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "jacobian",
        (
            Family("trace", "layers", "tr JJ^T of the Jacobian J of the layer in layer 1, at sample a", 1),
            Family("rank", "layers", "(tr JJ^T)^2 / tr (JJ^T)^2 of the Jacobian of the layer in layer 1", 1),
        ),
        needs=("jacobian",),
        matrices=3,
    )
)
OBSERVABLES.add(
    Observable(
        "dntk",
        (
            Family("dH", "output_layers", "dH_i0i1i2;abc: z_i0;a differentiated along lambda grad z_i1;b and z_i2;c", 3,
                   "output", symmetry=((1,), (2,))),
        ),
        residual=True,
        needs=("weights",),
        choosable=True,
        pulled=lambda D, outputs: 4 * (outputs * D) ** 2,
        tangents=2,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "ddntk",
        (
            Family("ddI", "output_layers", "ddI_i0i1i2i3;abcd: z_i0;a differentiated along three gradients", 4,
                   "output", symmetry=((1,), (2,), (3,))),
            Family("ddII", "output_layers", "ddII_i1i2i3i4;abcd: Hessians of z_i1;a and z_i2;b on two gradients", 4,
                   "output", symmetry=HESSIANS),
        ),
        residual=True,
        needs=("ddntk",),
        choosable=True,
        pulled=lambda D, outputs: 4 * (outputs * D) ** 3,
        tangents=3,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "ntk_signs",
        (
            Family("F", "end", "mean of z_i;a z_j;b H_ij;cd over last weights, given the rest", 4, symmetry=HESSIANS),
            Family("Hs", "end", "H_ii;ab with signs for last weights, averaged over outputs", 2, symmetry=PAIR),
        ),
        needs=("weights",),
        refusals=averages("ntk_signs", depth=2),
        pulled=lambda D, outputs: D * (D + outputs),
    )
)
OBSERVABLES.add(
    Observable(
        "ddntk_signs",
        tuple(
            Family(prefix, "end", f"mean of {what} of two outputs over signs for last weights", 4, symmetry=symmetry)
            for prefix, what, symmetry in (
                ("P", "dH_011;abc z_0;d", ((1,), (2,))),
                ("Q", "dH_001;abc z_1;d", ()),
                ("R", "ddI_0011;abcd", ((2,), (3,))),
                ("S", "ddII_0011;abcd", HESSIANS),
                ("T", "ddII_0101;abcd", HESSIANS),
                ("U", "ddII_0110;abcd", HESSIANS),
            )
        ),
        needs=("weights",),
        refusals=averages("ddntk_signs", outputs=2, depth=2),
        pulled=lambda D, outputs: 2 * D + 9 * D**2 + 2 * D**3,
        tangents=2,
        tangents_of=2,
    )
)
OBSERVABLES.add(
    Observable(
        "fourth",
        (Family("d4", "output_layers", "fourth derivative of z_i;a along lambda grad z_i;a", 1, "output"),),
        residual=True,
        needs=("weights",),
        pulled=lambda D, outputs: 8 * outputs * D,
    )
)
OBSERVABLES.add(
    Observable(
        "ntk_derivatives",
        (Family("DH", "output_layers", "H_ii;aa differentiated k times along lambda grad z_i;a (columns k, i, a)", 1,
                "output", labels=(1, 2, 3, 4)),),
        needs=("weights",),
        pulled=lambda D, outputs: 10 * outputs * D,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable("loss", (Family("loss", "end", "the loss of the train samples, summed"),), ("training",),
               any_network=True)
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "moved",
        (Family("moved", "layers", "distance that a layer's weights have moved, over their size at step 0"),),
        needs=("training", "start"),
        any_network=True,
        copies=1,
    )
)
OBSERVABLES.add(
    Observable(
        "change",
        (Family("dz", "layers", "mean over the layer's neurons of the squared change of z_a since step 0", 1),),
        needs=("training", "start"),
        residual=True,
        copies=1,
    )
)
OBSERVABLES.add(
    Observable(
        "taylor",
        (Family("taylor", "end", "output z_i;a of the Taylor model of order k, trained beside the network "
                "(columns k, i, a)", 1, "output", labels=(1, 2, 3)),),
        needs=("training", "models"),
        refusals=no_model("taylor"),
        pulled_once=lambda D, outputs: 4 * (outputs * D) ** 3,
        tangents=3,
    )
)  # fmt: skip
OBSERVABLES.add(
    Observable(
        "linear",
        (Family("linear", "end", "output z_i;a of the linear model, whose H stays that of step 0", 1, "output"),),
        needs=("training", "linear"),
        refusals=no_model("linear"),
        pulled_once=lambda D, outputs: outputs * D,
    )
)

OBSERVABLES.add(Observable(
    "movement_controls",
    (Family("dHs", "end", "-2 dH s + dd s^2 with s = (z - y)/H, of the first output at the first sample at step 0"),
     Family("dHu", "end", "the mean of the same over untrained networks that are drawn beside the network")),
    needs=("training", "companions"), pulled_once=lambda D, outputs: 40 * outputs**3, copies=1, tangents=3,
))  # fmt: skip


def recorded(names: tuple[str, ...]) -> list[Observable]:
    """The observables of these names."""
    return [OBSERVABLES[name] for name in names]
