"""A model pushed to the Hub: its files, what they keep to themselves, every refusal, and the way back."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants

import ufgir
from hub_server import COMMIT, NOWHERE, TOKEN, Hub, connect, hub_with_cache
from tiny import TINY, make_data, make_run
from ufgir import push as push_command
from ufgir.cli import run_command
from ufgir.config import load_config
from ufgir.errors import RunFailed, UserError
from ufgir.export import hub as hub_module
from ufgir.training.checkpoint import load_weights, weights_digest

FILES = ["README.md", "config.json", "model.pt"]


def push(*arguments: str) -> int:
    return run_command(push_command.main, arguments, usage=push_command.__doc__)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a finished run, as training leaves it."""
    root = tmp_path_factory.mktemp("secret_place")
    data, folder = make_data(root / "data"), tmp_path_factory.mktemp("outputs") / "run"
    overrides = [*TINY, f"dataset.root={data}", "logger=wandb", "logger.wandb.entity=secret_name", "keep_rate=0.25",
                 f"output_root={root}"]  # fmt: skip
    make_run(folder, data, *overrides)
    results = json.loads((folder / "results.json").read_text())
    results |= {
        "test_top1": 62.5, "test_top5": 100.0, "test_loss": 1.25, "test_images": 8, "gmacs": 0.01, "seed": 1,
        "weights_sha256": weights_digest(load_weights(folder / "model.pt")["state_dict"]),
        "versions": {"torch": "2.11.0"}, "overrides": overrides, "command": f"train {root}",
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_dry_run_writes_the_files(run, tmp_path, capsys):
    out = tmp_path / "files"
    assert push(f"run={run}", "repo=me/leaf", "license=mit", f"out={out}") == 0
    assert capsys.readouterr().out == f"files: {out} (nothing was uploaded)\n"
    assert sorted(file.name for file in out.iterdir()) == FILES
    for file in out.iterdir():
        content = file.read_bytes()
        assert b"secret_place" not in content and b"secret_name" not in content, f"{file.name} tells of this machine"
    content = load_weights(out / "model.pt")
    assert content["class_names"] == load_weights(run / "model.pt")["class_names"]
    assert weights_digest(content["state_dict"]) == weights_digest(load_weights(run / "model.pt")["state_dict"])
    about = json.loads((out / "config.json").read_text())
    assert about["config"] == content["config"] and about["results"]["test_top1"] == 62.5
    assert about["preprocessing"]["crop"] == 32

    card = (out / "README.md").read_text()
    metadata = front_matter(card)
    assert [metadata[key] for key in ("license", "library_name", "pipeline_tag")] == [
        "mit", "ufgir", "image-classification",
    ]  # fmt: skip
    assert {"evit", "clca"} <= set(metadata["tags"])
    (entry,) = metadata["model-index"][0]["results"]
    assert entry["metrics"][0]["value"] == 0.625 and entry["dataset"]["split"] == "test"
    assert "| 62.5 |" in card and 'ufgir.load("hf-hub:me/leaf")' in card

    (line,) = [line for line in card.splitlines() if line.startswith("python -m ufgir.train")]
    words = shlex.split(line)[3:]
    assert "dataset.root=DIR" in words and not [word for word in words if "logger" in word or "output" in word]
    trained = load_weights(run / "model.pt")["config"]
    made = load_config(words).model_dump(by_alias=True)
    for part in ("backbone", "reducer", "plugins", "optim", "augment", "image_size", "seed", "keep_rate"):
        assert made[part] == trained[part], "the command in the card makes another run"


def test_no_path_of_this_machine_is_in_a_command():
    given = ["dataset.root=../me", "backbone.checkpoint=me.pth", "+optim.a={b:/home/me,c:1}", "x=[1,'~/me']", "x=1/2"]
    assert hub_module.public_overrides([*given, "+logger=wandb", "~callbacks", "keep_rate=[0.7,0.5]"]) == [
        "dataset.root=DIR", "backbone.checkpoint=FILE", "+optim.a={b:FILE,c:1}", "x=[1,'FILE']", "x=1/2", "~callbacks",
        "keep_rate=[0.7,0.5]",
    ]  # fmt: skip


def test_weights_without_results(run, tmp_path):
    alone = tmp_path / "model.pt"
    alone.write_bytes((run / "model.pt").read_bytes())
    assert push(f"checkpoint={alone}", "repo=me/leaf", "dry_run=true") == 0
    card = (tmp_path / "push/README.md").read_text()
    assert "Not known" in card and "ufgir.train" not in card
    assert "model-index" not in front_matter(card) and front_matter(card)["license"] == "unknown"


def test_mistakes(run, tmp_path, monkeypatch, capsys):
    assert push("repo=leaf", "private=maybe", "token=x") == 2
    error = capsys.readouterr().err
    for part in ("repo=leaf: expected USER/NAME", "private=maybe", "token=x"):
        assert part in error
    (tmp_path / "README.md").write_text("mine")
    assert push("run=nowhere", "repo=me/leaf", f"out={tmp_path}") == 2
    assert "README.md exists" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert push(f"run={run}", "repo=me/leaf") == 2
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "get_token", lambda: None)
    assert push(f"run={run}", "repo=me/leaf") == 2
    assert "hf auth login" in (error := capsys.readouterr().err) and "dry_run=true" in error


def test_a_repository_in_the_cache_needs_no_network(run, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub/models--me--leaf"
    (snapshot := repository / "snapshots" / COMMIT).mkdir(parents=True)
    (snapshot / "model.pt").symlink_to(run / "model.pt")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    cached, local = ufgir.load("hf-hub:me/leaf"), ufgir.load(run)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(cached.model(images), local.model(images)) and cached.class_names == local.class_names
    monkeypatch.chdir(tmp_path)
    assert push("checkpoint=hf-hub:me/leaf", "repo=me/other", "dry_run=true") == 0
    assert sorted(file.name for file in (tmp_path / "push").iterdir()) == FILES, "no result goes into the cache"
    with pytest.raises(UserError, match="hf-hub:me/flower"):
        ufgir.load("hf-hub:me/flower")


@pytest.mark.parametrize(
    ("cause", "part"),
    [(ConnectionRefusedError("refused"), "cannot be reached"), (KeyError("name"), "refused the files")],
)
def test_a_network_that_fails(cause, part, tmp_path, monkeypatch):
    class Api:
        def whoami(self):
            raise RuntimeError("no answer") from cause

    monkeypatch.setattr(hub_module, "HfApi", Api)
    with pytest.raises(RunFailed, match=f"{part}.*no answer.*nothing was uploaded"):
        hub_module.upload(tmp_path, "me/leaf", private=False)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    with hub_with_cache(tmp_path / "hub", monkeypatch) as hub:
        yield hub


def test_pushed_and_loaded_back(hub, run, tmp_path, monkeypatch, run_ufgir):
    monkeypatch.chdir(tmp_path)
    words = ("push", f"run={run}", "repo=me/leaf", "private=true")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    wrong = run_ufgir(*words)
    assert wrong.code == 2 and "nothing was uploaded" in wrong.err and "hf auth login" in wrong.err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    elsewhere = run_ufgir("push", f"run={run}", "repo=you/leaf")
    assert elsewhere.code == 2 and "repo=you/leaf" in elsewhere.err
    with monkeypatch.context() as patch:
        connect(NOWHERE, patch)
        nowhere = run_ufgir(*words)
    assert nowhere.code == 1 and "cannot be reached" in nowhere.err
    assert not hub.repositories
    hub.refuses_commits = True
    broken = run_ufgir(*words)
    assert broken.code == 1 and "me/leaf exists, without these files" in broken.err
    hub.refuses_commits = False

    done = run_ufgir(*words)
    assert done.code == 0, done.err
    assert hub.commits == 1 and sorted(hub.repositories["me/leaf"]) == FILES
    assert push(f"run={run}", "repo=me/leaf", f"out={tmp_path / 'files'}") == 0
    for name in ("README.md", "config.json"):
        assert hub.repositories["me/leaf"][name] == (tmp_path / "files" / name).read_bytes(), "a dry run is the upload"

    export = ("export", "checkpoint=hf-hub:me/leaf", "format=timm")
    loaded = run_ufgir(*export)
    assert loaded.code == 0, loaded.err
    assert (tmp_path / "export/timm/model.safetensors").is_file()
    missing = run_ufgir("export", "checkpoint=hf-hub:me/flower", "format=timm")
    assert missing.code == 2 and "hf-hub:me/flower" in missing.err
    connect(NOWHERE, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = run_ufgir(*export, "out=again")
    assert offline.code == 0, offline.err
