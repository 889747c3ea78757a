"""Pictures of what a model does with the patches of images, and the callback that draws them at the end of a test."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from ufgir.config.schema import rate_text
from ufgir.data.transforms import decode_for_test
from ufgir.errors import UfgirWarning, summarize
from ufgir.inference.token_trace import ClassAttention, PatchMap, PatchState, TokenTrace, trace_tokens
from ufgir.models import ReducedViT, backbone_label, count_macs
from ufgir.utils import atomic_write

GREY = np.array([0.299, 0.587, 0.114])  # luma of red, green and blue
DROPPED = 0.22  # brightness that is left of a dropped patch, which also loses its colour
OUTLINE = np.array([255.0, 150.0, 0.0])  # around what is kept: orange, which no group has
SHARE = LinearSegmentedColormap.from_list("share", ["#0d131c", "#56769f"])  # dark, so that what is kept stands out
ATTENTION = colormaps["inferno"]
GROUPS = 255 * np.array([to_rgb(color) for color in (
    "#3b82f6", "#ef4444", "#22c55e", "#d946ef", "#22d3ee", "#8b5cf6", "#f9a8d4", "#0f9a8a", "#bfdbfe", "#8a6a4a",
)])  # fmt: skip

PANEL = 384  # pixels, about: an image is enlarged a whole number of times, and everything else with it
GAP, HEAD, FOOT, ABOVE, BELOW = 36, 96, 56, 78, 92  # pixels at that PANEL: between and around the panels
MIN_COLUMNS, MAX_COLUMNS = 3, 6
DPI, TEXT, SMALL, LETTER = 100, 13, 11.5, 8.5  # points; LETTER: pixels, about, of a letter of TEXT


def draw_images(
    model: ReducedViT,
    images: Iterable[tuple[Path, Tensor | str]],
    folder: Path,
    *,
    arguments: Mapping[str, Any],
    class_names: Sequence[str],
    true_classes: Mapping[Path, int] | None = None,
    rollout: bool = False,
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Write a picture for each image, `<number>-<name>.png` with its place among the images from 1.

    Args:
        model: whose tokens are drawn.
        images: what `ufgir.data.transforms.decode_for_test` yields.
        folder: for the pictures; made for the first image that can be read.
        arguments: of `create_model` that made the model, for the heading.
        class_names: in the order of the class ids.
        true_classes: class id by absolute path, where it is known.
        rollout: add a panel with the attention rollout.

    Returns:
        The pictures, and the images that cannot be read with the reasons.
    """
    description = describe_model(model, arguments)
    drawn, unreadable = [], []
    for number, (path, pixels) in enumerate(images, start=1):
        if isinstance(pixels, str):
            unreadable.append((path, pixels))
            continue
        trace = trace_tokens(model, pixels, rollout=rollout)
        guess, true = int(trace.probabilities.argmax()), (true_classes or {}).get(path.absolute())
        verdict = f"predicted: {class_names[guess]} ({trace.probabilities[guess]:.0%})"
        if true is not None:
            truth = f"true: {class_names[true]} ({trace.probabilities[true]:.0%})"
            verdict += ", which is right" if guess == true else f", {truth}"
        title = "/".join(path.absolute().parts[-2:])  # the folder often names the class
        folder.mkdir(parents=True, exist_ok=True)
        drawn.append(folder / f"{number}-{path.stem}.png")
        with atomic_write(drawn[-1], "wb") as stream:
            stream.write(draw_trace(trace, (title, verdict, description)))
    return drawn, unreadable


def describe_model(model: ReducedViT, arguments: Mapping[str, Any]) -> str:
    """A model in a line: backbone, reducer, head and cache, image size and cost."""
    names = {}
    for key, default in (("reducer", "none"), ("head", "linear")):
        part = arguments.get(key, default)
        part = part.get("name") or part["_target_"].rpartition(".")[2] if isinstance(part, Mapping) else part
        names[key] = part if isinstance(part, str) else part.__name__
    rates, size = rate_text(arguments.get("keep_rate", 1.0)), arguments.get("img_size", 224)
    label = backbone_label(arguments["backbone"], arguments.get("backbone_kwargs") or {})
    reducer = "no reducer" if names["reducer"] == "none" else f"{names['reducer']}, keep rate {rates}"
    head = f"{names['head']} head" + (" and cache" if arguments.get("cache") else "")
    return f"{label} · {reducer} · {head} · {size} px · {count_macs(model, size) / 1e9:.3g} GMACs an image"


class TokenPictures(L.Callback):
    """Draws images of the test table at the end of a test or, where there is none, those that `trainer.validate` sees.

    The pictures go into `<folder>/tokens`, and as `tokens` to every logger that takes images.

    Args:
        images: how many, spread over the table.
        folder: of the run.
        rollout: add a panel with the attention rollout.
    """

    def __init__(self, images: int = 4, folder: str = "{run_dir}", rollout: bool = False) -> None:
        self.images, self.folder, self.rollout = images, folder, rollout

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, pl_module, "test")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.validating:
            self._draw(trainer, pl_module, "val")

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule, role: str) -> None:
        """A run is not lost for a picture: what cannot be drawn is a warning."""
        if not trainer.is_global_zero:
            return
        try:
            data, model = trainer.datamodule, pl_module.model
            if not isinstance(model, ReducedViT) or not hasattr(data, "splits"):
                raise ValueError("they need a model of ufgir.create_model and data of ufgir.ImageDataModule")
            if role == "val" and data.splits.test is not None:  # protocol=holdout, which is tested next
                return
            table = data.splits.roles[role]
            paths = data.splits.paths(table)
            chosen = evenly_spaced(paths, self.images)
            true = dict(zip((path.absolute() for path in paths), table["class_id"], strict=True))
            images = decode_for_test(chosen, data.resize, data.image_size, ahead=2)
            drawn, unreadable = draw_images(
                model, images, Path(self.folder, "tokens"), arguments=pl_module.hparams["model"],
                class_names=data.class_names, true_classes=true, rollout=self.rollout,
            )  # fmt: skip
            if unreadable:
                raise ValueError(f"{unreadable[0][0]} cannot be read: {unreadable[0][1]}")
            for logger in trainer.loggers:
                if hasattr(logger, "log_image"):
                    logger.log_image("tokens", [str(path) for path in drawn], caption=[path.stem for path in drawn])
        except Exception as error:  # whatever it is, the training is done and its results count
            warnings.warn(f"callbacks.tokens: no pictures ({summarize(error)}).", UfgirWarning, stacklevel=2)


def evenly_spaced(items: Sequence, count: int) -> list:
    """At most `count` of the items, evenly spaced over them, the first one among them."""
    return [items[number * len(items) // count] for number in range(count)] if len(items) > count else list(items)


# Pixels in, pixels out.


def paint_patches(
    pixels: np.ndarray, grid: tuple[int, int], patches: PatchMap, colors: np.ndarray, line: int
) -> np.ndarray:
    """What is kept as it is and outlined, groups in their colours, the rest dark.

    Args:
        pixels: of the image (H, W, 3), uint8.
        grid: rows and columns of patches.
        patches: what became of them.
        colors: what `group_colors` gives for merged and mixed ones (P, 2).
        line: thickness of the outlines, pixels.
    """
    state, luma = _on_pixels(pixels, grid, patches.state), (pixels @ GREY)[..., None]
    picture = np.where((state == PatchState.KEPT)[..., None], pixels, DROPPED * luma)
    fused = patches.state == PatchState.FUSED
    if fused.any():
        veiled = paint_values(pixels, grid, np.where(fused, patches.share, 0), SHARE)
        picture = np.where(_on_pixels(pixels, grid, fused)[..., None], veiled, picture)
    grouped = (patches.state == PatchState.MERGED) | (patches.state == PatchState.MIXED)
    tint, outline = (GROUPS[_on_pixels(pixels, grid, numbers)] for numbers in colors.T)
    on_groups = _on_pixels(pixels, grid, grouped)[..., None]
    picture = np.where(on_groups, tint * (0.2 + 0.45 * luma / 255), picture)
    # Kept patches beside each other share an outline; every group has its own.
    region = np.where(grouped, patches.token + 1, np.where(patches.state == PatchState.KEPT, 0, -1))
    edge = _edges(_on_pixels(pixels, grid, region), line)[..., None]
    picture = np.where(edge & on_groups, outline, picture)
    picture = np.where(edge & (state == PatchState.KEPT)[..., None], OUTLINE, picture)
    return picture.round().astype(np.uint8)


def paint_values(
    pixels: np.ndarray, grid: tuple[int, int], values: np.ndarray, colors: Colormap, low: float = 0
) -> np.ndarray:
    """An image (H, W, 3) under the colour of a value of each patch (P,), `low` to the largest; where it is 0, dark."""
    luma, shares = (pixels @ GREY)[..., None], (values - low) / max(values.max() - low, 1e-12)
    veiled = 0.17 * luma + 0.75 * 255 * colors(_on_pixels(pixels, grid, shares))[..., :3]
    return np.where(_on_pixels(pixels, grid, values > 0)[..., None], veiled, DROPPED * luma).round().astype(np.uint8)


def group_colors(stages: Sequence[PatchMap], grid: tuple[int, int]) -> list[np.ndarray]:
    """Two colours, rows of `GROUPS`, for each patch (P, 2) of each stage: of the inside and of the outline.

    No two groups of a stage have the same pair. A merged group keeps that of the largest group in it. Others take, the
    largest first, the inside that is used least near them, with an outline of the same colour while that is free.
    """
    places, count = np.stack(np.unravel_index(np.arange(grid[0] * grid[1]), grid), axis=1), len(GROUPS)
    near = np.exp(-np.linalg.norm(places[:, None] - places[None], axis=2) / 2)  # (P, P)
    previous, result = np.full(len(places), -1), []  # number of a pair; -1 for none
    for patches in stages:
        merged = patches.state == PatchState.MERGED
        grouped = merged | (patches.state == PatchState.MIXED)
        pairs, waiting = np.full(len(places), -1), []
        tokens, sizes = np.unique(patches.token[grouped], return_counts=True)
        for token in tokens[np.argsort(-sizes, kind="stable")]:
            inside = (patches.token == token) & grouped
            inherited = previous[inside & merged]
            if (inherited := inherited[inherited >= 0]).size:
                pairs[inside] = np.bincount(inherited).argmax()
            else:
                waiting.append(inside)
        for inside in waiting:
            taken = np.flatnonzero(pairs >= 0)
            used = near[inside][:, taken].max(axis=0) + 1e-3  # (T,)
            cost = used @ (pairs[taken, None] % count == np.arange(count))
            free = [color + turn * count for color in np.argsort(cost, kind="stable") for turn in range(count)]
            pairs[inside] = next((pair for pair in free if pair not in pairs), free[0])
        result.append(np.stack((pairs % count, (pairs + 3 * (pairs // count)) % count), axis=1))
        previous = np.where(merged, pairs, -1)
    return result


def _on_pixels(pixels: np.ndarray, grid: tuple[int, int], values: np.ndarray) -> np.ndarray:
    """A value of each patch (P,) as one of each pixel (H, W)."""
    height, width = pixels.shape[0] // grid[0], pixels.shape[1] // grid[1]
    return values.reshape(grid).repeat(height, axis=0).repeat(width, axis=1)


def _edges(region: np.ndarray, line: int) -> np.ndarray:
    """The pixels (H, W) that are at most `line` pixels from another region or from the edge of the image."""
    height, width = region.shape
    padded = np.pad(region, line, constant_values=-2)
    steps = (-line, 0, line)
    shifted = [padded[line + y : line + y + height, line + x : line + x + width] for y in steps for x in steps]
    return np.logical_or.reduce([other != region for other in shifted])


# The figure of an image.


@dataclass(frozen=True)
class Panel:
    """A picture (side, side, 3), its title and two lines of text; with `colors` also a colour bar over `limits`."""

    picture: np.ndarray
    title: str
    text: str
    colors: Colormap | None = None
    limits: tuple[float, float] = (0, 1)
    meaning: str = ""


def draw_trace(trace: TokenTrace, heading: Sequence[str]) -> bytes:
    """The figure of an image as a PNG file: input, a panel for each stage, and what the class token attends to.

    Args:
        trace: of the image.
        heading: lines of text; the first one is bold.
    """
    panels = _panels(trace)
    side = panels[0].picture.shape[0]
    scale = side / PANEL
    gap, head, foot, above, below = (round(scale * length) for length in (GAP, HEAD, FOOT, ABOVE, BELOW))
    columns = -(-len(panels) // -(-len(panels) // MAX_COLUMNS))  # rows as equal as can be
    row = above + side + below
    width, height = max(MIN_COLUMNS, columns) * (side + gap) + gap, head + -(-len(panels) // columns) * row + foot
    figure = Figure(figsize=(width / DPI / scale, height / DPI / scale), dpi=DPI * scale)
    FigureCanvasAgg(figure)
    letters = int(width / scale / LETTER)
    for number, text in enumerate(heading):
        text = text if len(text) <= letters else f"{text[: letters - 1]}…"
        place = gap / width, 1 - (26 + 27 * number) * scale / height
        figure.text(*place, text, fontsize=TEXT, fontweight="normal" if number else "bold", parse_math=False)
    for number, panel in enumerate(panels):
        left, down = gap + number % columns * (side + gap), head + number // columns * row + above
        # One pixel of the picture is one of the figure: nothing is resampled, and every border is sharp.
        axes = figure.add_axes((left / width, 1 - (down + side) / height, side / width, side / height))
        axes.imshow(panel.picture, interpolation="none", aspect="auto")
        axes.set_axis_off()
        axes.text(0, -52 * scale, panel.title, fontsize=TEXT, fontweight="bold", va="bottom")
        axes.text(0, -8 * scale, panel.text, fontsize=SMALL, va="bottom", linespacing=1.3)
        if panel.colors is not None:
            bar = axes.inset_axes((0, -22 / PANEL, 1, 12 / PANEL))
            values = ScalarMappable(Normalize(*(100 * limit for limit in panel.limits)), panel.colors)
            values = figure.colorbar(values, cax=bar, orientation="horizontal", ticks=MaxNLocator(4))
            values.set_label(panel.meaning, fontsize=SMALL)
            bar.tick_params(labelsize=SMALL)
    _add_legend(figure, trace, gap / width)
    stream = BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _panels(trace: TokenTrace) -> list[Panel]:
    pixels, (rows, columns) = trace.pixels, trace.grid
    factor, count = max(1, round(PANEL / len(pixels))), trace.prefix + rows * columns
    size = factor * pixels.shape[1], factor * pixels.shape[0]
    large = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    prefix = ["no class token", "CLS"][trace.prefix] if trace.prefix < 2 else f"CLS, {trace.prefix - 1} registers"
    text = f"{prefix}, {rows} x {columns} patches\nof {len(pixels) // rows} x {pixels.shape[1] // columns} pixels"
    panels = [Panel(large, "input, as the model sees it", f"{text}: {count} tokens")]
    line, words = max(2, len(large) // rows // 12), {
        PatchState.KEPT: "kept", PatchState.MERGED: "merged", PatchState.FUSED: "fused", PatchState.MIXED: "mixed",
        PatchState.RECOVERED: "from the cache",
    }  # fmt: skip
    colors = group_colors([stage.patches for stage in trace.stages], trace.grid)
    for number, (stage, own) in enumerate(zip(trace.stages, colors, strict=True), start=1):
        patches = stage.patches
        picture = paint_patches(large, trace.grid, patches, own, line)
        parts = [f"{tokens} {word}" for state, word in words.items() if (tokens := patches.count(state))]
        text = f"{stage.tokens} of {count} tokens left:\n{', '.join([prefix, *parts])}"
        title = f"stage {number}, after block {stage.block}"
        shares = patches.share[patches.state == PatchState.FUSED]
        bar = (SHARE, (0, shares.max()), "share in its fused token, %") if len(shares) else ()
        panels.append(Panel(picture, title, text, *bar))
    for attention, title, how in (
        (trace.attention, "attention of CLS in the last block", "mean over heads:"),
        (trace.rollout, "attention rollout of CLS", "through all blocks:"),
    ):
        if attention is not None:
            panels.append(_attention_panel(attention, title, how, large, trace))
    return panels


def _attention_panel(attention: ClassAttention, title: str, how: str, large: np.ndarray, trace: TokenTrace) -> Panel:
    prefix = "CLS" if trace.prefix == 1 else "CLS and registers"
    parts = {"patches": attention.patches.sum(), prefix: attention.prefix, "from the cache": attention.cache}
    text = f"{how}\n{', '.join(f'{part:.0%} {name}' for name, part in parts.items() if part > 0)}"
    low = attention.patches.min() if attention is trace.rollout else 0  # every patch has a part in it
    picture = paint_values(large, trace.grid, attention.patches, ATTENTION, low)
    return Panel(picture, title, text, ATTENTION, (low, attention.patches.max()), "part of each patch, %")


def _add_legend(figure: Figure, trace: TokenTrace, left: float) -> None:
    """A legend of what occurs in this figure, in the colours that it has there."""
    groups = [(GROUPS[a] * 0.5 / 255, GROUPS[b] / 255) for a, b in ((0, 0), (1, 1), (0, 3))]  # inside and outline
    explained = {
        PatchState.KEPT: ([("#c9d6b8", OUTLINE / 255)], "kept: a token of its own"),
        PatchState.DROPPED: ([("#2b2b2b", "#2b2b2b")], "dropped"),
        PatchState.MERGED: (groups, "merged: one pair of colours for each token"),
        PatchState.MIXED: (groups, "mixed: the colours of the token in which the patch has the largest share"),
        PatchState.FUSED: ([(SHARE(x),) * 2 for x in (0.2, 0.9)], "fused: lighter with a larger share of its token"),
    }
    seen = {state for stage in trace.stages for state in np.unique(stage.patches.state)}
    entries = [entry for state, entry in explained.items() if state in seen]
    if entries:
        swatches = [tuple(Patch(facecolor=a, edgecolor=b, linewidth=2) for a, b in colors) for colors, _ in entries]
        figure.legend(
            swatches, [text for _, text in entries], handler_map={tuple: HandlerTuple(ndivide=None, pad=0.4)},
            ncols=len(entries), fontsize=TEXT, frameon=False, loc="lower left", bbox_to_anchor=(left, 0),
            borderaxespad=0.4, borderpad=0.4, handlelength=3, handleheight=1,
        )  # fmt: skip
