"""The authors' runs as they ship."""

import pytest
import torch

import ufgir
from ufgir.config.identity import PLUGINS
from ufgir.report.cells import paper_cells

TABLE1 = {"0.1": (55.6, 87.4, 61.1), "0.7": (67.8, 88.3, 58.2)}  # clca of evit on deit3_b at 448 px
COSTS = {  # GMACs of ViT-B/16 with EViT at 0.1, 0.25, 0.5, 0.7 and without reduction, as the paper has them
    (448, "base"): (24.8, 28.6, 38.2, 50.2, 78.5), (448, "clca"): (25.2, 29.0, 38.8, 50.9, 79.5),
    (224, "base"): (5.64, 6.53, 8.82, 11.6, 17.6), (224, "clca"): (5.96, 6.97, 9.32, 12.2, 18.4),
}  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    names = ["reducer", "backbone", "image_size", "plugins", "keep_rate", "dataset"]
    return paper_cells().set_index(names).sort_index()


def test_the_shipped_runs_are_the_papers(cells):
    assert (len(cells), cells["n"].sum()) == (1919, 4458)
    for rate, expected in TABLE1.items():
        row = cells.loc[("evit", "deit3_b", 448, "clca", rate), "mean"]
        assert tuple(row[["cotton80", "soyageing", "soyglobal"]].round(1)) == expected


@pytest.mark.parametrize(("size", "plugins"), COSTS)
def test_the_shipped_costs_are_the_papers(cells, size, plugins):
    for rate, expected in zip(("0.1", "0.25", "0.5", "0.7", "1"), COSTS[size, plugins], strict=True):
        reducer = "none" if rate == "1" else "evit"
        costs = cells.xs((reducer, size, plugins, rate), level=[0, 2, 3, 4]).xs("soygene", level="dataset")["gmacs"]
        assert len(costs) == 9 and costs.to_numpy() == pytest.approx(expected, rel=0.004)


@pytest.mark.parametrize(
    "cell", [("sit", "vit_b_mocov3", 224, "cla", "0.25"), ("tome", "deit3_b", 224, "base", "0.25")]
)
def test_the_shipped_costs_are_counted_again(cells, cell):
    reducer, backbone, size, plugins, rate = cell
    budget = {"keep_rate": float(rate)}
    if reducer == "tome":
        budget = {"keep_rate": 0.5, "reduction_layers": [2, 3, 5, 6, 8, 9]}
    head, cache = PLUGINS[plugins]
    torch.manual_seed(0)
    options = dict(num_classes=200, img_size=size, reducer=reducer, head=head, cache=cache, **budget)
    count = ufgir.count_macs(ufgir.create_model(backbone, **options), size) / 1e9
    assert cells.loc[(*cell, "soylocal"), "gmacs"] == pytest.approx(count, abs=1e-4)
