"""What is told of a checkpoint by its shapes, its settings, its name and the user, in this order of weight."""

from pathlib import Path

import pytest
import torch

from authors_files import CASES, settings, shapes_of
from ufgir.errors import UserError
from ufgir.models import create_model
from ufgir.published import Published, convert, infer
from ufgir.published.budgets import budgets_of, rate_of
from ufgir.published.shapes import outline_of
from ufgir.published.words import word_facts

CLCA = "evit-cache-cla"


def understood(case_id: str = CLCA, words: str = "", name: str = "x.pth", shapes: dict | None = None, **changes):
    """Values, sources and remarks of a checkpoint with the shapes of a case and the settings of its run."""
    shapes = shapes_of(CASES[case_id]) | (shapes or {})
    recorded = {} if changes.pop("without_settings", False) else settings(case_id, **changes)
    state_dict = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    published = Published(Path(name), state_dict, "args" if recorded else "", recorded, ())
    said, faults = word_facts(dict(word.split("=") for word in words.split()))
    if faults:
        raise UserError(*faults)
    facts, remarks = infer(published, outline_of(shapes), said)
    values = {key: fact.value for key, fact in facts.items()}
    return values, {key: fact.source for key, fact in facts.items()}, remarks


def refusal(*arguments, **changes) -> str:
    with pytest.raises(UserError) as caught:
        understood(*arguments, **changes)
    return str(caught.value)


def test_the_settings_of_both_programs_tell_the_same():
    values, sources, remarks = understood()
    assert remarks == []
    later, _, _ = understood(model="left out", model_name="evit_deit_tiny_patch16_224.fb_in1k", keep_rate="0.5",
                             input_size="left out", image_size=64, reduction_loc="[3, 6, 9]")  # fmt: skip
    assert later == values
    assert (values["backbone"], values["reducer"]) == ("deit_tiny_patch16_224.fb_in1k", "evit")
    assert (values["keep_rate"], values["reduction_layers"], values["image_size"]) == (0.5, [3, 6, 9], 64)
    assert (values["plugins.head.name"], values["plugins.cache"], values["plugins.cache.num_clr"]) == ("cla", True, 1)
    assert sources["plugins.cache.gap"] == "args.clc_include_gap"


def test_without_the_cache_its_options_do_not_count():
    values, _, _ = understood("evit-nocache-linear", clc_pool_cls=True)
    assert values["plugins.cache"] is False
    assert not [key for key in values if key.startswith("plugins.cache.")]


def test_what_may_be_assumed_is_told_as_such():
    _, sources, _ = understood(reduction_loc=[], clc_recover_at_last="left out")
    assert sources["reduction_layers"] == sources["plugins.cache.recover_at_last"] == "assumed, as in the paper"
    values, sources, _ = understood("none-cache-cla", reduction_loc=[2, 5], keep_rate=[])
    assert values["reduction_layers"] == [3, 6, 9] and "keep_rate" not in values
    assert sources["reduction_layers"] == "their unreduced model has no others"


def test_the_shapes_count_more_than_the_settings():
    values, _, remarks = understood(
        input_size=224, num_classes=80, ifa_dws_conv_groups=4, num_clr=3, name="a_topk_deit_tiny_patch16_224_0.25_1.pth"
    )
    assert (values["image_size"], values["classes"], values["plugins.head.multiplier"]) == (64, 5, 2)
    assert values["reducer"] == "evit"
    text = "\n".join(remarks)
    assert "image_size=64 (shapes of the weights) counts, not 224 (args.input_size)." in text
    values, _, remarks = understood("none-nocache-linear", ifa_head=True)
    assert values["plugins.head.name"] == "linear" and "plugins.head.multiplier" not in values
    assert remarks == ["plugins.head.name=linear (shapes of the weights) counts, not cla (args.ifa_head)."]
    for part in ("not 80 (args.num_classes)", "not 3 (args.num_clr)", "not 0.25 (file name)", "not topk (file name)"):
        assert part in text


def test_words_count_more_than_settings():
    values, sources, _ = understood(
        words="backbone=vit_tiny_patch16_224 reducer=topk keep_rate=[0.9,0.8,0.7] reduction_layers=[2,4,6] "
        "plugins.cache.gap=false"
    )
    assert (values["backbone"], values["reducer"]) == ("vit_tiny_patch16_224", "topk")
    assert (values["keep_rate"], values["reduction_layers"]) == ([0.9, 0.8, 0.7], [2, 4, 6])
    assert values["plugins.cache.gap"] is False and sources["keep_rate"] == "keep_rate=[0.9,0.8,0.7]"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("image_size=224", ["image_size=224: the shapes of the weights say image_size=64"]),
        ("plugins=cla", ["plugins=cla: the shapes of the weights say plugins.cache=true"]),
        ("plugins=clc", ["plugins=clc: the shapes of the weights say plugins.head.name=cla"]),
        ("backbone=deit_s", ["backbone=deit_s has 12 blocks of width 384", "deit_t"]),
        ("backbone=deit_tinny", ["is not a model of timm"]),
        ("reduction_layers=[3,6]", ["its head collects 4 class tokens, not 3", "Give reduction_layers=[...]"]),
        ("keep_rate=1.5", ["keep_rate=1.5: expected a number above 0"]),
        ("keep_rate=0,5", ["keep_rate=0,5: this names several values"]),
        ("reducer=evti plugins=clac", ["2 faults", "Did you mean reducer=evit?", "Did you mean plugins=cl"]),
    ],
)
def test_words_that_cannot_be(words, parts):
    message = refusal(words=words)
    for part in parts:
        assert part in message


def test_missing_facts_are_asked_for_by_their_words():
    message = refusal("evit-nocache-linear", without_settings=True)
    assert message.startswith("3 faults")
    assert "x.pth does not tell its backbone, nor does its name. Give backbone=NAME, a timm name, or deit_t" in message
    assert "does not tell its plug-ins, nor does its name. Give plugins=base, cla, clc, clca or ifa." in message
    assert "does not tell its reducer, nor does its name. Give reducer=" in message
    message = refusal("evit-nocache-linear", words="backbone=deit_t reducer=evit plugins=base", without_settings=True)
    assert message.startswith("x.pth does not tell its keep rate, nor does its name. Give keep_rate=RATE")
    values, _, _ = understood(
        "evit-nocache-linear", "backbone=deit_t reducer=evit plugins=base keep_rate=0.5", without_settings=True
    )
    assert values["reduction_layers"] == [3, 6, 9]
    assert "image size" in refusal(shapes={"pos_embed": (1, 15, 192)}, input_size="left out")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": "resnet50"}, "does not tell its backbone"),
        ({"model": "evit_deit_small_patch16_224"}, "has 12 blocks of width 384"),
        ({"model": "kmedoids_deit_tiny_patch16_224"}, "reducer=kmedoids (args.model) is not one of"),
        ({"clc": False}, "has CLR tokens, but args.clc is false"),
        ({"reduction_loc": [3, 6]}, "reduction_layers=[3,6] (args.reduction_loc) cannot be those of x.pth"),
        ({"keep_rate": []}, "does not tell its keep rate"),
        ({"model": "sit_deit_tiny_patch16_224"}, "have no entry of it, such as cluster_layers.0.weight.3.weight"),
    ],
)
def test_settings_that_cannot_be(changes, part):
    assert part in refusal(**changes)


def test_settings_that_are_not_followed_are_told():
    _, _, remarks = understood(custom_mean_std=True, test_resize_size=32)
    assert any(remark.startswith("args.custom_mean_std: the images were normalised") for remark in remarks)
    assert any("args.test_resize_size=32 is less than the image size" in remark for remark in remarks)


def test_numbers_of_tokens_in_the_weights_tell_the_rate():
    assert budgets_of(0.5, 196, 3) == (98, 49, 24) and budgets_of([0.5, 0.5, 0.1], 196, 3) == (98, 49, 4)
    assert budgets_of(0.1, 196, 3) == (19, 1, 1)
    for rate in (0.1, 0.25, 0.5, 0.7, 0.9):
        for patches in (196, 784):
            assert rate_of(budgets_of(rate, patches, 3), patches) == rate
    assert rate_of((100, 3, 2), 196) is None


def test_the_rate_is_that_of_the_weights():
    values, sources, remarks = understood("sit-cache-cla", keep_rate=[0.25])
    assert values["keep_rate"] == 0.5
    assert sources["keep_rate"] == "shapes of the weights, which keep 8, 4, 2 tokens"
    assert remarks == ["args.keep_rate: 0.25 would keep 4, 1, 1 tokens."]
    assert understood("patchmerger-cache-cla", keep_rate=[])[0]["keep_rate"] == 0.5
    message = refusal("sit-cache-cla", words="keep_rate=0.25")
    assert "keep_rate: the weights keep 8, 4, 2 of 16 patches. Give keep_rate=0.5." in message


def test_lists_that_are_no_rates():
    """Their ATS, DynamicViT and clusterings take a list as counts or as shares of all tokens."""
    message = refusal("ats-cache-cla", keep_rate=[0.7, 0.5, 0.3])
    assert "does not tell its keep rate (args.keep_rate: 0.7, 0.5, 0.3 are counts or shares of all tokens" in message
    values, _, remarks = understood("ats-cache-cla", "keep_rate=[0.7,0.5,0.3]", keep_rate=[12, 8, 4])
    assert values["keep_rate"] == [0.7, 0.5, 0.3] and remarks == []
    assert understood(keep_rate=[0.7, 0.5, 0.3])[0]["keep_rate"] == [0.7, 0.5, 0.3]


def test_options_that_would_change_the_logits_are_refused():
    assert understood("dpcknn-cache-cla", k_neighbors=5, equal_weight=False)[0]["reducer"] == "dpcknn"
    message = refusal("dpcknn-cache-cla", k_neighbors=7, equal_weight=True)
    assert "k_neighbors=7 in the settings of x.pth: DPC-KNN has only k_neighbors=5 here" in message
    assert "equal_weight=True" in message


@pytest.mark.parametrize("reducer", ["sit", "patchmerger", "dyvit", "dpcknn"])
def test_reducers_with_weights_show_in_the_shapes(reducer):
    outline = outline_of(shapes_of(CASES[f"{reducer}-cache-cla"]))
    assert (outline.reducer, outline.stages) == (reducer, 3)
    assert outline.budgets == ((8, 4, 2) if reducer in ("sit", "patchmerger") else ())


@pytest.mark.parametrize("backbone", ["vit_base_patch16_clip_224.laion2b", "vit_base_patch16_224_miil.in21k"])
def test_backbones_of_a_structure_of_their_own_at_full_size(backbone):
    """448 pixels, EViT at 0.1, CLCA; a norm before the blocks, or no bias in the attention."""
    model = create_model(backbone, num_classes=80, img_size=448, reducer="evit", keep_rate=0.1, cache=True, head="cla")
    theirs = {name: value for name, value in model.state_dict().items() if not name.startswith(("cache.", "head."))}
    theirs |= {f"ifa_head.0.{name}": value for name, value in model.head.state_dict().items()}
    theirs |= {"clr": model.cache.clr, "head.weight": torch.empty(1000, 768)}
    if model.cache.pos_embed is not None:
        theirs["pos_embed"] = torch.cat((model.pos_embed, model.cache.pos_embed), dim=1)
    published = Published(Path(f"cotton_evit_{backbone}_0.1_cla_clc_1_30.pth"), theirs, "", {}, ())
    outline = outline_of({name: tuple(value.shape) for name, value in theirs.items()})
    facts, remarks = infer(published, outline, {})
    conversion = convert(theirs, facts)
    assert remarks == [] and conversion.config["backbone"]["name"] == backbone
    assert (conversion.config["image_size"], conversion.config["keep_rate"]) == (448, 0.1)
    ours = conversion.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in model.state_dict().items())
    assert [name for name, ours in conversion.origins.items() if not ours] == ["head.weight"]


def test_shapes_of_something_else():
    for shapes in (
        {"fc.weight": (2, 2)},
        {"blocks.0.norm1.bias": (4,), "cls_token": (4,), "patch_embed.proj.weight": (4,)},
    ):
        with pytest.raises(UserError, match="The weights"):
            outline_of(shapes)
