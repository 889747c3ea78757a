"""The benchmark: what it compares and how, its statistics, and its rows."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ufgir import benchmark, timing
from ufgir.cli import run_command
from ufgir.config import load_config
from ufgir.errors import RunFailed, UfgirWarning, UserError

TINY = ["backbone=micro", "image_size=32", "trainer.accelerator=cpu", "classes=5", "rounds=6"]


@pytest.fixture(autouse=True)
def short_and_quiet(monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))


def test_rows_of_models_in_both_modes(tmp_path, capsys):
    out = tmp_path / "speed.csv"
    arguments = ["reducer=evit,none", "keep_rate=0.5", "batch_size=2", "mode=eval,train"]
    assert benchmark.main([*TINY, *arguments, f"out={out}"]) == 0
    table, frame = capsys.readouterr().out.splitlines(), pd.read_csv(out)
    assert list(zip(frame["reducer"], frame["mode"], strict=True)) == [
        ("evit", "eval"), ("none", "eval"), ("evit", "train"), ("none", "train"),
    ]  # fmt: skip
    assert len(table) == 2 + 2 + 4, "what is the same for all, and a table"
    assert table[0].startswith("backbone=micro ") and f"torch {torch.__version__}" in table[0] and "6 pairs" in table[0]
    assert table[2].startswith("| reducer | keep_rate | mode | GMACs |")
    for _, row in frame.iterrows():
        assert row["speedup_low"] <= row["speedup"] <= row["speedup_high"]
        assert row["efficiency"] == pytest.approx(row["speedup"] / row["macs_ratio"])
        assert row["images_per_second"] == pytest.approx(2e3 / row["ms"])
        assert row["precision"] == "32-true" and row["device"] and row["threads"] == torch.get_num_threads()
    evaluation, training = frame[frame["mode"] == "eval"], frame[frame["mode"] == "train"]
    assert (training["peak_memory_gb"].to_numpy() > evaluation["peak_memory_gb"].to_numpy()).all(), "the optimizer's"


def test_a_single_image_is_evaluated_but_not_trained_on(capsys):
    assert benchmark.main([*TINY, "plugins=clca", "batch_size=1"]) == 0
    assert "batch_size=1" in capsys.readouterr().out
    with pytest.raises(UserError, match="batch_size=1"):
        benchmark.main([*TINY, "plugins=clca", "batch_size=1", "mode=train"])


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("mode=test", "mode"),
        ("rounds=5", "rounds=5"),
        ("batch_size=4,x", "batch_size"),
        ("engine=tensorrt", "onnxruntime"),
        ("reducer=evitt", "Did you mean 'evit'"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed"),
        ("out=nowhere/speed.csv", "out=nowhere/speed.csv"),
    ],
)
def test_wrong_arguments_are_reported_before_anything_is_measured(override, key, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "measure_model", lambda *_, **__: pytest.fail("measured"))
    assert run_command(benchmark.main, [*TINY, override]) == 2
    assert key in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_onnxruntime_does_not_train():
    with pytest.raises(UserError, match="engine=onnxruntime.*mode=eval"):
        benchmark.main([*TINY, "engine=onnxruntime", "mode=train"])


def test_a_model_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    measure = timing.measure_model

    def measure_all_but_evit(job, *case, **options):
        if job["reducer"] == "evit":
            raise RunFailed("no such operation")
        return measure(job, *case, **options)

    monkeypatch.setattr(timing, "measure_model", measure_all_but_evit)
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    out = tmp_path / "speed.csv"
    with pytest.warns(UfgirWarning, match="load 99"):
        assert benchmark.main([*TINY, "reducer=evit,none", "batch_size=1", f"out={out}"]) == 1
    assert "reducer=evit" in (error := capsys.readouterr().err) and "no such operation" in error
    assert list(pd.read_csv(out)["reducer"]) == ["none"]


@pytest.mark.slow
def test_onnxruntime_runs_the_reduced_model(tmp_path):
    pytest.importorskip("onnxruntime")
    config = load_config([*TINY[:3], "reducer=evit", "batch_size=3"])
    model = timing.build_model(config, 5)
    (logits,) = timing.OnnxRuntimeSteps(model, config, "eval").step()
    expected = timing.TorchSteps(model, config, "eval").step()
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
    out = tmp_path / "speed.csv"
    arguments = ["plugins=base", "reducer=evit,none", "keep_rate=0.1", "batch_size=8", "image_size=128"]
    assert benchmark.main([*TINY, *arguments, "engine=onnxruntime", f"out={out}"]) == 0
    frame = pd.read_csv(out).set_index("reducer")
    assert frame.loc["evit", "speedup"] > 1.2 * frame.loc["none", "speedup"]
    assert frame["onnxruntime"].all() and frame["peak_memory_gb"].isna().all()


def test_a_training_step_is_that_of_a_run():
    """Every parameter that has a gradient moves, by the optimizer of the configuration."""
    config = load_config([*TINY[:3], "reducer=dyvit", "batch_size=2"])
    steps = timing.TorchSteps(timing.build_model(config, 5), config, "train")
    before = {name: value.clone() for name, value in steps.original.named_parameters()}
    steps.step()
    moved = [name for name, value in steps.original.named_parameters() if not value.equal(before[name])]
    assert set(moved) == {name for name, value in before.items() if value.requires_grad}
    assert type(steps.optimizer.optimizer).__name__ == "AdamW"


def test_what_is_compared_takes_turns(monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(timing, "SECONDS", 2.5)

    def step(name: str, seconds: float) -> None:
        calls.append(name)
        clock[0] += seconds

    found = timing.paired_seconds(partial(step, "a", 3), partial(step, "b", 2), 4, torch.device("cpu"))
    assert "".join(calls) == "aaabbb" + "abbbbaabbbba", "warm-up, then pairs in alternating order"
    assert [list(seconds) for seconds in found] == [[3] * 4, [2] * 4], "seconds of one step"


def test_the_interval_covers_the_median_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(4000, 15))
    inside = [low <= np.log(2) <= high for low, high in map(timing.median_interval, draws)]
    assert 0.95 <= np.mean(inside) < 0.98
    assert timing.median_interval(np.arange(15.0)) == (3, 11)
    assert timing.median_interval(np.arange(6.0)) == (0, 5)


def test_memory_of_a_step_is_what_it_holds():
    if not timing.CLEAR_REFS.exists():
        pytest.skip("only Linux counts it")
    config = load_config([*TINY[:3], "batch_size=2"])
    steps = timing.TorchSteps(timing.build_model(config, 5), config, "eval")

    def step() -> None:
        block = torch.zeros(12_500_000)
        (block + 1).sum()

    steps.step = step
    assert 0.09 < steps.peak_memory_gb() < 0.15, "two blocks of 50 MB at a time"
