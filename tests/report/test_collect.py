"""What a report reads: run folders and CSV files, and what it says of those that it cannot use."""

import pandas as pd
import pytest

from report.conftest import HEADER
from report.fake_runs import write_messy, write_run
from ufgir.errors import UserError
from ufgir.report.collect import normalize_rates, read_csv, read_folders


def test_a_run(tmp_path):
    write_run(tmp_path, "leaves-x-0123456789", 55.0, plugins="clca", seed=10)
    write_run(tmp_path / "leaves-x-0123456789", "inner")  # what lies within a run is not looked at
    collected = read_folders(tmp_path)
    (row,) = collected.runs.to_dict("records")
    words = ("dataset", "reducer", "keep_rate", "image_size", "plugins", "seed", "protocol", "limited", "variant")
    assert [row[word] for word in words] == ["leaves", "evit", "0.5", 32, "clca", 10, "test", False, ""]
    assert (row["test_top1"], row["gmacs"], row["vram_gb"]) == (55.0, 1.25, 1.5)
    assert "a device" in row["device"] and "32-true" in row["device"] and collected.skipped == []


def test_damaged_and_unfinished_runs_are_skipped_with_their_reason(tmp_path):
    collected = read_folders(write_messy(tmp_path))
    skipped = dict(line.split(": ", 1) for line in collected.skipped)
    assert set(skipped) == {"cut", "failed", "lacking", "stopped"}
    assert (
        skipped["cut"].startswith("not readable (JSONDecodeError: Unterminated string")
        and "CUDA out of memory" in skipped["failed"]
    )
    found = collected.unfinished[["plugins", "why"]].to_numpy().tolist()
    assert sorted(found) == [["cla", "unfinished"], ["clca", "failed"]]
    limited = collected.runs[collected.runs["limited"]]
    assert set(limited["run"]) == {"debug", "debug-val"}, "one batch is not all of them, and neither is debug="
    assert collected.runs["protocol"].value_counts().to_dict() == {"test": 51, "val": 7, "cv": 5, "holdout": 1}


def test_any_other_content_is_skipped(tmp_path):
    content = (write_run(tmp_path, "good") / "results.json").read_text()
    keys = ("config", "gmacs", "num_classes", "status", "test_top1")
    lacking = {key: content.replace(f'"{key}":', '"other":', 1) for key in keys}
    others = {"empty": "", "list": "[]", "null": "null", "short": '{"status": "finished"}', "zero": "\x00"}
    for name, text in {**lacking, **others}.items():
        (write_run(tmp_path, name, seed=2) / "results.json").write_text(text)
    collected = read_folders(tmp_path)
    assert collected.runs["run"].tolist() == ["good"]
    skipped = dict(line.split(": ", 1) for line in collected.skipped)
    assert set(skipped) == {*lacking, *others} and all(key in skipped[key] for key in keys)


def test_nothing_to_report(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        read_folders(tmp_path)
    write_run(tmp_path, "failed", status="failed")
    with pytest.raises(UserError, match="none of them finished"):
        read_folders(tmp_path)


def test_runs_of_other_settings_are_no_seeds_of_a_cell(tmp_path):
    for number, lr in enumerate((1e-4, 1e-4, 5e-4)):
        own = dict(optim__lr=lr, seed=number, output_root=f"elsewhere{number}")
        write_run(tmp_path, f"clca{number}", plugins="clca", **own)
    write_run(tmp_path, "base", optim__lr=5e-4)
    write_run(tmp_path, "other", keep_rate=0.7)
    collected = read_folders(tmp_path)
    one, two = "optim.lr=0.0001", "optim.lr=0.0005"
    assert dict(zip(collected.runs["run"], collected.runs["variant"], strict=True)) == {
        "clca0": one, "clca1": one, "clca2": two, "base": two, "other": ""}, "base too, to be compared"  # fmt: skip


def test_options_of_plugins_are_settings(tmp_path):
    for seed, clr in ((1, 1), (10, 4)):
        path = write_run(tmp_path, f"s{seed}", seed=seed, plugins="clca") / "results.json"
        path.write_text(path.read_text().replace('"num_clr": 1', f'"num_clr": {clr}'))
    assert set(read_folders(tmp_path).runs["variant"]) == {"plugins.cache.num_clr=1", "plugins.cache.num_clr=4"}


def test_data_and_weights_go_by_their_own_names(tmp_path):
    for seed, root in enumerate(("/here/one", "/there/one", "/here/two")):
        write_run(tmp_path, f"data/{seed}", seed=seed, dataset__name="csv", dataset__root=root)
    for seed, file in enumerate(("/here/a.pth", "/there/a.pth", "/here/b.pth")):
        write_run(tmp_path, f"weights/{seed}", seed=seed, backbone__checkpoint=file)
    assert read_folders(tmp_path / "data").runs["dataset"].tolist() == ["csv/one", "csv/one", "csv/two"]
    assert read_folders(tmp_path / "weights").runs["variant"].tolist() == [
        f"backbone.checkpoint={name}.pth" for name in "aab"]  # fmt: skip


def test_copies_of_a_run_count_once_and_unlike_runs_of_a_name_twice(tmp_path):
    for name in ("a/run-0123456789", "b/run-0123456789", "run-9876543210"):
        write_run(tmp_path, name)
    collected = read_folders(tmp_path)
    assert collected.runs["run"].tolist() == ["a/run-0123456789", "run-9876543210"]
    assert "same run as a/run-0123456789" in collected.skipped[0]
    assert set(collected.runs["variant"]) == {"run=0123456789", "run=9876543210"}


def test_tome_at_the_papers_six_layers_is_keep_rate_a_quarter(tmp_path):
    write_run(tmp_path, "six", reducer__name="tome", reduction_layers=[2, 3, 5, 6, 8, 9])
    write_run(tmp_path, "three", reducer__name="tome")
    write_run(tmp_path, "list", keep_rate=[0.7, 0.5, 0.3])
    runs = read_folders(tmp_path).runs.set_index("run")
    assert runs["keep_rate"].to_dict() == {"six": "0.25", "three": "0.5", "list": "0.7 0.5 0.3"}
    assert normalize_rates("0.7_0.5") == "0.7 0.5" and normalize_rates(1.0) == "1"


@pytest.mark.parametrize(
    ("column", "value", "parts"),
    [
        ("test_top1", None, ["test_top1", "Did you mean 'test_top_1'"]),
        ("test_top1", "high", ["test_top1=high", "line 3", "a number"]),
        ("keep_rate", "1.5", ["keep_rate=1.5", "line 3", "above 0"]),
        ("seed", "", ["seed=", "line 3"]),
        ("protocol", "tset", ["protocol=tset", "line 3", "holdout"]),
    ],
)
def test_errors_of_a_csv(rows, write, column, value, parts):
    frame = rows.astype(object).astype(str).assign(protocol="test")
    if value is None:
        frame = frame.rename(columns={column: "test_top_1"})
    else:
        frame.loc[1, column] = value
    with pytest.raises(UserError) as error:
        read_csv(write(frame))
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b",".join(map(str.encode, HEADER)) + b"\n"])
def test_files_that_hold_no_runs(tmp_path, content):
    (tmp_path / "runs.csv").write_bytes(content)
    with pytest.raises(UserError, match="runs.csv"):
        read_csv(tmp_path / "runs.csv")


def test_rows_of_a_csv_are_repeated_or_of_another_rate(rows, write):
    collected = read_csv(write(pd.concat([rows, rows.iloc[:1]])))
    assert len(collected.runs) == 9 and "line 11" in collected.skipped[0]
    rates = read_csv(write(pd.concat([rows.assign(lr=1e-4), rows.iloc[:1].assign(lr=5e-4)])))
    assert len(rates.runs) == 10 and set(rates.runs["variant"]) == {"", "optim.lr=0.0001", "optim.lr=0.0005"}


def test_other_columns_of_a_csv_are_left_out_and_its_costs_believed(rows, write):
    runs = read_csv(write(rows.assign(gmacs=9.99, gmacs_source="run", mine="text"))).runs
    assert set(runs["gmacs"]) == {9.99} and not {"gmacs_source", "mine"} & set(runs)


def test_folds_of_a_csv(rows, write):
    runs = read_csv(write(rows.iloc[:2].assign(fold=[0, 1], folds=2, test_images=[10, 30], seed=1))).runs
    assert runs["protocol"].tolist() == ["cv", "cv"] and runs["fold"].tolist() == [0, 1]
