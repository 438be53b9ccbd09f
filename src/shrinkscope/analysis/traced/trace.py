"""A network as a list of steps that can be run from any of them on, or the reason why it is none."""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from shrinkscope.analysis.traced.multiply_adds import multiply_adds
from shrinkscope.performance.outputs import Outputs

Environment = dict[fx.Node, Any]
"""Values that steps still to be run need, by the step that made them."""

_CONSTANT = "_tensor_constant"


class UntraceableError(Exception):
    """The network's code cannot be written down as a list of steps."""


class Steps:
    """The steps of a network in the order in which they run.

    Args:
        model: The network, in evaluation mode. Tensors that its code makes from nothing become attributes of it.
        outputs: Finds the tensor of scores in an object that the network returns; None takes its ``logits``.

    Attributes:
        finds_scores: Whether the steps end in the scores, because what the network returns cannot be written down.

    Raises:
        UntraceableError: If its code branches on values, or fails without them.
    """

    def __init__(self, model: nn.Module, outputs: Outputs | None = None) -> None:
        self._model = model
        self._defaults = _defaults(model)
        tracer = _Tracer(outputs)
        graph = _graph(model, self._defaults, tracer)
        self.finds_scores = tracer.finds_scores
        self.nodes = list(graph.nodes)
        self._at = {node: position for position, node in enumerate(self.nodes)}
        self._interpreter = fx.Interpreter(model, graph=graph)
        self._last_use = {node: max((self._at[user] for user in node.users), default=-1) for node in self.nodes}
        self._done_after: list[list[fx.Node]] = [[] for _ in self.nodes]
        for node, last in self._last_use.items():
            self._done_after[max(last, self._at[node])].append(node)
        self._written_until: dict[fx.Node, int] = {}
        self._work = [0] * len(self.nodes)
        self._bytes: dict[fx.Node, int] = {}

    @property
    def constants(self) -> bool:
        """Whether tensors were made while tracing: what they were made from does not show in the steps."""
        return any(node.op == "get_attr" and str(node.target).startswith(_CONSTANT) for node in self.nodes)

    def first_use(self, parameter: nn.Parameter) -> int | None:
        """The first step that a parameter takes part in; None when no step does.

        Args:
            parameter: A parameter of the network.
        """
        return next((at for at, node in enumerate(self.nodes) if self._uses(node, parameter)), None)

    def after_last_use(self, parameter: nn.Parameter) -> int:
        """The step after the last one that a parameter takes part in.

        Args:
            parameter: A parameter of the network that some step uses.
        """
        uses = [at for at, node in enumerate(self.nodes) if self._uses(node, parameter)]
        # What reads the parameter out of the network is used until the step that computes with it.
        return 1 + max(max(at, self._last_use[self.nodes[at]]) if self._reads(at) else at for at in uses)

    def start(self, inputs: Tensor) -> Environment:
        """The environment before the first step.

        Args:
            inputs: A batch; the first step to write into it writes into it.
        """
        places = [node for node in self.nodes if node.op == "placeholder"]
        return {node: inputs if index == 0 else self._default(node) for index, node in enumerate(places)}

    def copied(self, environment: Environment, start: int) -> Environment:
        """An environment for one more run, copied where the steps write into it, so that a view stays a view.

        Args:
            environment: Values before step ``start``; left as they are by that run.
            start: Where the run begins.
        """
        values = list(environment.values())
        values = copy.deepcopy(values) if self.writes_into(environment, start) else values
        return dict(zip(environment, values, strict=True))

    def run(self, environment: Environment, start: int, stop: int | None = None) -> None:
        """Run steps, and forget every value after its last use.

        Args:
            environment: Values before step ``start``; afterwards those before ``stop``.
            start: First step.
            stop: The step before which to stop; all steps when None.
        """
        for position in range(start, len(self.nodes) if stop is None else stop):
            node = self.nodes[position]
            if node.op != "placeholder":
                environment[node] = self._value(node, environment)
            if node.op != "output":
                for finished in self._done_after[position]:
                    environment.pop(finished, None)

    def run_all(self, environment: Environment) -> object:
        """What the network returns, from values before the first step."""
        self.run(environment, 0)
        return self.result(environment)

    def result(self, environment: Environment) -> object:
        """What the network returns, after all steps."""
        return environment.pop(self.nodes[-1])

    def survey(self, environment: Environment) -> object:
        """Run all steps once and note their work, the sizes of their values, and which values are written into later.

        Args:
            environment: Values before the first step.

        Returns:
            What the network returns.
        """
        alive: dict[fx.Node, list[tuple[Tensor, int]]] = {}
        for position, node in enumerate(self.nodes):
            if node.op != "placeholder":
                arguments, _ = self._arguments(node, environment)
                environment[node] = self._value(node, environment)
                self._work[position] = multiply_adds(node, self._module(node), arguments, environment[node])
            tensors = tensors_in(environment[node])
            self._bytes[node] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            alive[node] = [(tensor, tensor._version) for tensor in tensors]
            for made, versions in alive.items():
                if any(tensor._version != version for tensor, version in versions):
                    self._written_until[made] = position
                    alive[made] = [(tensor, tensor._version) for tensor, _ in versions]
            for finished in () if node.op == "output" else self._done_after[position]:
                environment.pop(finished, None)
                alive.pop(finished, None)
        return self.result(environment)

    def values(self, inputs: Tensor) -> Iterator[tuple[fx.Node, tuple[Any, ...], dict[str, Any], object]]:
        """Run all steps once, and show each of them.

        Args:
            inputs: A batch; the first step to write into it writes into it.

        Yields:
            The step, what went in, positional and by name, and what came out.
        """
        environment = self.start(inputs)
        for position, node in enumerate(self.nodes):
            arguments, options = ((), {}) if node.op == "placeholder" else self._arguments(node, environment)
            if node.op != "placeholder":
                environment[node] = self._value(node, environment)
            yield node, arguments, options, environment[node]
            for finished in self._done_after[position]:
                environment.pop(finished, None)

    def largest_from(self, start: int) -> int:
        """Bytes of the surveyed batch's largest value that the steps from ``start`` on use or make."""
        used = (self._bytes[node] for at, node in enumerate(self.nodes) if max(at, self._last_use[node]) >= start)
        return max(used, default=0)

    def share_from(self, start: int) -> float:
        """The share of the network's multiply–adds in the steps from ``start`` on; of its steps if it has none."""
        total = sum(self._work)
        return sum(self._work[start:]) / total if total else 1 - start / len(self.nodes)

    def bytes_before(self, start: int) -> int:
        """How many bytes the surveyed batch's values take that the steps from ``start`` on use."""
        return sum(self._bytes[node] for node in self.nodes[:start] if self._last_use[node] >= start)

    def writes_into(self, environment: Environment, start: int) -> bool:
        """Whether the steps from ``start`` on write into a value of the environment, which then has to be copied."""
        return any(self._written_until.get(node, -1) >= start for node in environment)

    def _arguments(self, node: fx.Node, environment: Environment) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._interpreter.env = environment
        arguments, options = self._interpreter.fetch_args_kwargs_from_env(node)
        return tuple(arguments), options

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self._model.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _value(self, node: fx.Node, environment: Environment) -> Any:
        self._interpreter.env = environment
        return self._interpreter.run_node(node)

    def _uses(self, node: fx.Node, parameter: nn.Parameter) -> bool:
        if node.op == "call_module":
            return any(own is parameter for own in self._model.get_submodule(str(node.target)).parameters())
        if node.op != "get_attr":
            return False
        owner, _, attribute = str(node.target).rpartition(".")
        return getattr(self._model.get_submodule(owner), attribute, None) is parameter

    def _reads(self, position: int) -> bool:
        return self.nodes[position].op == "get_attr"

    def _default(self, node: fx.Node) -> Any:
        target = str(node.target)
        if target.startswith("*"):
            return {} if target.startswith("**") else ()
        name = next((name for name in self._defaults if target in (name, f"{name}_{target.rpartition('_')[2]}")), None)
        if name is None:
            raise UntraceableError(f"its argument {target} has no default")
        return self._defaults[name]


def tensors_in(value: object) -> list[Tensor]:
    """The tensors in a value: itself, or those in its items.

    Args:
        value: A tensor, a tuple, list or dictionary of values, or anything else.
    """
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for item in items for tensor in tensors_in(item)]


def _defaults(model: nn.Module) -> dict[str, Any]:
    """The arguments of the forward pass that keep their defaults: all but the first."""
    arguments = list(inspect.signature(model.forward).parameters.values())[1:]
    return {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}


class _Tracer(fx.Tracer):
    """Ends in the scores where a network returns an object that no step can make."""

    def __init__(self, outputs: Outputs | None) -> None:
        super().__init__()
        self._outputs = outputs
        self.finds_scores = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Also layers of their own forward, which may look at shapes: a convolution that pads its inputs first."""
        own = isinstance(m, (_ConvNd, nn.Linear)) and not any(True for _ in m.children())
        return own or super().is_leaf_module(m, module_qualified_name)

    def create_arg(self, a: Any) -> Any:
        try:
            return super().create_arg(a)
        except NotImplementedError:
            found = getattr(a, "logits", None) if self._outputs is None else self._outputs(a)
            if not isinstance(found, fx.Proxy):
                raise
            self.finds_scores = True
            return super().create_arg(found)


def _graph(model: nn.Module, defaults: dict[str, Any], tracer: fx.Tracer) -> fx.Graph:
    try:
        with torch.no_grad():
            return tracer.trace(model, concrete_args=defaults or None)
    except Exception as error:  # the network's own code runs on stand-ins for tensors, and may raise anything
        what = (str(error).splitlines() or [""])[0]
        raise UntraceableError(f"{type(error).__name__}: {what}") from error
