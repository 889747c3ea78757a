"""A trained model, found again: by the folder of its run, by its weights file or by its repository on the Hub."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ufgir.config import did_you_mean, machine_faults, nearest
from ufgir.data.wording import reason
from ufgir.errors import UserError
from ufgir.files import typed_path
from ufgir.models import ReducedViT
from ufgir.runs.build import build_model
from ufgir.runs.folder import RunFolder
from ufgir.runs.refit import refitted
from ufgir.runs.repository import fetched, is_fetched
from ufgir.training.checkpoint import load_weights

TRAINED_WORDS = ("run", "checkpoint")  # exactly one of them says which model is meant
NEEDED = (
    "backbone", "reducer", "plugins", "keep_rate", "reduction_layers", "image_size", "dataset", "optim", "trainer",
)  # fmt: skip  # of the settings, to use the weights


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

    def build(self, config: Mapping[str, Any] | None = None) -> ReducedViT:
        """The model with its weights, in the precision that they were saved in.

        Args:
            config: another keep rate or image size than in `self.config`, which is what the weights were trained with.

        Raises:
            UserError: the weights do not fit the configuration, or have parameters that another budget would change.
        """
        config = self.config if config is None else config
        model = build_model(config, len(self.class_names), with_weights=False)
        weights = refitted(self.state_dict, model, trained=self.config, wanted=config, file=self.weights)
        model.load_state_dict(weights, strict=True, assign=True)
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
    given, faults = next(typed_path(word, words[word]) for word in TRAINED_WORDS if word in words)
    if faults:
        raise UserError(*faults)
    folder = RunFolder(given) if "run" in words else None
    try:
        weights = given if folder is None else weights_of(folder)
        content = load_weights(weights)
    except OSError as error:
        raise UserError(f"{given} cannot be read: {reason(error)}.") from error
    if lacking := [name for name in NEEDED if name not in content["config"]]:
        raise UserError(f"{weights} was not written by this program: its settings lack {', '.join(lacking)}.")
    return Trained(weights, content["config"], content["class_names"], folder, content["state_dict"])


def weights_of(folder: RunFolder) -> Path:
    """The weights file of a finished run.

    Raises:
        UserError: no such run, or it is not finished, or its weights were not kept.
    """
    path = folder.path
    if not path.is_dir():
        raise UserError(_not_there(path))
    try:
        results, state = folder.read_results(), folder.state()
    except json.JSONDecodeError:
        raise UserError(f"{folder.results} is damaged; checkpoint={folder.weights} may still work.") from None
    if state == "finished" and not folder.weights.is_file():
        raise UserError(f"run={path} has no {folder.weights.name}: it was trained with keep=none.")
    if state == "running":
        raise UserError(f"run={path} is still being trained; wait for its end.")
    if state == "failed":
        why = results.get("reason", "no reason was noted")
        raise UserError(f"run={path} failed ({why}); the command that started it tries again.")
    if state != "finished":
        raise UserError(_without_end(folder))
    return folder.weights


def _not_there(path: Path) -> str:
    if path.is_file():
        return f"run={path} is a file; give the folder of a run, or checkpoint={path} for a weights file."
    beside = [folder.name for folder in path.parent.iterdir()] if path.parent.is_dir() else []
    near = did_you_mean([f"run={path.parent / name}" for name in nearest(path.name, beside)])
    return f"run={path} does not exist; give the folder of a run, below outputs/.{near}"


def _without_end(folder: RunFolder) -> str:
    path = folder.path
    if folder.config.is_file():
        return f"run={path} is not finished; the command that started it brings it to its end."
    runs = sorted(file.parent for file in path.glob("*/results.json"))
    inside = f" It holds {len(runs)}; give one of them, such as run={runs[0]}." if runs else ""
    return f"run={path} is not the folder of a run: it has neither config.yaml nor results.json.{inside}"


def on_this_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which a trained model is used here: one device, and full precision where its own is not had."""
    config = deepcopy(dict(config))
    # Which is how the run itself was tested; activations are recomputed in training only.
    config["trainer"].update(devices=1, num_nodes=1, strategy="auto", gradient_checkpointing=False)
    if machine_faults(config):
        print("this machine lacks the device it was trained on: computing in full precision, last digits may differ")
        config["trainer"].update(accelerator="auto", precision="32-true")
    return config
