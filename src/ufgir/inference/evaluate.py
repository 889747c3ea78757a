"""A trained model classifies images, or is tested again: numbers, each image and class, confusions, keep-rate curve."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_calibration_error, multiclass_f1_score

from ufgir.config import RunConfig
from ufgir.config.compose import compose
from ufgir.config.schema import rate_text, resolved_precision
from ufgir.data import ImageDataModule
from ufgir.data.transforms import decode_for_test, normalize
from ufgir.errors import UserError
from ufgir.inference.contact_sheet import confusion_sheet
from ufgir.models import ReducedViT, count_macs
from ufgir.training.build import build_data
from ufgir.training.facts import reset_peak_memory
from ufgir.training.module import LitClassifier
from ufgir.training.predictions import Prediction, Predictions, top_classes, write_predictions
from ufgir.training.run import evaluate as run_test
from ufgir.training.run import quiet_lightning
from ufgir.training.trained import Trained, for_this_machine
from ufgir.utils import atomic_write, expand_path

# What only training needs is left out: its weights file or a class of its own may be missing on this machine.
INFERENCE_ONLY = {
    "backbone.pretrained": False, "backbone.checkpoint": None, "augment": {"train": []}, "callbacks": {}, "logger": {},
    "optim": {"_target_": "torch.optim.SGD"}, "schedule": None,
}  # fmt: skip


def classify(
    model: ReducedViT, config: RunConfig, paths: Iterable[Path], batch_size: int
) -> Iterator[tuple[Path, Prediction | str]]:
    """Classify image files, prepared as the test pass prepares them. Threads decode ahead of the model.

    Args:
        model: used in the mode in which it is.
        config: of its run, for this machine.
        paths: image files; no more than three batches of them are in memory.
        batch_size: images in one pass through the model.

    Yields:
        each path in its order, with the prediction or with the reason why it cannot be read.
    """
    with quiet_lightning():
        fabric = Fabric(accelerator=config.trainer.accelerator, devices=1, precision=resolved_precision(config))
        module = fabric.setup_module(model)
    images = decode_for_test(paths, config.resize, config.image_size, ahead=2 * batch_size)
    while batch := list(islice(images, batch_size)):
        readable = [pixels for _, pixels in batch if isinstance(pixels, Tensor)]
        predictions: Iterator[Prediction] = iter(())
        if readable:
            with torch.inference_mode():
                pixels = fabric.to_device(torch.stack(readable))
                predictions = iter(top_classes(module(normalize(pixels)).float()))
        for path, pixels in batch:
            yield path, pixels if isinstance(pixels, str) else next(predictions)


def configs_of(
    trained: Trained,
    *,
    keep_rates: Sequence[float | list[float]] | None = None,
    image_size: int | None = None,
    dataset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
) -> list[RunConfig]:
    """The configuration of each test, one for each keep rate, for this machine.

    Args:
        trained: the weights.
        keep_rates: other keep rates than the weights were trained with.
        image_size: another side of the images, pixels; the resize keeps its proportion to it.
        dataset: a file of the group `dataset`.
        changes: other values by dotted key, such as `dataset.root`.
        batch_size: images in one pass.

    Raises:
        UserError: all values that are not allowed.
    """
    changes = dict(changes or {})
    if "protocol" in changes:
        changes |= {"fold": None, "folds": None}
    budget = {} if image_size is None else {"image_size": image_size}
    base = trained.config.updated({**INFERENCE_ONLY, **budget}, check=False)
    changes = {**other_dataset(dataset, base), **changes}
    configs, errors = [], []
    for rate in keep_rates or [base.keep_rate]:
        try:
            configs.append(base.updated({"keep_rate": rate, **changes}))
        except UserError as error:
            errors += error.messages
    if errors:
        raise UserError(*dict.fromkeys(errors))
    here = {"trainer": for_this_machine(configs[0]).trainer.model_dump(), "batch_size": batch_size or base.batch_size}
    return [config.updated(here, check=False) for config in configs]


def other_dataset(name: str | None, config: RunConfig) -> dict[str, Any]:
    """The change of a configuration to another file of the group `dataset`, at the same resize; none without a name."""
    return {"dataset": {**compose([f"dataset={name}"])["dataset"], "resize": config.resize}} if name else {}


def test_data(trained: Trained, config: RunConfig, *, own: bool) -> ImageDataModule:
    """The data to test on, checked.

    Args:
        trained: the weights.
        config: says which data.
        own: take the tables in the run's folder, which are those of its training, whatever became of the originals.

    Raises:
        UserError: the data are missing, broken, or have other classes than the weights.
    """
    arguments = config.dataset.arguments()
    has_tables = config.dataset.is_ours and arguments.get("format") in ("csv", "folder")
    if own and trained.folder is not None and has_tables and (root := arguments.get("root")) is not None:
        images = expand_path("dataset.root", root).absolute() / arguments.get("images", "images")
        if not images.is_dir():
            raise UserError(f"dataset.root={root}: there is no folder {images}. Give dataset.root=DIR where it is now.")
        places = {"format": "csv", "root": str(trained.folder.splits), "images": str(images), "expected": None}
        config = config.updated({f"dataset.{name}": value for name, value in places.items()}, check=False)
    data = build_data(config)
    if not isinstance(data, ImageDataModule):
        raise UserError(f"dataset={config.dataset.name}: only data of ufgir.ImageDataModule can be evaluated.")
    if data.num_classes != len(trained.class_names):
        raise UserError(
            f"dataset={config.dataset.name}: it has {data.num_classes} classes, the weights were trained on "
            f"{len(trained.class_names)}. Give the data that they were trained on, or other images of the same classes."
        )
    pairs = zip(data.class_names, trained.class_names, strict=True)
    for number, (here, there) in enumerate(pairs):
        if here != there != str(number):  # converted weights have no names
            print(f"class {number} is named {here} in the data and {there} in the weights: compared by number")
            break
    data.prepare_data()
    data.check_images()
    return data


def test_once(model: ReducedViT, config: RunConfig, data: ImageDataModule) -> tuple[dict[str, Any], pd.DataFrame]:
    """Test a model on the test table, or on the validation table with `protocol=val`.

    Returns:
        the numbers, as they are written to JSON; and a row for each image in the order of the table: `path`,
        `class_id`, `prediction`, `predicted` (class id), `confidence` (its probability) and `correct`.
    """
    role, predictions = "val" if config.protocol == "val" else "test", Predictions()
    gmacs = round(count_macs(model, config.image_size) / 1e9, 4)
    module = LitClassifier(model, num_classes=data.num_classes)
    reset_peak_memory()  # another keep rate may have been tested before
    with quiet_lightning():
        numbers = run_test(config, data, module, [role], [predictions])
    images = pd.DataFrame(predictions.rows(data.splits, role), columns=["path", "class_id", "prediction"])
    images["predicted"] = [prediction.classes[0] for prediction in images["prediction"]]
    images["confidence"] = [prediction.probabilities[0] for prediction in images["prediction"]]
    images["correct"] = images["class_id"] == images["predicted"]
    truth, predicted, confidence, correct = (
        torch.from_numpy(images[name].to_numpy(copy=True))
        for name in ("class_id", "predicted", "confidence", "correct")
    )
    f1 = multiclass_f1_score(predicted, truth, data.num_classes, average="macro")
    ece = binary_calibration_error(confidence.float(), correct.long(), n_bins=15)  # that of the most probable class
    numbers |= {f"{role}_f1": round(100 * f1.item(), 4), f"{role}_ece": round(100 * ece.item(), 4)}
    numbers |= {"dataset": data.splits.name, "protocol": config.protocol, "keep_rate": config.keep_rate}
    return {**numbers, "image_size": config.image_size, "gmacs": gmacs}, images


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The layers whose statistics `recalibrate` can compute again: those of the CLA head."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def recalibrate(model: ReducedViT, config: RunConfig, paths: Sequence[Path]) -> None:
    """Compute the statistics of a model's BatchNorm layers again on training images, at its present keep rate.

    Everything else is in evaluation mode. Other models that share the memory of the weights keep their statistics.

    Args:
        model: with BatchNorm layers.
        config: of the test.
        paths: training images, prepared as test images; of the last batch only if it is whole.
    """
    model.eval()
    norms = batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        for name, value in list(norm.named_buffers()):
            setattr(norm, name, value.clone())
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean over all batches
    order = np.random.default_rng(0).permutation(len(paths))  # tables are sorted by class
    whole = len(paths) // config.batch_size * config.batch_size or len(paths)
    for _ in classify(model, config, [paths[number] for number in order[:whole]], config.batch_size):
        pass
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def class_table(images: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """A row for each class: images, correct ones, accuracy in percent (empty without images), and what the others are
    taken for most often."""
    table = pd.DataFrame({"class": class_names})
    groups = images.groupby("class_id")["correct"]
    for name, values in {"images": groups.size(), "correct": groups.sum()}.items():
        table[name] = values.reindex(table.index, fill_value=0).astype(int)
    table["accuracy"] = (100 * groups.mean()).round(2)
    most = confusions(images).groupby("class_id").first()
    table["most_taken_for"] = most["predicted"].map(lambda number: class_names[number])
    table["times"] = most["times"]
    return table.fillna({"times": 0}).astype({"times": int})


def confusions(images: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair of a class and another that its images were taken for, the most frequent first.

    Returns:
        `class_id`, `predicted`, `times`, `images` (of the class), `confidence` (mean probability of the wrong class).
    """
    wrong = images[~images["correct"]].groupby(["class_id", "predicted"])
    pairs = wrong.agg(times=("path", "size"), confidence=("confidence", "mean")).reset_index()
    pairs["images"] = pairs["class_id"].map(images.groupby("class_id").size()).astype(int)
    return pairs.sort_values(["times", "confidence"], ascending=False, kind="stable", ignore_index=True)


def write_test(images: pd.DataFrame, data: ImageDataModule, folder: Path) -> None:
    """Write the tables and pictures of one test, given its images as of `test_once`."""
    folder.mkdir(exist_ok=True)
    names = data.class_names
    rows = images[["path", "class_id", "prediction"]].itertuples(index=False, name=None)
    write_predictions(folder / "predictions.csv", rows, names)
    pairs = confusions(images)
    named = pairs.assign(**{"class": [names[number] for number in pairs["class_id"]]})
    named = named.assign(taken_for=[names[number] for number in pairs["predicted"]])
    named = named[["class", "taken_for", "times", "images", "confidence"]]
    tables = {"classes": class_table(images, names), "confusions": named}
    for name, table in tables.items():
        with atomic_write(folder / f"{name}.csv") as stream:
            table.round(4).to_csv(stream, index=False, lineterminator="\n")
    with atomic_write(folder / "confusions.png", "wb") as stream:
        confusion_sheet(pairs, images, data.splits).save(stream, format="png", optimize=True)
    classes = pd.Index(range(len(names)))
    matrix = pd.crosstab(images["class_id"], images["predicted"]).reindex(classes, columns=classes, fill_value=0)
    save_figure(matrix_figure(matrix.to_numpy(), names, data.splits.name), folder, "confusion_matrix", ("png",))


def write_curve(points: Sequence[Mapping[str, Any]], trained: Trained, classes: int, folder: Path) -> None:
    """Write the numbers of several keep rates as a table, the cheapest first, and as a picture."""
    folder.mkdir(exist_ok=True)
    table = pd.DataFrame([{**point, "keep_rate": rate_text(point["keep_rate"])} for point in points])
    table = table.drop(columns=["dataset", "protocol", "weights_sha256", "peak_memory_gb"])
    kinds = [name for name in ("gmacs", "recalibrated") if name in table]
    table = table.sort_values(kinds, kind="stable", ignore_index=True)
    with atomic_write(folder / "keep_rates.csv") as stream:
        table.to_csv(stream, index=False, lineterminator="\n")
    own, data = rate_text(trained.config.keep_rate), f"{points[0]['dataset']}, {points[0]['image_size']} px"
    title = f"{trained.config.reducer.name} trained at keep rate {own}, tested at others\n{data}"
    save_figure(curve_figure(table, own, title, classes), folder, "keep_rates", ("png", "svg"))


def curve_figure(table: pd.DataFrame, trained_rate: str, title: str, classes: int) -> Figure:
    """Top-1 against GMACs, each point with its keep rate; a ring around that of the training."""
    figure = Figure(figsize=(6.5, 4.6), layout="constrained")
    axis, top1 = figure.add_subplot(), "val_top1" if "val_top1" in table else "test_top1"
    again = table.get("recalibrated", pd.Series(False, table.index))
    own = table[~again & (table["keep_rate"] == trained_rate)]
    ring = {"linestyle": "", "markersize": 14, "markerfacecolor": "none"}
    for rows, label, color, style in (
        (table[~again], "these weights", "#0072B2", {}),
        (table[again], "BatchNorm recalibrated on training images", "#009E73", {}),
        (own, f"keep rate of the training, {trained_rate}", "#D55E00", ring),
    ):
        if len(rows):
            axis.plot(rows["gmacs"], rows[top1], marker="o", color=color, label=label, **style)
    axis.axhline(100 / classes, color="#888888", linestyle=":", linewidth=1, label=f"chance, {100 / classes:.1f} %")
    for gmacs, points in table.groupby("gmacs"):
        place = dict(xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
        axis.annotate(points["keep_rate"].iloc[0], (gmacs, points[top1].max()), **place)
    axis.set_title(title, fontsize=10, fontweight="bold")
    axis.set_xlabel("GMACs of one image (above each point: keep rate)")
    axis.set_ylabel(f"{'validation' if top1 == 'val_top1' else 'test'} top-1, %")
    axis.margins(0.1, 0.2)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=9, frameon=False)
    return figure


def matrix_figure(matrix: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """The confusion matrix (C, C) as a picture; each row is a class, in percent of its images."""
    count = len(matrix)
    is_small = count <= 60  # then each class has its name
    side = max(5.0, 0.19 * count + 2.5) if is_small else 9.0
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.add_subplot()
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    share = np.where(matrix.sum(axis=1, keepdims=True) > 0, share, np.nan)  # no images: blank
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100, interpolation="nearest" if is_small else "antialiased")
    figure.colorbar(image, ax=axis, label="% of the class's images", shrink=0.8)
    if is_small:
        shown = [name if len(name) <= 24 else f"{name[:23]}…" for name in class_names]
        axis.set_xticks(range(count), shown, rotation=90, fontsize=8, parse_math=False)
        axis.set_yticks(range(count), shown, fontsize=8, parse_math=False)
        for row, column in np.argwhere(matrix > 0) if count <= 30 else ():
            color = "white" if share[row, column] > 55 else "#333333"
            axis.text(column, row, matrix[row, column], ha="center", va="center", fontsize=7, color=color)
    axis.set_xlabel("predicted class" if is_small else "predicted class, by number")
    axis.set_ylabel("true class" if is_small else "true class, by number")
    diagonal = np.trace(matrix) / max(matrix.sum(), 1)
    axis.set_title(f"{title}: {matrix.sum():,} images, {diagonal:.1%} on the diagonal", fontsize=10)
    return figure


def save_figure(figure: Figure, folder: Path, name: str, endings: Sequence[str]) -> None:
    """Write `<name>.<ending>` for each ending."""
    for ending in endings:
        metadata = {"Software": None} if ending == "png" else {"Date": None}
        with atomic_write(folder / f"{name}.{ending}", "wb") as stream:
            figure.savefig(stream, format=ending, dpi=150, metadata=metadata)
