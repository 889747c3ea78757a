"""What a step needs beyond what lies there: its peak, and what it keeps for the way back."""

import ctypes
import gc
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ufgir.peak import CLEAR, forget_peak, resident


def peak_gb(step: Callable[[], None], state: int, device: torch.device) -> float:
    """Most memory that a step holds at a time, in 10^9 bytes: what lies there for it (`state` bytes) and what it adds.

    On CUDA the allocator counts; on Linux the resident set does, whose highest mark the system lets a process lower.
    NaN elsewhere.
    """
    step()
    gc.collect()
    if device.type == "cuda":
        forget_peak()
        before = torch.cuda.memory_allocated(device)
        step()
        return (state + torch.cuda.max_memory_allocated(device) - before) / 1e9
    if not CLEAR.exists():
        return float("nan")
    _give_back_freed_memory()
    forget_peak()
    before = resident("VmRSS")
    step()
    return (state + resident("VmHWM") - before) / 1e9


def state_bytes(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Parameters and buffers of a model and, in training, what its optimiser remembers."""
    tensors = [*model.parameters(), *model.buffers()]
    for entry in optimizer.state.values() if optimizer else ():
        tensors += [value for value in entry.values() if isinstance(value, Tensor)]
    return sum(tensor.nbytes for tensor in tensors)


def activations_gb(model: nn.Module, forward: Callable[[], Tensor]) -> float:
    """What a forward pass keeps for the backward pass besides the parameters, in 10^9 bytes."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()
    del loss
    return sum(kept.values()) / 1e9


def _give_back_freed_memory() -> None:
    """Without it what the C library holds back of freed memory would count as there already."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
