"""A trained model as a repository of the Hugging Face Hub: weights, settings and model card, and the upload."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from ufgir.config import RunConfig, axes
from ufgir.errors import RunFailed, UserError, exception_chain, summarize
from ufgir.export.check import preprocessing
from ufgir.training.checkpoint import save_weights, weights_digest
from ufgir.training.run_folder import RunFolder
from ufgir.training.trained import Trained
from ufgir.utils import write_json

TEMPLATE = Path(__file__).with_name("templates") / "model_card.md.jinja"
TAGS = ("image-classification", "fine-grained", "vision-transformer", "token-reduction")
NAMELESS = ("csv", "folder")  # data sets without a usual place
PRIVATE = ("data_root", "output_root", "logger", "keep", "hydra", "trainer.progress")  # of a machine or an account
PATHS = {  # in an override, and what stands for them
    r"(?<=dataset\.root=).+": "DIR",
    r"(?<=backbone\.checkpoint=)(?!null$).+": "FILE",
    r"""(?<=[=:\[,'"])\s*[/~][^,\]}'"]*""": "FILE",
}
LOGIN = "Run `hf auth login`, or set HF_TOKEN"


def write_repository(trained: Trained, repository: str, license_id: str, folder: Path) -> None:
    """Write `model.pt`, `config.json` and `README.md`, without paths and names of this machine.

    Args:
        trained: the model; the numbers of its run are read from the `results.json` beside its weights.
        repository: `USER/NAME`, for the examples of the card.
        license_id: of the weights, as the Hub names it.
        folder: for the files.
    """
    config = public_config(trained.config)
    values = config.model_dump(by_alias=True)
    save_weights(folder / "model.pt", trained.build(), values, trained.class_names)
    results = public_results(trained)
    about = preprocessing(trained)
    class_names = about.pop("class_names")
    parts = {"class_names": class_names, "preprocessing": about, "results": results, "config": values}
    write_json(folder / "config.json", {"library_name": "ufgir", **parts})
    model_card(config, len(trained.class_names), results, repository, license_id).save(folder / "README.md")


def public_config(config: RunConfig) -> RunConfig:
    """A configuration without where data and results lie and who logs; of other absolute paths the names remain."""

    def without_folders(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: without_folders(item) for key, item in value.items()}
        if isinstance(value, list):
            return [without_folders(item) for item in value]
        return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value

    values = config.model_dump(by_alias=True)
    dataset = values["dataset"]
    values.update(data_root="data", output_root="outputs", logger={})
    if "root" in dataset:
        dataset["root"] = None if dataset["name"] in NAMELESS else f"data/{dataset['name']}"
    return RunConfig.load(without_folders(values), check=False)


def public_results(trained: Trained) -> dict[str, Any]:
    """The `results.json` beside the weights, if it is about these, without the configuration; else nothing."""
    results = RunFolder(trained.weights.parent).read_results() or {}
    if results.get("weights_sha256") != weights_digest(trained.state_dict):
        return {}
    overrides = results.pop("overrides", None)
    results = {name: value for name, value in results.items() if name not in ("config", "command")}
    if overrides is not None:
        results["command"] = shlex.join(["python", "-m", "ufgir.train", *public_overrides(overrides)])
    return results


def public_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides of a run that change its numbers, `DIR` and `FILE` in the place of paths."""
    private = rf"[+~]*({'|'.join(map(re.escape, PRIVATE))})($|[./=])"
    public = [override for override in overrides if not re.match(private, override)]
    for path, name in PATHS.items():
        public = [re.sub(path, name, override) for override in public]
    return public


def model_card(
    config: RunConfig, classes: int, results: Mapping[str, Any], repository: str, license_id: str
) -> ModelCard:
    """The README.md of a repository, with the metadata that the Hub filters and compares by."""
    values, title = axes(config), repository.partition("/")[2]
    timm_weights = timm.models.get_pretrained_cfg(config.backbone.name) if config.backbone.pretrained else None
    split = next((split for split in ("test", "val") if f"{split}_top1" in results), None)
    accuracy = None if split is None else EvalResult(
        task_type="image-classification",
        dataset_type=values["dataset"],
        dataset_name=values["dataset"],
        dataset_split="test" if split == "test" else "validation",
        metric_type="accuracy",
        metric_name="top-1 accuracy",
        metric_value=round(results[f"{split}_top1"] / 100, 6),
    )  # fmt: skip
    card_data = ModelCardData(
        license=license_id,
        library_name="ufgir",
        pipeline_tag="image-classification",
        tags=[*TAGS, values["reducer"], *([values["plugins"]] if values["plugins"] != "base" else [])],
        metrics=["accuracy"],
        base_model=(timm_weights and timm_weights.hf_hub_id) or None,
        model_name=title if accuracy else None,
        eval_results=[accuracy] if accuracy else None,
    )
    return ModelCard.from_template(
        card_data,
        template_path=str(TEMPLATE),
        title=title,
        repository=repository,
        classes=classes,
        config=config,
        axes=values,
        results=results,
        needs_root=config.dataset.arguments().get("root") is None,
    )


def check_login() -> None:
    """See that there is a login, as far as that shows without a network.

    Raises:
        UserError: there is none, or huggingface_hub is offline.
    """
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be uploaded. Unset it, or give dry_run=true.")
    if not get_token():
        raise UserError(f"there is no login at the Hugging Face Hub. {LOGIN}; dry_run=true needs none.")


def upload(folder: Path, repository: str, private: bool) -> str:
    """Make the repository unless it exists, and put the files of a folder into it, in one commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: the token is wrong, or may not write there.
        RunFailed: the Hub cannot be reached, or refuses the files.
    """
    api, state = HfApi(), "nothing was uploaded"
    try:
        user = api.whoami()["name"]
        print(f"uploading as {user} to {repository}", flush=True)
        api.create_repo(repository, private=private, exist_ok=True)
        state = f"{repository} exists, without these files; the same command tries again"
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Trained with ufgir"))
    except Exception as error:  # of a dozen types
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in (401, 403):
            raise UserError(
                f"repo={repository}: this login may not write there ({summarize(error)}); {state}. {LOGIN}, or use "
                "your own name or organization."
            ) from error
        is_network = status is None and any(isinstance(cause, OSError) for cause in exception_chain(error))
        what = "cannot be reached" if is_network else "refused the files"
        raise RunFailed(f"the Hugging Face Hub {what} ({summarize(error)}); {state}.") from error
