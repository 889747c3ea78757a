"""The table of costs."""

import pandas as pd
import pytest

import tiny
import ufgir
from ufgir.cli import run_command
from ufgir.compare import compare


def test_the_table_has_every_combination(tmp_path, capsys):
    words = ["backbone=micro,deit_t", "reducer=none,evit", "keep_rate=0.1,0.5", "image_size=32", "plugins=base"]
    assert run_command(compare, [*words, "classes=5", f"out={tmp_path / 'costs.csv'}"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 + 3, "none has one keep rate"
    assert lines[0].startswith("| reducer | keep_rate | micro tokens at 32 |")
    frame = pd.read_csv(tmp_path / "costs.csv").set_index(["backbone", "reducer", "keep_rate"])
    row = frame.loc[("micro", "evit", 0.5)]
    model = ufgir.create_model("micro", num_classes=5, img_size=32, reducer="evit", keep_rate=0.5)
    assert row["gmacs"] == pytest.approx(ufgir.count_macs(model, 32) / 1e9)
    assert row["tokens"] == "10 7 5"


def test_a_backbone_that_nobody_typed_has_its_name_too(capsys):
    assert run_command(compare, ["reducer=none", "plugins=base", "image_size=32"]) == 0
    assert capsys.readouterr().out.startswith("| tokens at 32 | deit_s M params |")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classes"], "classes is not understood; the words are classes= and out="),
        (["classes", "=", "5"], "classes is not understood"),
        (["classes=²"], "classes=²: expected a whole number of at least 1."),
        (["out=nowhere/costs.csv"], "out=nowhere/costs.csv: there is no folder nowhere"),
        (["out=~"], "is a folder; give the file to write."),
    ],
)
def test_a_mistake_is_told_before_anything_is_counted(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("ufgir.compare.cost_of", None)
    assert run_command(compare, ["backbone=micro", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_is_told(tmp_path, capsys):
    words = ["backbone=micro", "image_size=32", f"out={tmp_path / 'costs.csv'}"]
    with tiny.files_up_to(10):
        assert run_command(compare, words) == 1
    assert "costs.csv cannot be written: File too large" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["reducer=evti", "classes=x", "image_size=33"])
def test_a_mistake_is_told(word, capsys):
    assert run_command(compare, ["backbone=micro", word]) == 2
    assert word.partition("=")[0] in capsys.readouterr().err
