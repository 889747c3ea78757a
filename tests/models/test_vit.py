"""The adapter: equal to timm where nothing is reduced, sound where something is, changeable when built."""

import copy
import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch.utils._python_dispatch import TorchDispatchMode

import ufgir
from ufgir.errors import UfgirWarning, UserError
from ufgir.models import ReducedViT, count_macs
from ufgir.reducers import REDUCERS, Keep, Reducer
from ufgir.reducers.dyvit import DyViT

MICRO = {"backbone": "micro", "num_classes": 5, "img_size": 32}
SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 6, "num_heads": 2}
LAYERS = (1, 3, 4)
CLCA = {"cache": True, "head": "cla"}
ALL = ["none", *REDUCERS]
TOKEN_FREE = ("none", "tome", "dpcknn", "sit", "patchmerger", "dyvit")


def make_vit(**options) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(**{"num_classes": 5, **SIZES, **options}).eval()


def wrapped(reducer, keep_rate=0.5, vit=None, **options) -> ReducedViT:
    options = {"reduction_layers": LAYERS, **CLCA, **options}
    torch.manual_seed(1)
    return ufgir.wrap(vit or make_vit(), reducer=reducer, keep_rate=keep_rate, **options)


def images(batch=2, size=32, seed=0):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_rates_of_each_stage_and_other_layers():
    layers, rates = (0, 4, 11), [0.5, 1.0, 0.25]
    model = ufgir.create_model(**MICRO, reducer="topk", keep_rate=rates, reduction_layers=layers, head="cla")
    assert list(model.reducers) == ["0", "11"], "a rate of 1 owns nothing"
    assert model.collected_layers == (0, 4, 11)
    assert model.tokens_after_block(images(1)) == [9] * 11 + [3]


@pytest.mark.filterwarnings("ignore::ufgir.errors.UfgirWarning")  # ToMe below 0.5
@pytest.mark.parametrize("reducer", ["topk", "evit", "tome", "ats", "dyvit", "dpcknn"])
def test_a_new_keep_rate_gives_the_logits_of_a_model_built_with_it(reducer):
    model = wrapped(reducer, 0.5)
    for rate in (0.2, [0.9, 0.3, 0.6], 1.0, [1.0, 0.5, 1.0], 0.7):
        model.set_keep_rate(rate)
        twin = wrapped(reducer, rate)
        twin.load_state_dict({key: model.state_dict()[key] for key in twin.state_dict()})
        assert torch.equal(model(images()), twin(images())), rate


def test_a_new_keep_rate_is_refused_where_weights_depend_on_it():
    for reducer in ("sit", "patchmerger"):
        model = wrapped(reducer, 0.5)
        before = model(images())
        with pytest.raises(ValueError, match=f"keep_rate=0.25.*reducer={reducer}.*layer 1"):
            model.set_keep_rate(0.25)
        assert torch.equal(model(images()), before)
        model.set_keep_rate([0.5, 0.5, 0.51])  # the same numbers of tokens
        assert torch.equal(model(images()), before)
    with pytest.raises(ValueError, match="reducer=dyvit.*layer 3.*built at keep_rate=1"):
        wrapped("dyvit", [0.5, 1.0, 0.5]).set_keep_rate(0.5)
    topk = wrapped("topk", 1.0)
    topk.set_keep_rate(0.5)
    assert list(topk.reducers) == ["1", "3", "4"] and not topk.reducers["1"].training
    with pytest.raises(ValueError, match="reducer=none"):
        wrapped("none").set_keep_rate(0.5)
    with pytest.raises(ValueError, match="greater than 0"):
        topk.set_keep_rate(0)


@pytest.mark.parametrize("head", ["linear", "cla", "ifa", {"name": "cla", "multiplier": 3}])
def test_a_new_classifier(head):
    model = wrapped("evit", head=head).double().train()
    shapes = {name: value.shape for name, value in wrapped("evit", head=head).state_dict().items()}
    model.reset_classifier(7)
    assert model(images().double()).shape == (2, 7) and model.num_classes == 7
    assert {p.dtype for p in model.parameters()} == {torch.float64} and model.head.training
    model.reset_classifier(0)
    assert model.eval()(images().double()).shape == (2, 32 * {"linear": 1, "cla": 2, "ifa": 1}.get(str(head), 3))
    model.reset_classifier(5)
    assert {name: value.shape for name, value in model.state_dict().items()} == shapes and not model.head.training
    if head == "linear":
        model.reset_classifier(3, "avg")
        assert model.global_pool == "avg"
    with pytest.raises(ValueError, match="global_pool='max'.*'token'"):
        model.reset_classifier(3, "max")


@pytest.mark.parametrize("reducer", ALL)
@pytest.mark.parametrize("pool", ["avg", "map"])
def test_a_vit_without_a_class_token(reducer, pool):
    vit = make_vit(class_token=False, global_pool=pool, reg_tokens=1)
    options = {"vit": vit, "cache": False, "head": "linear"}
    if reducer not in TOKEN_FREE or (reducer, pool) == ("dyvit", "map"):
        with pytest.raises(UserError, match=f"reducer={reducer} .*; choose .*tome"):
            wrapped(reducer, **options)
        return
    model = wrapped(reducer, **options).double()
    tokens = model.tokens_after_block(images().double())
    assert tokens[-1] == (17 if reducer == "none" else 1 + max(2, REDUCERS[reducer] is REDUCERS["dpcknn"]))
    together = model(images().double())
    torch.testing.assert_close(together, torch.cat([model(image[None]) for image in images().double()]))
    (model.train()(images().double()).sum() + model.reducer_loss()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_without_a_class_token_cache_and_heads_are_refused():
    with pytest.raises(UserError) as caught:
        wrapped("evit", vit=make_vit(class_token=False, global_pool="avg"))
    assert len(caught.value.messages) == 3
    with pytest.raises(UserError, match="reducer=ats masks tokens"):
        wrapped("ats", vit=make_vit(global_pool="map"), head="linear", cache=False)


@pytest.mark.parametrize("part", ["blocks.5", "blocks.5.attn", "blocks.5.mlp"])
def test_hooks_of_a_block_and_its_parts_are_called_for_few_tokens(part):
    model, seen = wrapped("evit"), []
    before = model(images())
    model.get_submodule(part).register_forward_hook(lambda module, args, output: seen.append(output))
    assert torch.equal(model(images()), before) and len(seen) == 1


class KeepFirst(Reducer):
    """Keeps the first tokens: a reducer of a user's own."""

    def __init__(self, stage, least: int = 1) -> None:
        super().__init__(stage)
        self.least = least

    def num_kept(self, tokens: int) -> int:
        return max(self.least, int(tokens * self.stage.keep_rate))

    def before_block(self, tokens):
        index = torch.arange(self.num_kept(tokens.body.shape[1]), device=tokens.x.device)
        return tokens.assign(Keep(index.expand(tokens.x.shape[0], -1)))


class MeanHead(torch.nn.Linear):
    """A head of a user's own."""

    def __init__(self, dim, groups, num_classes, scale=1.0):
        super().__init__(dim, num_classes)
        self.scale = scale

    def forward(self, x):
        return super().forward(x.mean(dim=-1)) * self.scale


def test_a_reducer_and_a_head_of_ones_own():
    reducer = {"_target_": "models.test_vit.KeepFirst", "name": "first", "keep_rate": 0.5, "least": 3}
    head = {"_target_": "models.test_vit.MeanHead", "scale": 2.0}
    model = wrapped(reducer, head=head, cache=False)
    assert model.tokens_after_block(images()) == [17, 9, 9, 5, 4, 4]
    twin = wrapped(KeepFirst, head=MeanHead, cache=False)
    torch.testing.assert_close(model.head(torch.ones(1, 32, 4)), 2 * twin.head(torch.ones(1, 32, 4)))
    model.set_keep_rate(0.9)
    model.reset_classifier(3)
    assert model(images()).shape == (2, 3)
    with pytest.raises(ValueError, match="'most'; its options are least"):
        wrapped({**reducer, "most": 1})


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"reducer": "evit", "keep_rate": 0.0}, ["keep_rate=0.0", "greater than 0 and at most 1"]),
        ({"reducer": "evit", "keep_rate": [0.5, 0.5]}, ["keep_rate=[0.5, 0.5]", "one number or 3"]),
        ({"reduction_layers": (3, 12)}, ["reduction_layers=[3, 12]", "0 to 11"]),
        ({"head": "clo"}, ["head='clo'", "linear, cla, ifa"]),
        ({"head": {"name": "cla", "width": 2}}, ["cla", "width", "multiplier"]),
        ({"cache": {"clr": 2}}, ["clr", "num_clr"]),
    ],
)
def test_a_wrong_option_says_what_is_allowed(options, parts):
    with pytest.raises(ValueError) as caught:
        ufgir.create_model(**MICRO, **options)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_tome_warns_where_it_cannot_merge_as_much_as_asked():
    with pytest.warns(UfgirWarning, match="of 196 patches 98, 80, 79 are left .* asks for 19, 1, 1. Merge at more"):
        model = ufgir.create_model("deit_t", num_classes=5, reducer="tome", keep_rate=0.1)
    counts = model.tokens_after_block(images(1, 224))
    assert [counts[layer] - 1 for layer in (3, 6, 9)] == [98, 80, 79]
    with pytest.warns(UfgirWarning, match=r"\(without the cross-layer"):
        ufgir.create_model("deit_t", num_classes=5, reducer="tome", keep_rate=0.1, cache=True)


@pytest.mark.parametrize("reducer", list(REDUCERS))
def test_the_vit_stays_as_it_is_and_the_shared_part_loads_back(reducer):
    vit = make_vit()
    before = copy.deepcopy(vit.state_dict())
    model = wrapped(reducer, vit=vit, head="linear").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (F.cross_entropy(model(images(4)), torch.arange(4)) + model.reducer_loss()).backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
    missing, unexpected = vit.load_state_dict(model.state_dict(), strict=False)
    assert not missing and all(name.startswith(("cache.", "reducers.")) for name in unexpected)


def test_classes_size_precision_and_device_come_from_the_vit():
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=6).double()
    model = ufgir.wrap(vit, num_classes=7, img_size=64, reduction_layers=LAYERS, reducer="sit", keep_rate=0.5, **CLCA)
    assert model(images(2, 64).double()).shape == (2, 7) and model.pos_embed.shape[1] == 17
    assert {p.dtype for p in model.parameters()} == {torch.float64} and vit.num_classes == 5
    frozen = wrapped("sit", vit=make_vit().requires_grad_(False))
    trained = {name.split(".")[0] for name, p in frozen.named_parameters() if p.requires_grad}
    assert trained == {"cache", "reducers", "head"}
    head, norm = vit.head, vit.norm
    ReducedViT(vit, reducer="evit", keep_rate=0.5, reduction_layers=LAYERS, **CLCA)
    assert vit.head is head and vit.norm is norm and not hasattr(vit, "cache")


@pytest.mark.parametrize(
    ("make", "options", "reason"),
    [
        (lambda: timm.create_model("resnet10t"), {}, "it is a ResNet, not a plain VisionTransformer"),
        (lambda: make_vit(num_classes=0), {}, "give num_classes"),
        (lambda: wrapped("evit"), {}, "it is a ReducedViT"),
        (make_vit, {"img_size": 36}, "img_size=36: .* 8 x 8"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_with_the_reason(make, options, reason):
    with pytest.raises(UserError, match=reason):
        ufgir.wrap(make(), reduction_layers=LAYERS, **options)


@pytest.mark.parametrize("reducer", ALL)
def test_explicit_and_recomputed_attention_change_nothing(reducer):
    model = wrapped(reducer).double()
    explicit = copy.deepcopy(model)
    for block in explicit.blocks:
        block.attn.fused_attn = False
    with torch.no_grad():
        torch.testing.assert_close(explicit(images().double()), model(images().double()), rtol=1e-10, atol=1e-10)
    assert count_macs(explicit, 32) > 0, "fvcore counts the products themselves; nothing is left to check"
    gradients = []
    for is_recomputing in (False, True):
        twin = copy.deepcopy(model).train()
        twin.set_grad_checkpointing(is_recomputing)
        torch.manual_seed(2)
        (twin(images().double()).square().sum() + twin.reducer_loss()).backward()
        gradients.append([parameter.grad for parameter in twin.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


class HostWaits(TorchDispatchMode):
    """Notes operators whose result the host must wait for on a CUDA device."""

    NAMES = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in str(func) for name in self.NAMES):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("reducer", ALL)
def test_no_pass_waits_for_the_host(reducer, monkeypatch):
    # On the CPU ATS trims its padding, for which it looks at the counts; as if compiled it does what it does on CUDA.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    model = wrapped(reducer).train()
    with HostWaits() as waits:
        (F.cross_entropy(model(images()), torch.tensor([0, 1])) + model.reducer_loss()).backward()
        with torch.no_grad():
            model.eval()(images())
    assert waits.found == []


FAST = [("evit", "train"), ("ats", "export")]
SLOW = [(reducer, mode) for reducer in ALL for mode in ("eval", "train", "export", "inductor")]


@pytest.mark.parametrize(
    ("reducer", "mode"), [pytest.param(*case, marks=[] if case in FAST else pytest.mark.slow) for case in SLOW]
)
def test_compiled_and_exported(reducer, mode):
    """ATS, too: compiled, it pads to its budget."""
    model = wrapped(reducer).train(mode == "train")
    torch.compiler.reset()
    if mode == "train":
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        (F.cross_entropy(compiled(images()), torch.tensor([0, 1])) + model.reducer_loss()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        return
    with torch.no_grad():
        if mode == "export":
            compiled = torch.export.export(model, (images(),)).module()
        else:
            compiled = torch.compile(model, fullgraph=True, backend="aot_eager" if mode == "eval" else "inductor")
        torch.testing.assert_close(compiled(images()), model(images()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("reducer", ALL)
def test_copied_and_pickled(reducer):
    model = wrapped(reducer).train()
    model(images())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.reducer_loss() == 0.0, "the loss of a forward pass belongs to its graph"
        with torch.no_grad():
            assert torch.equal(twin.eval()(images()), model.eval()(images()))


@pytest.mark.parametrize("plugins", [{}, {"head": "cla"}, {"cache": True}, {"cache": {"num_clr": 2}, "head": "cla"}])
def test_dynamic_vit_computes_in_training_what_it_computes_in_evaluation(plugins, monkeypatch):
    """The policy of training is made to say what evaluation decides."""
    torch.manual_seed(0)
    sizes = {"num_classes": 5, "img_size": 64, "backbone_kwargs": {"reg_tokens": 2}}
    model = ufgir.create_model("micro", **sizes, reducer="dyvit", keep_rate=0.5, **plugins).double()
    batch = images(3, 64).double()
    hide = DyViT._hide

    def decide_as_in_evaluation(self, tokens, scores):
        there = torch.ones_like(tokens.x[..., 0]) if tokens.policy is None else tokens.policy
        there = there[:, tokens.prefix :].bool()
        (left,) = set(there.sum(dim=1).tolist())
        best = scores[..., 0].masked_fill(~there, -torch.inf).topk(self.num_kept(left), dim=1).indices
        keeps = torch.zeros_like(there).scatter(1, best, True)
        certain = torch.where(keeps[..., None], torch.tensor([90.0, -90.0]), torch.tensor([-90.0, 90.0]))
        return hide(self, tokens, certain.double())

    monkeypatch.setattr(DyViT, "_hide", decide_as_in_evaluation)
    with torch.no_grad():
        evaluated = model.eval()(batch)
        model.train().head.eval()  # its BatchNorm differs by design
        trained = model(batch)
    torch.testing.assert_close(trained, evaluated, rtol=0, atol=1e-5)
    assert (trained - evaluated).abs().max() < 0.01 * evaluated.std()


@pytest.mark.slow
@pytest.mark.parametrize("reducer", ALL)
def test_learns_eight_images(reducer):
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 5
    rate = 1.0 if reducer == "none" else 0.5
    model = ufgir.create_model(**MICRO, reducer=reducer, keep_rate=rate, **CLCA).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        logits = model(images)
        (F.cross_entropy(logits, labels) + model.reducer_loss()).backward()
        optimizer.step()
    assert torch.equal(logits.argmax(dim=1), labels)
