"""Last layers trained together on features that are computed once: the short way through a study of images."""

from shrinkscope.experiments.heads.choice import goes_together
from shrinkscope.experiments.heads.extract import extract
from shrinkscope.experiments.heads.locate import FeaturesError, find_head
from shrinkscope.experiments.heads.together import carry_out_together

__all__ = [
    "FeaturesError",
    "carry_out_together",
    "extract",
    "find_head",
    "goes_together",
]
