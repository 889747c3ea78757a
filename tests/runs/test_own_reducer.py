"""A reducer of someone's own: the two files of docs/extend.md, outside of the package, are all it takes."""

from pathlib import Path

import pytest

from pages import own_files
from tiny import WORDS, make_data, results_of, run

CODE, CONFIG = own_files()["reducers/every_other.py"], own_files()["conf/reducer/every_other.yaml"]
OWN = [word for word in WORDS if not word.startswith("reducer=")]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with data, and with a reducer below `mine/`."""
    make_data(tmp_path / "data")
    for name, text in (("conf/reducer/every_other.yaml", CONFIG), ("reducers/every_other.py", CODE)):
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    monkeypatch.setenv("UFGIR_PATH", str(tmp_path / "mine"))
    return tmp_path


def train(here: Path, *words: str):
    return run("train", "dataset.root=data", "trainer.max_epochs=1", "reducer=every_other", *OWN, *words, cwd=here)


def test_it_is_trained_tested_and_evaluated_like_any_other(here):
    results = results_of(train(here), here)
    assert results["tokens"] == [18, 18, 18, 10, 16, 16, 9, 15, 15, 8, 14, 16], "16 patches, with cache"
    (folder,) = (here / "outputs").glob("csv-micro-every_other-0.5-*")
    evaluation = run("evaluate", f"run={folder}", cwd=here)
    assert evaluation.returncode == 0, evaluation.stderr
    changed = train(here, "reducer.step=3")
    assert results_of(changed, here)["tokens"][3] == 1 + 6
    (here / "mine" / "reducers" / "every_other.py").write_text(CODE.replace("every `step`-th", "each `step`-th"))
    assert "finished before" not in train(here).stdout, "other code is another run"


@pytest.mark.slow
def test_its_faults_are_told_like_any_other(here):
    refused = train(here, "reducer.stepp=3")
    assert refused.returncode == 2 and "reducer.stepp=3: there is no such setting" in refused.stderr
    (here / "mine" / "conf" / "reducer" / "every_other.yaml").write_text(CONFIG + "stride: 3\n")
    refused = train(here)
    assert refused.returncode == 2 and "unknown options ['stride']; it has step" in refused.stderr
    (here / "mine" / "reducers" / "every_other.py").write_text("import nothing_of_this_name\n")
    refused = train(here)
    assert refused.returncode == 2 and "cannot be imported (ModuleNotFoundError" in refused.stderr
    assert not (here / "outputs").exists()


def test_multirun_finds_it(here):
    swept = train(here, "--multirun", "seed=1,2", "trainer.limit_train_batches=1")
    assert swept.returncode == 0, swept.stderr
    assert len(list((here / "outputs").glob("*/results.json"))) == 2
