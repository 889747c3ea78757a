"""What `plan` and `status` say, and what they refuse."""

import json
import shlex

import pytest

from tiny import WORDS, make_data
from ufgir.cli import run_command
from ufgir.grids.grid import jobs_told
from ufgir.grids.survey import survey
from ufgir.sweep import sweep

DATA = ("dataset.root=data", *(word for word in WORDS if not word.startswith(("reducer=", "keep_rate="))))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UFGIR_MOCOV3", raising=False)
    survey.cache_clear()


@pytest.mark.parametrize("verb", ["plan", "status"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sweep=demo", "trainer.max_epoch=1"], "trainer.max_epoch=1: "),
        (["sweep=demo", *DATA, "optim.batch_size=17"], "the training set has 16 images"),
        (["sweep=demo", "reducer=none", "keep_rate=0.1"], "no run of the grid"),
        (["sweep=paper_448", "backbone=vit_b_mocov3", "image_size=450"], "image_size=450"),
    ],
)
def test_a_mistake_is_refused_as_it_will_be_when_the_grid_is_started(verb, words, told, capsys):
    assert run_command(sweep, [verb, *words]) == 2
    assert told in capsys.readouterr().err


def test_what_this_machine_lacks_is_told_beside_the_rest(capsys):
    words = ["sweep=paper_448", "backbone=deit_b,vit_b_mocov3", "dataset=cotton80", "reducer=none", "plugins=base"]
    for verb, introduction in (("plan", "not yet possible: "), ("status", "counted as missing: ")):
        assert run_command(sweep, [verb, *words]) == 0
        said = capsys.readouterr().out
        assert f"{introduction}dataset.root=data/cotton80 does not exist" in said
        assert f"{introduction}backbone=vit_b_mocov3: timm has no weights of MoCo v3." in said


def test_words_for_hydra_are_no_part_of_the_runs(capsys):
    assert run_command(sweep, ["status", "sweep=demo", *DATA, "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    run = survey(jobs_told(["sweep=demo", *DATA]))[0]
    run.folder.path.mkdir(parents=True)
    run.folder.write_results({"status": "finished", "train_minutes": 0.1})
    words = ["sweep=demo", *DATA, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert run_command(sweep, ["status", *words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (alone["done"], facts["done"], facts["runs"], facts["faults"]) == (0, 1, 10, [])


def test_a_plan_ends_with_the_command_that_starts_it(capsys):
    words = ["sweep=demo", *DATA, "reduction_layers=[3, 6]", "hydra/launcher=joblib"]
    assert run_command(sweep, ["plan", *words]) == 0
    (start,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("start: ")]
    assert shlex.split(start) == ["start:", "python", "-m", "ufgir.train", "--multirun", *words]
    assert start.endswith("'reduction_layers=[3, 6]' hydra/launcher=joblib")


def test_a_backbone_with_a_list_is_planned(capsys):
    assert run_command(sweep, ["plan", "sweep=demo", *DATA, "backbone.kwargs.patch_size=[16,8]", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gmacs"] > 0
