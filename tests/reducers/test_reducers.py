"""Each reducer on a case small enough to check by hand, and what holds for all of them."""

from dataclasses import dataclass

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from ufgir.reducers import REDUCERS, Reducer, resolve_reducer
from ufgir.reducers.tokens import Stage, Tokens
from ufgir.utils import project_dir

# One image: CLS, a register and four patches of width 1. CLS attends to the patches with 0.1, 0.4, 0.2 and 0.3.
TOKENS = Tokens(torch.tensor([[[7.0], [8.0], [10.0], [20.0], [30.0], [40.0]]]), prefix=2)
ROW = torch.tensor([[[0.0, 0.9, 0.1, 0.4, 0.2, 0.3]]])  # (B, H, N)


@dataclass
class Attention:
    """Stands in for a block's attention."""

    row: Tensor = ROW
    keys: Tensor | None = None
    values: Tensor | None = None

    def cls_attention(self) -> Tensor:
        return self.row


def make(name: str, keep_rate: float, patches: int = 4, dim: int = 1, stages: int = 1, **options):
    return REDUCERS[name](Stage(0, (keep_rate,) * stages, patches, dim), **options).eval()


def values(tokens: Tokens) -> list[float]:
    return tokens.x.flatten().tolist()


def test_top_k_keeps_the_most_attended_and_evit_appends_the_weighted_sum_of_the_others():
    assert values(make("topk", 0.5).after_attention(TOKENS, Attention())) == [7, 8, 20, 40]
    reduced = make("evit", 0.5).after_attention(TOKENS, Attention())
    assert values(reduced) == pytest.approx([7, 8, 20, 40, 0.1 * 10 + 0.2 * 30])


@pytest.mark.parametrize("name", ["topk", "evit"])
def test_a_relative_budget_that_keeps_all_changes_nothing(name):
    assert make(name, 0.76).after_attention(TOKENS, Attention()) is TOKENS, "ceil(0.76 * 4) is 4"


def test_tome_merges_the_most_similar_pair_into_its_mean():
    keys = torch.tensor([[[[9.0, 9.0], [9.0, 9.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.5, 0.4]]]])
    tome = make("tome", 0.75)  # K = 3 of 4 patches: one merge, of patch 1 (A) into patch 0 (B)
    reduced = tome.after_attention(TOKENS, Attention(keys=keys))
    assert values(reduced) == pytest.approx([7, 8, 40, 15, 30]), "unmerged A, then B"
    assert reduced.size.tolist() == [[1, 1, 1, 2, 1]]
    keys = torch.tensor([[[[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]]])
    again = tome.after_attention(reduced, Attention(keys=keys))
    assert values(again) == pytest.approx([7, 8, (40 + 2 * 15) / 3, 30]), "weighted by size"


def test_ats_picks_along_the_cumulative_score():
    ats = make("ats", 0.5)  # K = 3, points 1/6, 1/2 and, by rounding, 5/6
    kept = ats.select_queries(TOKENS, Attention(values=torch.ones(1, 1, 6, 1)))
    assert kept.index.tolist() == [[0, 1, 2]], "cumulative 0.1 0.5 0.7 1.0"
    norms = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.1, 0.1]).reshape(1, 1, 6, 1)
    kept = ats.select_queries(TOKENS, Attention(values=norms))
    assert kept.index.tolist() == [[0, 1]], "picked twice, it goes on once"


def test_ats_pads_the_images_that_keep_fewer_and_never_picks_padding():
    ats = make("ats", 0.5)
    row = torch.tensor([[[0.0, 0.9, 0.1, 0.4, 0.2, 0.3]], [[0.0, 0.9, 0.0, 0.98, 0.01, 0.01]]])
    two = Tokens(TOKENS.x.expand(2, -1, -1), prefix=2)
    kept = ats.select_queries(two, Attention(row, values=torch.ones(2, 1, 6, 1)))
    assert kept.valid.tolist() == [[True, True, True], [True, True, False]]
    masked = Tokens(TOKENS.x, 2, valid=torch.tensor([[True, True, True, False, True, False]]))
    kept = ats.select_queries(masked, Attention(values=torch.ones(1, 1, 6, 1)))
    assert not {1, 3} & set(kept.index[kept.valid].tolist())


def test_dynamic_vit_keeps_the_highest_scores_in_that_order(monkeypatch):
    dyvit = make("dyvit", 0.5, dim=8)
    scores = torch.tensor([[[-3.0, 0.0], [-1.0, 0.0], [-2.0, 0.0], [-0.5, 0.0]]])
    assert dyvit.predict(torch.randn(1, 3, 8), torch.zeros(1, 3)).isfinite().all(), "even if nothing is left"
    monkeypatch.setattr(dyvit, "predict", lambda x, weights: scores)
    assert values(dyvit.before_block(TOKENS)) == [7, 8, 40, 20]


def test_dynamic_vit_hides_tokens_in_training_and_asks_for_its_rate(monkeypatch):
    dyvit = make("dyvit", 0.5, dim=8, ratio_weight=3.0).train()
    scores = torch.tensor([[[0.0, -99.0], [0.0, -99.0], [0.0, -99.0], [-99.0, 0.0]]])
    monkeypatch.setattr(dyvit, "predict", lambda x, weights: scores)
    hidden = dyvit.before_block(TOKENS)
    assert values(hidden) == values(TOKENS)
    assert hidden.policy.tolist() == [[1, 1, 1, 1, 1, 0]]
    assert [loss.item() for loss in hidden.losses] == pytest.approx([3 * (0.75 - 0.5) ** 2])


def test_dpc_knn_merges_each_cluster_and_leaves_what_was_appended():
    patches = [0.0, 0.1, 0.2, 1.0, 1.1]
    tokens = Tokens(torch.tensor([7.0, *patches, 9.0]).reshape(1, 7, 1), prefix=1, appended=1)
    dpcknn = make("dpcknn", 0.4, patches=5)  # K = 2
    torch.nn.init.zeros_(dpcknn.score.weight)
    assert values(dpcknn.before_block(tokens)) == pytest.approx([7, 0.1, 1.05, 9], abs=1e-5)
    # Before the last stage at least five clusters are left.
    assert [make("dpcknn", 0.1, patches=30, stages=2).num_kept(n) for n in (30, 4)] == [5, 4]
    assert make("dpcknn", 0.1, patches=30).num_kept(30) == 3


def test_sit_mixes_by_a_softmax_over_the_tokens():
    sit = make("sit", 0.5, dim=2)
    torch.nn.init.zeros_(sit.weight[3].weight)  # what each output takes of each token no longer depends on the token
    body = torch.tensor([[[0.0, 1.0], [1.0, 3.0], [2.0, 5.0], [3.0, 7.0]]])
    reduced = sit.before_block(Tokens(torch.cat((body[:, :1] * 9, body), dim=1), prefix=1))
    assert reduced.x[0, 1:].tolist() == [pytest.approx([1.5, 4.0])] * 2


def test_patchmerger_collects_normalised_tokens():
    merger = make("patchmerger", 0.5, dim=2)
    torch.nn.init.zeros_(merger.queries)
    body = torch.tensor([[[0.0, 2.0], [1.0, 3.0], [2.0, 0.0], [0.0, 9.0]]])  # normalised: -1 1, -1 1, 1 -1, -1 1
    reduced = merger.before_block(Tokens(torch.cat((body[:, :1], body), dim=1), prefix=1))
    assert reduced.x[0, 1:].tolist() == [pytest.approx([-0.5, 0.5], abs=1e-4)] * 2


@pytest.mark.parametrize("name", REDUCERS)
def test_at_least_one_token_stays(name):
    assert make(name, 1e-6, dim=8).num_kept(4) in (1, 2)  # 2: two pairs of four tokens, or one kept and one fused


def test_each_config_file_names_its_class():
    files = {file.stem: OmegaConf.load(file) for file in (project_dir("conf") / "reducer").glob("*.yaml")}
    assert set(files) == {"none", *REDUCERS}
    for name, kind in REDUCERS.items():
        assert files[name]._target_ == f"ufgir.reducers.{kind.__name__}" and files[name].name == name
        assert resolve_reducer(files[name])[0] is kind is resolve_reducer(name)[0] is resolve_reducer(kind)[0]


def test_options_and_classes_are_checked():
    options = {"_target_": "ufgir.reducers.DyViT", "name": "dyvit", "keep_rate": 0.5, "ratio_weight": 3.0}
    assert resolve_reducer(options) == (REDUCERS["dyvit"], {"ratio_weight": 3.0})
    for given, parts in (
        ({"name": "dyvit", "ratio": 1}, ("dyvit", "ratio", "ratio_weight")),
        ({"name": "evti"}, ("evti", "evit")),
        ({"_target_": "ufgir.reducers.Evit"}, ("ufgir.reducers.Evit",)),
        ({"_target_": "torch.nn.Linear"}, ("Linear", "Reducer")),
        ({"_target_": "math.pi"}, ("math.pi", "Reducer")),
        (Reducer, ("num_kept", "before_block")),
    ):
        with pytest.raises(ValueError) as caught:
            resolve_reducer(given)
        assert all(part in str(caught.value) for part in parts), caught.value
