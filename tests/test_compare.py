"""The table of costs."""

import pandas as pd
import pytest

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


@pytest.mark.parametrize("word", ["reducer=evti", "classes=x", "image_size=33"])
def test_a_mistake_is_told(word, capsys):
    assert run_command(compare, ["backbone=micro", word]) == 2
    assert word.partition("=")[0] in capsys.readouterr().err
