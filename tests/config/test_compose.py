"""Composing: every file on disk, all faults at once, and what remains to check the data with."""

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from ufgir.config import compose_run
from ufgir.config.arguments import GROUPS
from ufgir.resources import conf_dir

FILES = sorted(path.relative_to(conf_dir()) for path in conf_dir().glob("*/*.yaml"))
NUMBERS = {
    "augment": 2, "backbone": 25, "dataset": 8, "debug": 4, "experiment": 3, "logger": 2, "optim": 1, "plugins": 5,
    "reducer": 9, "trainer": 4,
}  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_composes_without_a_fault(file: Path):
    config, faults = compose_run([f"{file.parent}={file.stem}"])
    assert faults == []
    assert config[file.parent.name]["name"] if file.parent.name not in ("debug", "experiment", "trainer") else config


def test_no_file_is_forgotten():
    assert {group: len([file for file in FILES if file.parent.name == group]) for group in GROUPS} == NUMBERS
    assert {path.name for path in conf_dir().iterdir()} == {"train.yaml", "hydra", *GROUPS}
    launchers = {path.stem for path in (conf_dir() / "hydra" / "launcher").iterdir()}
    assert launchers == {"joblib", "ray", "submitit_slurm"}
    assert len(list(conf_dir().rglob("*.yaml"))) == 1 + sum(NUMBERS.values()) + len(launchers)


def test_all_faults_come_in_one_message(faults_of):
    faults = faults_of(
        "keep_rat=0.5 reducer=evti seed=abc optim.lr=-1 plugin=clca image_size=225 --quiet dataset.cache=disc epochs 3"
    )
    assert [fault.partition(":")[0] for fault in faults] == [
        "--quiet", "epochs 3", "reducer=evti", "keep_rat=0.5", "plugin=clca", "seed=abc", "dataset.cache=disc",
        "optim.lr=-1", "image_size=225",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "backbone=micr image_size=40",  # a multiple of the patch of micro
        "reduction_layer=[2,4] keep_rate=[0.5,0.6]",
        "reduction_layers=[2,4 keep_rate=[0.5,0.6]",
        "reducer=non keep_rate=1 reducer.keep_rate=0.5",
        "experiment=dmeo image_size=40",
        "plugins=cls optim.batch_size=1",
        "trainer.max_epochs=x optim.warmup_epochs=40",
    ],
)
def test_no_fault_is_told_that_only_follows_from_another(faults_of, line):
    assert len(faults_of(line)) == 1


def test_with_faults_what_is_sound_remains_for_the_data():
    words = ["dataset=csv", "dataset.root=/nowhere", "keep_rate=2", "image_size=225", "optim.lr=x"]
    config, faults = compose_run(words)
    assert len(faults) == 3
    assert (config["dataset"]["root"], config["image_size"], config["optim"]["lr"]) == ("/nowhere", 224, 1e-4)


@pytest.mark.parametrize(
    "word",
    ["dataset=cvs", "datset=csv", "dataset.root=3", "dataset.render.val=0", "seed=x", "protocol=x", "experiment=x"],
)
def test_nothing_remains_when_the_data_are_in_doubt(word):
    config, faults = compose_run([word])
    assert (config, len(faults)) == (None, 1)


def test_the_command_line_overrules_experiments():
    config, _ = compose_run(["seed=3", "experiment=demo", "backbone=deit_t", "keep_rate=0.7", "plugins=base"])
    assert (config["seed"], config["keep_rate"], config["image_size"]) == (3, 0.7, 96)
    assert config["backbone"]["name"].startswith("deit_tiny") and config["plugins"]["name"] == "base"


def test_interpolations_are_resolved(monkeypatch):
    monkeypatch.setenv("UFGIR_DATA", "/somewhere")
    config, _ = compose_run(["dataset=cotton80", "dataset.epochs=7"])
    assert (config["dataset"]["root"], config["trainer"]["max_epochs"]) == ("/somewhere/cotton80", 7)


def test_the_environment_may_change_from_one_composition_to_the_next(monkeypatch):
    roots = []
    for place in ("/somewhere", "/elsewhere"):
        monkeypatch.setenv("UFGIR_DATA", place)
        roots.append(compose_run(["dataset=cotton80"])[0]["dataset"]["root"])
    assert roots == ["/somewhere/cotton80", "/elsewhere/cotton80"]


@pytest.mark.parametrize(("said", "told"), [("", "ValueError."), ("\n no such group.\nsee there", "no such group.")])
def test_a_failure_of_composing_is_told_whatever_it_says(monkeypatch, said, told):
    def failing(*_):
        raise ValueError(said)

    monkeypatch.setattr("ufgir.config.compose.assembled", failing)
    assert compose_run([]) == (None, [f"the config cannot be composed: {told}"])


def test_hydra_is_left_as_it_was():
    compose_run(["seed=2"])
    assert not GlobalHydra.instance().is_initialized()


@pytest.fixture
def own_conf(tmp_path, monkeypatch):
    """A folder of someone's own beside `conf/`."""
    for group in ("experiment", "backbone"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    monkeypatch.setenv("UFGIR_PATH", str(tmp_path))
    return tmp_path / "conf"


def test_files_of_ones_own_are_checked_too(own_conf, faults_of):
    (own_conf / "experiment" / "mine.yaml").write_text("# @package _global_\nkeep_rat: 0.3\ntrainer: {max_epoch: 3}\n")
    (own_conf / "backbone" / "mine.yaml").write_text("name: deit_tiny_patch16_224\npretrained: false\nkwargs: {}\n")
    assert sorted(faults_of("experiment=mine backbone=mine"), reverse=True) == [
        "trainer.max_epoch=3: lightning.Trainer takes no max_epoch. Did you mean trainer.max_epochs=3?",
        "keep_rat=0.3: there is no such setting. Did you mean keep_rate=0.3?",
        "backbone.checkpoint is missing. For example backbone.checkpoint=weights.pth.",
    ]


def test_a_file_that_cannot_be_read_is_a_fault_of_its_choice(own_conf, faults_of):
    (own_conf / "experiment" / "mine.yaml").write_text("# @package _global_\nkeep_rate: [0.3\n")
    (fault,) = faults_of("experiment=mine")
    assert fault.startswith("experiment=mine: while parsing a flow sequence")
