"""The checkpoints that the paper's authors published: read, understood and turned into a weights file of ours."""

from ufgir.published.conversion import Conversion, convert
from ufgir.published.facts import Fact
from ufgir.published.inference import infer
from ufgir.published.reading import Published, read_published

__all__ = ["Conversion", "Fact", "Published", "convert", "infer", "read_published"]
