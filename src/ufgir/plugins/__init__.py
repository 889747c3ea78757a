"""The paper's two plug-ins. They see tokens and block numbers, never the reducer or the model."""

from ufgir.plugins.cache import CacheState, CrossLayerCache
from ufgir.plugins.head import HEADS, CrossLayerHead, IntermediateFeatureHead

__all__ = ["HEADS", "CacheState", "CrossLayerCache", "CrossLayerHead", "IntermediateFeatureHead"]
