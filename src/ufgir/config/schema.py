"""What a run's configuration may be. Heavy libraries are imported only where a check needs them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ufgir.errors import UserError, validation_messages
from ufgir.utils import expand_path, resize_side

Part = dict[str, Any]  # `_target_` and its arguments
PAPER_SCHEDULE = "ufgir.training.schedules.paper_schedule"
VALIDATED = ("val", "holdout")  # protocols that validate after every epoch


def _keep_rate(value: Any) -> Any:
    rates = value if isinstance(value, list) else [value]
    numbers = all(isinstance(rate, int | float) and not isinstance(rate, bool) for rate in rates)
    if value is not None and not (rates and numbers and all(0 < rate <= 1 for rate in rates)):
        raise ValueError("expected a number above 0 and at most 1, or a list with one for each reduction layer")
    rates = [float(rate) for rate in rates] if value is not None else [None]
    return rates[0] if len(set(rates)) == 1 else rates  # equal rates are one rate


def drop_multiplier(value: Any) -> Any:
    """Another head by name leaves behind the multiplier of the plug-in file that was overridden."""
    if not isinstance(value, dict):
        return value
    dropped = ("_partial_", "multiplier") if value.get("name") in ("linear", "ifa") else ("_partial_",)
    return {key: item for key, item in value.items() if key not in dropped}


def _batches(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value <= 0 or (isinstance(value, float) and value > 1):
        raise ValueError("expected a number of batches, or a share of them above 0.0 and at most 1.0")
    return value


def _devices(value: Any) -> Any:
    def is_count(item: Any) -> bool:
        return isinstance(item, int) and not isinstance(item, bool)

    if value == "auto" or (is_count(value) and (value > 0 or value == -1)):
        return value
    if isinstance(value, list) and value and all(is_count(item) and item >= 0 for item in value):
        return value
    raise ValueError("expected a number of devices, -1 or auto for all, or a list of their numbers")


Count = Annotated[int, Field(ge=1)]
KeepRate = Annotated[float | list[float] | None, BeforeValidator(_keep_rate)]
Batches = Annotated[int | float, BeforeValidator(_batches)]


class Node(BaseModel):
    """A part of the configuration: no other keys, and no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OpenNode(BaseModel):
    """A part whose further keys are arguments of a class."""

    model_config = ConfigDict(extra="allow", strict=True)

    def arguments(self) -> dict[str, Any]:
        """The further keys, `_target_` among them."""
        return {key: value for key, value in (self.model_extra or {}).items() if key != "_partial_"}


class DatasetConfig(OpenNode):
    """A LightningDataModule by `_target_` with its arguments, and what its training needs by default."""

    name: str
    epochs: Count = 50
    pretrained: bool = True

    @property
    def is_ours(self) -> bool:
        return self.arguments().get("_target_") == "ufgir.data.ImageDataModule"


class BackboneConfig(Node):
    name: str
    pretrained: bool = False
    checkpoint: str | None = None
    kwargs: dict[str, Any] = {}


class ReducerConfig(OpenNode):
    """A reducer by `_target_` with its options; `name` is how runs and reports call it."""

    name: str | None = None
    keep_rate: Annotated[float, Field(gt=0, le=1)] = 0.5


class CacheConfig(Node):
    num_clr: Annotated[int, Field(ge=0)] = 1
    gap: bool = True
    recover_at_last: bool = True
    pool_cls: bool = False
    pool_clr: bool = False


class PluginsConfig(Node):
    name: str = "custom"
    cache: Annotated[
        CacheConfig | None,
        BeforeValidator(lambda value: {True: {}, False: None}[value] if type(value) is bool else value),
    ] = None
    head: Annotated[Part, BeforeValidator(drop_multiplier)] = {"name": "linear"}


class AugmentConfig(Node):
    name: str | None = None
    train: list[Part]
    batch: Part | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class TrainerConfig(OpenNode):
    """Arguments of lightning.Trainer, and `compile`, `gradient_checkpointing` and `progress`, which are ours."""

    max_epochs: Count
    precision: str | int = "auto"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: Annotated[int | str | list[int], BeforeValidator(_devices)] = 1
    num_nodes: Count = 1
    strategy: str = "auto"
    accumulate_grad_batches: Count = 1
    gradient_clip_val: Annotated[float, Field(gt=0)] | None = None
    compile: bool = False
    gradient_checkpointing: bool = False
    log_every_n_steps: Count = 10
    limit_train_batches: Batches = 1.0
    limit_test_batches: Batches = 1.0
    profiler: Literal["simple", "advanced", "pytorch"] | None = None
    progress: bool = True


class RunConfig(Node):
    """Everything that one run does. `RunConfig.load` checks it; `updated` changes it and checks again."""

    keep_rate: KeepRate
    reduction_layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    image_size: Count
    batch_size: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    protocol: Literal["test", "val", "holdout", "cv"]
    fold: Annotated[int, Field(ge=0)] | None = None
    folds: Annotated[int, Field(ge=2)] | None = None
    keep: Literal["weights", "none", "all"] = "weights"
    data_root: str = "data"
    output_root: str = "outputs"
    dataset: DatasetConfig
    backbone: BackboneConfig
    reducer: ReducerConfig
    plugins: PluginsConfig
    augment: AugmentConfig
    optim: Part
    schedule: Part | None = None
    callbacks: dict[str, Part] = {}
    trainer: TrainerConfig
    logger: dict[str, Part] = {}

    @classmethod
    def load(cls, values: Mapping[str, Any], *, check: bool = True, resources: bool = True) -> "RunConfig":
        """The configuration of plain values, with every `null` and `auto` that does not depend on a machine filled in.

        Args:
            values: nested mappings, as Hydra composes them.
            check: whether values must fit together, too; off for saved configurations, which did.
            resources: whether the weights that are asked for must be on this machine.

        Raises:
            UserError: all errors: of single values, and between them.
        """
        from ufgir.config.checks import LooseConfig, errors_between  # which knows the classes of this module

        errors: list[str] = []
        try:
            config = cls.model_validate(dict(values))
        except ValidationError as error:
            errors = validation_messages(error, cls)
            if check:
                errors += errors_between(LooseConfig(values), resources=resources, skip_failures=True)
        else:
            config._fill_in()
            if check:
                errors = errors_between(config, resources=resources)
        if errors:
            raise UserError(*dict.fromkeys(errors))
        return config

    def updated(self, changes: Mapping[str, Any], *, check: bool = True) -> "RunConfig":
        """A checked copy with other values, by dotted key such as `dataset.root`.

        With another `image_size` the side of the resize keeps its proportion to it.
        """
        values = self.model_dump(by_alias=True)
        size = changes.get("image_size", self.image_size)
        if self.dataset.is_ours and size != self.image_size and "dataset.resize" not in changes:
            resize = self.dataset.model_extra["resize"]
            is_default = resize == resize_side(self.image_size)
            values["dataset"]["resize"] = None if is_default else max(size, round(resize * size / self.image_size))
        for key, value in changes.items():
            *parents, name = key.split(".")
            node = values
            for parent in parents:
                node = node[parent]
            node[name] = value
        return type(self).load(values, check=check)

    def model_arguments(self, num_classes: int, *, start: bool = False) -> dict[str, Any]:
        """The arguments of `create_model`; with `start` also the weights that training starts from."""
        backbone, cache = self.backbone, self.plugins.cache
        weights = {"pretrained": backbone.pretrained, "checkpoint": backbone.checkpoint} if start else {}
        return {
            "backbone": backbone.name,
            "num_classes": num_classes,
            "img_size": self.image_size,
            "backbone_kwargs": dict(backbone.kwargs),
            "reducer": {"name": self.reducer.name, **self.reducer.arguments()},
            "keep_rate": self.keep_rate,
            "reduction_layers": list(self.reduction_layers),
            "cache": False if cache is None else cache.model_dump(),
            "head": dict(self.plugins.head),
            **weights,
        }

    def _fill_in(self) -> None:
        self.reducer.name = self.reducer.name or str(self.reducer.arguments().get("_target_", "")).rpartition(".")[2]
        if self.keep_rate is None:
            self.keep_rate = self.reducer.keep_rate
        if self.dataset.is_ours and self.dataset.model_extra.get("resize") is None:
            self.dataset.model_extra["resize"] = self.resize
        if self.protocol == "cv" and self.folds is None:
            self.folds = 5
        if self.optim.get("fused", False) is None:  # Lightning cannot clip the gradients of a fused optimizer
            self.optim["fused"] = self.trainer.gradient_clip_val is None
        if self.schedule and self.schedule.get("_target_") == PAPER_SCHEDULE:
            warmup, cooldown = schedule_epochs(
                self.trainer.max_epochs, self.schedule.get("warmup_epochs"), self.schedule.get("cooldown_epochs")
            )
            self.schedule.update(warmup_epochs=warmup, cooldown_epochs=cooldown)

    @property
    def resize(self) -> int:
        """Side to which images are resized before the crop, pixels."""
        return self.dataset.arguments().get("resize") or resize_side(self.image_size)

    @property
    def objective(self) -> str:
        """The result that a sweeper maximizes."""
        return "val_top1" if self.protocol == "val" else "test_top1"


def schedule_epochs(epochs: int, warmup: int | None = None, cooldown: int | None = None) -> tuple[int, int]:
    """Warm-up and cool-down epochs of a run of `epochs`; None takes the paper's, scaled down for short runs."""
    cooldown = min(5, epochs // 10) if cooldown is None else cooldown
    warmup = max(0, min(2, epochs - cooldown - 1)) if warmup is None else warmup
    return warmup, cooldown


def rate_text(rate: float | Sequence[float], joint: str = " ") -> str:
    """A keep rate, or one for each stage, as text."""
    return joint.join(f"{number:g}" for number in (rate if isinstance(rate, Sequence) else [rate]))


def uses_cuda(config: RunConfig) -> bool:
    """Whether a run trains on CUDA on this machine."""
    import torch

    return config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def resolved_precision(config: RunConfig) -> str:
    """What `trainer.precision` becomes on this machine: `auto` is 16-mixed on CUDA and 32-true elsewhere."""
    if config.trainer.precision != "auto":
        return str(config.trainer.precision)
    return "16-mixed" if uses_cuda(config) else "32-true"


def absolute_paths(config: RunConfig) -> RunConfig:
    """A copy that can be used from any working directory."""
    base = Path.cwd()
    changes: dict[str, Any] = {}
    if config.dataset.arguments().get("root"):
        changes["dataset.root"] = str(base / expand_path("dataset.root", config.dataset.arguments()["root"]))
    if config.backbone.checkpoint:
        changes["backbone.checkpoint"] = str(base / expand_path("backbone.checkpoint", config.backbone.checkpoint))
    return config.updated(changes, check=False)
