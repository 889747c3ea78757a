"""What is timed: a model as it is, timm's own without reduction, and the model with explicit attention."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ufgir.benchmarks.memory import activations_gb, peak_gb, state_bytes
from ufgir.models import backbones
from ufgir.runs.build import build_model, speed_up
from ufgir.training.optimizer import make_optimizer

OURS, UNREDUCED, EXPLICIT = "ours", "unreduced", "explicit"
MODES = ("eval", "train")


def contenders(config: Mapping[str, Any], num_classes: int) -> dict[str, nn.Module]:
    """The model of a configuration and what it is compared with, all with random weights.

    Its neighbours in this order, which is that of the measurements, are the two that it is compared with.
    """
    torch.manual_seed(config["seed"])
    ours = build_model(config, num_classes, with_weights=False)
    backbone = config["backbone"]
    unreduced = backbones.build(
        backbone["name"], num_classes=num_classes, img_size=config["image_size"], kwargs=backbone["kwargs"]
    )
    return {UNREDUCED: unreduced, OURS: ours, EXPLICIT: with_explicit_attention(ours)}


def with_explicit_attention(model: VisionTransformer) -> VisionTransformer:
    """A copy whose blocks form whole attention matrices, as the reference does (and timm, if told so)."""
    model = deepcopy(model)
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


@dataclass
class Contender:
    """One model with all that a step of it needs.

    Attributes:
        model: on its device, in the mode in which it is measured.
        images, targets: a batch (B, 3, S, S) and class ids (B,), there as well.
        precision: one of Lightning's.
        optimizer: of a training step; None in evaluation.
    """

    model: nn.Module
    images: Tensor
    targets: Tensor
    precision: str
    optimizer: torch.optim.Optimizer | None = None

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.images.device.type, enabled=self.precision == "16-mixed")

    @property
    def step(self) -> Callable[[], None]:
        """One forward pass or, with an optimiser, one step of training."""
        return self._evaluate if self.optimizer is None else self._train

    def peak_gb(self) -> float:
        """Most memory that the model and one step of it hold, 10^9 bytes."""
        self.step()  # the optimiser makes its state in its first step
        return peak_gb(self.step, state_bytes(self.model, self.optimizer), self.images.device)

    def activations_gb(self) -> float:
        """What a training step keeps for its way back, 10^9 bytes."""
        return activations_gb(self.model, self._loss)

    @torch.inference_mode()
    def _evaluate(self) -> None:
        with self._autocast():
            self.model(self.images)

    def _train(self) -> None:
        self.scaler.scale(self._loss()).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def _loss(self) -> Tensor:
        with self._autocast():
            loss = F.cross_entropy(self.model(self.images), self.targets)
            return loss + self.model.reducer_loss() if hasattr(self.model, "reducer_loss") else loss

    def _autocast(self) -> torch.autocast:
        kinds = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
        kind = kinds.get(self.precision)
        return torch.autocast(self.images.device.type, dtype=kind, enabled=kind is not None)


def contender(model: nn.Module, config: Mapping[str, Any], mode: str, device: torch.device) -> Contender:
    """A model ready to be measured in `mode`, with a batch of noise.

    Args:
        model: any classifier of timm's or ours.
        config: a resolved configuration: batch size, image size, precision, optimiser, compilation.
        mode: `eval` or `train`.
        device: where it runs.
    """
    batch, size, words = config["optim"]["batch_size"], config["image_size"], config["trainer"]
    model = model.to(device).train(mode == "train")
    speed_up(model, words, for_test=mode == "eval")
    generator = torch.Generator().manual_seed(config["seed"])
    images = torch.randn(batch, 3, size, size, generator=generator).to(device)
    targets = (torch.arange(batch) % model.num_classes).to(device)
    optimizer = make_optimizer(model, config["optim"]) if mode == "train" else None
    return Contender(model, images, targets, words["precision"], optimizer)
