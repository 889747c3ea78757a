"""What the pictures are drawn from is what the model computes."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from packaging.version import Version
from PIL import Image

from ufgir import create_model
from ufgir.pictures.figure import GAP, Subject, figure_of
from ufgir.pictures.look import look_at
from ufgir.pictures.patches import Fate
from ufgir.reducers import Reducer, reducer_names
from ufgir.tokens import Keep, Tokens

PIXELS = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
PATCHES = 16
FATES = {
    "topk": {Fate.KEPT, Fate.DROPPED}, "ats": {Fate.KEPT, Fate.DROPPED}, "dyvit": {Fate.KEPT, Fate.DROPPED},
    "evit": {Fate.KEPT, Fate.FUSED, Fate.DROPPED}, "tome": {Fate.KEPT, Fate.MERGED},
    "dpcknn": {Fate.KEPT, Fate.MERGED}, "sit": {Fate.MIXED}, "patchmerger": {Fate.MIXED},
}  # fmt: skip  # what a patch may come to


class EveryOther(Reducer):
    """A reducer of someone's own."""

    def keeps(self, tokens: int) -> int:
        return len(range(0, tokens, 2))

    def before_block(self, tokens: Tokens) -> Tokens:
        index = torch.arange(0, tokens.body.shape[1], 2, device=tokens.x.device)
        return tokens.assign(Keep(index.expand(len(tokens.x), -1)))


def make(reducer: str, **options):
    torch.manual_seed(0)
    return create_model("micro", num_classes=3, img_size=32, reducer=reducer, **options).eval()


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("reducer", reducer_names())
def test_every_reducer_is_drawn_from_its_token_map(reducer, cache):
    model = make(reducer, keep_rate=0.5, cache=cache)
    look = look_at(model, PIXELS)
    assert [stage.layer for stage in look.stages] == [3, 6, 9]
    for stage in look.stages:
        fates = set(stage.patches.fate)
        assert fates <= FATES[reducer], stage.layer
        assert stage.tokens == look.prefix + len(stage.patches.tokens)
        assert cache or stage.patches.count(Fate.RECOVERED) == 0
        assert stage.patches.count(Fate.KEPT) == (stage.patches.fate == Fate.KEPT).sum()
    parts = look.attention.patches.sum() + look.attention.prefix + look.attention.cache
    assert parts == pytest.approx(1, abs=1e-3) and (look.attention.cache > 0) == cache
    with torch.no_grad():
        image = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        logits = model(((image - mean.view(3, 1, 1)) / std.view(3, 1, 1))[None])
    assert look.probabilities == pytest.approx(logits[0].softmax(dim=0).numpy(), abs=1e-5)


def test_one_kept_patch_is_the_one_that_the_reducer_says():
    model = make("topk", keep_rate=0.01, reduction_layers=[2])
    look = look_at(model, PIXELS)
    (kept,) = np.flatnonzero(look.stages[0].patches.fate == Fate.KEPT)
    assert look.attention.patches.argmax() == kept and np.count_nonzero(look.attention.patches) == 1


def test_attention_of_an_unreduced_model_is_that_of_the_last_block():
    model, rows = make("none"), []

    def row_of_class(module, inputs, output):
        heads = output.reshape(1, 1 + PATCHES, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
        rows.append(((heads[0] @ heads[1].mT) * module.scale).softmax(-1)[0, :, 0].mean(0))

    attn = model.blocks[-1].attn
    hook = attn.qkv.register_forward_hook(lambda _, inputs, output: row_of_class(attn, inputs, output))
    look = look_at(model, PIXELS)
    hook.remove()
    assert look.attention.layer == 11 and not look.stages
    assert look.attention.patches == pytest.approx(rows[0][1:].numpy(), abs=1e-6)
    assert look.attention.prefix == pytest.approx(float(rows[0][0]), abs=1e-6)


def test_registers_and_ones_own_reducer():
    model = make("topk", keep_rate=0.5, backbone_kwargs={"reg_tokens": 4}, cache=True)
    model.reducers["6"] = EveryOther(model.reducers["6"].stage)
    look = look_at(model, PIXELS)
    assert look.prefix == 5 and set(look.stages[1].patches.fate) == {Fate.KEPT, Fate.DROPPED}


def test_looking_leaves_the_model_as_it_was():
    model = make("dyvit", keep_rate=0.5).train()
    look_at(model, PIXELS)
    assert model.training and all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.skipif(Version(matplotlib.__version__) < Version("3.11"), reason="3.10 puts some panels a pixel off")
@pytest.mark.parametrize("layers", [[3], [2, 3, 5, 6, 8, 9]])
def test_the_panels_of_a_figure_are_the_pixels_of_the_image(layers):
    look = look_at(make("tome", keep_rate=0.5, reduction_layers=layers), PIXELS)
    with Image.open(io.BytesIO(figure_of(look, Subject("kind_$1/a_$b.png", "c" * 999, "d")))) as picture:
        pixels, large = np.asarray(picture.convert("RGB")), 12 * 32
    expected = np.asarray(Image.fromarray(PIXELS).resize((large, large), Image.Resampling.BICUBIC))
    rows = [top for top in range(len(pixels) - large) if (pixels[top, GAP : GAP + large] == expected[0]).all()]
    assert len(rows) == 1 and (pixels[rows[0] : rows[0] + large, GAP : GAP + large] == expected).all()
