"""Procedural leaves: cultivars of one invented vine species, an ultra-fine-grained data set without a download."""

from ufgir.data.leaves.render import LeavesSpec, class_names, folder, render, tables

__all__ = ["LeavesSpec", "class_names", "folder", "render", "tables"]
