"""Where half precision is too narrow."""

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32, or in float64 if that is what they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
