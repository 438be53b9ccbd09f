"""Errors that users meet: each message is one line that says what was found, what was expected and what to do."""


class ShrinkscopeError(Exception):
    """Base of every error that shrinkscope raises on purpose; the command line prints it as one line, exit code 2."""


class WeightsError(ShrinkscopeError):
    """Weights cannot be read: missing, truncated, of an unknown format, or in need of unpickling code."""


class PairingError(ShrinkscopeError):
    """The two networks have nothing that can be compared."""


class SelectionError(ShrinkscopeError):
    """A selection of layers matches nothing, or names something unknown."""


class CompressionError(ShrinkscopeError):
    """A compression method cannot do what was asked: a level outside [0, 1], a mask of another network."""


class DivergenceError(ShrinkscopeError):
    """A divergence is undefined, or cannot be computed to the accuracy that the function promises."""


class LatentError(ShrinkscopeError):
    """A latent distribution does not exist for these weights, or its name is unknown."""


class CurvatureError(ShrinkscopeError):
    """A curvature cannot be computed: too much memory, no convergence, or a loss without second derivatives."""


class TheoryError(ShrinkscopeError):
    """A statement of the theory does not apply to the numbers given."""


class DataError(ShrinkscopeError):
    """Inputs, targets or metrics are not what an evaluation needs."""


class ClusterError(ShrinkscopeError):
    """A Ray cluster cannot be joined, or its workers do not do what they were asked."""


class StoreError(ShrinkscopeError):
    """A store of records cannot be opened, read or written."""


class OutputError(ShrinkscopeError):
    """A result cannot be written: the folder is read-only, the disk is full, the suffix is unknown."""


class IntegrationError(ShrinkscopeError):
    """Another tool is unknown or not installed, or what a plan says cannot be said to it."""
