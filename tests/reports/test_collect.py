"""What a report reads: run folders and CSV files, and what it says of those that it cannot use."""

import pandas as pd
import pytest

import ufgir
from ufgir.errors import UserError
from ufgir.reports.collect_csv import read_runs
from ufgir.reports.collect_folders import read_folders
from ufgir.reports.gmacs import with_gmacs
from ufgir.reports.recount import recount


def test_a_real_run(trained):
    collected = read_folders(trained.parent)
    (row,) = collected.runs.to_dict("records")
    words = ("dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "seed", "lr", "num_classes")
    assert [row[word] for word in words] == ["csv", "micro", "evit", "0.5", 32, "clca", 1, 5e-4, 4]
    assert row["gmacs_source"] == "run" and row["gmacs"] > 0 and row["images_per_second"] > 0
    assert row["run"] == trained.name and row["variant"] == ""
    steps = collected.gradients
    assert steps["step"].tolist() == [1, 2, 3, 4] and (steps["grad_max"] >= steps["grad_mean"]).all()
    assert collected.skipped == []


def test_other_folders_are_named(copy_run, tmp_path):
    copy_run("a/good-0123456789", {})
    copy_run("b/failed", {"status": "failed"})
    (copy_run("c/unfinished", {}) / "results.json").unlink()
    copy_run("d/moved-0123456789", {"config.dataset.root": "/of/another/machine"})
    collected = read_folders(tmp_path / "outputs")
    assert collected.runs["run"].tolist() == ["a/good-0123456789"] and collected.runs["variant"].tolist() == [""]
    assert collected.skipped == [
        "b/failed: failed", "c/unfinished: unfinished", "d/moved-0123456789: the same run as a/good-0123456789",
    ]  # fmt: skip


def test_runs_of_other_settings_are_no_seeds_of_a_cell(copy_run, tmp_path):
    for number, rate in enumerate((1e-4, 1e-4, 5e-4)):
        copy_run(f"run{number}", {"config.optim.lr": rate, "seed": number, "config.output_root": f"elsewhere{number}"})
    variants = read_folders(tmp_path / "outputs").runs["variant"].tolist()
    assert variants == ["optim.lr=0.0001", "optim.lr=0.0001", "optim.lr=0.0005"]


def test_models_of_one_name_are_no_seeds_of_a_cell(copy_run, tmp_path):
    sizes = {"plain": {}, "same": {"depth": 12}, "deep": {"depth": 24}, "wide": {"embed_dim": 128, "mlp_ratio": 2.0}}
    for number, (name, own) in enumerate(sizes.items()):
        changes = {f"config.backbone.kwargs.{key}": value for key, value in own.items()}
        copy_run(name, {**changes, "seed": number if name == "same" else 10})
    copy_run("rate", {"config.backbone.kwargs.depth": 24, "config.keep_rate": 0.1})
    runs = read_folders(tmp_path / "outputs").runs.set_index("run")
    assert runs["backbone"].unique().tolist() == ["micro"]
    assert runs["variant"].to_dict() == {
        "plain": "", "same": "", "deep": "backbone.kwargs.depth=24", "rate": "backbone.kwargs.depth=24",
        "wide": "backbone.kwargs.embed_dim=128 backbone.kwargs.mlp_ratio=2.0",
    }  # fmt: skip


def test_a_size_that_all_runs_share_makes_no_variant(copy_run, tmp_path):
    for seed in (1, 10):
        copy_run(f"s{seed}", {"config.backbone.kwargs.depth": 24, "seed": seed})
    assert read_folders(tmp_path / "outputs").runs["variant"].tolist() == ["", ""]


def test_weights_and_data_without_a_name_go_by_that_of_their_file_or_folder(copy_run, tmp_path):
    for seed, (name, folder) in enumerate({"theirs": None, "a": "/here", "moved": "/there", "b": "/here"}.items()):
        file = folder and f"{folder}/{name.replace('moved', 'a')}.pth"
        copy_run(f"weights/{name}", {"config.backbone.checkpoint": file, "seed": seed})
    for seed, root in enumerate(("/here/one", "/there/one", "/here/two")):
        copy_run(f"data/{seed}", {"config.dataset.root": root, "seed": seed})
    variants = [read_folders(tmp_path / "outputs" / name).runs["variant"].tolist() for name in ("weights", "data")]
    a, b = (f'backbone.checkpoint="{name}.pth"' for name in "ab")
    assert variants == [[a, b, a, ""], ['dataset.root="one"', 'dataset.root="one"', 'dataset.root="two"']]


def test_runs_that_no_setting_tells_apart_are_both_kept(copy_run, tmp_path):
    for name, seed in (("old-0000000001", 1), ("new-0000000002", 1), ("mine", 1), ("other-0000000003", 10)):
        copy_run(name, {"seed": seed})
    collected = read_folders(tmp_path / "outputs")
    assert collected.skipped == []
    assert dict(zip(collected.runs["run"], collected.runs["variant"], strict=True)) == {
        "old-0000000001": "run=0000000001", "new-0000000002": "run=0000000002", "mine": "run=mine",
        "other-0000000003": "",
    }  # fmt: skip


def test_tome_at_the_papers_six_layers_is_keep_rate_a_quarter(copy_run, tmp_path):
    tome = {"config.reducer": {"name": "tome"}, "config.keep_rate": 0.5}
    copy_run("six", {**tome, "config.reduction_layers": [2, 3, 5, 6, 8, 9]})
    copy_run("three", tome)
    copy_run("list", {"config.keep_rate": [0.7, 0.5, 0.3]})
    runs = read_folders(tmp_path / "outputs").runs.set_index("run")
    assert runs["keep_rate"].to_dict() == {"six": "0.25", "three": "0.5", "list": "0.7 0.5 0.3"}


def test_unreadable_results_are_refused(copy_run, tmp_path):
    (copy_run("half", {}) / "results.json").write_text('{"status": "fin')
    copy_run("poor", {"config": {}})
    with pytest.raises(UserError, match="(?s)2 faults.*half/results.json cannot be read.*poor/results.json.*delete it"):
        read_folders(tmp_path / "outputs")


def test_nothing_to_report(copy_run, tmp_path):
    with pytest.raises(UserError, match="holds no run folder"):
        read_folders(tmp_path)
    copy_run("failed", {"status": "failed"})
    with pytest.raises(UserError, match="holds 1 unfinished or failed runs and no other"):
        read_folders(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("test_top1", None, r"lacks the columns test_top1; .* Did you mean test_top_1\?"),
        ("test_top1", "high", "test_top1 is 'high' in line 3; expected a number"),
        ("keep_rate", "1.5", r"keep_rate is '1.5' in line 3; expected one in \(0, 1\]"),
        ("seed", "", "seed is empty in line 3"),
    ],
)
def test_faults_of_a_csv(csv_file, column, values, message):
    frame = pd.read_csv(csv_file, dtype=str)
    if values is None:
        frame = frame.rename(columns={column: "test_top_1"})
    else:
        frame.loc[1, column] = values
    frame.to_csv(csv_file, index=False)
    with pytest.raises(UserError, match=message):
        read_runs(csv_file)


@pytest.mark.parametrize(("content", "message"), [("", "cannot be read"), (b"\xff\xfe\x00", "cannot be read"),
                                                  (None, "has no rows")])  # fmt: skip
def test_files_that_hold_no_runs(csv_file, content, message):
    content = csv_file.read_text().splitlines()[0] if content is None else content
    csv_file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=message):
        read_runs(csv_file)


def test_a_repeated_row_is_told_and_not_used(csv_file):
    csv_file.write_text(csv_file.read_text() + csv_file.read_text().splitlines()[1] + "\n")
    collected = read_runs(csv_file)
    assert (len(collected.runs), collected.skipped) == (9, ["line 11: the same cell and seed as an earlier line"])


@pytest.mark.parametrize(
    ("plugins", "cache", "head"), [("base", False, "linear"), ("clca", True, "cla"), ("ifa", False, "ifa")]
)
@pytest.mark.parametrize("classes", [7, 1938])
def test_a_recount_is_the_count_of_the_model(plugins, cache, head, classes):
    options = dict(num_classes=classes, img_size=32, reducer="evit", keep_rate=0.5, cache=cache, head=head)
    expected = ufgir.count_macs(ufgir.create_model("micro", **options), 32) / 1e9
    assert recount("micro", "evit", "0.5", 32, plugins, classes) == pytest.approx(expected, abs=1e-9)


def test_gmacs_of_a_csv_are_recounted_or_missing(runs):
    given = runs.assign(gmacs=9.99, num_classes=5.0)
    given.loc[0, "gmacs_source"] = "run"
    given.loc[1, "num_classes"] = float("nan")
    given.loc[2, "reducer"] = "evti"
    counted, faults = with_gmacs(given)
    assert counted["gmacs"][0] == 9.99, "counted in the run itself"
    assert counted["gmacs"][3:].max() < 0.1, "the file's own column is not believed"
    assert counted["gmacs"][1:3].isna().all() and counted["gmacs_source"].tolist() == ["run", "", ""] + ["recount"] * 6
    assert len(faults) == 2 and "num_classes" in faults[0] and "evti" in faults[1]
