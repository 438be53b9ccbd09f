"""Carrying out a plan with the network and inputs at hand, for ``shrinkscope prune``."""

from torch import Tensor

from shrinkscope.analysis.plan import Plan
from shrinkscope.cli.options import progress_bar, token_ids
from shrinkscope.curvature import input_moments
from shrinkscope.errors import DataError
from shrinkscope.experiments.zoo import load_inputs, load_network
from shrinkscope.performance import reestimate_statistics
from shrinkscope.weights import runnable


def pruned_with_inputs(
    plan: Plan,
    weights: str,
    network: str | None,
    inputs: str | None,
    count: int,
    *,
    compensate: bool,
    reestimate: bool,
    damping: float | None,
) -> dict[str, Tensor]:
    """All tensors of the pruned network.

    Args:
        plan: The plan.
        weights: Path or URL of the dense weights.
        network: Architecture to run them in.
        inputs: Source of unlabelled inputs.
        count: How many of them.
        compensate: Whether the weights that stay make up for those that go.
        reestimate: Whether batch norm statistics are estimated anew afterwards.
        damping: As for ``Plan.apply``.

    Raises:
        DataError: If the network or the inputs are not given, or there is nothing to re-estimate.
    """
    if network is None or inputs is None:
        missing = " and ".join(name for name, value in (("--network", network), ("--inputs", inputs)) if value is None)
        raise DataError(f"{missing} not given; --compensate and --reestimate run the network on unlabelled inputs")
    model = runnable(weights, load_network(network))
    seen = token_ids(load_inputs(inputs, count))
    with progress_bar() as bar:
        precisions = None
        if compensate:
            task = bar.add_task("input moments", total=len(seen))
            layers = [row.layer for row in plan.rows if row.removed]
            moments = input_moments(model, seen, layers=layers, progress=lambda n: bar.update(task, completed=n))
            precisions = moments.precisions()
            bar.add_task("solving for the kept weights", total=None)
        plan.apply(model, precisions=precisions, damping=damping)
        if reestimate:
            again = bar.add_task("batch norm", total=len(seen))
            done = reestimate_statistics(model, seen, progress=lambda n: bar.update(again, completed=n))
            if not done:
                raise DataError(f"{network} has no batch norm statistics; leave out --reestimate")
    return {name: value.detach().cpu() for name, value in model.state_dict().items()}
