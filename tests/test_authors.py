"""`python -m ufgir.authors`: published checkpoints become ours, and compute the authors' numbers."""

import json
from pathlib import Path

import pytest
import torch

from authors_files import CASES, first_release, follow_up, saved, weights, with_classes
from golden.weights import image_batch
from tiny import make_data, run
from ufgir.authors import authors
from ufgir.cli import run_command
from ufgir.errors import UserError
from ufgir.evaluate import evaluate
from ufgir.runs.build import build_model
from ufgir.training.checkpoint import load_weights

REPLAYED = (
    "none-nocache-linear", "none-cache-cla", "topk-cache-linear", "evit-nocache-cla", "evit-cache-ifa",
    "evit-deit3-96px", "tome-cache-cla", "dyvit-cache-cla", "ats-cache-linear", "dpcknn-cache-cla", "sit-cache-cla",
    "patchmerger-nocache-linear",
)  # fmt: skip
RUN_NAME = "cotton_evit_deit_tiny_patch16_224.fb_in1k_0.5_cla_clc_1_30"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder, and a cache folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UFGIR_CACHE", str(tmp_path / ".cache"))
    return tmp_path


def converted(content: dict, *words: str, name: str = "theirs.pth") -> dict:
    """What the command makes of a file with this content."""
    file = saved(content, Path(name))
    assert authors([f"checkpoint={file}", "out=ours.pt", *words]) == 0
    return load_weights(Path("ours.pt"))


def refusal(command, *words: str) -> str:
    """The message with which a command refuses its words."""
    with pytest.raises(UserError) as caught:
        command(words)
    return str(caught.value)


def model_part(config: dict) -> dict:
    """What the model is built from."""
    return {
        key: config[key] for key in ("backbone", "reducer", "keep_rate", "reduction_layers", "plugins", "image_size")
    }


@pytest.mark.parametrize("case_id", REPLAYED)
def test_the_authors_logits(case_id):
    case = CASES[case_id]
    layout = first_release if case["head"] == "cla" else follow_up
    content = converted(layout(case_id) | {"model": weights(case_id, torch.float64)})
    model = build_model(content["config"], len(content["class_names"]), with_weights=False)
    model.load_state_dict(content["state_dict"], strict=True, assign=True)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(image_batch(case["input_seed"], case["batch"], case["img_size"])))
    torch.testing.assert_close(logits, torch.tensor(case["logits"], dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_report_accounts_for_every_entry(capsys):
    converted(first_release("evit-cache-cla"))
    lines = capsys.readouterr().out.splitlines()
    theirs = weights("evit-cache-cla")
    accounts = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if " -> " in line}
    assert set(accounts) == set(theirs)
    assert accounts["clr"] == "(1, 1, 192) -> cache.clr"
    assert accounts["pos_embed"] == "(1, 18, 192) -> pos_embed (1, 17, 192), cache.pos_embed (1, 1, 192)"
    assert accounts["ifa_head.0.4.weight"] == "(5, 384, 1) -> head.4.weight"
    dropped = {name for name, account in accounts.items() if "dropped" in account}
    assert dropped == {"head.weight", "head.bias"}
    assert "unused, as the aggregation head classifies" in accounts["head.bias"]
    assert "165 entries of the file, 164 of the model, 2 dropped:" in lines
    found = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ") and " -> " not in line}
    assert found["backbone"] == ["deit_tiny_patch16_224.fb_in1k", "args.model"]
    assert found["keep_rate"] == ["0.5", "args.keep_rate"]
    assert found["image_size"] == ["64", "shapes", "of", "the", "weights"]
    assert lines[-1] == "weights: ours.pt"


def test_the_config_is_that_of_the_authors_run():
    config = converted(first_release("evit-cache-cla"))["config"]
    assert config["backbone"]["name"] == "deit_tiny_patch16_224.fb_in1k"
    assert (config["reducer"]["name"], config["keep_rate"], config["reduction_layers"]) == ("evit", 0.5, [3, 6, 9])
    assert config["plugins"]["name"] == "clca" and config["plugins"]["head"] == {"name": "cla", "multiplier": 2}
    assert (config["image_size"], config["dataset"]["name"], config["dataset"]["resize"]) == (64, "cotton80", 73)
    assert (config["seed"], config["protocol"], config["optim"]["lr"]) == (10, "test", 5e-5)
    assert (config["trainer"]["max_epochs"], config["trainer"]["precision"]) == (50, "32-true")


def test_a_name_alone_is_enough():
    by_args = converted(first_release("evit-cache-cla"))
    Path("ours.pt").unlink()
    by_name = converted({"model": weights("evit-cache-cla")}, name=f"{RUN_NAME}.pth")
    assert model_part(by_name["config"]) == model_part(by_args["config"])
    Path("ours.pt").unlink()
    by_folder = converted(weights("evit-cache-cla"), name=f"{RUN_NAME}/best_checkpoint.pth")
    assert model_part(by_folder["config"]) == model_part(by_args["config"])


def test_half_precision_becomes_single_and_wrappers_are_taken_off():
    halves = {f"module.{name}": value.half() for name, value in weights("none-nocache-linear").items()}
    content = converted(first_release("none-nocache-linear") | {"model": halves})
    assert {value.dtype for value in content["state_dict"].values()} == {torch.float32}
    assert torch.equal(content["state_dict"]["cls_token"], halves["module.cls_token"].float())


def test_an_earlier_result_stays(capsys):
    converted(first_release("none-nocache-linear"))
    before = Path("ours.pt").read_bytes()
    assert authors(["checkpoint=theirs.pth", "out=ours.pt"]) == 0
    assert capsys.readouterr().out.endswith("weights: ours.pt (there already, with the same content)\n")
    message = refusal(authors, "checkpoint=theirs.pth", "out=ours.pt", "reducer=evit", "keep_rate=0.5")
    assert message == "out=ours.pt exists and holds something else; remove it or give another out="
    assert Path("ours.pt").read_bytes() == before


def test_places_that_cannot_be_written_to(here):
    saved(first_release("none-nocache-linear"), Path("theirs.pth"))
    Path("taken").write_text("")
    message = refusal(authors, "checkpoint=theirs.pth", "out=theirs.pth", "reducer=evti", "keep=0.5")
    assert "3 faults" in message and "out=theirs.pth is the checkpoint itself" in message
    assert "Did you mean reducer=evit?" in message and "Did you mean keep_rate?" in message
    assert f"out={here} is a folder" in refusal(authors, "checkpoint=theirs.pth", f"out={here}")
    assert "out=taken/x.pt cannot be written" in refusal(authors, "checkpoint=theirs.pth", "out=taken/x.pt")
    assert "out=FILE is missing" in refusal(authors, "checkpoint=theirs.pth")
    assert {path.name for path in here.iterdir()} == {"theirs.pth", "taken"}


def test_weights_of_another_model_leave_nothing(here):
    fewer = {name: value for name, value in weights("evit-cache-cla").items() if name != "blocks.3.norm1.bias"}
    saved(first_release("evit-cache-cla") | {"model": fewer}, Path("theirs.pth"))
    assert "blocks.3.norm1.bias: missing in the checkpoint" in refusal(authors, "checkpoint=theirs.pth", "out=new/x.pt")
    assert {path.name for path in here.iterdir()} == {"theirs.pth"}


def test_from_a_published_file_to_its_accuracy(here):
    make_data(here / "data")
    content = first_release("evit-cache-cla", num_classes=4)
    content["model"] = with_classes(content["model"], 4)
    saved(content, here / "published" / f"{RUN_NAME}.pth")
    made = run("authors", f"checkpoint=published/{RUN_NAME}.pth", "out=made/ours.pt", cwd=here)
    assert made.returncode == 0, made.stderr
    tested = run("evaluate", "checkpoint=made/ours.pt", "dataset=csv", "dataset.root=data", cwd=here)
    assert tested.returncode == 0, tested.stderr
    evaluation = json.loads((here / "made/evaluation.json").read_text())
    assert (evaluation["test_images"], evaluation["dataset"], evaluation["protocol"]) == (8, "csv", "test")
    assert evaluation["test_top1"] in [12.5 * hits for hits in range(9)]


def test_a_refused_file_ends_with_exit_code_2(here, capsys):
    Path("theirs.pth").write_text("not a checkpoint")
    assert run_command(authors, ["checkpoint=theirs.pth", "out=new/ours.pt"]) == 2
    assert capsys.readouterr().err.startswith("theirs.pth cannot be read as a checkpoint")
    assert {path.name for path in here.iterdir()} == {"theirs.pth"}


@pytest.fixture(scope="module")
def four_classes(tmp_path_factory):
    """A folder with converted weights of four classes, ours.pt, and a data set of four, data."""
    folder = tmp_path_factory.mktemp("four")
    make_data(folder / "data")
    content = first_release("none-nocache-linear", num_classes=4)
    content["model"] = with_classes(content["model"], 4)
    assert authors([f"checkpoint={saved(content, folder / 'theirs.pth')}", f"out={folder / 'ours.pt'}"]) == 0
    return folder


@pytest.fixture
def tested_on(four_classes, monkeypatch):
    """Evaluates these weights with further words: what evaluation.json says."""
    monkeypatch.chdir(four_classes)

    def command(*words: str) -> dict:
        assert evaluate(["checkpoint=ours.pt", "out=evaluation.json", *words]) == 0
        return json.loads(Path("evaluation.json").read_text())

    yield command
    Path("evaluation.json").unlink(missing_ok=True)


def test_evaluation_takes_other_data_and_another_protocol(tested_on):
    assert tested_on("dataset=csv", "dataset.root=data")["test_images"] == 8
    validated = tested_on("dataset=csv", "dataset.root=data", "protocol=val", "dataset.resize=64")
    assert (validated["test_images"], validated["protocol"]) == (4, "val")
    assert tested_on("dataset=folder", "dataset.root=data/images")["dataset"] == "folder"


CSV = ("dataset=csv", "dataset.root=data")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["dataset=cvs", "dataset.root=data"], "Did you mean dataset=csv?"),
        (["dataset=csv"], "dataset.root is missing"),
        ([*CSV, "dataset.resize=32"], "dataset.resize=32: expected at least image_size=64"),
        ([*CSV, "protocol=tset"], "Did you mean protocol=test?"),
        ([*CSV, "out=nowhere/x.json"], "out=nowhere/x.json: there is no folder nowhere"),
        (["dataset=leaves"], "leaves has 20 classes, the weights were trained on 4."),
        (["dataset.root=nowhere"], "dataset.root=nowhere does not exist. cotton80 belongs to"),
    ],
)
def test_evaluation_refuses_data_that_cannot_be_meant(tested_on, words, part):
    assert part in refusal(evaluate, "checkpoint=ours.pt", *words)
    assert not Path("evaluation.json").exists()
