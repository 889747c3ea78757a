"""The files of a model's repository: weights, settings and card, with nothing in them of the machine they come from."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ufgir.config.retyped import is_named
from ufgir.exports.about import preprocessing
from ufgir.runs.folder import RunFolder
from ufgir.runs.repository import WEIGHTS
from ufgir.runs.trained import Trained
from ufgir.sharing.card import model_card
from ufgir.training.checkpoint import save_weights, weights_digest

CONFIG, CARD = "config.json", "README.md"
FILES = (CARD, CONFIG, WEIGHTS)


@dataclass(frozen=True)
class Shared:
    """A trained model as it may be shown to others.

    Attributes:
        trained: the weights, with the settings of `shareable`.
        results: what its run measured, without the settings; empty where that is not known.
    """

    trained: Trained
    results: dict[str, Any]


def shared(trained: Trained) -> Shared:
    """A trained model without paths and names of this machine, and the numbers of its run if they are beside it."""
    results = _results_beside(trained)
    trained = Trained(trained.weights, shareable(trained.config), trained.class_names, None, trained.state_dict)
    return Shared(trained, {name: value for name, value in results.items() if name != "config"})


def _results_beside(trained: Trained) -> dict[str, Any]:
    """The `results.json` beside a weights file, if it is about these weights."""
    try:
        results = RunFolder(trained.weights.parent).read_results()
    except ValueError:
        return {}
    digest = weights_digest(trained.state_dict)
    return results if isinstance(results, dict) and results.get("weights_sha256") == digest else {}


def shareable(config: dict[str, Any]) -> dict[str, Any]:
    """Settings without what is private to a machine or an account: where data and results lie, and who logs."""
    config = deepcopy(config)
    dataset, backbone = config["dataset"], config["backbone"]
    dataset["root"] = f"data/{dataset['name']}" if is_named(dataset["name"]) else None
    if Path(dataset["images"]).expanduser().is_absolute():
        dataset["images"] = "images"
    if backbone["checkpoint"]:
        backbone["checkpoint"] = Path(backbone["checkpoint"]).name
    config.update(data_root="data", output_root="outputs", logger={"name": "csv"})
    return config


def write_contents(model: Shared, repository: str, license_id: str, folder: Path) -> None:
    """Write the files into an existing folder.

    Args:
        model: what is shared.
        repository: `USER/NAME`, for the card's examples.
        license_id: of the weights, as the Hub names it.
        folder: for the files.
    """
    trained = model.trained
    save_weights(folder / WEIGHTS, trained.build(), trained.config, trained.class_names)
    facts = {
        "library_name": "ufgir",
        "class_names": trained.class_names,
        "preprocessing": {name: value for name, value in preprocessing(trained).items() if name != "class_names"},
        "results": model.results,
        "config": trained.config,
    }
    (folder / CONFIG).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(model_card(trained, model.results, repository, license_id), encoding="utf-8")
