"""What the columns of records are called in tables, figures and the glossary."""

import msgspec


class Term(msgspec.Struct, frozen=True):
    """How one metric of the records is presented.

    Attributes:
        label: Short name for columns, axes and line ends.
        unit: Unit of the values.
        status: ``exact``, ``bound`` or ``estimate``: how the records' values come about.
        meaning: One sentence for someone who has not read the paper.
    """

    label: str
    unit: str
    status: str
    meaning: str


_LOSS = "the loss (cross-entropy) on the {} data: |loss after − loss before|"
_ACCURACY = "the accuracy on the {} data: |accuracy after − accuracy before|"

METRICS: dict[str, Term] = {
    "ap2": Term("AP2", "weight²", "exact", "Squared distance ‖ω − ω̃‖² between the weights before and after."),
    "relative_ap2": Term(
        "relative AP2",
        "fraction of ‖ω‖²",
        "exact",
        "AP2 as a share of the squared norm of the weights before compression.",
    ),
    "ap3_gaussian": Term(
        "AP3 Gaussian",
        "nats",
        "exact",
        "KL divergence between N(ω, σ²I) and N(ω̃, σ²I); σ is the root mean square weight of each layer.",
    ),
    "ap3_gaussian_fixed": Term(
        "AP3 Gaussian σ=1", "nats", "exact", "KL divergence between N(ω, σ²I) and N(ω̃, σ²I) with σ = 1: half of AP2."
    ),
    "ap3_gaussian_rotated": Term(
        "AP3 rotated Gaussian",
        "nats",
        "exact",
        "KL divergence between Gaussians whose covariance βVΛVᵀ is rotated at random, with unequal eigenvalues.",
    ),
    "ap3_gaussian_rotated_grouped": Term(
        "AP3 rotated Gaussian, grouped",
        "nats",
        "exact",
        "Weights averaged into 100 groups, then the KL divergence between Gaussians whose covariance βVΛVᵀ is rotated "
        "at random, with unequal eigenvalues.",
    ),
    "ap3_student_t": Term(
        "AP3 Student-t",
        "nats",
        "exact",
        "KL divergence between multivariate t distributions (4 degrees of freedom) located at ω and ω̃, at the scale of "
        "each layer's weights and in full dimension.",
    ),
    "ap3_student_t_grouped": Term(
        "AP3 Student-t, grouped",
        "nats",
        "exact",
        "The paper's version: weights averaged into 100 groups, t distribution with 4 degrees of freedom and identity "
        "scale.",
    ),
    "ap3_student_t_sampled": Term(
        "AP3 Student-t, sampled",
        "nats",
        "estimate",
        "The paper's version as the paper computes it: the grouped Student-t divergence estimated from random samples.",
    ),
    "ap3_predictive": Term(
        "AP3 predictive",
        "nats",
        "estimate",
        "Mean KL divergence between what the two networks predict for the same inputs, whose labels are not looked at.",
    ),
    "w2_uniform": Term(
        "W2 uniform",
        "weight²",
        "exact",
        "Squared Wasserstein distance between uniform distributions at ω and ω̃.",
    ),
    "sparsity": Term("sparsity", "fraction", "exact", "Share of the weights that are exactly zero."),
    "loss_train": Term("loss, training", "nats", "estimate", "Mean cross-entropy on the training data."),
    "loss_test": Term("loss, held-out", "nats", "estimate", "Mean cross-entropy on the held-out data."),
    "accuracy_train": Term(
        "accuracy, training", "fraction", "estimate", "Share of the training data classified right."
    ),
    "accuracy_test": Term("accuracy, held-out", "fraction", "estimate", "Share of the held-out data classified right."),
    "pd_loss_train": Term(
        "PD in loss, training", "nats", "estimate", f"Performance difference in {_LOSS.format('training')}."
    ),
    "pd_loss_test": Term(
        "PD in loss, held-out", "nats", "estimate", f"Performance difference in {_LOSS.format('held-out')}."
    ),
    "pd_accuracy_train": Term(
        "PD in accuracy, training", "fraction", "estimate", f"Performance difference in {_ACCURACY.format('training')}."
    ),
    "pd_accuracy_test": Term(
        "PD in accuracy, held-out", "fraction", "estimate", f"Performance difference in {_ACCURACY.format('held-out')}."
    ),
}

# Beginning of metrics that end in the name of a latent → how they are presented.
_OF_LATENTS: dict[str, Term] = {
    "epsilon_2_7_": Term(
        "ε of Definition 2.7",
        "nats",
        "exact",
        "|KL(P_ω*‖P_ω̃*) − KL(P_ω*‖P_ω̃ᵗ)|: how much the AP3 of the network at epoch t differs from that of the last "
        "epoch; 0 at the last.",
    ),
    "epsilon_3_6_": Term(
        "ε of Theorem 3.6",
        "nats",
        "exact",
        "|KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|: how much the AP3 of the last epoch differs from the divergence of epoch t "
        "from the last; at the last it is AP3 itself.",
    ),
    "bound_3_6_": Term(
        "bound of Theorem 3.6",
        "nats",
        "bound",
        "What the corrected theorem says of the difference in loss on the training data: a bound where only the last "
        "layer is trained, and an estimate, from the largest curvature found along the way, where all layers are.",
    ),
}

METHODS: dict[str, str] = {
    "lowest": "Lowest magnitudes removed",
    "random": "Random choice removed",
    "highest": "Highest magnitudes removed",
}
SCOPES: dict[str, str] = {"last": "last layer", "all": "all layers"}

GLOSSARY: dict[str, str] = {
    "AP2": "Analogous projected patterns: the squared distance ‖ω − ω̃‖² between the weights before (ω) and after (ω̃) "
    "compression. 0 means unchanged. Its unit is that of a squared weight, so it compares configurations of one "
    "network, not different networks; relative AP2 divides by ‖ω‖².",
    "AP3": "Analogous-in-probability projected patterns: the weights become parameters of a distribution, and AP3 is "
    "the Kullback–Leibler divergence (in nats) of the one after from the one before. Each choice of distribution gives "
    "another AP3.",
    "PD": "Performance difference: how far the compressed network's loss (nats) or accuracy lies from the dense "
    "network's on the same data, as an absolute value. 0 means the same performance.",
    "ε": "How far a network in fine-tuning is from “approximately AP3”, in nats. The paper defines it twice: "
    "Definition 2.7 compares the AP3 at an epoch with that at the end and is 0 there; Theorem 3.6 compares it with the "
    "divergence of the epoch from the end, and is the final AP3 there.",
    "sparsity": "Share of the weights that are zero. A level of 30 % removes 30 % of the weights.",
    "lowest, random, highest": "Which weights are removed: those of the smallest magnitude, a random choice, or those "
    "of the largest magnitude.",
    "last layer, all layers": "Where weights are removed: in the last layer only, or the same share in every layer.",
    "fine-tuning": "Training on after pruning, with the removed weights held at zero. Epoch 0 is just after pruning, "
    "before any fine-tuning.",
    "Kendall τ": "Agreement of two rankings: +1 if AP and PD put every pair of networks in the same order, 0 if AP "
    "says nothing about the order, −1 if they always disagree.",
    "exact, bound, estimate": "Exact: computed in closed form up to rounding. Bound: proved to lie on one side of the "
    "truth. Estimate: measured on a sample, so another sample would give a slightly different number.",
    "nat": "Unit of information with the natural logarithm; 1 nat = 1.44 bit.",
    "pp": "Percentage point: the unit of a difference of two percentages.",
    "n/a": "Not available: could not be measured. Never the same as zero.",
}

GLOSSARY_OF_BOUNDS: dict[str, str] = {
    "predictive bound": "What the predictions of both networks on inputs prove without labels: the accuracies differ "
    "by at most the share of inputs that the networks classify differently, and the mean probabilities of the right "
    "label by at most the mean total variation. It holds for the population from which the inputs are an independent "
    "sample, unless a network was trained or calibrated on them.",
    "total variation": "Half the sum over the classes of the absolute differences of two predictions, from 0 (equal) "
    "to 1 (nothing in common): the largest difference of probability that any set of classes gets.",
}


def term(metric: str) -> Term:
    """Look up how a metric is presented; one that is not known keeps its own name and claims no unit.

    >>> term("ap2").label, term("ap3_cauchy").label, term("epsilon_2_7_gaussian").label
    ('AP2', 'AP3 cauchy', 'ε of Definition 2.7, Gaussian')
    """
    for beginning, described in _OF_LATENTS.items():
        if metric.startswith(beginning):
            latent = term(f"ap3_{metric.removeprefix(beginning)}").label.removeprefix("AP3 ")
            return msgspec.structs.replace(described, label=f"{described.label}, {latent}")
    return METRICS.get(metric) or Term(metric.replace("ap3_", "AP3 ").replace("_", " "), "", "estimate", "")


def heading(metric: str) -> str:
    """Shorten the label of a metric to the heading of a column.

    >>> heading("ap3_student_t_grouped"), heading("ap2")
    ('AP3 t grp', 'AP2')
    """
    label = term(metric).label
    for long, brief in (("rotated Gaussian", "rot"), ("Gaussian", "Gauss"), ("Student-t", "t"), (", grouped", " grp")):
        label = label.replace(long, brief)
    return label


def scope_name(scope: str) -> str:
    """Name the part of the network that was pruned.

    >>> scope_name("last"), scope_name("block3")
    ('last layer', 'block3')
    """
    return SCOPES.get(scope, scope)


def method_title(method: str) -> str:
    """Say in a title which weights a method removes.

    >>> method_title("lowest"), method_title("my_method")
    ('Lowest magnitudes removed', 'my_method')
    """
    return METHODS.get(method, method)


def level_name(level: float) -> str:
    """Write the share of weights removed as a line or column is labelled.

    >>> level_name(0.3), level_name(0.025)
    ('30 %', '2.5 %')
    """
    return f"{100 * level:.3g} %"


def ordered_methods(methods: set[str]) -> list[str]:
    """Order methods from gentle to harsh, as far as they are known, and the others after them by name.

    >>> ordered_methods({"highest", "zeta", "lowest"})
    ['lowest', 'highest', 'zeta']
    """
    known = [name for name in METHODS if name in methods]
    return known + sorted(methods.difference(METHODS))
