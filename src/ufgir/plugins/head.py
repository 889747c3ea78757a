"""Heads that classify from the class tokens of several blocks instead of the last one alone."""

from torch import nn


class CrossLayerHead(nn.Sequential):
    """CLA, the cross-layer aggregation head (paper, section 3.3): (B, C, G) class tokens -> (B, classes).

    Args:
        dim: width C of the class tokens.
        groups: number G of collected blocks.
        num_classes: number of classes.
        multiplier: channels of the depthwise convolution per input channel.
    """

    def __init__(self, dim: int, groups: int, num_classes: int, multiplier: int = 2) -> None:
        hidden = multiplier * dim
        super().__init__(
            nn.BatchNorm1d(dim),
            nn.Conv1d(dim, hidden, kernel_size=groups, stride=groups, groups=dim),  # (B, mC, 1)
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Conv1d(hidden, num_classes, kernel_size=1),
            nn.Flatten(1),
        )


class IntermediateFeatureHead(nn.Sequential):
    """IFA, intermediate feature aggregation (prior work): (B, C, G) class tokens -> (B, classes).

    Args:
        dim: width C of the class tokens.
        groups: number G of collected blocks.
        num_classes: number of classes.
    """

    def __init__(self, dim: int, groups: int, num_classes: int) -> None:
        super().__init__(
            nn.Linear(groups, 1),
            nn.Flatten(1),  # (B, C)
            nn.ReLU(),
            nn.LayerNorm(dim),
            nn.Linear(dim, num_classes),
        )


HEADS: dict[str, type[nn.Sequential]] = {"cla": CrossLayerHead, "ifa": IntermediateFeatureHead}
