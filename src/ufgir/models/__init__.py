"""Models: any plain timm ViT with a token reducer, the cross-layer cache and an aggregation head."""

from ufgir.models.authors import convert_authors_state_dict
from ufgir.models.backbones import describe
from ufgir.models.factory import create_model, wrap
from ufgir.models.reduced_vit import ReducedViT

__all__ = ["ReducedViT", "convert_authors_state_dict", "create_model", "describe", "wrap"]
