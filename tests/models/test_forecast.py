"""What is said of a model before it is built is what it turns out to be."""

import pytest

import ufgir
from models.closed_form import tokens_after_block
from ufgir.config import compose_run, resolve
from ufgir.cost import example_image
from ufgir.models.forecast import forecast
from ufgir.reducers import reducer_names
from ufgir.runs.build import build_model


def config_of(*words: str) -> dict:
    config, faults = compose_run(["backbone=micro", "image_size=96", *words])
    assert not faults
    return resolve(config)


@pytest.mark.filterwarnings("ignore::ufgir.errors.UfgirWarning")  # ToMe below 0.5
@pytest.mark.parametrize("reducer", ["none", *reducer_names()])
@pytest.mark.parametrize("plugins", ["base", "clca"])
def test_tokens_work_and_size(reducer, plugins):
    rate = [] if reducer == "none" else ["keep_rate=0.3"]
    config = config_of(f"reducer={reducer}", f"plugins={plugins}", *rate)
    forecasted, model = forecast(config, 20), build_model(config, 20)
    macs = ufgir.count_macs(model, 96)
    tokens = model.tokens_after_block(example_image(96))
    if reducer == "ats":
        assert all(count <= most for count, most in zip(tokens, forecasted.tokens, strict=True))
    else:
        assert list(forecasted.tokens) == tokens
        assert forecasted.macs == pytest.approx(macs, rel=0.1), "less normalisation, and what reducers do themselves"
    parameters = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("reducers."))
    assert forecasted.parameters == pytest.approx(parameters, rel=0.1), "position embeddings are those of 224 px"


def test_the_papers_unreduced_vit():
    config, _ = compose_run(["backbone=vit_b", "image_size=448", "reducer=none", "plugins=base"])
    assert forecast(resolve(config), 200).macs / 1e9 == pytest.approx(78.5, rel=0.005)


def test_tokens_follow_the_closed_form_with_any_cache():
    words = ["reducer=dpcknn", "keep_rate=[0.7,0.5,0.3]", "reduction_layers=[2,5,6]", "plugins.cache.num_clr=2"]
    config = config_of(*words, "plugins.cache.gap=false", "plugins.cache.recover_at_last=false")
    cache = config["plugins"]["cache"]
    expected = tokens_after_block("dpcknn", (0.7, 0.5, 0.3), (2, 5, 6), 12, 144, 1, cache)
    assert list(forecast(config, 20).tokens) == expected


def test_a_patch_of_height_and_width():
    square, wide = (config_of(f"backbone.kwargs.patch_size={size}") for size in ("16", "[16,8]"))
    tokens = forecast(wide, 20).tokens[0] - 1
    assert tokens - 1 == 2 * (forecast(square, 20).tokens[0] - 2), "twice as many patches; the cache appends one token"
