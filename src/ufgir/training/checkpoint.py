"""Files with weights: written whole or not at all, and read without executing anything from them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor, nn

from ufgir.errors import UserError, summarize
from ufgir.utils import atomic_write

FORMAT = 2  # of the weights file; raised when an older program could not read it


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's training checkpoints, written whole beside their place and read with `weights_only=True`.

    Args:
        facts: added to every checkpoint.
    """

    def __init__(self, **facts: Any) -> None:
        self.facts = facts

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(path), "wb") as stream:
            torch.save({**checkpoint, **self.facts}, stream)

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> dict:
        return torch.load(path, map_location=map_location, weights_only=True)


def steps_taken(checkpoint: Path) -> int:
    """Optimizer steps of a training checkpoint; 0 where there is no such file."""
    if not checkpoint.is_file():
        return 0
    return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["global_step"]


def save_weights(path: Path, model: nn.Module, config: Mapping[str, Any], class_names: list[str]) -> None:
    """Write a model's weights with all that is needed to use them again."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    content = {"format": FORMAT, "config": dict(config), "class_names": list(class_names), "state_dict": weights}
    with atomic_write(path, "wb") as stream:
        torch.save(content, stream)


def load_weights(path: Path) -> dict[str, Any]:
    """What `save_weights` wrote, or the same of a training checkpoint of a run: `config`, `class_names`, `state_dict`.

    Raises:
        UserError: no such file, or not a weights file of ours, or one of a newer format.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. Give the model.pt of a finished run.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a file that is no checkpoint, or that holds code
        raise UserError(
            f"{path} cannot be read as weights ({summarize(error)}). Give the model.pt of a run."
        ) from error
    if not (isinstance(content, dict) and {"format", "config", "class_names", "state_dict"} <= set(content)):
        raise UserError(f"{path} is not a weights file of ufgir. Give the model.pt of a finished run.")
    if content["format"] != FORMAT:
        raise UserError(f"{path} has format {content['format']}, this version of ufgir reads {FORMAT}.")
    if "pytorch-lightning_version" in content:  # a training checkpoint: the model is a part of the module
        names = [name for name in content["state_dict"] if name.startswith("model.")]
        content["state_dict"] = {name.removeprefix("model."): content["state_dict"][name] for name in names}
    return content


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
