"""Photographs that a user names: found, decoded as a test prepares them, and told where they cannot be read."""

from ufgir.photos.decoding import decoded
from ufgir.photos.found import Found, find_images, named_images, spread
from ufgir.photos.skipped import Skipped, tell_skipped, written

__all__ = ["Found", "Skipped", "decoded", "find_images", "named_images", "spread", "tell_skipped", "written"]
