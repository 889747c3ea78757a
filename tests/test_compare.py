"""Tokens, parameters and MACs of models before they are trained."""

import pandas as pd
import pytest

import ufgir
from ufgir.cli import run_command
from ufgir.compare import main


def test_every_combination_is_a_row(tmp_path, capsys):
    overrides = ["backbone=micro,deit_t", "reducer=none,evit", "keep_rate=0.1,0.5", "image_size=32", "plugins=base"]
    assert main([*overrides, "classes=5", f"out={tmp_path / 'models.csv'}"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 + 3, "none has one keep rate"
    assert lines[0].startswith("| reducer | keep_rate | micro tokens at 32 |")
    frame = pd.read_csv(tmp_path / "models.csv").set_index(["backbone", "reducer", "keep_rate"])
    assert len(frame) == 6
    row = frame.loc[("micro", "evit", 0.5)]
    model = ufgir.create_model("micro", num_classes=5, img_size=32, reducer="evit", keep_rate=0.5)
    assert row["gmacs"] == pytest.approx(ufgir.count_macs(model, 32) / 1e9, abs=1e-4)
    assert row["tokens"] == "10 7 5"


def test_equal_patches_share_the_column_of_tokens(capsys):
    assert main(["reducer=none", "plugins=base", "image_size=32", "backbone=deit_t,deit_s"]) == 0
    assert capsys.readouterr().out.startswith("| tokens at 32 | deit_t M params |")


def test_other_settings_that_differ_have_a_column(capsys):
    assert main(["backbone=micro", "image_size=32", "plugins.cache.num_clr=1,2", "seed=1"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("| plugins.cache.num_clr | tokens at 32 |") and "seed" not in table


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("classes=x", "classes=x"),
        ("classes", "classes"),
        ("out=nowhere/models.csv", "out=nowhere/models.csv"),
        ("out=.", "out=."),
        ("reducer=evti", "Did you mean 'evit'"),
        ("image_size=33", "image_size=33"),
    ],
)
def test_wrong_arguments_are_reported_before_anything_is_counted(override, key, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ufgir.compare.count", lambda *_: pytest.fail("counted"))
    assert run_command(main, ["backbone=micro", override]) == 2
    assert key in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_all_errors_of_all_combinations_are_reported_once(capsys):
    assert run_command(main, ["backbone=micro", "image_size=32,36", "keep_rate=0.5,2"]) == 2
    error = capsys.readouterr().err
    assert error.count("keep_rate=2") == 1 and error.count("image_size=36") == 1
