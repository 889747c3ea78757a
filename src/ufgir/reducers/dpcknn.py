"""DPC-KNN, as in TCFormer (Zeng et al., CVPR 2022): patches are clustered by density peaks and merged."""

import torch
from torch import Tensor, nn

from ufgir.reducers.base import Reducer
from ufgir.reducers.tokens import Merge, Stage, Tokens, at_least_float32

NEIGHBOURS = 5


class DPCKNN(Reducer):
    """Merges the patch tokens into K_s = int(P * keep_rate^(s+1)) clusters; what the cache appended stays as it is.

    Stages before the last have at least 5 clusters, the last one at least 1, and never more than there are tokens. A
    merged token is the mean of its cluster, weighted by exp(Linear(x)).
    """

    spares_appended = True

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.score = nn.Linear(stage.dim, 1)

    def num_kept(self, tokens: int) -> int:
        is_last = self.stage.index == len(self.stage.keep_rates) - 1
        return min(tokens, max(self.stage.target_tokens(), 1 if is_last else NEIGHBOURS))

    def before_block(self, tokens: Tokens) -> Tokens:
        patches = tokens.body[:, : tokens.body.shape[1] - tokens.appended]  # (B, n, C)
        clusters = self.num_kept(patches.shape[1])
        cluster = cluster_by_density_peaks(patches, clusters, random_ties=self.training)
        weights = at_least_float32(self.score(patches).squeeze(-1)).exp()  # (B, n)
        total = weights.new_zeros(weights.shape[0], clusters).scatter_add(1, cluster, weights)
        weights = weights / (total.gather(1, cluster) + 1e-6)
        return tokens.assign(Merge(cluster, weights, clusters), spare_appended=True)


@torch.no_grad()
def cluster_by_density_peaks(x: Tensor, clusters: int, *, random_ties: bool = False) -> Tensor:
    """Cluster of each token of `x` (B, n, C), numbered by descending score of the centres: (B, n) in [0, clusters).

    A centre is dense and far from denser tokens: its score is density * distance to the nearest denser token. With
    `random_ties` U(0, 1e-6) is added to the densities.
    """
    distance = torch.cdist(at_least_float32(x), at_least_float32(x)) / x.shape[-1] ** 0.5  # (B, n, n)
    nearest = distance.topk(min(NEIGHBOURS, x.shape[1]), dim=-1, largest=False).values
    density = (-nearest.square().mean(dim=-1)).exp()  # (B, n)
    if random_ties:
        density = density + 1e-6 * torch.rand_like(density)
    is_denser = density.unsqueeze(1) > density.unsqueeze(2)  # (B, n, n): column denser than row
    largest = distance.amax(dim=(1, 2), keepdim=True)
    separation = torch.where(is_denser, distance, largest).amin(dim=-1)  # (B, n)
    centres = (density * separation).topk(clusters, dim=1).indices  # (B, K)
    to_centres = distance.gather(1, centres.unsqueeze(-1).expand(-1, -1, x.shape[1]))  # (B, K, n)
    own = torch.arange(clusters, device=x.device).expand_as(centres)
    return to_centres.argmin(dim=1).scatter(1, centres, own)  # (B, n)
