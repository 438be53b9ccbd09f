"""How the loss bends around the weights: eigenvalues, traces, gradients and quadratic forms, each with its error."""

from shrinkscope.curvature.base import Curvature, Delta
from shrinkscope.curvature.eigenvalue import Eigenvalue, largest_eigenvalue, smallest_eigenvalue, spectral_norm
from shrinkscope.curvature.fisher import FisherDiagonal, fisher_diagonal
from shrinkscope.curvature.gathered_file import Gathered, load_gathered, save_gathered
from shrinkscope.curvature.gauss_newton_precision import gauss_newton_precisions
from shrinkscope.curvature.gradient import GradientNorm, gradient_norm
from shrinkscope.curvature.hessian import gauss_newton, hessian
from shrinkscope.curvature.input_moments import InputMoments, input_moments
from shrinkscope.curvature.kronecker_fisher import KroneckerFisher, kronecker_fisher
from shrinkscope.curvature.last_layer import LastLayerHessian, last_layer_hessian
from shrinkscope.curvature.network import NetworkCurvature
from shrinkscope.curvature.quadratic import QuadraticForm, quadratic_form
from shrinkscope.curvature.segment import SegmentEigenvalue, segment_eigenvalue
from shrinkscope.curvature.trace import Trace, trace

__all__ = [
    "Curvature",
    "Delta",
    "Eigenvalue",
    "FisherDiagonal",
    "Gathered",
    "GradientNorm",
    "InputMoments",
    "KroneckerFisher",
    "LastLayerHessian",
    "NetworkCurvature",
    "QuadraticForm",
    "SegmentEigenvalue",
    "Trace",
    "fisher_diagonal",
    "gauss_newton",
    "gauss_newton_precisions",
    "gradient_norm",
    "hessian",
    "input_moments",
    "kronecker_fisher",
    "largest_eigenvalue",
    "last_layer_hessian",
    "load_gathered",
    "quadratic_form",
    "save_gathered",
    "segment_eigenvalue",
    "smallest_eigenvalue",
    "spectral_norm",
    "trace",
]
