"""Which settings to lower where memory runs out."""

from collections.abc import Iterator, Mapping
from typing import Any

from ufgir.config.machine import processes, uses_cuda


def lighter_training(config: Mapping[str, Any]) -> str:
    """What needs less memory than a configuration, in the words to type.

    Args:
        config: resolved.
    """
    words = [*_batch(config), *_on_device(config), *_by_model(config), *_in_loader(config)]
    return f"Each of these needs less: {'; '.join(words)}."


def lighter_batch(size: int) -> str:
    """The advice of commands that only run the model forward, which needs memory for one batch."""
    if size == 1:
        return "One image at a time is the least; other programs may hold what is missing."
    return f"Give a smaller batch, such as batch_size={max(1, size // 2)}: the answers stay the same."


def _batch(config: Mapping[str, Any]) -> Iterator[str]:
    """The largest smaller batch whose gradients can be added up to the same number of images."""
    batch, parts = config["optim"]["batch_size"], config["trainer"]["accumulate_grad_batches"]
    shares = processes(config["trainer"])
    least = 2 if config["plugins"]["head"]["name"] == "cla" else 1  # its BatchNorm needs two images
    for size in range(batch // 2, 0, -1):
        if batch % size == 0 and size % shares == 0 and size // shares >= least:
            words = f"optim.batch_size={size} trainer.accumulate_grad_batches={parts * batch // size}"
            yield f"{words} (still {parts * batch} images to a step)"
            return


def _on_device(config: Mapping[str, Any]) -> Iterator[str]:
    trainer = config["trainer"]
    if not trainer["gradient_checkpointing"]:
        yield "trainer.gradient_checkpointing=true (about a third more time; the same run goes on, others start anew)"
    if uses_cuda(trainer["accelerator"]) and trainer["precision"] == "32-true":
        yield "trainer.precision=16-mixed"


def _by_model(config: Mapping[str, Any]) -> Iterator[str]:
    yield f"a smaller image_size than {config['image_size']}"
    if config["reducer"]["name"] == "none":
        yield "a reducer, such as reducer=evit keep_rate=0.5"
    else:
        rates = config["keep_rate"] if isinstance(config["keep_rate"], list) else [config["keep_rate"]]
        yield f"a lower keep_rate than {min(rates):g}"


def _in_loader(config: Mapping[str, Any]) -> Iterator[str]:
    """The processes that load images hold memory of the machine."""
    if not uses_cuda(config["trainer"]["accelerator"]) or config["dataset"]["cache"] == "ram":
        if config["dataset"]["num_workers"] != 0:
            yield "dataset.num_workers=0"
        if config["dataset"]["cache"] == "ram":
            yield "dataset.cache=disk"
