"""ufgir: models only, for work on this room."""
from ufgir.models import convert_authors_state_dict, count_macs, create_model, wrap
__all__ = ["convert_authors_state_dict", "count_macs", "create_model", "wrap"]
