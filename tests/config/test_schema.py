"""Values that are refused, all of them together, and values that are filled in."""

import pytest

from ufgir.config import RunConfig, load_config
from ufgir.config.compose import compose
from ufgir.errors import UserError

OVERRIDES = ("backbone=micro", "image_size=32")


def errors_of(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_config([*OVERRIDES, *overrides])
    return caught.value.messages


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("keep_rate=1.5", ["keep_rate=1.5", "at most 1"]),
        ("keep_rate=[0.5,0.3]", ["keep_rate=[0.5,0.3]", "3"]),
        ("reduction_layers=[6,3]", ["reduction_layers=[6,3]", "ascending"]),
        ("reduction_layers=[3,12]", ["reduction_layers=[3,12]", "11"]),
        ("image_size=36", ["image_size=36", "multiple of 8"]),
        ("protocol=vall", ["protocol=vall", "'val'", "Did you mean 'val'"]),
        ("protocol=cv", ["fold", "missing"]),
        ("fold=1", ["fold=1", "protocol=cv"]),
        ("optim.lr=-1", ["optim.lr=-1", "above 0"]),
        ("schedule.warmup_epochs=50", ["schedule.warmup_epochs=50", "trainer.max_epochs=30"]),
        ("trainer.devices=0", ["trainer.devices=0"]),
        ("trainer.devices=3", ["batch_size=32", "multiple of 3"]),
        ("trainer.precision=17", ["trainer.precision=17"]),
        ("trainer.strategy=dpp", ["trainer.strategy=dpp", "ddp"]),
        ("trainer.limit_test_batches=1.5", ["trainer.limit_test_batches=1.5"]),
        ("+trainer.gradient_clip=1", ["trainer.gradient_clip=1", "Did you mean 'gradient_clip_"]),
        ("+trainer.fast_dev_run=true", ["trainer.fast_dev_run=true", "debug=fdr"]),
        ("++trainer.check_val_every_n_epoch=1", ["trainer.check_val_every_n_epoch=1", "protocol=test"]),
        ("dataset.resize=16", ["dataset.resize=16", "image_size=32"]),
        ("+dataset.imagess=x", ["dataset.imagess=x", "Did you mean 'images'"]),
        ("backbone.name=vit_tinny_patch16_224", ["vit_tinny_patch16_224", "vit_tiny_patch16_224"]),
        ("backbone.name=vit_base_patch16_siglip_224", ["no class token", "reducer=evit", "cache", "head"]),
        ("backbone.checkpoint=nowhere.pt", ["backbone.checkpoint=nowhere.pt"]),
        ("backbone.pretrained=true", ["backbone.pretrained=false"]),
        ("+backbone.kwargs.embed_dimm=64", ["embed_dimm"]),
        ("+reducer.ratio=1", ["ratio"]),
        ("+plugins.head.width=3", ["width"]),
        ("+plugins.cache.clr=1", ["plugins.cache.clr=1"]),
        ("+optim.momentumm=0.9", ["momentumm"]),
        ("callbacks=early_stopping", ["val/loss", "protocol=val"]),
        ("+callbacks.mine._target_=nowhere.Callback", ["callbacks.mine._target_=nowhere.Callback"]),
        ("+callbacks.mine={_target_:lightning.pytorch.callbacks.Timer,durationn:1}", ["durationn", "'duration'"]),
        ("+extra=1", ["extra=1"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(override, parts):
    message = "\n".join(errors_of(override))
    for part in parts:
        assert part in message


def test_all_errors_come_together():
    messages = errors_of("keep_rate=2", "batch_size=0", "image_size=36", "reduction_layers=[3,99]", "seed=x")
    for key in ("keep_rate", "batch_size", "image_size", "reduction_layers", "seed"):
        assert [message.startswith(key) for message in messages].count(True) == 1


def test_none_has_no_keep_rate():
    assert "keep_rate=0.5" in errors_of("reducer=none", "keep_rate=0.5")[0]
    assert load_config([*OVERRIDES, "reducer=none"]).keep_rate == 1.0


def test_nulls_are_filled_in():
    config = load_config([*OVERRIDES, "trainer.max_epochs=50"])
    assert (config.keep_rate, config.dataset.arguments()["resize"]) == (0.5, 36)
    assert (config.schedule["warmup_epochs"], config.schedule["cooldown_epochs"]) == (2, 5)
    assert config.optim["fused"] is True
    assert load_config([*OVERRIDES, "trainer.gradient_clip_val=1.0"]).optim["fused"] is False
    assert load_config([*OVERRIDES, "keep_rate=[0.7,0.7,0.7]"]).keep_rate == 0.7


def test_a_dump_loads_to_the_same(tmp_path):
    config = load_config([*OVERRIDES, "plugins=ifa", "augment=mixup", "callbacks=[ema,throughput]"])
    assert RunConfig.load(config.model_dump(by_alias=True)) == config


def test_updated_checks_again():
    config = load_config(OVERRIDES)
    assert config.updated({"image_size": 64, "dataset.root": "a, (b)"}).dataset.arguments()["root"] == "a, (b)"
    with pytest.raises(UserError, match="image_size=36"):
        config.updated({"image_size": 36})


@pytest.mark.parametrize(
    ("group", "name"),
    [("optim", name) for name in ("adamw", "sgd", "lamb", "lion")]
    + [("schedule", name) for name in ("paper", "cosine", "constant", "onecycle")]
    + [("augment", name) for name in ("paper", "none", "strong", "mixup")]
    + [("plugins", name) for name in ("base", "cla", "clc", "clca", "ifa")]
    + [("debug", name) for name in ("fdr", "limit", "overfit", "profiler")]
    + [("logger", name) for name in ("csv", "wandb", "tensorboard", "mlflow")]
    + [("callbacks", name) for name in ("ema", "tokens", "throughput", "keep_rate_warmup")],
)
def test_every_ready_file_is_valid(group, name):
    load_config([*OVERRIDES, f"{group}={name}"])


@pytest.mark.parametrize("name", ["early_stopping", "best_checkpoint"])
def test_callbacks_of_validation(name):
    load_config([*OVERRIDES, f"callbacks={name}", "protocol=val"])


@pytest.mark.parametrize("name", ["demo", "real_leaves", "tome_025"])
def test_experiments(name):
    overrides = [f"experiment={name}", "dataset.root=data", "backbone.pretrained=false"]
    assert compose(overrides) == compose([f"+experiment={name}", *overrides[1:]])
    load_config(overrides)
