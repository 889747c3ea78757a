"""Pictures of what a model does with the patches of an image: which go on, which merge, and where CLS looks."""

from ufgir.pictures.draw import Drawer, Labels, draw_files
from ufgir.pictures.names import figure_names

__all__ = ["Drawer", "Labels", "draw_files", "figure_names"]
