"""What a run's configuration may be. Heavy libraries are imported only where a check needs them."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ufgir.config import parts
from ufgir.errors import UserError, did_you_mean, summarize
from ufgir.utils import expand_path

Part = dict[str, Any]  # `_target_` and its arguments
PAPER_SCHEDULE = "ufgir.training.schedules.paper_schedule"
VALIDATED = ("val", "holdout")  # protocols that validate after every epoch
OWN_TRAINER_ARGUMENTS = {
    "barebones": "a run has loggers and checkpoints",
    "callbacks": "use the group callbacks",
    "default_root_dir": "use output_root",
    "enable_checkpointing": "use keep=weights, none or all",
    "enable_model_summary": "the run prints its own summary",
    "enable_progress_bar": "use trainer.progress",
    "fast_dev_run": "use debug=fdr",
    "logger": "use the group logger",
    "max_steps": "use trainer.max_epochs",
    "max_time": "use trainer.max_epochs",
    "num_sanity_val_steps": "a run starts with the first epoch",
    "overfit_batches": "use debug=overfit",
    "plugins": "the run makes its own",
    "sync_batchnorm": "several GPUs always use it",
    "use_distributed_sampler": "the data module shares out the images itself",
}  # arguments of lightning.Trainer that the run sets itself, and what to use instead
VALIDATION_ARGUMENTS = ("check_val_every_n_epoch", "limit_val_batches", "val_check_interval")


def _keep_rate(value: Any) -> Any:
    rates = value if isinstance(value, list) else [value]
    numbers = all(isinstance(rate, int | float) and not isinstance(rate, bool) for rate in rates)
    if value is not None and not (rates and numbers and all(0 < rate <= 1 for rate in rates)):
        raise ValueError("expected a number above 0 and at most 1, or a list with one for each reduction layer")
    rates = [float(rate) for rate in rates] if value is not None else [None]
    return rates[0] if len(set(rates)) == 1 else rates  # equal rates are one rate


def _head(value: Any) -> Any:
    """Another head by name leaves behind the multiplier of the plug-in file that was overridden."""
    if isinstance(value, dict) and value.get("name") in ("linear", "ifa"):
        return {key: item for key, item in value.items() if key != "multiplier"}
    return value


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
Fraction = Annotated[float, Field(gt=0, lt=1)]
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
        return dict(self.model_extra or {})


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
    head: Annotated[Part, BeforeValidator(_head)] = {"name": "linear"}


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
        errors: list[str] = []
        checks = (*CHECKS, *([check_resources] if resources else [])) if check else ()
        try:
            config = cls.model_validate(dict(values))
        except ValidationError as error:
            errors = [_message(details, values) for details in error.errors(include_url=False)]
            errors += _errors_between(checks, _Loose(values), skip_failures=True)
        else:
            config._fill_in()
            errors = _errors_between(checks, config)
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
            is_default = resize == int(self.image_size / 0.875)
            values["dataset"]["resize"] = None if is_default else max(size, round(resize * size / self.image_size))
        for key, value in changes.items():
            *parents, name = key.split(".")
            node = values
            for parent in parents:
                node = node[parent]
            node[name] = value
        return type(self).load(values, check=check)

    def _fill_in(self) -> None:
        self.reducer.name = self.reducer.name or str(self.reducer.arguments().get("_target_", "")).rpartition(".")[2]
        if self.keep_rate is None:
            self.keep_rate = self.reducer.keep_rate
        if self.dataset.is_ours and self.dataset.model_extra.get("resize") is None:
            self.dataset.model_extra["resize"] = int(self.image_size / 0.875)
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
    def keep_rates(self) -> list[float]:
        """One rate for each reduction layer."""
        return self.keep_rate if isinstance(self.keep_rate, list) else [self.keep_rate] * len(self.reduction_layers)

    @property
    def objective(self) -> str:
        """The result that a sweeper maximizes."""
        return "val_top1" if self.protocol == "val" else "test_top1"


def schedule_epochs(epochs: int, warmup: int | None = None, cooldown: int | None = None) -> tuple[int, int]:
    """Warm-up and cool-down epochs of a run of `epochs`; None takes the paper's, scaled down for short runs."""
    cooldown = min(5, epochs // 10) if cooldown is None else cooldown
    warmup = max(0, min(2, epochs - cooldown - 1)) if warmup is None else warmup
    return warmup, cooldown


class _Loose:
    """Attribute access to values that failed validation, so that the checks between values can still look at them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.model_extra = values

    def __getattr__(self, name: str) -> Any:
        value = self.values.get(name)
        return (
            _Loose(value)
            if isinstance(value, Mapping) and name not in ("kwargs", "optim", "schedule", "head")
            else value
        )

    def arguments(self) -> dict[str, Any]:
        own = ("name", "epochs", "pretrained", "keep_rate")
        return {name: value for name, value in self.values.items() if name not in own}


def _message(details: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """One error of pydantic: the key, the value, and what is allowed."""
    names = [name for name in details["loc"] if isinstance(name, str) and not name.startswith(("function-", "list["))]
    names = [name for name in names if name not in ("float", "int", "str", "CacheConfig")]
    key, kind, value = ".".join(names), details["type"], details["input"]
    if kind == "extra_forbidden":
        parent, model = names[:-1], RunConfig
        for name in parent:
            model = model.model_fields[name].annotation if name in model.model_fields else Node
        known = getattr(model, "model_fields", {})
        return f"{key}={show(value)}: there is no such setting.{did_you_mean(names[-1], known)}"
    if kind == "missing":
        return f"{key}: missing. Give {key}=VALUE."
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    guess = did_you_mean(value, _literals(message)) if kind == "literal_error" else ""
    return f"{key}={show(value)}: {message}.{guess}"


def _literals(message: str) -> list[str]:
    return message.split("'")[1::2]


def show(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(show, value)) + "]"
    return str(value)


Check = Callable[[Any], Iterable[str]]


def _errors_between(checks: Iterable[Check], config: Any, skip_failures: bool = False) -> list[str]:
    """What is wrong between values, each of them valid by itself."""
    errors: list[str] = []
    for check in checks:
        try:
            errors += check(config)
        except UserError as error:
            errors += error.messages
        except Exception:  # the values that this check reads are among those that failed
            if not skip_failures:
                raise
    return errors


def _check_backbone(config: RunConfig) -> Iterator[str]:
    from timm.models.vision_transformer import VisionTransformer

    from ufgir.models.backbones import describe

    backbone, layers = config.backbone, config.reduction_layers
    known = list(inspect.signature(VisionTransformer.__init__).parameters)[1:]
    if unknown := [name for name in backbone.kwargs if name not in known]:
        for name in unknown:
            key = f"backbone.kwargs.{name}={show(backbone.kwargs[name])}"
            yield f"{key}: timm's VisionTransformer has no such argument.{did_you_mean(name, known)}"
        return
    info = describe(backbone.name, backbone.kwargs)
    step = math.lcm(*info.patch)
    if config.image_size % step:
        nearest = max(1, round(config.image_size / step)) * step
        yield (
            f"image_size={config.image_size}: expected a multiple of {step}, the patch size of {backbone.name}, "
            f"such as {nearest}."
        )
    if layers != sorted(set(layers)) or max(layers) >= info.depth:
        yield (
            f"reduction_layers={show(layers)}: expected ascending blocks from 0 to {info.depth - 1}, each once "
            f"({backbone.name} has {info.depth} blocks)."
        )


def _check_model(config: RunConfig) -> Iterator[str]:
    import torch

    from ufgir.models.heads import resolve_head
    from ufgir.reducers import Stage, resolve_reducer

    rates, layers = config.keep_rate, config.reduction_layers
    if isinstance(rates, list) and len(rates) != len(layers):
        yield (
            f"keep_rate={show(rates)}: {len(rates)} rates for {len(layers)} reduction layers. Give one number, or one "
            f"for each of reduction_layers={show(layers)}."
        )
    rate = config.reducer.keep_rate if rates is None else rates
    if config.reducer.name == "none" and rate != 1:
        yield f"keep_rate={show(rate)}: reducer=none keeps every token. Leave keep_rate out, or choose a reducer."
    reducer, head = {"name": config.reducer.name, **config.reducer.arguments()}, _head(config.plugins.head)
    for key, part, resolve, sizes in (
        ("reducer", reducer, resolve_reducer, (Stage(0, (0.5, 0.5), 196, 64),)),
        ("plugins.head", head, resolve_head, (64, 2, 10)),
    ):
        try:
            kind, options = resolve(part)
            with torch.device("meta"):  # whether it takes these values; nothing is allocated
                kind and kind(*sizes, **options)
        except (ValueError, TypeError) as error:
            yield f"{key}={show(part)}: {summarize(error)}."
    cache = config.plugins.cache
    if cache and cache.num_clr == 0 and not cache.gap:
        yield "plugins.cache.num_clr=0: the cache would be empty with plugins.cache.gap=false. Change one of the two."


def _check_batch(config: RunConfig) -> Iterator[str]:
    processes = config.trainer.devices if isinstance(config.trainer.devices, int) else 1
    processes = len(config.trainer.devices) if isinstance(config.trainer.devices, list) else max(1, processes)
    processes *= config.trainer.num_nodes
    if config.batch_size % processes:
        yield (
            f"batch_size={config.batch_size}: expected a multiple of {processes}, the number of processes "
            "(trainer.devices times trainer.num_nodes)."
        )
    elif config.plugins.head.get("name") == "cla" and config.batch_size // processes < 2:
        yield (
            f"batch_size={config.batch_size} with plugins={config.plugins.name}: the BatchNorm of the CLA head needs "
            "at least 2 images in each process."
        )


def _check_schedule(config: RunConfig) -> Iterator[str]:
    lr = config.optim.get("lr")
    if lr is not None and not (isinstance(lr, int | float) and lr > 0):
        yield f"optim.lr={show(lr)}: expected a number above 0."
    schedule, epochs = config.schedule, config.trainer.max_epochs
    if schedule and schedule.get("_target_") == PAPER_SCHEDULE:
        warmup, cooldown = schedule_epochs(epochs, schedule.get("warmup_epochs"), schedule.get("cooldown_epochs"))
        if min(warmup, cooldown) < 0 or warmup + cooldown >= epochs:
            yield (
                f"schedule.warmup_epochs={warmup}, schedule.cooldown_epochs={cooldown}: expected numbers from 0, "
                f"together less than trainer.max_epochs={epochs}."
            )


def _check_data(config: RunConfig) -> Iterator[str]:
    resize = config.dataset.arguments().get("resize")
    if isinstance(resize, int) and resize < config.image_size:
        yield f"dataset.resize={resize}: expected at least image_size={config.image_size}, the size of the crop."
    if config.protocol == "cv":
        if config.fold is None:
            yield "fold: missing. protocol=cv needs fold=K, from 0 to folds-1; all folds: --multirun fold=0,1,..."
        elif config.fold >= (config.folds or 5):
            yield f"fold={config.fold}: expected 0 to {(config.folds or 5) - 1}, with folds={config.folds or 5}."
    elif config.fold is not None or config.folds is not None:
        key = "fold" if config.fold is not None else "folds"
        yield f"{key}={show(getattr(config, key))}: only protocol=cv has folds; protocol={config.protocol} was chosen."
    expand_path("output_root", config.output_root)


def _check_trainer(config: RunConfig) -> Iterator[str]:
    extra = set(config.trainer.arguments()) - set(TrainerConfig.model_fields)
    if extra:
        from lightning import Trainer

        known = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    for name in sorted(extra):
        key = f"trainer.{name}={show(config.trainer.arguments()[name])}"
        if name in OWN_TRAINER_ARGUMENTS:
            yield f"{key}: the run sets this itself; {OWN_TRAINER_ARGUMENTS[name]}."
        elif name not in known:
            yield f"{key}: lightning.Trainer has no such argument.{did_you_mean(name, known)}"
        elif name in VALIDATION_ARGUMENTS and config.protocol not in VALIDATED:
            yield f"{key}: protocol={config.protocol} has no validation. Use protocol=val or holdout."
    if config.trainer.strategy != "auto":
        from lightning.pytorch.strategies import StrategyRegistry

        known = StrategyRegistry.available_strategies()
        if config.trainer.strategy not in known:
            guess = did_you_mean(config.trainer.strategy, known)
            yield f"trainer.strategy={config.trainer.strategy}: expected auto or one of Lightning's.{guess}"
    if config.trainer.precision != "auto":
        from lightning.fabric.connector import _PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS_CONVERSION

        known = [*_PRECISION_INPUT_STR.__args__, *_PRECISION_INPUT_STR_ALIAS_CONVERSION]
        if str(config.trainer.precision) not in known:
            guess = did_you_mean(str(config.trainer.precision), known)
            yield f"trainer.precision={config.trainer.precision}: expected auto or {', '.join(known[:7])}.{guess}"


def _check_callbacks(config: RunConfig) -> Iterator[str]:
    if config.protocol in VALIDATED:
        return
    for name, part in config.callbacks.items():
        if str(part.get("monitor", "")).startswith("val/"):
            yield (
                f"callbacks.{name}.monitor={part['monitor']}: protocol={config.protocol} has no validation. "
                "Use protocol=val or holdout."
            )


def _check_parts(config: RunConfig) -> Iterable[str]:
    """Every `_target_`: importable, and its argument names known."""
    yield from parts.check("optim", config.optim, trial=parts.try_optimizer)
    if config.schedule is not None:
        yield from parts.check("schedule", {k: v for k, v in config.schedule.items() if k != "interval"})
    yield from parts.check("dataset", config.dataset.arguments())
    for number, part in enumerate(config.augment.train):
        yield from parts.check(f"augment.train.{number}", part)
    if config.augment.batch is not None:
        yield from parts.check("augment.batch", config.augment.batch)
    for group in ("callbacks", "logger"):
        for name, part in getattr(config, group).items():
            yield from parts.check(f"{group}.{name}", part)


def check_resources(config: RunConfig) -> Iterator[str]:
    """What must be on this machine before a run can be identified and started: the weights of its backbone."""
    from ufgir.models.backbones import has_other_sizes, official_file

    backbone = config.backbone
    if backbone.checkpoint is not None:
        if not expand_path("backbone.checkpoint", backbone.checkpoint).is_file():
            yield f"backbone.checkpoint={backbone.checkpoint}: no such file. Give a weights file of {backbone.name}."
    elif backbone.pretrained and (reason := official_file(backbone.name, backbone.kwargs)):
        yield reason
    elif backbone.pretrained and has_other_sizes(backbone.name, backbone.kwargs):
        yield (
            f"backbone.kwargs={show(backbone.kwargs)}: there are no pretrained weights for these sizes. "
            "Use backbone.pretrained=false, or leave the sizes as they are."
        )


CHECKS: tuple[Check, ...] = (
    _check_backbone, _check_model, _check_batch, _check_schedule, _check_data, _check_trainer, _check_callbacks,
    _check_parts,
)  # fmt: skip


def check_machine(config: RunConfig) -> None:
    """See that this machine has what a run asks for. Called where the run starts, never where it is planned.

    Raises:
        UserError: there is no such device, or the precision needs another one.
    """
    import torch

    trainer, cuda = config.trainer, torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    errors = []
    if not {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(trainer.accelerator, True):
        errors.append(f"trainer.accelerator={trainer.accelerator}: this machine has none. Use trainer=default or cpu.")
    elif trainer.accelerator != "cpu" and cuda and trainer.devices not in ("auto", -1):
        wanted = max(trainer.devices) + 1 if isinstance(trainer.devices, list) else trainer.devices
        if wanted > torch.cuda.device_count():
            errors.append(
                f"trainer.devices={show(trainer.devices)}: this machine has {torch.cuda.device_count()} GPUs."
            )
    if str(trainer.precision).startswith("16") and (trainer.accelerator == "cpu" or not (cuda or mps)):
        errors.append(f"trainer.precision={trainer.precision}: 16-bit floats need a GPU. Use trainer.precision=auto.")
    if errors:
        raise UserError(*errors)


def uses_cuda(config: RunConfig) -> bool:
    """Whether a run trains on CUDA on this machine."""
    import torch

    return config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def resolved_precision(config: RunConfig) -> str:
    """What `trainer.precision` becomes on this machine: `auto` is 16-mixed on CUDA and 32-true elsewhere."""
    if config.trainer.precision != "auto":
        return str(config.trainer.precision)
    return "16-mixed" if uses_cuda(config) else "32-true"


def absolute_paths(config: RunConfig, base: Path | None = None) -> RunConfig:
    """A copy that can be used from any working directory."""
    base = base or Path.cwd()
    changes: dict[str, Any] = {}
    if config.dataset.arguments().get("root"):
        changes["dataset.root"] = str(base / expand_path("dataset.root", config.dataset.arguments()["root"]))
    if config.backbone.checkpoint:
        changes["backbone.checkpoint"] = str(base / expand_path("backbone.checkpoint", config.backbone.checkpoint))
    return config.updated(changes, check=False)
