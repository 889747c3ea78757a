"""A sequence of tokens with everything aligned to it, and the ways in which it becomes shorter. No models here."""

from ufgir.tokens.assignment import Assignment, Keep, KeepAndFuse, Merge, Mix, gather_tokens
from ufgir.tokens.precision import at_least_float32
from ufgir.tokens.sequence import Tokens
from ufgir.tokens.stage import Stage

__all__ = ["Assignment", "Keep", "KeepAndFuse", "Merge", "Mix", "Stage", "Tokens", "at_least_float32", "gather_tokens"]
