"""What each setting may be. A setting without a row here does not exist."""

from dataclasses import dataclass, replace

from ufgir.config.kinds import (
    DEVICES,
    FLAG,
    MAPPING,
    OFF,
    PATH,
    PRECISION,
    TEXT,
    Kind,
    either,
    integer,
    list_of,
    number,
    one_of,
    or_null,
)
from ufgir.resources import group_files

ABSENT = (
    "dataset.expected",
    "dataset.render",
    "dataset.val_fraction",
    "dataset.test_fraction",
    "backbone.kwargs.",
    "reducer.ratio_weight",
    "plugins.cache.",
    "plugins.head.multiplier",
    "logger.",
)  # some choices of a group have no such settings


def choices(group: str) -> tuple[str, ...]:
    """The choices of a config group: the names of its files."""
    return tuple(file.stem for file in group_files(group))


@dataclass(frozen=True)
class Rule:
    """The values a setting may take, and one of them as an example."""

    kind: Kind
    example: object


COUNT = integer(least=1)
SHARE = number(above=0, most=1)
SHARES = list_of(SHARE, "a list with one such number for each reduction layer")
HEIGHT_AND_WIDTH = list_of(COUNT, "a list of height and width", least=2, most=2)
PART = number(above=0, below=1)
RATE = number(least=0)
BATCHES = either(replace(COUNT, allowed="a number of batches"), replace(SHARE, allowed="a share of them up to 1.0"))

RULES: dict[str, Rule] = {
    "keep_rate": Rule(or_null(either(SHARE, SHARES)), 0.5),
    "reduction_layers": Rule(list_of(integer(least=0), "a list of blocks, counted from 0"), [3, 6, 9]),
    "image_size": Rule(COUNT, 224),
    "seed": Rule(integer(least=0, most=2**32 - 1), 1),
    "protocol": Rule(one_of("test", "val"), "test"),
    "keep": Rule(one_of("weights", "none", "all"), "weights"),
    "callbacks.tokens": Rule(FLAG, False),
    "data_root": Rule(PATH, "data"),
    "output_root": Rule(PATH, "outputs"),
    "dataset.name": Rule(TEXT, "leaves"),
    "dataset.format": Rule(one_of("leaves", "csv", "folder"), "csv"),
    "dataset.root": Rule(or_null(PATH), "data/cotton80"),
    "dataset.images": Rule(PATH, "images"),
    "dataset.epochs": Rule(COUNT, 50),
    "dataset.pretrained": Rule(FLAG, False),
    "dataset.resize": Rule(or_null(COUNT), 256),
    "dataset.train_images": Rule(or_null(COUNT), 8),
    "dataset.cache": Rule(one_of("none", "ram", "disk"), "ram"),
    "dataset.num_workers": Rule(or_null(integer(least=0)), 4),
    "dataset.expected.classes": Rule(COUNT, 80),
    "dataset.expected.train": Rule(COUNT, 160),
    "dataset.expected.val": Rule(COUNT, 80),
    "dataset.expected.train_val": Rule(COUNT, 240),
    "dataset.expected.test": Rule(COUNT, 240),
    "dataset.val_fraction": Rule(PART, 0.2),
    "dataset.test_fraction": Rule(PART, 0.3),
    "dataset.render.classes": Rule(integer(least=2), 20),
    "dataset.render.train": Rule(COUNT, 6),
    "dataset.render.val": Rule(COUNT, 2),
    "dataset.render.test": Rule(COUNT, 10),
    "dataset.render.size": Rule(COUNT, 256),
    "dataset.render.seed": Rule(integer(least=0), 0),
    "backbone.name": Rule(TEXT, "deit_small_patch16_224"),
    "backbone.pretrained": Rule(FLAG, False),
    "backbone.checkpoint": Rule(or_null(PATH), "weights.pth"),
    "backbone.kwargs": Rule(MAPPING, {}),
    "backbone.kwargs.depth": Rule(COUNT, 12),
    "backbone.kwargs.embed_dim": Rule(COUNT, 384),
    "backbone.kwargs.num_heads": Rule(COUNT, 6),
    "backbone.kwargs.patch_size": Rule(either(COUNT, HEIGHT_AND_WIDTH), 16),
    "reducer.name": Rule(one_of(*choices("reducer")), "evit"),
    "reducer.keep_rate": Rule(SHARE, 0.5),
    "reducer.ratio_weight": Rule(RATE, 2.0),
    "plugins.name": Rule(TEXT, "clca"),
    "plugins.cache": Rule(OFF, False),
    "plugins.cache.num_clr": Rule(integer(least=0), 1),
    "plugins.cache.gap": Rule(FLAG, True),
    "plugins.cache.recover_at_last": Rule(FLAG, True),
    "plugins.cache.pool_cls": Rule(FLAG, False),
    "plugins.cache.pool_clr": Rule(FLAG, False),
    "plugins.head.name": Rule(one_of("linear", "cla", "ifa"), "cla"),
    "plugins.head.multiplier": Rule(COUNT, 2),
    "augment.name": Rule(TEXT, "paper"),
    "augment.random_crop": Rule(FLAG, True),
    "augment.hflip": Rule(number(least=0, most=1), 0.5),
    "optim.name": Rule(one_of(*choices("optim")), "adamw"),
    "optim.lr": Rule(number(above=0), 1e-4),
    "optim.batch_size": Rule(COUNT, 32),
    "optim.weight_decay": Rule(RATE, 0.05),
    "optim.betas": Rule(
        list_of(number(least=0, below=1), "two numbers of at least 0 and below 1", least=2, most=2), [0.9, 0.999]
    ),
    "optim.eps": Rule(number(above=0), 1e-8),
    "optim.min_lr": Rule(RATE, 1e-5),
    "optim.warmup_lr": Rule(RATE, 1e-6),
    "optim.warmup_epochs": Rule(or_null(integer(least=0)), 2),
    "optim.cooldown_epochs": Rule(or_null(integer(least=0)), 5),
    "trainer.max_epochs": Rule(COUNT, 50),
    "trainer.precision": Rule(PRECISION, "auto"),
    "trainer.accelerator": Rule(one_of("auto", "cpu", "gpu", "cuda", "mps"), "auto"),
    "trainer.devices": Rule(DEVICES, 1),
    "trainer.strategy": Rule(TEXT, "auto"),
    "trainer.num_nodes": Rule(COUNT, 1),
    "trainer.accumulate_grad_batches": Rule(COUNT, 1),
    "trainer.gradient_clip_val": Rule(or_null(number(above=0)), 1.0),
    "trainer.compile": Rule(FLAG, False),
    "trainer.gradient_checkpointing": Rule(FLAG, False),
    "trainer.log_every_n_steps": Rule(COUNT, 10),
    "trainer.limit_train_batches": Rule(BATCHES, 1.0),
    "trainer.limit_test_batches": Rule(BATCHES, 1.0),
    "trainer.profiler": Rule(or_null(one_of("simple", "advanced", "pytorch")), "simple"),
    "trainer.progress": Rule(FLAG, True),
    "logger.name": Rule(one_of(*choices("logger")), "csv"),
    "logger.project": Rule(TEXT, "ufgir"),
    "logger.entity": Rule(or_null(TEXT), "my_team"),
    "logger.mode": Rule(one_of("auto", "online", "offline", "disabled"), "auto"),
    "logger.tags": Rule(list_of(TEXT, "a list of texts", least=0), ["paper"]),
}
