"""A trained model, from the folder of its run, its weights file, or its repository on the Hugging Face Hub."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from PIL import Image
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from ufgir.config import RunConfig
from ufgir.config.checks import check_machine
from ufgir.data.transforms import EvalTransform
from ufgir.errors import UserError, did_you_mean, summarize
from ufgir.models import ReducedViT, create_model
from ufgir.models.weights import shape_differences
from ufgir.training.checkpoint import load_weights
from ufgir.training.run_folder import RunFolder
from ufgir.utils import expand_path

HUB_PREFIX = "hf-hub:"  # as in timm
HUB_FILE = "model.pt"


@dataclass
class Trained:
    """What a weights file holds, and where it lies.

    Attributes:
        weights: the file.
        config: the configuration of its run.
        class_names: in the order of the class ids.
        state_dict: the weights.
        folder: of its run; None if the file was given without it.
    """

    weights: Path
    config: RunConfig
    class_names: list[str]
    state_dict: dict[str, Tensor]
    folder: RunFolder | None = None

    @cached_property
    def model(self) -> ReducedViT:
        """Images (B, 3, S, S) -> logits (B, classes), in evaluation mode, on the CPU."""
        return self.build().eval()

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """A PIL image of any mode and size -> float32 (3, S, S), exactly as in the test pass."""
        return EvalTransform(self.config.resize, self.config.image_size)

    @property
    def place(self) -> Path:
        """The folder for what is made of it: beside the weights, but not in the cache of the Hub."""
        return Path() if Path(constants.HF_HUB_CACHE) in self.weights.parents else self.weights.parent

    def build(self, config: RunConfig | None = None) -> ReducedViT:
        """The model with its weights.

        Args:
            config: another keep rate or image size than the weights were trained with.

        Raises:
            UserError: the weights do not fit, or have parameters that depend on the budget.
        """
        config = config or self.config
        model = create_model(**config.model_arguments(len(self.class_names)))
        weights = self._adapted(model, config)
        if problems := shape_differences(weights, model.state_dict()):
            raise UserError(
                f"{self.weights}: its weights do not fit keep_rate={config.keep_rate} image_size={config.image_size} "
                f"reducer={config.reducer.name}: {'; '.join(problems)}. Where the weights of a reducer depend on the "
                "number of tokens (sit, patchmerger), train a run with these settings."
            )
        model.load_state_dict(weights, strict=True, assign=True)
        return model

    def _adapted(self, model: ReducedViT, config: RunConfig) -> dict[str, Tensor]:
        """Position embeddings resampled; reducers of layers that now keep every token left out."""
        weights = dict(self.state_dict)
        if config.image_size != self.config.image_size and model.pos_embed is not None and "pos_embed" in weights:
            height, width = model.patch_embed.feat_ratio(as_scalar=False)
            weights["pos_embed"] = resample_abs_pos_embed(
                weights["pos_embed"],
                new_size=list(model.patch_embed.grid_size),
                old_size=[self.config.image_size // height, self.config.image_size // width],
                num_prefix_tokens=0 if model.no_embed_class else model.num_prefix_tokens,
            )
        idle = tuple(f"reducers.{layer}." for layer in model.reduction_layers if str(layer) not in model.reducers)
        return {name: value for name, value in weights.items() if not idle or not name.startswith(idle)}


def load(source: str | Path, key: str = "source") -> Trained:
    """Load a trained model with all that is needed to use it: `model`, `transform`, `class_names` and `config`.

    Args:
        source: the folder of a finished run, a `model.pt`, a training checkpoint of a run, or
            `hf-hub:USER/NAME[@REVISION]`.
        key: what messages call it.

    Raises:
        UserError: there are no weights, or they cannot be read or downloaded.
    """
    folder = None
    if str(source).startswith(HUB_PREFIX):
        file = download(str(source))
    else:
        file = expand_path(key, str(source))
        if not file.exists():
            beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
            near = did_you_mean(file.name, beside)
            raise UserError(f"{key}={source}: there is no such file or folder.{near}")
        if file.is_dir():
            folder = RunFolder(file)
            file = _weights_of(folder)
    content = load_weights(file)
    try:
        config = RunConfig.load(content["config"], check=False)
    except UserError as error:
        raise UserError(
            f"{file}: its configuration is not one of this version of ufgir ({error.messages[0]})"
        ) from None
    return Trained(file, config, content["class_names"], content["state_dict"], folder)


def _weights_of(folder: RunFolder) -> Path:
    """The weights file of a finished run.

    Raises:
        UserError: it is not finished, or its weights were not kept.
    """
    path = folder.path
    results, state = folder.read_results() or {}, folder.state()
    if state == "finished" and folder.weights.is_file():
        return folder.weights
    reasons = {
        "finished": f"its weights were not kept (keep=none); there is no {folder.weights.name}",
        "running": "it is still training",
        "failed": f"it failed ({results.get('reason', 'no reason was recorded')})",
        "interrupted": "it is not finished; the command that started it continues it",
        "missing": "it is not the folder of a run; give one below outputs/",
    }
    raise UserError(f"run={path}: {reasons[state]}.")


def download(name: str) -> Path:
    """The weights file of a repository on the Hugging Face Hub, from its cache if it is there.

    Args:
        name: `hf-hub:USER/NAME`, or `hf-hub:USER/NAME@REVISION`.

    Raises:
        UserError: there is no such repository or file, or it cannot be downloaded.
    """
    repository, _, revision = name.removeprefix(HUB_PREFIX).partition("@")
    try:
        return Path(hf_hub_download(repository, HUB_FILE, revision=revision or None))
    except (HFValidationError, HfHubHTTPError, OSError) as error:  # of these, not in the cache and no network, too
        form = " Expected hf-hub:USER/NAME." if isinstance(error, HFValidationError) else ""
        raise UserError(f"checkpoint={name}: could not be downloaded ({summarize(error)}).{form}") from error


def for_this_machine(config: RunConfig) -> RunConfig:
    """A configuration for one device of this machine, in full precision where its own is not available."""
    config = config.updated(
        {
            "trainer.devices": 1,
            "trainer.num_nodes": 1,
            "trainer.strategy": "auto",
            "trainer.gradient_checkpointing": False,
        },
        check=False,
    )
    try:
        check_machine(config)
    except UserError:
        print("the device or precision of its training is not available here: computing in full precision")
        config = config.updated({"trainer.accelerator": "auto", "trainer.precision": "32-true"}, check=False)
    return config
