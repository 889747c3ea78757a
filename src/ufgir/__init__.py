"""ufgir: ultra-fine-grained image recognition with token reduction in vision transformers (CLCA, arXiv 2501.00243)."""

from ufgir.cost import count_macs
from ufgir.loading import load
from ufgir.models import convert_authors_state_dict, create_model, wrap

__all__ = ["convert_authors_state_dict", "count_macs", "create_model", "load", "wrap"]
