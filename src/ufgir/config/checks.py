"""What must be true between the values of a configuration, and of the machine that runs it."""

import inspect
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from ufgir.config import parts
from ufgir.config.schema import (
    PAPER_SCHEDULE,
    VALIDATED,
    RunConfig,
    TrainerConfig,
    drop_multiplier,
    schedule_epochs,
)
from ufgir.errors import UserError, did_you_mean, show, summarize
from ufgir.utils import expand_path

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


class LooseConfig:
    """Attribute access to values that failed validation, so that the checks between values can still look at them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def __getattr__(self, name: str) -> Any:
        value = self.values.get(name)
        return (
            LooseConfig(value)
            if isinstance(value, Mapping) and name not in ("kwargs", "optim", "schedule", "head")
            else value
        )

    def arguments(self) -> dict[str, Any]:
        own = ("name", "epochs", "pretrained", "keep_rate")
        return {name: value for name, value in self.values.items() if name not in own}


Check = Callable[[Any], Iterable[str]]


def errors_between(config: Any, *, resources: bool, skip_failures: bool = False) -> list[str]:
    """What is wrong between values, each of them valid by itself.

    Args:
        config: a `RunConfig`, or `LooseConfig`.
        resources: whether the weights that are asked for must be on this machine.
        skip_failures: leave out a check that cannot read its values, because they are among those that failed.
    """
    errors: list[str] = []
    for check in (*CHECKS, *([check_resources] if resources else [])):
        try:
            errors += check(config)
        except UserError as error:
            errors += error.messages
        except Exception:
            if not skip_failures:
                raise
    if not errors and isinstance(config, RunConfig):
        errors = _refusals(json.dumps(config.model_arguments(num_classes=2)))
    return errors


@cache  # a grid has few models
def _refusals(arguments: str) -> list[str]:
    """Why parts of a model, each of them valid, do not go together: found by building it without memory for weights."""
    from ufgir.models.factory import model_on_meta

    try:
        model_on_meta(**json.loads(arguments))
    except UserError as error:
        return error.messages
    except (ValueError, TypeError) as error:
        return [str(error) if isinstance(error, ValueError) else summarize(error)]
    return []


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
    reducer, head = {"name": config.reducer.name, **config.reducer.arguments()}, drop_multiplier(config.plugins.head)
    for key, part, resolve, sizes in (
        ("reducer", reducer, resolve_reducer, (Stage(0, (0.5, 0.5), 196, 64),)),
        ("plugins.head", head, resolve_head, (64, 2, 10)),
    ):
        try:
            kind, options = resolve(part)
            with torch.device("meta"):  # whether it takes these values; nothing is allocated
                kind and kind(*sizes, **options)
        except (ValueError, TypeError) as error:
            text = str(error) if isinstance(error, ValueError) else summarize(error)
            yield f"{key}={show(part)}: {text.rstrip('.')}{'' if text.endswith('?') else '.'}"
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
    elif config.plugins.head.get("name") == "cla" and config.batch_size // processes == 1:
        yield (
            f"batch_size={config.batch_size} with plugins={config.plugins.name}: the BatchNorm of the CLA head needs "
            "at least 2 images in each process."
        )


def _check_schedule(config: RunConfig) -> Iterator[str]:
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
    """Each `_target_` can be imported, and has arguments of these names."""
    yield from parts.check("dataset", config.dataset.arguments())
    for number, part in enumerate(config.augment.train):
        yield from parts.check(f"augment.train.{number}", part)
    if config.augment.batch is not None:
        yield from parts.check("augment.batch", config.augment.batch)
    for group in ("callbacks", "logger"):
        for name, part in getattr(config, group).items():
            yield from parts.check(f"{group}.{name}", part)


def _check_optimizer(config: RunConfig) -> Iterator[str]:
    """Optimizer and schedule, made for a dummy parameter: timm passes most arguments on unchecked."""
    import torch
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    lr = config.optim.get("lr")
    has_lr = lr is None or (isinstance(lr, int | float) and lr > 0)
    # `fused` depends on the device, which a dummy parameter is not on.
    optim = {name: value for name, value in config.optim.items() if value is not None and name != "fused"}
    schedule = {k: v for k, v in (config.schedule or {}).items() if k not in ("interval", "monitor")}
    errors = [] if has_lr else [f"optim.lr={show(lr)}: expected a number above 0."]
    errors += [*parts.check("optim", optim), *(parts.check("schedule", schedule) if schedule else ())]
    yield from errors
    if errors:
        return
    optimizer = parts.build("optim", optim, [torch.nn.Parameter(torch.zeros(1))])
    if schedule:
        total = {} if "epochs" in schedule else {"total_steps": 10}
        scheduler = parts.build("schedule", schedule, optimizer, **total)
        if isinstance(scheduler, LRScheduler) and not isinstance(scheduler, ReduceLROnPlateau):
            try:  # those of torch look at some of their arguments only when they step
                with warnings.catch_warnings(action="ignore"):  # no step of the optimizer came before
                    scheduler.step()
            except Exception as error:
                yield f"schedule: {schedule['_target_']} does not take its arguments ({summarize(error)})."


def check_resources(config: RunConfig) -> Iterator[str]:
    """What must be on this machine before a run can be identified and started: the weights of its backbone."""
    from ufgir.models.backbones import why_no_weights

    backbone = config.backbone
    if backbone.checkpoint is not None:
        if not expand_path("backbone.checkpoint", backbone.checkpoint).is_file():
            yield f"backbone.checkpoint={backbone.checkpoint}: no such file. Give a weights file of {backbone.name}."
    elif backbone.pretrained and (reason := why_no_weights(backbone.name, backbone.kwargs)):
        yield reason


CHECKS: tuple[Check, ...] = (
    _check_backbone, _check_model, _check_batch, _check_schedule, _check_data, _check_trainer, _check_callbacks,
    _check_parts, _check_optimizer,
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
