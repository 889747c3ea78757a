"""DynamicViT hides in training what it drops in evaluation."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import ufgir
from ufgir.reducers.dyvit import DyViT

PLUGINS = {
    "base": {}, "cla": {"head": "cla"}, "clc": {"cache": True}, "clca": {"cache": {"num_clr": 2}, "head": "cla"},
}  # fmt: skip


@pytest.mark.parametrize("plugins", PLUGINS)
def test_for_the_same_decisions_training_and_evaluation_compute_the_same(plugins, monkeypatch):
    """The policy of training is made to say what evaluation decides."""
    torch.manual_seed(0)
    sizes = {"num_classes": 5, "img_size": 64, "backbone_kwargs": {"reg_tokens": 2}}
    model = ufgir.create_model("micro", **sizes, reducer="dyvit", keep_rate=0.5, **PLUGINS[plugins]).double()
    images = torch.randn(3, 3, 64, 64).double()
    hide = DyViT._hide

    def decide_as_in_evaluation(self, tokens, scores):
        there = torch.ones_like(tokens.x[..., 0]) if tokens.policy is None else tokens.policy
        there = there[:, tokens.prefix :].bool()
        (left,) = set(there.sum(dim=1).tolist())
        best = scores[..., 0].masked_fill(~there, -torch.inf).topk(self.keeps(left), dim=1).indices
        keeps = torch.zeros_like(there).scatter(1, best, True)
        certain = torch.where(keeps[..., None], torch.tensor([90.0, -90.0]), torch.tensor([-90.0, 90.0]))
        return hide(self, tokens, certain.double())

    monkeypatch.setattr(DyViT, "_hide", decide_as_in_evaluation)
    with torch.no_grad():
        evaluated = model.eval()(images)
        model.train().head.eval()  # its BatchNorm differs by design
        trained = model(images)
    torch.testing.assert_close(trained, evaluated, rtol=0, atol=1e-5)
    assert (trained - evaluated).abs().max() < 0.01 * evaluated.std()


def test_a_hidden_token_changes_nothing_but_itself():
    torch.manual_seed(0)
    model = ufgir.create_model("micro", num_classes=5, img_size=32, reducer="dyvit", keep_rate=0.5).train()
    tokens, _ = model._embed(torch.randn(1, 3, 32, 32), False)
    policy = torch.ones(1, 17)
    policy[:, 5] = 0
    hidden = replace(tokens, policy=policy)
    changed = replace(hidden, x=hidden.x.index_fill(1, torch.tensor([5]), 3.0))
    one, other = (model._run_block(0, sequence).leaving.x for sequence in (hidden, changed))
    others = [index for index in range(17) if index != 5]
    torch.testing.assert_close(one[:, others], other[:, others], rtol=0, atol=1e-4)


def test_the_ratio_loss_pulls_the_share_of_kept_tokens_to_the_keep_rate():
    torch.manual_seed(0)
    model = ufgir.create_model("micro", num_classes=5, img_size=64, reducer="dyvit", keep_rate=0.3, cache=True).train()
    images = torch.randn(8, 3, 64, 64)
    optimizer = torch.optim.AdamW(model.reducers.parameters(), lr=3e-3)
    shares = []
    for _ in range(25):
        optimizer.zero_grad()
        model(images)
        model.reducer_loss().backward()
        optimizer.step()
        seen = []
        with torch.no_grad():
            model.forward_features(images, observe=seen.append)
        shares.append(seen[3].attended.policy[:, 1:].mean().item())
    assert abs(shares[0] - 0.5) < 0.1, "at random half of the tokens are hidden"
    assert abs(sum(shares[-5:]) / 5 - 0.3) < 0.08


def test_the_loss_of_a_forward_pass_is_neither_copied_nor_pickled():
    model = ufgir.create_model("micro", num_classes=5, img_size=32, reducer="dyvit", keep_rate=0.5).train()
    F.cross_entropy(model(torch.randn(2, 3, 32, 32)), torch.tensor([0, 1]))
    assert model.reducer_loss() > 0
    assert copy.deepcopy(model).reducer_loss() == 0.0
    assert model.eval()(torch.randn(2, 3, 32, 32)) is not None and model.reducer_loss() == 0.0
