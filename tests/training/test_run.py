"""A run from its command to results.json: protocols, users' own parts, loggers, failures."""

import csv
import json
import sys
from importlib import import_module

import pytest
import torch
import wandb

from pages import own_files
from tiny import TINY, train
from ufgir.config import load_config
from ufgir.errors import RunFailed, UserError
from ufgir.training import run as run_module
from wandb_file import run_of

FIELDS = {
    "status", "protocol", "overrides", "command", "num_classes", "gmacs", "params_m", "tokens", "train_minutes",
    "images_per_second", "peak_memory_gb", "weights_sha256", "seed", "precision", "device", "versions", "config",
}  # fmt: skip


def rows_of(folder, file="metrics.csv"):
    return list(csv.DictReader((folder / file).read_text().splitlines()))


def split_fields(name):
    return {f"{name}_top1", f"{name}_top5", f"{name}_loss", f"{name}_images"}


def test_the_run_folder_has_what_a_person_needs_and_a_finished_run_is_skipped(here, capsys):
    results, folder = train()
    assert set(results) == FIELDS | split_fields("test")
    assert (results["test_images"], results["num_classes"], results["seed"]) == (8, 4, 1)
    assert results["tokens"] == [18] * 3 + [11, 17, 17, 10, 16, 16, 10, 16, 18]
    assert (results["precision"], results["config"]["trainer"]["precision"]) == ("32-true", "auto")
    assert results["overrides"] == list(TINY)
    assert folder.name.startswith("csv-micro-evit-0.5-clca-32-s1-")
    files = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert files == {"config.yaml", "metrics.csv", "model.pt", "predictions.csv", "results.json", "splits"}
    printed = capsys.readouterr().out
    assert "11 after block 3, 10 after block 6, 10 after block 9, 18 at the end" in " ".join(printed.split())
    assert printed.strip().splitlines()[-1] == f"results: {folder}/results.json"

    rows = rows_of(folder)
    steps = [row for row in rows if row["train/grad_max"]]
    assert len(steps) == 8
    assert all(float(row["train/grad_max"]) > float(row["train/grad_mean"]) > 0 for row in steps)
    assert [float(row["lr"]) for row in steps] == pytest.approx([1e-6] * 4 + [2.55e-4] * 4)
    assert len([row for row in rows if row["train/top1"]]) == 2
    assert [row["step"] for row in rows if row["test/top1"]] == ["8"]

    before = (folder / "results.json").stat().st_mtime_ns
    assert run_module.run(load_config(TINY)) == results["test_top1"]
    assert (folder / "results.json").stat().st_mtime_ns == before
    assert "already finished" in capsys.readouterr().out


def test_protocol_val_names_its_numbers_after_val(here):
    results, folder = train("protocol=val", "callbacks=best_checkpoint")
    assert set(results) == FIELDS | split_fields("val")
    assert results["val_images"] == 4
    rows = rows_of(folder)
    assert len([row for row in rows if row["val/top1"]]) == 3, "after each epoch, and in the end"
    assert "test/top1" not in rows[0] and (folder / "best.ckpt").is_file()
    assert load_config([*TINY, "protocol=val"]).objective == "val_top1"


def test_protocol_holdout_tests_the_best_epoch(here):
    results, folder = train("protocol=holdout", "trainer.max_epochs=4")
    assert set(results) == FIELDS | split_fields("val") | split_fields("test") | {"best_epoch"}
    curve = [float(row["val/top1"]) for row in rows_of(folder) if row["val/top1"]][:4]
    assert results["val_top1"] == pytest.approx(max(curve))
    assert results["best_epoch"] == 1 + curve.index(max(curve))
    assert not list(folder.glob("*.ckpt"))


def test_protocol_cv_tests_each_image_once(here):
    runs = [train("protocol=cv", "folds=3", f"fold={fold}", "trainer.max_epochs=1") for fold in range(3)]
    tested = [results for results, _ in runs]
    assert sum(results["test_images"] for results in tested) == 24
    assert {results["fold"] for results in tested} == {0, 1, 2}
    rows = [rows_of(folder, "predictions.csv") for _, folder in runs]
    assert len({row["path"] for row in sum(rows, [])}) == 24
    for of_fold, results in zip(rows, tested, strict=True):
        hits = [row["correct"] == "true" for row in of_fold]
        assert 100 * sum(hits) / len(hits) == pytest.approx(results["test_top1"], abs=1e-3)
        assert hits == [row["class"] == row["top1"] for row in of_fold]


CHOICES = (
    "reducer=every_other", "plugins=clc_mean", "optim=rmsprop", "schedule=linear", "augment=spots",
    "callbacks=weight_norm", "logger=jsonl",
)  # fmt: skip


@pytest.fixture
def own_parts(here, monkeypatch):
    """A folder `mine` with the files that the pages on extending show."""
    for name, text in own_files().items():
        file = here / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(here / "mine")

    def forget():
        for name in [name for name in sys.modules if name.startswith("own_")]:
            del sys.modules[name]

    forget()
    yield here
    forget()


def test_the_users_own_parts_of_the_pages_take_effect(own_parts, run_ufgir, monkeypatch):
    used, spotted, log = set(), [], run_module.StepStats.on_before_optimizer_step

    def note(*args):
        used.add(type(args[-1]))
        log(*args)

    monkeypatch.setattr(run_module.StepStats, "on_before_optimizer_step", note)
    words = ("train", "--config-dir", "mine/conf", *TINY, *CHOICES, "trainer.max_epochs=1")
    spots = import_module("own_transform").Spots
    monkeypatch.setattr(spots, "forward", lambda self, image: spotted.append(self.count) or image)
    done = run_ufgir(*words)
    assert done.code == 0, done.err
    assert used == {torch.optim.RMSprop} and set(spotted) == {5}
    (folder,) = own_parts.glob("outputs/csv-micro-every_other-0.5-clc_MeanHead-32-s1-*")
    rows = rows_of(folder)
    assert [float(row["lr"]) for row in rows if row["lr"]] == pytest.approx([5e-4, 3.7625e-4, 2.525e-4, 1.2875e-4])
    assert len([row for row in rows if row["train/weight_norm"]]) == 1, "a new metric gets a column"
    assert "train/weight_norm" in (folder / "metrics.jsonl").read_text()
    results = json.loads((folder / "results.json").read_text())
    assert results["tokens"][:4] == [18, 18, 18, 10]


def test_users_own_parts_can_be_compared(own_parts, run_ufgir):
    words = ("backbone=micro", "image_size=32", "reducer=every_other", "reducer.step=2,4", "plugins=clc_mean")
    done = run_ufgir("compare", "--config-dir", "mine/conf", *words, "plugins.cache=false")
    assert done.code == 0, done.err
    assert "9 5 3" in done.out and "5 2 2" in done.out, "tokens after each of its three reductions"
    refused = run_ufgir("compare", "--config-dir", "nowhere", *words)
    assert refused.code == 2 and "--config-dir nowhere" in refused.err


def test_mistakes_in_users_own_parts(own_parts, run_ufgir):
    words = ("train", "--config-dir", "mine/conf", *TINY, *CHOICES)
    refused = run_ufgir(*words, "+reducer.stepp=3", "+callbacks.weight_norm.end=1", "+optim.lrr=1")
    assert refused.code == 2
    for part in ("stepp", "callbacks.weight_norm.end", "lrr"):
        assert part in refused.err
    (own_parts / "mine/conf/optim/adamw.yaml").write_text("_target_: torch.optim.SGD\nlr: 1\n")
    refused = run_ufgir(*words)
    assert refused.code == 2 and "optim/adamw.yaml" in refused.err
    assert not (own_parts / "outputs").exists()


@pytest.mark.parametrize("augment", ["none", "strong", "mixup"])
def test_augmentations_train(here, augment):
    results, _ = train(f"augment={augment}", "trainer.max_epochs=1")
    assert results["status"] == "finished"


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("lamb", "Lamb"), ("lion", "Lion"), ("adamw", "AdamW")])
def test_optimizers_train(here, monkeypatch, name, kind):
    used = []
    monkeypatch.setattr(
        run_module.StepStats, "on_before_optimizer_step", lambda *args: used.append(type(args[-1]).__name__)
    )
    tiny = [word for word in TINY if not word.startswith("optim.lr")]
    train(f"optim={name}", "trainer.max_epochs=1", tiny=tiny)
    assert set(used) == {kind}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_mixed_precision_with_a_fused_optimizer(here):
    results, folder = train("trainer.accelerator=gpu", "trainer.precision=16-mixed")
    assert results["precision"] == "16-mixed" and results["config"]["optim"]["fused"] is True
    largest = [float(row["train/grad_max"]) for row in rows_of(folder) if row["train/grad_max"]]
    assert len(largest) == 8 and 0 < largest[-1] < 100, "without the factor of the loss, which begins with 65536"


def test_callbacks_of_ours(here):
    results, folder = train("callbacks=[ema,tokens,throughput,keep_rate_warmup]", "callbacks.keep_rate_warmup.epochs=1")
    assert len(list((folder / "tokens").glob("*.png"))) == 4
    assert any(row["train/images_per_second"] for row in rows_of(folder))
    assert (
        results["weights_sha256"]
        != train("callbacks=keep_rate_warmup", "callbacks.keep_rate_warmup.epochs=1")[0]["weights_sha256"]
    )


def test_a_limited_validation_is_no_failure(here):
    results, _ = train("protocol=val", "trainer.max_epochs=1", "+trainer.limit_val_batches=1")
    assert results["status"] == "finished" and results["val_images"] == 4


def test_several_loggers_at_once(here):
    pytest.importorskip("tensorboard")
    results, folder = train("logger=[wandb,tensorboard]", "trainer.max_epochs=1", "callbacks=tokens")
    assert list(folder.glob("tensorboard/events*"))
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    opened, config, summary = run_of(file)
    assert opened.display_name == folder.name and (config["keep_rate"], config["seed"]) == (0.5, 1)
    assert (summary["test_top1"], summary["tokens"]) == (results["test_top1"], results["tokens"])
    assert "config" not in summary
    assert wandb.run is None, "the next run of this process has one of its own"


def test_early_stopping(here):
    words = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "protocol=holdout", "optim.lr=1e-9")
    _, folder = train(*words, "trainer.max_epochs=30")
    assert len([row for row in rows_of(folder) if row["train/top1"]]) < 30


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(here):
    with pytest.raises(RunFailed, match="not finite at step"):
        train("trainer.max_epochs=3", "optim.lr=1e30", "schedule=constant")
    (folder,) = here.glob("outputs/csv-*")
    results = json.loads((folder / "results.json").read_text())
    assert results["status"] == "failed" and "step" in results["reason"] and results["attempts"] == 1
    assert not (folder / "last.ckpt").exists()


def test_a_damaged_results_file_is_written_again_and_a_run_that_breaks_leaves_its_traceback(here):
    _, folder = train("keep=all")
    (folder / "results.json").write_text("{")
    results, _ = train("keep=all")
    assert results["status"] == "finished"
    (folder / "results.json").unlink()
    (folder / "last.ckpt").write_text("damaged")
    with pytest.raises(RunFailed, match="traceback.txt"):
        train("keep=all")
    assert json.loads((folder / "results.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("trainer.precision=16-mixed",), ["trainer.precision=16-mixed"]),
        (("backbone=deit_t", "backbone.pretrained=true"), ["backbone.pretrained=false"]),
        (("augment=strong", "augment.train.3.brightness=-3"), ["augment.train.3"]),
        (("augment.train=[]",), ["augment.train"]),
        (("+callbacks.mine={_target_:lightning.pytorch.callbacks.Timer,duration:x}",), ["callbacks.mine"]),
        (("schedule=cosine", "schedule.T_max=zero"), ["schedule"]),
    ],
)
def test_a_mistake_leaves_nothing(here, overrides, parts):
    with pytest.raises(UserError) as caught:
        train(*overrides)
    for part in parts:
        assert part in str(caught.value)
    assert {path.name for path in here.iterdir()} == {"data"}


@pytest.mark.parametrize(("keep", "files"), [("none", set()), ("all", {"model.pt", "last.ckpt"})])
def test_keep_decides_what_stays(here, keep, files):
    _, folder = train(f"keep={keep}", "trainer.max_epochs=1")
    assert {path.name for path in folder.iterdir()} & {"model.pt", "last.ckpt"} == files


@pytest.mark.parametrize(("preset", "images"), [("fdr", 4), ("limit", 8)])
def test_debug_presets_end_soon(here, preset, images):
    tiny = [word for word in TINY if not word.startswith("trainer.max_epochs")]
    results, _ = train(f"debug={preset}", tiny=tiny)
    assert results["test_images"] == images


@pytest.mark.slow
def test_debug_overfit_learns_eight_images(here):
    words = [word for word in TINY if not word.startswith(("optim", "batch_size", "trainer.max"))]
    _, folder = train("debug=overfit", tiny=words)
    assert [row["train/top1"] for row in rows_of(folder) if row["train/top1"]][-1] == "100.0"


def test_steps_do_not_wait_for_the_device(here, monkeypatch):
    """Between log intervals nothing reads a tensor back: on CUDA each such read would stop the queue."""
    reads = []
    original = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(self.shape) or original(self))
    train("trainer.log_every_n_steps=1000", "trainer.max_epochs=1", "schedule=constant")
    few = len(reads)
    reads.clear()
    train("trainer.log_every_n_steps=1000", "trainer.max_epochs=1", "schedule=constant", "batch_size=2", "seed=2")
    assert len(reads) <= few + 16, "twice the steps, and only the test pass reads more often"
