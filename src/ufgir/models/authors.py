"""The paper's authors' checkpoints, in their names, to ours."""

import re
from collections.abc import Mapping

from torch import Tensor

from ufgir.errors import UserError
from ufgir.models.vit import ReducedViT
from ufgir.models.weights import shape_differences

AUTHORS_REDUCER = re.compile(r"(score_predictor|cluster_layers)\.(?P<stage>\d+)\.")  # their prefix of a stage's
AUTHORS_HEAD = "ifa_head.0."  # their prefix of both aggregation heads


def convert_authors_state_dict(state_dict: Mapping[str, Tensor], model: ReducedViT) -> dict[str, Tensor]:
    """Rename the authors' entries so that `model.load_state_dict(..., strict=True)` takes them.

    Theirs are timm's names, with `clr`, the CLR's rows at the end of `pos_embed`, `score_predictor.s.*` and
    `cluster_layers.s.*` for the reducer of stage s, and `ifa_head.0.*` for the aggregation head, beside which they
    keep an unused `head.*` of 1000 classes.

    Args:
        state_dict: entries with the authors' names and shapes.
        model: the model that they are for.

    Raises:
        UserError: entries are missing, left over or of another shape; all of them are named.
    """
    converted = dict(state_dict)
    if model.collected_layers:
        converted = {name: value for name, value in converted.items() if not name.startswith("head.")}
        converted = {name.replace(AUTHORS_HEAD, "head.", 1): value for name, value in converted.items()}
    if model.cache is not None and "clr" in converted:
        converted["cache.clr"] = converted.pop("clr")
        if model.cache.pos_embed is not None and "pos_embed" in converted:
            rows = model.pos_embed.shape[1]
            converted["cache.pos_embed"] = converted["pos_embed"][:, rows:]
            converted["pos_embed"] = converted["pos_embed"][:, :rows]
    converted = {_without_stage(name, model): value for name, value in converted.items()}
    if problems := shape_differences(converted, model.state_dict()):
        raise UserError(f"The checkpoint does not fit the model: {'; '.join(problems)}.")
    return converted


def _without_stage(name: str, model: ReducedViT) -> str:
    """Our name of a reducer's entry: theirs counts the stages, ours names the layer. Other names stay."""
    match = AUTHORS_REDUCER.match(name)
    layer = "" if match is None else str(dict(enumerate(model.reduction_layers)).get(int(match["stage"])))
    return f"reducers.{layer}.{name[match.end() :]}" if layer in model.reducers else name
