"""What the loaders yield depends on seed, epoch and tables only."""

import pickle
from types import SimpleNamespace

import lightning
import pytest
import torch

from ufgir.data import cache as caches
from ufgir.data import load_source
from ufgir.data.datamodule import UFGIRData
from ufgir.data.sampler import EpochSampler
from ufgir.data.transforms import normalised
from ufgir.errors import UfgirWarning, UserError

PAPER = {"name": "paper", "random_crop": True, "hflip": 0.5}


@pytest.fixture
def source(csv_set, node):
    return load_source(node(csv_set), protocol="test", seed=1)


@pytest.fixture
def data(source):
    def make(**changes):
        settings = {"image_size": 12, "resize": 16, "augment": PAPER, "batch_size": 4, "num_workers": 0, "seed": 1}
        return UFGIRData(source, **settings | changes, progress=False)

    return make


def epoch_of(loader, epoch=0):
    """All batches of an epoch together: images (n, 3, S, S) and class ids (n,)."""
    loader.sampler.set_epoch(epoch)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def same(one, other):
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


def test_training_drops_the_last_batch_and_testing_does_not(data, source):
    images, labels = epoch_of(data().train_dataloader())
    assert images.shape == (8, 3, 12, 12) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    images, labels = epoch_of(data(batch_size=2).test_dataloader())
    assert images.shape == (3, 3, 12, 12)
    assert labels.tolist() == source.test["class_id"].tolist()


@pytest.mark.parametrize("changes", [{"cache": "ram"}, {"cache": "disk"}, {"num_workers": 2},
                                     {"cache": "ram", "num_workers": 2}, {"cache": "disk", "num_workers": 1}])
def test_cache_and_workers_change_no_bit(data, changes):
    plain, other = data().train_dataloader(), data(**changes).train_dataloader()
    for epoch in (0, 1):
        assert same(epoch_of(plain, epoch), epoch_of(other, epoch))
    assert same(epoch_of(data().test_dataloader()), epoch_of(data(**changes).test_dataloader()))


def test_epochs_and_seeds_differ_and_a_later_epoch_needs_no_earlier_one(data):
    loader = data().train_dataloader()
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    assert not same(first, second)
    assert same(second, epoch_of(data().train_dataloader(), 1))
    assert not same(first, epoch_of(data(seed=2).train_dataloader(), 0))


def test_nothing_is_drawn_in_testing(data):
    plain = epoch_of(data(augment={"random_crop": False, "hflip": 0.0}).test_dataloader())
    assert same(plain, epoch_of(data().test_dataloader(), 3))


def test_batch_size_does_not_change_an_image(data):
    small = epoch_of(data(batch_size=1).train_dataloader())
    large = epoch_of(data(batch_size=9).train_dataloader())
    assert same(small, large)


def test_without_augmentation_training_images_are_cut_as_in_testing(data, source):
    images, _ = epoch_of(data(augment={"random_crop": False, "hflip": 0.0}, batch_size=9).train_dataloader(), 0)
    again, _ = epoch_of(data(augment={"random_crop": False, "hflip": 0.0}, batch_size=9).train_dataloader(), 5)
    assert sorted(images.flatten(1).sum(1).tolist()) == sorted(again.flatten(1).sum(1).tolist())


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # Lightning's, under a new torch
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")  # meant so: images are cached
def test_lightning_sets_the_epoch(data):
    class Counter(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), {}

        def training_step(self, batch, index):
            self.seen.setdefault(self.current_epoch, []).append(batch[0])
            return self.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, module_data = Counter(), data(cache="ram")
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                                enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
                                log_every_n_steps=1)
    trainer.fit(module, datamodule=module_data)
    for epoch in (0, 1):
        assert torch.equal(torch.cat(module.seen[epoch]), normalised(epoch_of(data().train_dataloader(), epoch)[0]))


@pytest.mark.parametrize("length", [12, 13, 15])
def test_processes_share_out_the_global_batches(length):
    def order(**part):
        sampler = EpochSampler(length, seed=3, shuffle=True, **part)
        sampler.set_epoch(7)
        assert len(list(sampler)) == len(sampler)
        return [index for epoch, index in sampler]

    alone, pair = order(), [order(rank=rank, world_size=2) for rank in (0, 1)]
    batch = 3  # of each process; a global batch is 6 images
    assert len(pair[0]) // batch == len(pair[1]) // batch == length // (2 * batch)
    for start in range(0, length // 6 * 6, 6):
        mine = [set(part[start // 2 : start // 2 + batch]) for part in pair]
        assert mine[0] | mine[1] == set(alone[start : start + 6])


def test_order_is_shuffled_anew_each_epoch_and_complete():
    sampler = EpochSampler(50, seed=1, shuffle=True)
    first = [index for _, index in sampler]
    sampler.set_epoch(1)
    assert {epoch for epoch, _ in sampler} == {1}
    second = [index for _, index in sampler]
    assert sorted(first) == sorted(second) == list(range(50)) != first != second


def test_disk_cache_is_found_again_until_an_image_changes(data, source, picture, monkeypatch):
    data(cache="disk").prepare_data()

    def refuse(*_):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(caches, "resized_pixels", refuse)
        before = epoch_of(data(cache="disk").test_dataloader())
    picture(source.paths(source.test)[1], number=99, size=(30, 30))
    after = epoch_of(data(cache="disk").test_dataloader())
    assert not same(before, after)
    assert same(after, epoch_of(data().test_dataloader()))


def test_disk_cache_knows_the_size_of_its_images(data):
    epoch_of(data(cache="disk", resize=20).test_dataloader())
    assert same(epoch_of(data(cache="disk").test_dataloader()), epoch_of(data().test_dataloader()))


def test_disk_cache_is_handed_to_workers_by_name(data):
    dataset = data(cache="disk").train_dataloader().dataset
    expected = dataset[0, 2]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0, 2][0], expected[0])
    assert len(pickle.dumps(dataset.store)) < 1000 < dataset.store.pixels.nbytes


def test_disk_cache_leaves_only_whole_files(data, source, cache):
    source.paths(source.train)[-1].write_text("broken")
    with pytest.raises(Exception, match="cannot identify"):
        data(cache="disk").train_dataloader()
    assert list((cache / "images").iterdir()) == []
    data(cache="disk").test_dataloader()
    (file,) = (cache / "images").iterdir()
    assert file.stat().st_size == 3 * 16 * 16 * 3


def test_caches_that_do_not_fit_are_refused(data, monkeypatch, tmp_path):
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match=r"dataset.cache=disk needs 6.75 KiB for 9 images, and 0 bytes are free"):
        data(cache="disk").train_dataloader()
    monkeypatch.setattr(caches, "free_memory", lambda: 100)
    with pytest.raises(UserError, match=r"dataset.cache=ram needs .* use dataset.cache=disk or none"):
        data(cache="ram").train_dataloader()
    with pytest.warns(UfgirWarning, match=r"dataset.cache=ram needs .* the test images are decoded as they are needed"):
        loader = data(cache="ram").test_dataloader()
    assert all(torch.equal(one[0], other[0]) for one, other in zip(loader, data().test_dataloader(), strict=True))
    (tmp_path / "file").touch()
    monkeypatch.setenv("UFGIR_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="dataset.cache=disk cannot write to .* set UFGIR_CACHE to a folder that"):
        data(cache="disk").train_dataloader()


def test_too_small_a_resize_is_refused(data):
    with pytest.raises(UserError, match="dataset.resize=8 is smaller than image_size=12"):
        data(resize=8)
