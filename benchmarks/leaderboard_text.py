"""The prose of the leaderboard's pages, with the settings of the run filled in."""

from leaderboard_cases import LEVELS
from leaderboard_correlations import FEWEST, NEAR, RESAMPLES
from leaderboard_measure import REFIT_BATCH, TEMPERATURE, TUNED_ON, TUNING
from leaderboard_networks import DISTILLED, FEW_STEPS, FEWER, POOL, REFIT, SIDE, STEPS, SYNTHETIC, UNLABELLED
from leaderboard_sums import INPUTS

HEAD = f"""# Leaderboard

<!-- Made by benchmarks/leaderboard.py; do not edit. -->

Which measure ranks compressed networks as their measured loss does? Spearman's rank correlation with the difference of
the cross-entropy on test images, every rung of the ladder beside trivial baselines. All numbers:
[details](leaderboard-details.md); raw records: [leaderboard.csv](leaderboard.csv),
[leaderboard.json](leaderboard.json).

*One layer*: lowest, highest and random magnitude at {100 * LEVELS[0]:.0f} to {100 * LEVELS[-1]:.0f} %, 8 to 2 bits,
and 75, 50 and 25 % of the rank, in each layer alone. *Mixed*: a random method at a random level in every layer. *Total
50 %, 65 %*: random allocations of one total sparsity over the layers, by lowest magnitude: the question that
allocation asks, where overall sparsity says nothing. *Ceiling*: the most that anything can reach with so few images,
the root of the split-half reliability (Spearman–Brown).

The best of many measures is chosen on the same cases, so it is a little too good; the named columns are not chosen.

## Summary

"""

READING = f"""
## What the measures are

`kl_…`, `tv_…`, `js_…`: mean KL, total variation, Jensen–Shannon divergence of the predictions before and after.
`soft_…`: the change of the cross-entropy under the dense network's own prediction at temperature {TEMPERATURE:g};
unlike a divergence it can be negative, as the change of the loss can where compression makes a network less sure of
itself. `…_real`: the first {INPUTS} unlabelled inputs (training images of CIFAR-10 and the digits, test images that no
case is judged on of the others); `…_unsure`: the {INPUTS} of a pool whose two most probable classes are closest;
`…_fresh`: {INPUTS} JPEG test images; `…_none`: up to {INPUTS} synthetic inputs, no data at all; `…_all`: all of a
larger set.

`ap2` = ‖Δ‖², `relative_ap2` = ‖Δ‖²/‖ω‖² a layer, `relative_rows` the same a row of the weight, `relative_spectral`
with spectral norms, `turned` = 1 − cos² of the angle between the weights before and after; `ap3_…` Gaussian AP3s,
`input`, `fisher`, `kfac` with covariances from {UNLABELLED} unlabelled inputs (EfficientNet: {INPUTS}), labels drawn
from the network. Values of layers are added up. `sum_of_kl`: the sum over the layers of the KL of each alone, from a
scan at a few levels on {INPUTS} inputs, interpolated in log KL against log level (bits: against bits); `sum_of_roots`:
the square of the sum of their roots, which has the interaction of errors that point the same way. `combined_…`:
products of powers of such measures, the powers learned on the *other* networks' cases of the family: of the weights
alone, with synthetic inputs, with {INPUTS} unlabelled ones. `…_none` of the sums: the same on synthetic inputs.
`kl_refit`: `kl_real` with the batch norm statistics of the compressed network re-estimated from these {INPUTS} inputs
first (not for one layer alone).

*After re-estimation*: running statistics from {POOL} unlabelled images in batches of {REFIT_BATCH}, cumulative
average. *After training*: {TUNED_ON} labelled images once, {TUNED_ON // TUNING.batch_size} steps of
{TUNING.batch_size}, learning rate {TUNING.learning_rate:g}, momentum {TUNING.momentum:g}, removed weights held at zero.
Of MNIST there are the 10,000 test images alone: LeNet is trained on labels of the first half, and judged after training
on the other half. Of ImageNet there is one image a class: EfficientNet is trained on what the dense network predicts
for {DISTILLED} images that are neither judged nor looked at by a measure, without labels and in as many steps, and
re-estimated from {REFIT} of these.

Cases of the deeper networks are drawn, because measuring all takes hours; the table says how many there are, and how
many of these were measured. Families of which fewer than {FEWEST} were measured are left out. EfficientNet's images
are dear: they are made smaller, to {SIDE} pixels a side instead of the 224 that it was trained on, its synthetic inputs
are 16 after {FEW_STEPS} steps instead of {SYNTHETIC} after {STEPS}, and it has no sums. JPEG images are the first of
the test set, {FEWER:,} of them for ResNet-32 and ResNet-56; networks trained on the originals lose about 10 points on
them, dense or compressed.
"""

DETAILS_HEAD = f"""# Leaderboard: all numbers

<!-- Made by benchmarks/leaderboard.py; do not edit. -->

Best first, with 95 % percentile intervals of {RESAMPLES} bootstrap samples of the cases; *near* are the cases that
lost less than {100 * NEAR:.0f} points of accuracy, *lost* the others. What the measures are:
[leaderboard](leaderboard.md#what-the-measures-are).
"""

COST_HEAD = """\
In evaluations of one case on the judge's images: inputs put through the network over images judged; a pass back
counts as two. *Once* is what is made before the first case: synthetic inputs, moments and Fisher matrices, the table
of one-layer divergences. Seconds of one core, on a machine that did other work too, with the layers before the
changed one not run again, for measuring and for the measures alike; those of the weights are six latents and five
norms together.

"""

PEERS_HEAD = """\
ResNet-20, each layer alone, its lowest magnitudes removed at 20, 40, 60 and 80 %, against the change of the loss on
the 761 originals. Measures are taken so that more is meant to be worse. *Ours on these cases* is the mean predictive
KL of the first row on the cases that the tool could score.

"""

PEERS_TAIL = """
fasterai's sensitivity analysis is that of its release 0.3; from 0.4.1 on it is not part of the package, and importing
it says so. It measures the loss itself and needs labels. Torch-Pruning scores channels of groups that must be pruned
together; for a layer at a level the scores of the lowest channels, as many as the level says, are added up. On layers
whose shortcut adds zero channels its importance fails (IndexError); their cases are left out. weightwatcher is made
for trained networks, not for pairs: the change of its metrics of the layer, and its distance of the two networks.
"""

CEILING_HEAD = """\
The ceiling steps the agreement of two halves of the images up to the whole by Spearman–Brown, a formula made for
Pearson's correlation: it doubles the odds r/(1 − r) with each doubling of the images. The same step from quarters to
halves can be compared with what halves show. Where cases that change next to nothing are ranked, more images help less,
and the ceiling is too high; *as it grows* takes the odds to grow from halves as they did from quarters to halves.

"""

CEILING_TAIL = """
The last two columns are no measures to use, for they look at every image the cases are judged on, without labels: what
is between them and the ceiling is not noise of few inputs, but what labels know.
"""

NOT_RUN = "Not run here: `uv run --group peers python benchmarks/leaderboard_peers.py` makes this section.\n"
