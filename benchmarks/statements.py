"""How tight the statements are on random models, as docs/theory.md reports: `python benchmarks/statements.py`.

Pairs are pruned by magnitude or rounded finely; latents are Gaussian; Hessians are dense.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from references.covariances import generator
from references.losses import Instances, families, networks, rounded
from shrinkscope.theory import corollary_3_2, lemma_3_1, theorem_3_5
from shrinkscope.theory.through_layers import GaussianLayer, LayerNorms

KINDS = ("quadratics", "softmax regression", "networks")


def known(models: Instances) -> list[dict[str, Any]]:
    rows = zip(models.gradient_norm("compressed"), models.curvature, strict=True)
    return [{"gradient_norm": slope, "curvature": bend, "target_mass": 1.0} for slope, bend in rows]


def one_layer(models: Instances) -> str:
    dim, ratios, violated, applicable = models.delta.shape[-1], [], [0, 0], 0
    rows = zip(
        models.delta.square().sum(-1).tolist(), models.difference, models.largest_eigenvalue, known(models), strict=True
    )
    for square, difference, top, constants in rows:
        epsilon, traces = square / 2, {"trace_p": float(dim), "trace_q": float(dim)}
        bounds = (
            lemma_3_1.corrected(epsilon=epsilon, **traces, **constants),
            lemma_3_1.sharpened(epsilon=epsilon, **traces, **constants),
            lemma_3_1.sharpened_equal_covariance(epsilon=epsilon, inverse_min=1.0, **constants),
            corollary_3_2.corrected(epsilon=epsilon, inverse_min=1.0, **constants),
        )
        ratios.append([bound.tightness(difference) for bound in bounds])
        printed: dict[str, Any] = {"epsilon": epsilon, "largest_eigenvalue": top, "target_mass": 1.0}
        applicable += epsilon < 2
        violated[0] += lemma_3_1.as_published(**traces, **printed).violated(difference)
        violated[1] += corollary_3_2.as_published(inverse_min=1.0, **printed).violated(difference)
    medians = " ".join(f"{statistics.median(column):.3g}" for column in zip(*ratios, strict=True))
    return f"medians {medians}; violated 3.1 {violated[0]} of {applicable}, 3.2 {violated[1]} of {len(models)}"


def fine_quantisation(models: Instances) -> int:
    dim, violated = models.delta.shape[-1], 0
    squares = models.delta.square().sum(-1).tolist()
    for square, top, difference in zip(squares, models.largest_eigenvalue, models.difference, strict=True):
        trace = dim * square / 2
        bound = lemma_3_1.as_published(
            epsilon=1.0, trace_p=trace, trace_q=trace, largest_eigenvalue=top, target_mass=1.0
        )
        violated += bound.violated(difference)
    return violated


def chain(models: Instances) -> str:
    ratios = []
    for i, (difference, constants) in enumerate(zip(models.difference, known(models), strict=True)):
        layers = [
            GaussianLayer(
                norms=LayerNorms(
                    dense=float(models.dense[i, part].norm()), compressed=float(models.compressed[i, part].norm())
                ),
                inverse_min=1.0,
                inverse_max=1.0,
            )
            for part in (slice(0, 6), slice(6, 12))
        ]
        epsilon = float(models.delta[i, :6].square().sum()) / 2
        whole = float(models.delta[i].square().sum()) / 2
        bounds = (
            theorem_3_5.corrected_gaussian(epsilon=epsilon, layers=layers, **constants),
            theorem_3_5.sharpened_gaussian(epsilon=epsilon, layers=layers, **constants),
            corollary_3_2.corrected(epsilon=whole, inverse_min=1.0, **constants),
        )
        ratios.append([bound.tightness(difference) for bound in bounds])
    return " ".join(f"{statistics.median(column):.3g}" for column in zip(*ratios, strict=True))


if __name__ == "__main__":
    for kind, models in zip(KINDS, families(3000, generator(42)), strict=True):
        print(f"{kind}: {one_layer(models)}")
    for kind, models in zip(KINDS, families(500, generator(9), rounded), strict=True):
        print(f"{kind}, rounded: 3.1 violated by {fine_quantisation(models)} of {len(models)}")
    print(f"chain, norms, all weights: {chain(networks(2000, generator(43)))}")
