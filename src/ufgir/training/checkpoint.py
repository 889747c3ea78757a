"""Files with weights: written whole or not at all, and read without executing anything from them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor, nn

from ufgir.errors import UserError
from ufgir.files import written_whole
from ufgir.models.weights import reason_of

FORMAT = 1  # of the weights file; raised when an older program could not read it


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's training checkpoints, written whole and read with `weights_only=True`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(Path(path), "wb", needed=tensor_bytes(checkpoint)) as stream:
            torch.save(checkpoint, stream)

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> dict:
        return torch.load(path, map_location=map_location, weights_only=True)


def tensor_bytes(content: Any) -> int:
    """Bytes of all tensors in nested mappings and lists, which is about the size of the file that holds them."""
    if isinstance(content, Tensor):
        return content.nbytes
    parts = content.values() if isinstance(content, Mapping) else content if isinstance(content, (list, tuple)) else ()
    return sum(map(tensor_bytes, parts))


def steps_taken(checkpoint: Path) -> int:
    """Optimiser steps behind a training checkpoint of Lightning's; 0 where there is no such file."""
    if not checkpoint.is_file():
        return 0
    return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["global_step"]


def save_weights(path: Path, model: nn.Module, config: Mapping, class_names: list[str]) -> None:
    """Write a model's weights with all that is needed to use them again."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    with written_whole(path, "wb", needed=tensor_bytes(weights)) as stream:
        torch.save(
            {"format": FORMAT, "config": dict(config), "class_names": class_names, "state_dict": weights}, stream
        )


def load_weights(path: Path) -> dict[str, Any]:
    """Read what `save_weights` wrote: `config`, `class_names` and `state_dict`.

    Raises:
        UserError: no such file, or not a weights file of ours, or of a newer format.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a model.pt of a finished run.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not a checkpoint, or holds code
        told = f"{path} cannot be read as weights ({reason_of(error)}); give a model.pt of a finished run."
        raise UserError(told) from error
    has_parts = isinstance(content, dict) and {"format", "config", "class_names", "state_dict"} <= set(content)
    if not has_parts or not isinstance(content["format"], int):
        raise UserError(f"{path} is not a weights file of ufgir; give a model.pt of a finished run.")
    if content["format"] > FORMAT:
        raise UserError(f"{path} has format {content['format']}, this program reads up to {FORMAT}: update ufgir.")
    return content


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and values, whatever file they are in."""
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
