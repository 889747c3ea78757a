"""Procedural leaves: cultivars of one invented vine species, an ultra-fine-grained data set that needs no download."""

from ufgir.data.leaves.baselines import baselines
from ufgir.data.leaves.render import LeavesSpec, class_names, folder, render, tables
from ufgir.data.leaves.sheet import contact_sheet

__all__ = ["LeavesSpec", "baselines", "class_names", "contact_sheet", "folder", "render", "tables"]
