"""The plug-ins on a timm ViT that is there already, and what PyTorch's own tools make of the result."""

import copy
import os
import pickle
import subprocess
import sys

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

import ufgir
from ufgir.errors import UserError
from ufgir.reducers import reducer_names

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 6, "num_heads": 2}
LAYERS = (1, 3, 4)
CLCA = {"cache": True, "head": "cla"}
SOME_FAST = [
    pytest.param(name, marks=[] if name in ("evit", "ats") else pytest.mark.slow) for name in ("none", *reducer_names())
]


def make_vit(**options) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(**{"num_classes": 5, **SIZES, **options}).eval()


def wrapped(reducer: str, **options) -> torch.nn.Module:
    return ufgir.wrap(make_vit(), reducer=reducer, keep_rate=0.5, reduction_layers=LAYERS, **{**CLCA, **options})


def images(batch: int = 2, size: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_without_reduction_it_computes_what_the_vit_computes():
    vit = make_vit()
    model = ufgir.wrap(vit, reduction_layers=LAYERS)
    assert torch.equal(model(images()), vit(images()))
    assert not model.training, "in the mode of the ViT"


@pytest.mark.parametrize("reducer", reducer_names())
def test_it_trains_with_any_loop_and_the_shared_part_loads_back(reducer):
    vit = make_vit()
    before = copy.deepcopy(vit.state_dict())
    model = ufgir.wrap(vit, reducer=reducer, keep_rate=0.5, reduction_layers=LAYERS, cache=True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model(images(4)), torch.arange(4)) + model.reducer_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items()), "the ViT stays as it is"
    missing, unexpected = vit.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert all(name.startswith(("cache.", "reducers.")) for name in unexpected)
    assert torch.equal(vit.blocks[2].mlp.fc1.weight, model.blocks[2].mlp.fc1.weight)


def test_classes_and_size_come_from_the_vit_unless_given():
    vit = make_vit()
    model = ufgir.wrap(vit, num_classes=7, img_size=64, reduction_layers=LAYERS)
    assert model(images(1, 64)).shape == (1, 7)
    assert vit(images(1)).shape == (1, 5)
    bigger = timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=64)
    resampled = ufgir.wrap(timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32), img_size=64)
    assert resampled.pos_embed.shape == bigger.pos_embed.shape
    assert ufgir.wrap(vit, reduction_layers=LAYERS, **CLCA)(images()).shape == (2, 5)


def test_new_parts_are_where_and_as_the_vit_is():
    model = ufgir.wrap(make_vit().double(), reducer="sit", keep_rate=0.5, reduction_layers=LAYERS, **CLCA)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    frozen = make_vit().requires_grad_(False)
    model = ufgir.wrap(frozen, reducer="sit", keep_rate=0.5, reduction_layers=LAYERS, **CLCA)
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"cache", "reducers", "head"}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: timm.create_model("resnet10t"), "it is a ResNet, not a plain VisionTransformer"),
        (lambda: make_vit(class_token=False, global_pool="avg"), "it has no class token"),
        (lambda: make_vit(num_classes=0), "give num_classes"),
        (lambda: wrapped("evit"), "it is a ReducedViT"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_with_the_reason(make, reason):
    with pytest.raises(UserError, match=reason):
        ufgir.wrap(make(), reduction_layers=LAYERS)


def test_a_size_that_does_not_fit_the_patches_is_refused():
    with pytest.raises(UserError, match="img_size=36: expected a multiple of the patch size, 8 x 8"):
        ufgir.wrap(make_vit(), img_size=36, reduction_layers=LAYERS)


@pytest.mark.parametrize("reducer", SOME_FAST)
def test_compiled_as_one_graph(reducer):
    """ATS, too: compiled, it pads to its budget."""
    model = wrapped(reducer)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), model(images()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("reducer", SOME_FAST)
def test_compiled_training_step(reducer):
    model = wrapped(reducer).train()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    (F.cross_entropy(compiled(images()), torch.tensor([0, 1])) + model.reducer_loss()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("reducer", SOME_FAST)
def test_exported(reducer):
    model = wrapped(reducer)
    exported = torch.export.export(model, (images(),)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images()), model(images()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("reducer", ["none", *reducer_names()])
def test_copied_and_pickled(reducer):
    model = wrapped(reducer)
    model.train()(images())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            assert torch.equal(twin.eval()(images()), model.eval()(images()))


DDP = """
import torch, torch.distributed as dist, torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from timm.models.vision_transformer import VisionTransformer
import ufgir
from ufgir.reducers import reducer_names

dist.init_process_group("gloo")
torch.set_num_threads(1)
for reducer in ("none", *reducer_names()):
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=6, num_heads=2, num_classes=5)
    model = ufgir.wrap(vit, reducer=reducer, keep_rate=0.5, reduction_layers=(1, 3, 4), cache=True, head="cla")
    parallel = DistributedDataParallel(model)
    torch.manual_seed(dist.get_rank())
    for _ in range(3):  # a parameter without a gradient would be an error in the second step
        loss = F.cross_entropy(parallel(torch.randn(2, 3, 32, 32)), torch.tensor([0, 1])) + model.reducer_loss()
        loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    gathered = [torch.zeros_like(gradient) for _ in range(2)]
    dist.all_gather(gathered, gradient)
    assert torch.equal(*gathered), reducer
    print(reducer, "ok", flush=True)
dist.destroy_process_group()
"""


def test_two_processes(tmp_path):
    (tmp_path / "train.py").write_text(DDP)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    finished = subprocess.run(
        launch, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=110
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("ok") == 2 * (1 + len(reducer_names()))


@pytest.mark.slow
@pytest.mark.parametrize("reducer", ["evit", "tome", "ats"])
def test_compiled_for_real(reducer):
    model = wrapped(reducer)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), model(images()), rtol=0, atol=1e-4)
