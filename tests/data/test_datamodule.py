"""What the loaders yield depends on tables, seed and epoch only; the module works under anybody's Trainer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torchvision.transforms import v2

from ufgir.data import ImageDataModule, datamodule
from ufgir.data.datamodule import EpochSampler
from ufgir.data.images import load_image
from ufgir.data.transforms import EvalTransform, mix_batches, normalize
from ufgir.errors import UserError

TRAINER = dict(
    accelerator="cpu",
    devices=1,
    max_epochs=2,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    log_every_n_steps=1,
)


@pytest.fixture
def data(csv_set):
    def make(**changes):
        settings = {"image_size": 12, "resize": 16, "batch_size": 4, "num_workers": 0, "progress": False}
        return ImageDataModule(str(csv_set), **settings | changes)

    return make


def epoch_of(loader, epoch=0):
    """All batches of an epoch together: images (n, 3, S, S) and class ids (n,)."""
    loader.sampler.set_epoch(epoch)
    batches, labels = zip(*loader, strict=True)
    return torch.cat(batches), torch.cat(labels)


def same(one, other):
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


class Model(L.LightningModule):
    """Notes what it gets."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen, self.targets = torch.nn.Linear(3 * 12 * 12, 3), {}, []

    def forward(self, batch):
        return self.layer(batch.flatten(1))

    def training_step(self, batch, index):
        self.seen.setdefault(self.current_epoch, []).append(batch[0])
        self.targets.append(batch[1])
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val/loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))
        self.log("images", len(batch[0]), reduce_fx="sum")

    test_step = validation_step

    def predict_step(self, batch, index):
        return self(batch[0]).argmax(1), batch[1]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_training_drops_the_last_batch_and_testing_does_not(data):
    batch, labels = epoch_of(data().train_dataloader())
    assert batch.shape == (8, 3, 12, 12) and batch.dtype == torch.uint8 and labels.dtype == torch.int64
    module = data(batch_size=2)
    batch, labels = epoch_of(module.test_dataloader())
    assert batch.shape == (3, 3, 12, 12)
    assert labels.tolist() == module.splits.test["class_id"].tolist()
    assert module.val_dataloader() == data(protocol="val").test_dataloader() == []
    assert (module.num_classes, module.class_names) == (3, ["0_oak", "1_oak", "2_oak"])


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": "ram"},
        {"cache": "disk"},
        {"num_workers": 2},
        {"batch_size": 8},
        {"cache": "ram", "num_workers": 2},
        {"cache": "disk", "num_workers": 1},
    ],
)
def test_cache_workers_and_batch_size_change_no_bit(data, changes):
    plain, other = data().train_dataloader(), data(**changes).train_dataloader()
    for epoch in (0, 1):
        torch.manual_seed(epoch)  # the global generator decides nothing
        assert same(epoch_of(plain, epoch), epoch_of(other, epoch))
    assert same(epoch_of(data().test_dataloader()), epoch_of(data(**changes).test_dataloader()))


def test_epochs_and_seeds_differ_and_a_later_epoch_needs_no_earlier_one(data):
    loader = data().train_dataloader()
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    assert not same(first, second)
    assert same(second, epoch_of(data().train_dataloader(), 1))
    assert not same(first, epoch_of(data(seed=2).train_dataloader(), 0))
    assert same(epoch_of(data().test_dataloader(), 0), epoch_of(data(seed=2).test_dataloader(), 3))


def test_transforms_leave_the_global_generator_and_the_cache_alone(data):
    def erase(pixels):  # in place, as foreign transforms may
        torch.rand(5)
        return pixels.zero_()[:, :12, :12]

    dataset = data(cache="ram", train_transforms=[erase]).train_dataloader().dataset
    before, state = dataset.store[0].clone(), torch.get_rng_state()
    assert dataset[0, 0][0].max() == 0
    assert torch.equal(dataset.store[0], before) and torch.equal(torch.get_rng_state(), state)
    assert same(dataset[0][0], dataset[0, 0][0])  # a plain row, as other samplers give it


def test_configured_transforms_replace_the_papers(data):
    module = data(train_transforms=[v2.CenterCrop(12)])
    expected = EvalTransform(16, 12)(load_image(module.splits.paths(module.splits.train)[5]))
    assert torch.equal(normalize(module.train_dataloader().dataset[3, 5][0]), expected)
    for wrong in (v2.CenterCrop(10), v2.ToDtype(torch.float32)):  # refused before training
        with pytest.raises(UserError, match=r"augment.train gives .* \(3, 12, 12\)"):
            data(train_transforms=[v2.CenterCrop(12), wrong]).train_dataloader()


def test_fit_validate_test_and_predict_under_a_plain_trainer(data, csv_set):
    module, model, trainer = data(protocol="holdout", cache="ram"), Model(), L.Trainer(**TRAINER)
    trainer.fit(model, datamodule=module)
    loader = data(protocol="holdout").train_dataloader()
    for epoch in (0, 1):  # Lightning sets the epoch and normalizes on the device
        assert torch.equal(torch.cat(model.seen[epoch]), normalize(epoch_of(loader, epoch)[0]))
    assert trainer.callback_metrics["val/loss"] > 0
    assert trainer.validate(model, datamodule=module, verbose=False)[0]["images"] == 3
    assert trainer.test(model, datamodule=module, verbose=False)[0]["images"] == 3
    ((classes, rows),) = trainer.predict(model, datamodule=module)
    assert rows.tolist() == [0, 1, 2] and module.predict_paths[2].name == "test_0.png"
    named = data(predict_images=str(csv_set / "images" / "1_oak"))
    assert len(trainer.predict(Model(), datamodule=named)[0][0]) == len(named.predict_paths) == 4
    trainer = L.Trainer(**TRAINER, overfit_batches=1, limit_val_batches=0)
    with pytest.warns(UserWarning, match="overfit"):  # Lightning then takes a sampler of its own
        trainer.fit(Model(), datamodule=data(protocol="val"))


def test_batch_transform_acts_on_training_batches_only(data):
    model, trainer = Model(), L.Trainer(**TRAINER)
    trainer.fit(model, datamodule=data(protocol="val", batch_transform=mix_batches(3)))
    assert model.targets[0].shape == (4, 3) and trainer.callback_metrics["val/loss"] > 0
    trainer = L.Trainer(**TRAINER)
    trainer.fit(Model(), datamodule=data())  # a protocol without validation
    assert trainer.global_step == 4 and "val/loss" not in trainer.callback_metrics


def test_arguments_are_kept_as_plain_values(data, csv_set, tmp_path):
    module = data(train_transforms=[v2.CenterCrop(12)], predict_images=csv_set)
    assert "train_transforms" not in module.hparams and module.hparams["predict_images"] == [str(csv_set)]
    trainer = L.Trainer(**TRAINER)
    trainer.fit(Model(), datamodule=module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert saved["root"] == str(csv_set) and saved["protocol"] == "test"
    again = ImageDataModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert again.splits.digest == module.splits.digest


@pytest.mark.slow
def test_two_processes_see_the_batches_of_one(csv_set, tmp_path):
    """DDP on the CPU: together the global batches, each with all validation images."""
    script = tmp_path / "train.py"
    script.write_text(f"""
import sys, torch, lightning as L
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_datamodule import Model, TRAINER
from ufgir.data import ImageDataModule
if __name__ == "__main__":
    data = ImageDataModule({str(csv_set)!r}, image_size=12, resize=16, batch_size=4, num_workers=0, protocol="val",
                           cache="disk")
    model, devices = Model(), int(sys.argv[1])
    trainer = L.Trainer(**{{**TRAINER, "devices": devices, "strategy": "ddp" if devices > 1 else "auto"}})
    trainer.fit(model, datamodule=data)
    seen = trainer.strategy.all_gather(torch.stack([torch.cat(model.seen[epoch]) for epoch in (0, 1)]))
    images = trainer.callback_metrics["images"]
    if trainer.is_global_zero:
        torch.save((seen.reshape(-1, 3, 12, 12), images), f"{tmp_path}/{{devices}}.pt")
""")
    results = []
    for devices in (1, 2):
        subprocess.run([sys.executable, str(script), str(devices)], check=True, env=dict(os.environ), timeout=100)
        batch, count = torch.load(tmp_path / f"{devices}.pt", weights_only=True)
        assert count == 3
        results.append(sorted(batch.flatten(1).tolist()))
    assert results[0] == results[1]


def test_order_is_the_published_one_and_processes_share_out_the_global_batches():
    def order(length, **part):
        sampler = EpochSampler(length, seed=1, shuffle=True, **part)
        sampler.set_epoch(3)
        assert len(list(sampler)) == len(sampler)
        return [row for epoch, row in sampler if epoch == 3]

    assert order(8) == [6, 0, 2, 1, 5, 3, 7, 4]
    for length in (12, 13, 15):
        pair = [order(length, rank=rank, num_replicas=2) for rank in (0, 1)]
        assert len(pair[0]) == len(pair[1]) == length // 2
        for start in range(0, length // 6 * 6, 6):  # a global batch of 6 images
            mine = {row for part in pair for row in part[start // 2 : start // 2 + 3]}
            assert mine == set(order(length)[start : start + 6])


def test_wrong_arguments_are_reported_together(data):
    with pytest.raises(UserError) as caught:
        data(resize=8, cache="rma", num_workers=-1, protocol="vall")
    parts = ("dataset.resize=8", "dataset.num_workers=-1", "protocol=vall", "dataset.cache=rma")
    assert all(part in message for part, message in zip(parts, caught.value.messages, strict=True))
    with pytest.raises(UserError, match="batch_size=10: expected at most 9"):
        data(batch_size=10).setup("fit")


def test_leaves_are_known_before_they_are_rendered(tmp_path):
    render = {"classes": 2, "train": 2, "val": 1, "test": 1, "size": 32, "seed": 3}
    module = ImageDataModule(tmp_path / "leaves", format="leaves", render=render, progress=False, image_size=12)
    assert (module.num_classes, len(module.splits.train), len(module.splits.test)) == (2, 6, 2)
    assert not (tmp_path / "leaves").exists()
    module.check_images()
    assert all(path.is_file() for path in module.splits.paths(module.splits.train))
    again = ImageDataModule(str(module.splits.image_root.parent))
    assert (again.class_names, again.splits.digest) == (module.class_names, module.splits.digest)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="dataset.root="):
        ImageDataModule(tmp_path / "file" / "x", format="leaves", render=render, progress=False).check_images()


def test_sound_images_are_checked_once_until_a_file_changes(data, monkeypatch, cache):
    decoded = []
    monkeypatch.setattr(datamodule, "load_image", decoded.append)
    data().check_images()
    data().check_images()
    assert len(decoded) == 12
    module = data()
    os.utime(module.splits.paths(module.splits.test)[0], (1, 1))
    module.check_images()
    assert len(decoded) == 24
    shutil.rmtree(cache)
    cache.touch()  # a cache folder that cannot be written is no error
    data().check_images()


def test_missing_and_damaged_images_are_listed(data, picture):
    module = data()
    files = module.splits.paths(module.splits.train)
    files[0].unlink()
    files[1].write_text("no image at all")
    whole = picture(files[2], size=(200, 200)).read_bytes()
    files[2].write_bytes(whole[: len(whole) // 2])
    files[3].write_bytes(b"")
    for _ in range(2):  # an error is not remembered
        with pytest.raises(UserError) as caught:
            module.check_images()
        (broken,) = caught.value.messages
        assert "4 of 12 images" in broken and "0_oak/train_0.png (No such file or directory)" in broken
        assert "0_oak/train_1.png (not an image)" in broken and "truncated" in broken
    shutil.rmtree(module.splits.image_root / "2_oak")
    (module.splits.image_root / "0_oak" / "test_0.png").unlink()
    with pytest.raises(UserError) as caught:
        data(protocol="val").check_images()
    assert "7 of 9 images" in caught.value.messages[0]  # only those of the protocol count
