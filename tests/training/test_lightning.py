"""`LitClassifier` and `ImageDataModule` as a Lightning user knows them: under a Trainer of one's own."""

import itertools
import sys
import time

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger

import ufgir
from tiny import train
from ufgir.training.callbacks import KeepRateWarmup, Throughput

MODEL = {
    "backbone": "micro",
    "num_classes": 4,
    "img_size": 32,
    "reducer": "evit",
    "keep_rate": 0.5,
    "cache": True,
    "head": "cla",
}
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]


def data_of(here, **options):
    options = {"image_size": 32, "batch_size": 4, "num_workers": 0, "protocol": "holdout", **options}
    return ufgir.ImageDataModule(here / "data", **options)


def test_the_script_of_a_lightning_user(here):
    """Train with early stopping, keep the best, load it back, validate, test, predict."""
    L.seed_everything(1, verbose=False)
    data = data_of(here)
    module = ufgir.LitClassifier(MODEL, optim={"_target_": "torch.optim.AdamW", "lr": 1e-3, "weight_decay": 0.05})
    best = ModelCheckpoint(here / "mine", monitor="val/top1", mode="max")
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", callbacks=[EarlyStopping("val/loss", patience=1), best],
        logger=CSVLogger(here),
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert {"train/loss", "train/top1", "val/loss", "val/top1"} <= set(trainer.callback_metrics)
    loaded = ufgir.LitClassifier.load_from_checkpoint(best.best_model_path)
    (validated,) = trainer.validate(loaded, datamodule=data, verbose=False)
    assert validated["val/top1"] == pytest.approx(best.best_model_score.item())
    (tested,) = trainer.test(loaded, datamodule=data, verbose=False)
    assert set(tested) == {"test/loss", "test/top1", "test/top5"}
    predicted = torch.cat(trainer.predict(loaded, datamodule=data))
    assert predicted.shape == (8, 4) and torch.allclose(predicted.sum(dim=1), torch.ones(8))


def test_any_module_is_a_model(here):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))
    with pytest.raises(ValueError, match="num_classes"):
        ufgir.LitClassifier(model)
    module = ufgir.LitClassifier(model, num_classes=4, optim=torch.optim.SGD, schedule=None)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", **QUIET)
    trainer.fit(module, datamodule=data_of(here))
    assert isinstance(trainer.optimizers[0], torch.optim.SGD)


@pytest.mark.parametrize(
    ("optim", "schedule", "kind"),
    [
        ({"_target_": "timm.optim.create_optimizer_v2", "opt": "lion", "lr": 1e-4}, None, "Lion"),
        ({"opt": "sgd", "lr": 0.1}, None, "SGD"),
        (
            {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9},
            {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
            "SGD",
        ),
        (None, {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1, "interval": "step"}, "AdamW"),
        (None, {"_target_": "timm.scheduler.CosineLRScheduler", "t_initial": 2}, "AdamW"),
    ],
)  # fmt: skip
def test_optimizers_and_schedulers_by_target(here, optim, schedule, kind):
    module = ufgir.LitClassifier(MODEL, optim=optim, schedule=schedule)
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", **QUIET)
    trainer.fit(module, datamodule=data_of(here))
    optimizer = trainer.optimizers[0]
    assert type(optimizer).__name__ == kind
    start = (optim or {"lr": 1e-4})["lr"]
    assert (optimizer.param_groups[0]["lr"] != start) == (schedule is not None)


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        {"_target_": "ufgir.training.schedules.paper_schedule", "max_epochs": 10, "warmup_epochs": 0},
        {"_target_": "timm.scheduler.CosineLRScheduler", "t_initial": 10},
    ],
)
def test_layer_decay_lowers_the_rates_of_early_blocks(here, schedule):
    module = ufgir.LitClassifier(MODEL, optim={"layer_decay": 0.5}, schedule=schedule)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", **QUIET)
    trainer.fit(module, datamodule=data_of(here))
    groups = trainer.optimizers[0].param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    blocks = [rates[id(block.mlp.fc1.weight)] for block in module.model.blocks]
    assert [after / before for before, after in itertools.pairwise(blocks)] == pytest.approx([2] * (len(blocks) - 1))
    assert rates[id(module.model.head[1].weight)] == pytest.approx(2 * blocks[-1]) == pytest.approx(max(rates.values()))


def test_a_validation_within_an_epoch_changes_neither_the_keep_rates_nor_the_speed_of_the_training(here):
    rates, slept, walls = [], 0.3, []

    class Watch(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            walls.append(time.perf_counter())

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append(pl_module.model.keep_rates[0])

        def on_validation_start(self, trainer, pl_module):
            assert pl_module.model.keep_rates[0] == 0.5, "the model's own"
            time.sleep(slept)

        def on_train_epoch_end(self, trainer, pl_module):
            walls[-1] = time.perf_counter() - walls[-1]

    watched = [KeepRateWarmup(epochs=2), Throughput(), Watch()]
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", val_check_interval=0.5, callbacks=watched, **QUIET)
    trainer.fit(ufgir.LitClassifier(MODEL), datamodule=data_of(here, batch_size=2))
    half = len(rates) // 2
    assert rates == [1.0] * half + [0.75] * half
    trained = 2 * half / trainer.callback_metrics["train/images_per_second"].item()
    assert trained < walls[-1] - 2 * slept + 0.1, "seconds without those of two validations"


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_every_precision(here, precision):
    module = ufgir.LitClassifier(MODEL)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", precision=precision, **QUIET)
    trainer.fit(module, datamodule=data_of(here))
    (tested,) = trainer.test(module, datamodule=data_of(here, protocol="test"), verbose=False)
    assert 0 < tested["test/loss"] < 10


def test_weight_decay_spares_biases_norms_and_embeddings():
    module = ufgir.LitClassifier(MODEL)
    (optimizer,) = module.configure_optimizers().values()
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    spared = {name for name, p in module.model.named_parameters() if id(p) not in decayed}
    assert {"pos_embed", "cls_token", "cache.clr", "cache.pos_embed", "blocks.0.norm1.weight", "head.1.bias"} <= spared
    assert {"head.1.weight", "head.4.weight", "patch_embed.proj.weight", "blocks.5.mlp.fc1.weight"}.isdisjoint(spared)


def test_the_checkpoint_of_a_run_loads_without_further_arguments(here):
    results, folder = train("keep=all", "trainer.max_epochs=1")
    module = ufgir.LitClassifier.load_from_checkpoint(folder / "last.ckpt")
    assert module.class_names == [f"kind_{number}" for number in range(4)]
    data = data_of(here, protocol="test")
    (tested,) = L.Trainer(accelerator="cpu", **QUIET).test(module, datamodule=data, verbose=False)
    assert tested["test/loss"] == results["test_loss"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["config"] == results["config"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_lightning_cli(here, monkeypatch):
    arguments = [
        "fit", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.logger=false",
        "--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false", f"--data.root={here / 'data'}",
        "--data.image_size=32", "--data.batch_size=4", "--data.protocol=holdout", "--data.num_workers=0",
        '--model.model={"backbone": "micro", "num_classes": 4, "img_size": 32}', "--seed_everything=1",
        '--data.train_transforms=[{"class_path": "torchvision.transforms.v2.CenterCrop", "init_args": {"size": 32}}]',
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["mine.py", *arguments])
    cli = LightningCLI(ufgir.LitClassifier, ufgir.ImageDataModule, save_config_callback=None)
    assert cli.trainer.callback_metrics["val/top1"] >= 0 and len(cli.datamodule.train_transforms) == 1
