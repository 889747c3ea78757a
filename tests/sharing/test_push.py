"""A model pushed to the Hub: the very files, what they do not tell, every refusal, and the way back."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image

import ufgir
from hub_server import COMMIT, TOKEN, Hub
from tiny import WORDS, command, make_data
from ufgir import push as push_command
from ufgir.cli import run_command
from ufgir.config import compose_run, resolve, slug
from ufgir.config.retyped import words_for
from ufgir.data.transforms import ImageTransform
from ufgir.errors import RunFailed, UserError
from ufgir.runs.build import build_data, build_model
from ufgir.runs.repository import fetch
from ufgir.runs.trained import find_trained
from ufgir.sharing.card import TAGS
from ufgir.sharing.upload import check_login
from ufgir.training.checkpoint import load_weights, save_weights, weights_digest


def push(*words: str) -> int:
    return run_command(push_command.push, list(words), usage=push_command.__doc__)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a finished run, as training leaves it."""
    data = make_data(tmp_path_factory.mktemp("secret_place"))
    words = [
        *WORDS,
        f"dataset.root={data}",
        "plugins=clca",
        "logger=wandb",
        "logger.entity=secret_name",
        "keep_rate=0.25",
    ]
    config = resolve(compose_run(words)[0])
    torch.manual_seed(0)
    model = build_model(config, 4)
    folder = tmp_path_factory.mktemp("outputs") / slug(config)
    folder.mkdir()
    save_weights(folder / "model.pt", model, config, ["one", "two", "three", "four"])
    results = {
        "status": "finished", "test_top1": 62.5, "test_top5": 100.0, "test_loss": 1.25, "test_images": 8, "gmacs": 0.01,
        "weights_sha256": weights_digest(model.state_dict()), "versions": {"torch": "2.11.0"}, "config": config,
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_dry_run_writes_the_very_files(run, tmp_path, capsys):
    out = tmp_path / "files"
    assert push(f"run={run}", "repo=me/leaf", "license=mit", f"out={out}") == 0
    assert capsys.readouterr().out == f"files: {out} (nothing was uploaded)\n"
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "model.pt"]
    for file in out.iterdir():
        found = [text for text in (b"secret_place", b"secret_name") if text in file.read_bytes()]
        assert not found, f"{file.name} tells of this machine"
    content = load_weights(out / "model.pt")
    assert content["class_names"] == ["one", "two", "three", "four"]
    assert weights_digest(content["state_dict"]) == weights_digest(load_weights(run / "model.pt")["state_dict"])
    facts = json.loads((out / "config.json").read_text())
    assert facts["config"] == content["config"] and facts["results"]["test_top1"] == 62.5

    card = (out / "README.md").read_text()
    metadata = front_matter(card)
    assert (metadata["license"], metadata["library_name"], metadata["pipeline_tag"]) == (
        "mit", "ufgir", "image-classification",
    )  # fmt: skip
    assert metadata["tags"] == [*TAGS, "evit", "clca"] and metadata["metrics"] == ["accuracy"]
    (entry,) = metadata["model-index"][0]["results"]
    assert entry["metrics"][0]["value"] == 0.625
    assert "| test top-1, percent | 62.5 |" in card and 'ufgir.load("hf-hub:me/leaf")' in card


def test_the_command_in_the_card_makes_the_same_run(run, tmp_path):
    assert push(f"run={run}", "repo=me/leaf", f"out={tmp_path / 'files'}") == 0
    card = (tmp_path / "files/README.md").read_text()
    (line,) = [line.strip() for line in card.splitlines() if "ufgir.train" in line]
    words = shlex.split(line)[3:]
    assert "dataset.root=DIR" in words and "keep_rate=0.25" in words
    assert "optim.warmup_epochs" not in line and "dataset.resize" not in line, "what follows is not told"
    composed, faults = compose_run(words)
    assert not faults
    made, trained = resolve(composed), load_weights(run / "model.pt")["config"]
    for part in ("backbone", "reducer", "plugins", "optim", "augment", "image_size", "seed", "keep_rate"):
        assert made[part] == trained[part]


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=demo"],
        ["experiment=real_leaves", "dataset.root=x", "seed=3", "trainer.gradient_clip_val=1.0"],
        ["backbone.name=vit_small_patch32_224", "reducer=topk", "keep_rate=[0.7,0.5,0.3]", "plugins=base"],
        ["plugins.cache.num_clr=2", "protocol=val", "augment=none", "+trainer.deterministic=true"],
        ["dataset=cotton80", "dataset.root=x", "backbone=deit_t", "reducer=none", "dataset.epochs=7"],
    ],
)
def test_settings_as_words_and_back(words):
    composed, faults = compose_run(words)
    assert not faults
    found = words_for(resolve(composed))
    assert found is not None and len(found) < 20


def test_settings_that_no_words_make():
    config = resolve(compose_run([])[0])
    config["optim"]["betas"] = [2.0, 3.0]
    assert words_for(config) is None


def test_weights_without_numbers_say_so(run, tmp_path):
    alone = tmp_path / "model.pt"
    alone.write_bytes((run / "model.pt").read_bytes())
    assert push(f"checkpoint={alone}", "repo=me/leaf", "dry_run=true") == 0
    card = (tmp_path / "push/README.md").read_text()
    assert "Nothing is known about these weights" in card
    assert "model-index" not in front_matter(card) and front_matter(card)["license"] == "unknown"


def test_mistakes(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("ufgir.sharing.upload.get_token", lambda: None)
    assert push("repo=leaf", "private=yes") == 2
    error = capsys.readouterr().err
    for text in (
        "give either run=DIR",
        "repo=leaf: expected USER/NAME",
        "private=yes: expected true or false.",
        "there is no login at the Hugging Face Hub. Run `hf auth login`, or set HF_TOKEN; dry_run=true writes",
    ):
        assert text in error
    (tmp_path / "README.md").write_text("mine")
    assert push(f"run={run}", "repo=me/leaf", f"out={tmp_path}") == 2
    assert "has README.md already" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1
    assert push("repo=leaf", f"run={tmp_path}", f"out={tmp_path}") == 2  # before the run is looked for
    error = capsys.readouterr().err
    assert "has README.md already" in error and "repo=leaf: expected USER/NAME" in error
    (tmp_path / "README.md").rename(tmp_path / "NOTES.md")
    assert push(f"run={run}", "repo=me/leaf", f"out={tmp_path}") == 0, "only what would be overwritten is in the way"
    capsys.readouterr()
    assert push(f"run={run}", "repo=me/leaf", "out=~no-such-user") == 2
    assert "out=~no-such-user: ~no-such-user is nobody's home folder here" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert push(f"run={run}", "repo=me/leaf") == 2
    assert "HF_HUB_OFFLINE is set, so nothing is uploaded" in capsys.readouterr().err
    assert push("--help") == 0 and "one commit" in capsys.readouterr().out


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def lay_out(cache: Path, file: Path) -> None:
    """The layout of huggingface_hub: snapshots, and which commit is main."""
    repository = cache / "models--me--leaf"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.pt").symlink_to(file)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


def test_a_repository_in_the_cache_needs_no_network(run, cache, monkeypatch):
    with pytest.raises(UserError, match="not in the cache .* cannot be fetched. HF_HUB_OFFLINE is set"):
        ufgir.load("hf-hub:me/leaf")
    lay_out(cache, run / "model.pt")
    fetched, local = ufgir.load("hf-hub:me/leaf"), ufgir.load(run)
    images = torch.randn(2, 3, 32, 32)
    assert not fetched.model.training
    assert torch.equal(fetched.model(images), local.model(images))
    assert fetched.class_names == ["one", "two", "three", "four"]
    trained = find_trained({"checkpoint": f"hf-hub:me/leaf@{COMMIT}"})
    assert trained.results_folder == Path(), "no result goes into the cache"
    assert find_trained({"run": str(run)}).results_folder == run


def test_names_that_are_no_repository(cache):
    with pytest.raises(UserError, match="'a/b/c' names no repository; give hf-hub:USER/NAME"):
        fetch("hf-hub:a/b/c")


def test_the_transform_is_that_of_the_test_pass(run):
    from ufgir.data import load_source

    config = find_trained({"run": str(run)}).config
    source = load_source(config["dataset"], protocol="test", seed=1)
    data = build_data(config, source)
    transform = ufgir.load(run).transform
    assert isinstance(transform, ImageTransform)
    expected = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.test_dataloader()])
    found = torch.stack([transform(Image.open(path)) for path in source.paths(source.test)])
    assert torch.equal(found, expected)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def with_hub(
    address: str, home: Path, words: list[str], token: str = TOKEN, **more: str
) -> subprocess.CompletedProcess:
    """Run a command that knows of no hub but the one at `address`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_HOME": str(home / "hf"), "NO_PROXY": "127.0.0.1", "no_proxy": "*", "HF_ENDPOINT": address}
    own |= {"HF_TOKEN": token, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(words, env={**kept, **own, **more}, cwd=home, capture_output=True, text=True)


@pytest.mark.slow
def test_pushed_and_loaded_back(hub, run, tmp_path):
    words = command("push", f"run={run}", "repo=me/leaf", "private=true")
    wrong = with_hub(hub.address, tmp_path, words, token="hf_wrong")
    assert wrong.returncode == 2 and "does not know this token; nothing was uploaded" in wrong.stderr
    elsewhere = with_hub(hub.address, tmp_path, command("push", f"run={run}", "repo=you/leaf"))
    assert elsewhere.returncode == 2 and "this login may not write there; nothing was uploaded" in elsewhere.stderr
    nowhere = with_hub("http://127.0.0.1:9", tmp_path, words)
    assert nowhere.returncode == 1 and "cannot be reached" in nowhere.stderr
    assert not any("Traceback" in done.stderr for done in (wrong, elsewhere, nowhere))
    assert not hub.repositories

    done = with_hub(hub.address, tmp_path, words)
    assert done.returncode == 0, done.stderr
    assert hub.commits == 1 and sorted(hub.repositories["me/leaf"]) == ["README.md", "config.json", "model.pt"]
    out = tmp_path / "files"
    assert push(f"run={run}", "repo=me/leaf", f"out={out}") == 0
    for name in ("README.md", "config.json"):
        assert hub.repositories["me/leaf"][name] == (out / name).read_bytes(), "a dry run writes what is uploaded"

    export = command("export", "checkpoint=hf-hub:me/leaf", "format=timm")
    loaded = with_hub(hub.address, tmp_path, export)
    assert loaded.returncode == 0, loaded.stderr
    assert "export: export/timm/model.safetensors" in loaded.stdout and (tmp_path / "export/timm").is_dir()
    offline = with_hub("http://127.0.0.1:9", tmp_path, [*export, "out=again"], HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    missing = with_hub(hub.address, tmp_path, command("export", "checkpoint=hf-hub:me/flower", "format=timm"))
    assert missing.returncode == 2 and "there is no repository me/flower" in missing.stderr
    hub.repositories["me/empty"] = {}
    empty = with_hub(hub.address, tmp_path, command("export", "checkpoint=hf-hub:me/empty", "format=timm"))
    assert empty.returncode == 2 and "me/empty has no model.pt" in empty.stderr


@pytest.mark.slow
def test_an_upload_that_breaks_says_what_is_there(hub, run, tmp_path):
    hub.refuses_commits = True
    done = with_hub(hub.address, tmp_path, command("push", f"run={run}", "repo=me/leaf"))
    assert done.returncode == 1
    assert (
        "did not take it" in done.stderr
        and "me/leaf is there, without these files; the same command tries again" in done.stderr
    )
    assert hub.repositories == {"me/leaf": {}}


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (ConnectionRefusedError("refused"), "cannot be reached (RuntimeError: no answer); nothing was uploaded."),
        (KeyError("name"), "did not take it (RuntimeError: no answer); nothing was uploaded."),
    ],
)
def test_a_network_that_fails_is_told_from_what_the_hub_says(monkeypatch, cause, told):
    class Api:
        def whoami(self):
            raise RuntimeError("no answer") from cause

    monkeypatch.setattr("ufgir.sharing.upload.HfApi", Api)
    with pytest.raises(RunFailed) as failed:
        check_login()
    assert str(failed.value) == f"the Hugging Face Hub {told}"


def test_a_stand_in_gets_one_commit(run, monkeypatch, capsys):
    calls = []

    class Api:
        def whoami(self):
            return {"name": "me"}

        def create_repo(self, name, **options):
            calls.append((name, options))

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            calls.append((repo_id, sorted(file.name for file in folder_path.iterdir())))
            return f"hub/{repo_id}/commit"

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("ufgir.sharing.upload.get_token", lambda: TOKEN)
    monkeypatch.setattr("ufgir.sharing.upload.HfApi", Api)
    assert push(f"run={run}", "repo=me/leaf", "private=true") == 0
    files = ["README.md", "config.json", "model.pt"]
    assert calls == [("me/leaf", {"private": True, "exist_ok": True}), ("me/leaf", files)]
    assert capsys.readouterr().out.splitlines()[-1] == "repository: hub/me/leaf/commit"
