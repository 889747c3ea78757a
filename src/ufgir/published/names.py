"""Names: of the authors' runs, `{dataset}_{reducer_}{timm name}{_keep}{_cla|_ifa}{_clc}{_num_clr}_{serial}`."""

import re
from functools import cache
from pathlib import Path

import timm

from ufgir.published.facts import Fact, Facts

REDUCERS = (
    "topk", "evit", "tome", "ats", "dyvit", "dpcknn", "sit", "patchmerger", "kmedoids", "sinkhorn", "heuristic",
)  # fmt: skip  # prefixes of their model names; we do not have the last three
ALIASES = {
    "vit_base_patch16_224.in1k_mocov3": "vit_b_mocov3",  # timm has no weights of MoCo v3, only the architecture
    "vit_small_patch16_224.in1k_mocov3": "vit_small_patch16_224",
    "vit_t16": "vit_tiny_patch16_224",
    "vit_s16": "vit_small_patch16_224",
    "vit_b16": "vit_base_patch16_224",
    "vit_l16": "vit_large_patch16_224",
    "vit_base_patch16_224_in21k": "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224_miil_in21k": "vit_base_patch16_224_miil.in21k",
    "vit_base_patch16_224_dino": "vit_base_patch16_224.dino",
    "deit3_base_patch16_224_in21ft1k": "deit3_base_patch16_224.fb_in22k_ft_in1k",
}  # names that today's timm does not know -> those that it knows


def name_facts(path: Path) -> Facts:
    """What the name of a file tells or, where it is one such as `best_checkpoint.pth`, that of its folder."""
    for text, source in ((path.name, "file name"), (path.absolute().parent.name, "folder name")):
        # Only a known ending is cut off: run names have points of their own.
        text = re.sub(r"\.(pth|pt|bin|ckpt)(\.tar)?$", "", text)
        if facts := run_facts(text):
            return {key: Fact(value, source) for key, value in facts.items()}
    return {}


def run_facts(name: str) -> dict[str, object]:
    """The settings that a run's name tells; none if there is no known backbone in it."""
    if (found := _find_backbone(name)) is None:
        return {}
    before, backbone, after = found
    facts = model_facts("_".join(filter(None, [before, backbone])))
    if dataset := before.removesuffix(str(facts["reducer"])).strip("_"):
        facts["dataset"] = dataset
    words = after.split("_")
    if re.fullmatch(r"[01]\.\d+", words[0]):
        facts["keep_rate"] = float(words[0])
    # After the keep rate, only these words say anything: how many CLR tokens there are is told by the weights.
    facts["plugins.head.name"] = next((head for head in ("cla", "ifa") if head in words), "linear")
    facts["plugins.cache"] = "clc" in words
    return facts


def model_facts(name: str) -> dict[str, object]:
    """Backbone and reducer in a model's name such as `evit_deit_base_patch16_224.fb_in1k`; none if it is unknown."""
    if (found := _find_backbone(name)) is None:
        return {}
    before, backbone, _ = found
    reducer = before.rpartition("_")[2]
    return {"backbone": _backbones()[backbone], "reducer": reducer if reducer in REDUCERS else "none"}


def _find_backbone(text: str) -> tuple[str, str, str] | None:
    """The longest known backbone in a text, with what stands before and after it."""
    padded = f"_{text}_"
    known = [name for name in _backbones() if f"_{name}_" in padded]
    if not known:
        return None
    name = max(known, key=len)
    before, _, after = padded.partition(f"_{name}_")
    return before.strip("_"), name, after.strip("_")


@cache
def _backbones() -> dict[str, str]:
    """Every ViT's name, with and without the tag of its weights -> timm's name of it."""
    names = {
        name
        for module in ("vision_transformer", "deit")
        for tagged in (False, True)
        for name in timm.list_models(module=module, pretrained=tagged)
    }
    return {**{name: name for name in names}, **ALIASES}
