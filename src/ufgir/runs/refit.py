"""The weights of one model for another of the same kind: at another keep rate, or for images of another size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.layers import resample_abs_pos_embed
from torch import Tensor

from ufgir.config.messages import typed
from ufgir.errors import UserError
from ufgir.models import ReducedViT

BUDGET = ("keep_rate", "image_size")


def refitted(
    state_dict: Mapping[str, Tensor],
    model: ReducedViT,
    *,
    trained: Mapping[str, Any],
    wanted: Mapping[str, Any],
    file: Path,
) -> dict[str, Tensor]:
    """Weights that `model` loads strictly.

    Position embeddings are resampled to another image size. Reducers at layers that now keep every token are left out.

    Args:
        state_dict: the weights as they were trained.
        model: built for `wanted`.
        trained: configuration of the training.
        wanted: the same but for `keep_rate` and `image_size`.
        file: where the weights come from, for the message.

    Raises:
        UserError: they do not fit, with the reason.
    """
    weights = dict(state_dict)
    changed = [key for key in BUDGET if trained[key] != wanted[key]]
    if "image_size" in changed and model.pos_embed is not None and "pos_embed" in weights:
        weights["pos_embed"] = _resampled(weights["pos_embed"], model, trained["image_size"])
    if "keep_rate" in changed:
        idle = [f"reducers.{layer}." for layer in model.reduction_layers if str(layer) not in model.reducers]
        weights = {name: value for name, value in weights.items() if not name.startswith(tuple(idle))}
    needed = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in weights.items()}
    if wrong := [name for name in {**needed, **there} if needed.get(name) != there.get(name)]:
        raise UserError(_why(wrong, needed, there, trained, wanted, changed, file))
    return weights


def _resampled(pos_embed: Tensor, model: ReducedViT, old_size: int) -> Tensor:
    """Position embeddings (1, N, C) of images of `old_size` pixels for the grid of `model`, as timm resamples them."""
    height, width = model.patch_embed.feat_ratio(as_scalar=False)
    return resample_abs_pos_embed(
        pos_embed,
        new_size=list(model.patch_embed.grid_size),
        old_size=[old_size // height, old_size // width],
        num_prefix_tokens=0 if model.no_embed_class else model.num_prefix_tokens,
    )


def _why(
    wrong: list[str], needed: dict, there: dict, trained: Mapping, wanted: Mapping, changed: list[str], file: Path
) -> str:
    """Why weights do not fit, by the first entry that differs."""
    name = wrong[0]
    if changed and all(entry.startswith("reducers.") for entry in wrong):
        reducer, words = trained["reducer"]["name"], " ".join(typed(key, wanted[key]) for key in changed)
        start = f"{words}: reducer={reducer} cannot be moved there. "
        remedy = f"Train a run with {words}, or take one whose reducer has no such parameters (topk, evit, tome, ats)."
        if name not in there:
            return f"{start}It has no parameters for block {name.split('.')[1]}, which kept every token. {remedy}"
        return (
            f"{start}It has parameters for each token that it keeps, and another budget keeps another number: {name} "
            f"has the shape {there[name]}, {needed[name]} would be needed. {remedy}"
        )
    if all(entry.startswith("head.") for entry in wrong) and name in needed and name in there:
        return (
            f"{file}: it names {needed[name][0]} classes, and its weights tell {there[name][0]} apart. The file was "
            "put together from two models; take the model.pt that the training wrote."
        )
    return (
        f"{file}: its weights are not those of the model in its settings; {len(wrong)} entries differ, first {name}: "
        f"{there.get(name, 'missing')} in the file, {needed.get(name, 'nothing')} expected."
    )
