"""Settings beyond those in `conf/`: further arguments of lightning.Trainer and of timm's VisionTransformer."""

import inspect
from functools import cache

from ufgir.config.messages import did_you_mean, nearest, typed
from ufgir.config.rules import RULES

OPEN = {"trainer": "lightning.Trainer", "backbone.kwargs": "timm's VisionTransformer"}  # what takes the further ones
OURS = {
    "trainer.barebones": "a run has loggers and checkpoints",
    "trainer.callbacks": "the run makes its own",
    "trainer.default_root_dir": "use output_root",
    "trainer.enable_checkpointing": "use keep=weights, none or all",
    "trainer.enable_model_summary": "the run prints its own",
    "trainer.enable_progress_bar": "use trainer.progress",
    "trainer.fast_dev_run": "use debug=fdr",
    "trainer.limit_val_batches": "there is no validation between epochs; use protocol=val",
    "trainer.logger": "use logger=csv or wandb",
    "trainer.max_steps": "use trainer.max_epochs, which the schedule follows",
    "trainer.max_time": "use trainer.max_epochs, which the schedule follows",
    "trainer.num_sanity_val_steps": "there is no validation between epochs",
    "trainer.overfit_batches": "use trainer.limit_train_batches",
    "trainer.plugins": "the run makes its own",
    "trainer.use_distributed_sampler": "the run shares out the images itself",
    "backbone.kwargs.class_token": "the reducers and plug-ins need one",
    "backbone.kwargs.global_pool": "use plugins.head.name",
    "backbone.kwargs.img_size": "use image_size",
    "backbone.kwargs.num_classes": "the data set says how many there are",
}  # arguments that the run sets itself, and what to do instead


def open_parent(key: str) -> str | None:
    """The part of the config below which `key` may be added, or None."""
    parent = key.rpartition(".")[0]
    return parent if parent in OPEN else None


def extra_fault(key: str, value: object) -> str | None:
    """What is wrong with a setting below one of `OPEN` that `conf/` does not have, or None if its owner takes it."""
    if key in OURS:
        return f"{typed(key, value)}: this is not yours to set; {OURS[key]}."
    parent, _, name = key.rpartition(".")
    if name in arguments(parent):
        return None
    guesses = [f"{parent}.{guess}" for guess in nearest(name, arguments(parent))]
    in_conf = [guess in RULES and parent == "trainer" for guess in guesses]
    guesses = [("" if known else "+") + typed(guess, value) for guess, known in zip(guesses, in_conf, strict=True)]
    return f"{typed(key, value)}: {OPEN[parent]} takes no {name}.{did_you_mean(guesses)}"


@cache
def arguments(parent: str) -> tuple[str, ...]:
    """Names of the arguments that the owner of `parent` takes."""
    if parent == "trainer":
        from lightning import Trainer as owner  # seconds to import, and seldom needed here
    else:
        from timm.models.vision_transformer import VisionTransformer as owner
    return tuple(name for name in inspect.signature(owner.__init__).parameters if name != "self")
