"""What the points of the figures are."""

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from ufgir.reports import figures, run_figures
from ufgir.reports.cells import cells_of
from ufgir.reports.drawing import legend, over_backbones, panels, picture

POINT = ["plugins", "keep_rate"]


def cells(*rows: tuple) -> pd.DataFrame:
    """Cells (backbone, plugins, keep_rate, mean)."""
    frame = pd.DataFrame(rows, columns=["backbone", "plugins", "keep_rate", "mean"])
    return frame.assign(std=1.0, gmacs=frame["keep_rate"].astype(float), dataset="one", image_size=32, reducer="evit")


def test_points_are_means_over_the_same_backbones():
    rows = [(name, plugins, "0.1", value) for name, value in (("a", 10), ("b", 30)) for plugins in ("base", "clca")]
    points, who = over_backbones(cells(*rows, ("c", "base", "0.1", 90)), POINT)
    assert points["mean"].tolist() == [20, 20] and who == "2 backbones", "c has no clca"
    assert points["std"].isna().all()


def test_a_point_of_few_backbones_is_left_out():
    rows = [(name, "base", "0.1", 10) for name in "abc"]
    points, who = over_backbones(cells(*rows, ("a", "ifa", "0.1", 50)), POINT)
    assert points["plugins"].tolist() == ["base"] and who == "3 backbones"


def test_backbones_with_nothing_in_common_are_told():
    points, who = over_backbones(cells(("a", "base", "0.1", 10), ("b", "base", "0.5", 20)), POINT)
    assert points["mean"].tolist() == [10, 20] and who == "2 backbones, not all at every point"


def test_backbones_each_at_another_point_all_stay():
    apart = cells(*(("abc"[n], plugins, f"0.{n + 1}", 10 * n) for n in range(3) for plugins in ("base", "clca")))
    points, who = over_backbones(apart, POINT)
    assert points["mean"].tolist() == [0, 0, 10, 10, 20, 20] and who == "3 backbones, not all at every point"
    assert figures.accuracy_against_gmacs(apart) and figures.ablation(apart)
    assert figures.reducers_against_gmacs(pd.concat([apart, apart.assign(reducer="tome")]))


def test_nothing_with_a_label_has_no_legend():
    figure, axes = panels([2.0], 1, 2.0)
    legend(figure, axes, 1)
    assert not figure.legends


def test_one_backbone_keeps_its_spread():
    points, who = over_backbones(cells(("a", "base", "0.5", 10), ("a", "base", "0.1", 10)), POINT)
    assert points["std"].tolist() == [1, 1] and points["gmacs"].tolist() == [0.1, 0.5] and who == "a"


def test_figures_of_several_reducers_and_devices(runs, tmp_path):
    tome = runs.assign(reducer="tome", images_per_second=100.0, device="a device")
    both = cells_of(pd.concat([runs, tome]).assign(gmacs=1.0))
    drawn = [figures.reducers_against_gmacs(both), run_figures.accuracy_against_speed(tome)]
    for figure in drawn:
        figure.write(tmp_path)
    with Image.open(tmp_path / "reducers_gmacs.png") as image:
        wide, high = image.size
    assert wide > 1500 and high > 900, "two panels beside each other"
    assert (tmp_path / "speed.svg").read_bytes() != drawn[1].narrow_svg


def test_runs_that_give_no_figure(runs):
    base = cells_of(runs[runs["plugins"] == "base"])
    assert figures.accuracy_against_gmacs(base) is None, "their GMACs are unknown"
    assert figures.reducers_against_gmacs(base) is None and figures.boxes_by_reducer(base) is None
    assert figures.ablation(base) is None and run_figures.accuracy_against_speed(runs) is None
    assert run_figures.differences_by_reducer(None) is None


def test_the_style_ends_with_the_figure():
    before = dict(matplotlib.rcParams)
    picture("p", "A title", "A caption.", lambda columns: Figure())
    assert dict(matplotlib.rcParams) == before
