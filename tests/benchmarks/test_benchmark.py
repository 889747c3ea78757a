"""The benchmark as a command, and the arithmetic behind its figures."""

import json
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tiny import make_data, run
from ufgir.benchmark import benchmark, models
from ufgir.benchmarks.measure import KEYS, other_words
from ufgir.benchmarks.memory import activations_gb, peak_gb, state_bytes
from ufgir.benchmarks.processes import best_of
from ufgir.benchmarks.results import changes, read
from ufgir.benchmarks.scaling import growth
from ufgir.benchmarks.targets import CPU, CUDA, figure_of
from ufgir.benchmarks.timing import interleaved, median_interval
from ufgir.errors import UserError

ROW = dict(zip(KEYS, ("a", "b", "c", "d", "e", 1, "eval", "32-true", False, ""), strict=True))
TINY = ("backbone=micro", "reducer=evit,none", "optim.batch_size=2", "rounds=3", "classes=4", "trainer.accelerator=cpu")


@pytest.fixture
def cwd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_measures_both_modes_and_the_loader(cwd):
    make_data(cwd / "data")
    words = ("image_size=32", "loader=true", "dataset=csv", "dataset.root=data", "dataset.num_workers=0")
    done = run("benchmark", *TINY, *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(cwd / "benchmark" / "benchmark.csv")
    assert list(zip(frame["reducer"], frame["mode"], strict=True)) == [
        ("evit", "eval"), ("evit", "train"), ("none", "eval"), ("none", "train"),
    ]  # fmt: skip
    assert (frame["realised"] - frame["speedup"] / frame["macs_ratio"]).abs().max() < 1e-9
    assert (frame["speedup_low"] <= frame["speedup"]).all() and (frame["speedup"] <= frame["speedup_high"]).all()
    assert frame["images_per_second"].to_numpy() == pytest.approx(2e3 / frame["ms"].to_numpy())
    assert set(frame["torch"]) == {torch.__version__.partition("+")[0]} and (frame["threads"] > 0).all()
    training = frame[frame["mode"] == "train"]
    assert (training["activations_gb"] > 0).all() and training["activations_gb"].is_monotonic_increasing
    content = json.loads((cwd / "benchmark" / "benchmark.json").read_text())
    assert [row["cache"] for row in content["loaders"]] == ["none", "ram", "disk"]
    assert all(row["later_epochs"] > 0 and row["over_training"] > 0 for row in content["loaders"])
    assert (cwd / "benchmark" / "realised.png").stat().st_size > 1000
    assert "× unreduced" in done.stdout and "loader alone" in done.stdout
    assert done.stdout.splitlines()[-1] == "benchmark: benchmark/benchmark.csv"


@pytest.mark.slow
def test_several_processes_and_an_earlier_benchmark(cwd, capsys):
    words = ["backbone=micro", "reducer=evit", *TINY[2:], "image_size=32", "mode=eval"]
    assert benchmark([*words, "out=first"]) == 0
    assert benchmark([*words, "processes=2", "compare=first/benchmark.csv"]) == 0
    (row,) = json.loads((cwd / "benchmark" / "benchmark.json").read_text())["models"]
    assert row["speedup"] == pytest.approx(max(map(float, row["of_processes"].split())), abs=1e-3)
    assert "micro evit 0.5 clca 32 2 eval trainer.accelerator=cpu: × unreduced" in capsys.readouterr().out


def test_models_that_differ_in_any_word_keep_rows_of_their_own(cwd, capsys):
    words = ["backbone=micro", "reducer=evit", "image_size=32", "optim.batch_size=2", "rounds=1", "classes=4",
             "mode=eval", "trainer.accelerator=cpu"]  # fmt: skip
    assert benchmark([*words, "reduction_layers=[1],[2]", "out=first"]) == 0
    told = read(cwd / "first" / "benchmark.csv")["words"]
    assert list(told) == [f"reduction_layers=[{layer}] trainer.accelerator=cpu" for layer in (1, 2)]
    table = capsys.readouterr().out
    assert "| words " in table and all(f"| {text} |" in table for text in told)
    assert benchmark([*words, "reduction_layers=[2]", "compare=first/benchmark.csv"]) == 0
    compared = [line for line in capsys.readouterr().out.splitlines() if " -> " in line]
    assert len(compared) == 1 and "eval reduction_layers=[2] trainer.accelerator=cpu:" in compared[0]


def test_words_that_have_a_column_or_no_effect_on_a_step_are_not_repeated():
    words = ["seed=1", "reducer=evit", "plugins.cache=false", "trainer.compile=false", "dataset.root=data"]
    ((job, config),) = models(words, ["eval"])
    assert other_words(job, config) == "plugins.cache=false seed=1"


def test_words_are_told_alike_however_they_were_typed():
    typed = (["trainer=cpu", "optim.lr=1e-3", "trainer.gradient_checkpointing=True", "reduction_layers=[3, 6]"],
             ["reduction_layers=[3,6]", "trainer.gradient_checkpointing=false,true", "optim.lr=0.001", "trainer=cpu"],
             )  # fmt: skip
    told = {other_words(*models(words, ["eval"])[-1]) for words in typed}
    assert told == {"optim.lr=0.001 reduction_layers=[3,6] trainer=cpu trainer.gradient_checkpointing=true"}


def test_processes_bring_together_rows_of_one_model_only(monkeypatch):
    speeds = iter((1.0, 3.0, 2.0, 2.5))

    def measured(command, **_):
        folder = Path(command[-1].removeprefix("out="))
        rows = [{**ROW, "words": f"trainer.gradient_checkpointing={on}", "speedup": next(speeds)}
                for on in ("false", "true")]  # fmt: skip
        (folder / "benchmark.json").write_text(json.dumps({"models": rows, "loaders": []}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", measured)
    rows = best_of(2, [])
    assert [(row["speedup"], row["of_processes"]) for row in rows] == [(2.0, "1.000 2.000"), (3.0, "3.000 2.500")]


def test_several_sizes_are_drawn_with_their_exponents(cwd):
    words = ["backbone=micro", "reducer=evit", "optim.batch_size=1", "rounds=1", "mode=eval"]
    assert benchmark([*words, "trainer.accelerator=cpu", "image_size=32,40,48"]) == 0
    assert (cwd / "benchmark" / "growth.svg").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["mode=test"], "mode=test: test is not among eval and train."),
        (["rounds=0"], "rounds=0: expected a whole number of at least 1."),
        (["rounds="], "rounds=: expected a whole number of at least 1."),
        (["classes="], "classes=: expected a whole number of at least 1."),
        (["rounds"], "rounds: expected KEY=VALUE"),
        (["targets=tpu"], "targets=tpu: expected cpu or cuda."),
        (["loader=maybe"], "loader=maybe: expected true or false."),
        (["targets=cuda", "loader=true"], "loader=true has no effect with targets=cuda; leave one of the two out."),
        (["targets=cpu", "mode=eval"], "mode=eval has no effect with targets=cpu"),
        (["targets=cpu", "compare=earlier.csv"], "compare=earlier.csv has no effect with targets=cpu"),
        (["targets=cpu", "image_size=224,448"], "image_size=224,448: each target is measured on one model. Give one"),
        (["targets=cpu", "trainer.precision=16-mixed"], "trainer.precision=16-mixed: 16-bit floats need a GPU"),
        (["targets=cpu", "keep_rat=0.5"], "keep_rat=0.5: there is no such setting. Did you mean keep_rate=0.5?"),
        (["reducer=evitt"], "evit"),
        (["compare=nowhere.csv"], "compare=nowhere.csv cannot be read"),
        (["out=/dev/null/here"], "out=/dev/null/here: /dev/null is a file, not a folder; give another place."),
        (["loader=true", "dataset=csv", "dataset.root=nowhere"], "dataset.root=nowhere does not exist."),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(cwd, monkeypatch, words, text):
    for name in ("measured", "best_of", "measure_targets", "loaders_of"):
        monkeypatch.setattr(f"ufgir.benchmark.{name}", lambda *_: pytest.fail("measured in spite of a mistake"))
    with pytest.raises(UserError, match=text):
        benchmark(words)
    assert not list(cwd.iterdir())


def test_data_that_no_loader_can_read_are_found_before_anything_is_measured(cwd, monkeypatch):
    make_data(cwd / "data")
    monkeypatch.setattr("ufgir.benchmark.measured", lambda *_: pytest.fail("measured in spite of a mistake"))
    words = ["backbone=micro", "image_size=32", "loader=true", "dataset=csv", "dataset.root=data"]
    with pytest.raises(UserError, match="optim.batch_size=64: the training set has 16 images. Give at most 16."):
        benchmark([*words, "optim.batch_size=64"])
    (cwd / "data" / "images" / "kind_0" / "train_0.png").write_text("no image")
    with pytest.raises(UserError, match=r"1 of 24 images below data/images cannot be read: kind_0/train_0\.png"):
        benchmark([*words, "optim.batch_size=2"])


def test_models_are_written_before_a_loader_fails(cwd, monkeypatch):
    make_data(cwd / "data")
    monkeypatch.setattr("ufgir.data.cache.free_memory", lambda: 0)
    words = ("image_size=32", "mode=eval", "loader=true", "dataset=csv", "dataset.root=data", "dataset.num_workers=0")
    with pytest.raises(UserError, match="dataset.cache=ram needs"):
        benchmark([*TINY, *words, "rounds=1"])
    content = json.loads((cwd / "benchmark" / "benchmark.json").read_text())
    assert [row["reducer"] for row in content["models"]] == ["evit", "none"] and content["loaders"] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a CUDA device")
def test_targets_of_another_machine_are_not_measured(cwd, capsys):
    assert benchmark(["targets=cuda"]) == 0
    table = capsys.readouterr().out
    assert table.count("not measured") == len(CUDA) and "met" not in table
    assert not list(cwd.iterdir()), "what was measured elsewhere must not be replaced by nothing"


def test_words_change_every_target(cwd, monkeypatch):
    """Of a word that a target has too, the user's counts, that of the batch as any other."""
    measured = []
    monkeypatch.setattr("ufgir.benchmark.measure_targets", lambda *asked: measured.append(asked) or {})
    assert benchmark(["targets=cpu", "optim.batch_size=2", "image_size=32", "backbone=micro"]) == 0
    assert measured[0][1][:3] == ["optim.batch_size=2", "image_size=32", "backbone=micro"]
    for target in CPU:
        ((_, config),) = models([*target.words, *measured[0][1][:3]], [target.mode])
        assert (config["optim"]["batch_size"], config["image_size"]) == (2, 32)


@pytest.mark.slow
def test_targets_are_measured_and_judged(cwd, capsys, monkeypatch):
    """With the bounds' own code on a small model: one met, one missed."""
    from ufgir.benchmarks import targets

    words = ("backbone=micro", "reducer=evit", "image_size=32", "optim.batch_size=1", "trainer.accelerator=cpu")
    two = [
        targets.Target("easy", words, "eval", "speedup", 0.01),
        targets.Target("hard", words, "eval", "realised", 99.0),
    ]
    monkeypatch.setitem(targets.TARGETS, "cpu", two)
    assert benchmark(["targets=cpu", "rounds=3"]) == 0
    easy, hard = (line for line in capsys.readouterr().out.splitlines() if line.startswith(("| easy", "| hard")))
    assert easy.endswith("met |") and hard.endswith("missed |")
    assert easy in (cwd / "benchmark" / "targets_cpu.md").read_text()


def test_every_target_reads_a_figure_that_there_is():
    row = dict.fromkeys(("peak_memory_gb", "speedup_low", "speedup_high", "realised_low", "realised_high"), 1.0)
    row |= {"explicit_peak_memory_gb": 2.0, "explicit_speedup": 1.6, "explicit_speedup_low": 1.5, "speedup": 2.0}
    row |= {"explicit_speedup_high": 1.7, "realised": 0.9}
    for target in (*CPU, *CUDA):
        value, text = figure_of(row, target.figure)
        assert text.startswith(f"{value:.2f}")
    assert figure_of(row, "explicit_memory_saved")[0] == 0.5


def test_what_is_compared_takes_turns():
    calls: list[str] = []

    def step(name: str) -> None:
        calls.append(name)
        time.sleep(0.11)  # longer than the least time of a measurement, so that each is one call

    seconds = interleaved({name: partial(step, name) for name in "abc"}, 4, torch.device("cpu"))
    assert "".join(calls[9:]) == "abccba" * 2, "three warm-up calls each, then rounds in alternating order"
    assert all(values.shape == (4,) and (values > 0.1).all() for values in seconds.values())


def test_interval_of_a_median_covers_it_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(4000, 15))
    inside = [low <= np.log(2) <= high for low, high in map(median_interval, draws)]
    assert 0.95 <= np.mean(inside) < 0.98
    assert median_interval(np.arange(15.0)) == (3, 11)
    assert median_interval(np.arange(4.0)) == (0, 3)


def test_exponents_are_those_of_the_figures():
    rows = [
        {"mode": "eval", "image_size": size, "batch_size": 2,
         **{f"{prefix}{figure}": size**power for prefix, power in (("", 2), ("unreduced_", 3), ("explicit_", 4))
            for figure in ("ms", "peak_memory_gb")}}
        for size in (112, 224, 448)
    ]  # fmt: skip
    found = growth(pd.DataFrame(rows))
    assert found["eval", "ours", "ms"] == pytest.approx(2)
    assert found["eval", "explicit", "peak_memory_gb"] == pytest.approx(4)


def test_changes_name_what_got_slower():
    before = {**ROW, "speedup": 2.0, "speedup_low": 1.9, "speedup_high": 2.1}
    after = {**ROW, "speedup": 1.5, "speedup_low": 1.4, "speedup_high": 1.6}
    assert changes([after], pd.DataFrame([before])) == ["SLOWER    a b c d e 1 eval: × unreduced 2.00 -> 1.50"]
    assert changes([before], pd.DataFrame([after]))[0].startswith("faster")
    assert changes([before], pd.DataFrame([before]))[0].startswith("as before")


@pytest.mark.parametrize("dropped", [[], ["words"]], ids=["with the column words", "from before there was one"])
def test_earlier_benchmarks_are_compared_once_they_are_read(tmp_path, dropped):
    row = {**ROW, "ms": 1.0, "speedup": 2.0, "speedup_low": 1.9, "speedup_high": 2.1}
    pd.DataFrame([row]).drop(columns=dropped).to_csv(tmp_path / "earlier.csv", index=False)
    earlier = read(tmp_path / "earlier.csv")
    assert changes([row], earlier) == ["as before a b c d e 1 eval: × unreduced 2.00 -> 2.00"]
    other = "as before a b c d e 1 eval seed=2:" if dropped else "compare: no row of the earlier benchmark"
    assert changes([{**row, "words": "seed=2"}], earlier)[0].startswith(other)


def test_memory_of_a_step_is_what_it_holds():
    model = nn.Linear(10, 10)

    def step() -> None:
        block = torch.zeros(12_500_000)
        (block + 1).sum()

    peak = peak_gb(step, state_bytes(model), torch.device("cpu"))
    assert 0.09 < peak < 0.15, "two blocks of 50 MB at a time"
    inputs = torch.randn(1000, 10, requires_grad=True)
    kept = activations_gb(model, lambda: model(inputs).square().sum())
    assert kept == pytest.approx(2 * inputs.nbytes / 1e9, rel=0.1), "input and output of the layer"
