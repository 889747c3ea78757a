"""Models: any plain timm ViT with a token reducer, the cross-layer cache and an aggregation head."""

from ufgir.models.authors import convert_authors_state_dict
from ufgir.models.backbones import backbone_label, describe, named_backbones
from ufgir.models.cost import count_macs, estimate_cost
from ufgir.models.factory import create_model, wrap
from ufgir.models.vit import BlockOutput, ReducedViT, evaluating

__all__ = [
    "BlockOutput", "ReducedViT", "backbone_label", "convert_authors_state_dict", "count_macs", "create_model",
    "describe", "estimate_cost", "evaluating", "named_backbones", "wrap",
]  # fmt: skip
