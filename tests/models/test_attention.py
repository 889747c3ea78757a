"""Explicit attention equals the fused one, gradients are the same when recomputed, and nothing waits for the host."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ufgir
from ufgir.benchmarks.contenders import with_explicit_attention
from ufgir.benchmarks.memory import activations_gb
from ufgir.cost import count_macs
from ufgir.reducers import reducer_names
from ufgir.training.module import ClassifierModule

OPTIM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}


def model_of(reducer: str, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    model = ufgir.create_model(
        "micro", num_classes=5, img_size=48, reducer=reducer, keep_rate=0.5, cache=True, head="cla", **options
    )
    return model.double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("reducer", ["none", *reducer_names()])
def test_explicit_attention_gives_the_same_logits(reducer, images):
    model = model_of(reducer).eval()
    explicit = with_explicit_attention(model)
    assert not any(block.attn.fused_attn for block in explicit.blocks)
    assert all(block.attn.fused_attn for block in model.blocks), "the model itself stays as it is"
    with torch.no_grad():
        torch.testing.assert_close(explicit(images), model(images), rtol=1e-10, atol=1e-10)
    assert count_macs(explicit, 48) > 0, "fvcore counts the products themselves; the closed form has none left to check"


@pytest.mark.parametrize("reducer", ["evit", "tome", "dyvit", "sit"])
def test_recomputed_activations_change_no_gradient(reducer, images):
    def gradients(is_recomputing: bool) -> tuple[list[torch.Tensor], float]:
        model = model_of(reducer).train()
        model.set_grad_checkpointing(is_recomputing)
        torch.manual_seed(2)
        (model(images).square().sum() + model.reducer_loss()).backward()
        found = [parameter.grad.clone() for parameter in model.parameters()]
        return found, activations_gb(model, lambda: model(images).sum())

    (plain, kept), (recomputed, kept_then) = gradients(False), gradients(True)
    for one, other in zip(plain, recomputed, strict=True):
        assert torch.equal(one, other)
    assert kept_then < kept / 2


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


@pytest.mark.parametrize("reducer", ["none", *reducer_names()])
def test_no_forward_pass_and_no_training_step_waits_for_the_host(reducer, images, monkeypatch):
    # On the CPU ATS trims its padding, for which it looks at the counts; as if compiled it does what it does on CUDA.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    model = model_of(reducer)
    module = ClassifierModule(model, 5, OPTIM, 1, 1)
    with HostWaits() as waits:
        module.train().training_step((images, torch.arange(3)), 0)
        with torch.no_grad():
            model.eval()(images)
    assert waits.found == []
