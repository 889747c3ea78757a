"""A trained model, found again: by the folder of its run, by its weights file or by its repository on the Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ufgir.errors import UserError
from ufgir.models import ReducedViT
from ufgir.runs.build import build_model
from ufgir.runs.folder import RunFolder
from ufgir.runs.repository import fetched, is_fetched
from ufgir.training.checkpoint import load_weights

TRAINED_WORDS = ("run", "checkpoint")  # exactly one of them says which model is meant


@dataclass
class Trained:
    """What a weights file holds, and where it lies.

    Attributes:
        weights: the file.
        config: the resolved configuration of its run; plain Python, to be changed freely.
        class_names: in the order of the class ids.
        folder: of its run; None if the file was named without it.
        state_dict: the weights themselves.
    """

    weights: Path
    config: dict[str, Any]
    class_names: list[str]
    folder: RunFolder | None
    state_dict: dict[str, Any]

    def build(self) -> ReducedViT:
        """The model as `config` describes it, with its weights in the precision that they were saved in."""
        model = build_model(self.config, len(self.class_names), with_weights=False)
        model.load_state_dict(self.state_dict, strict=True, assign=True)
        return model

    @property
    def results_folder(self) -> Path:
        """Where results about the model go by default: beside its weights or, if these were fetched, here."""
        return Path() if is_fetched(self.weights) else self.weights.parent


def choice_faults(words: Mapping[str, str]) -> list[str]:
    """What is wrong about the choice of a model among the words of a command."""
    if ("run" in words) != ("checkpoint" in words):
        return []
    return ["give either run=DIR, the folder of a finished run, or checkpoint=FILE, a model.pt of one (or "
            "checkpoint=hf-hub:USER/NAME, a repository that holds one)"]


def find_trained(words: Mapping[str, str]) -> Trained:
    """Read the weights that `run` or `checkpoint` names.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    words = fetched(words)
    folder = RunFolder(Path(words["run"])) if "run" in words else None
    weights = Path(words["checkpoint"]) if folder is None else weights_of(folder)
    content = load_weights(weights)
    return Trained(weights, content["config"], content["class_names"], folder, content["state_dict"])


def weights_of(folder: RunFolder) -> Path:
    """The weights file of a finished run.

    Raises:
        UserError: no such run, or it is not finished, or its weights were not kept.
    """
    if not folder.path.is_dir():
        raise UserError(f"run={folder.path} does not exist; give the folder of a run, below outputs/.")
    if not folder.is_finished():
        raise UserError(f"run={folder.path} is not finished; the command that started it brings it to its end.")
    if not folder.weights.is_file():
        raise UserError(f"run={folder.path} has no {folder.weights.name}: it was trained with keep=none.")
    return folder.weights
