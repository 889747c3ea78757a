"""Weights downloaded ahead, from a hub on this machine, are found by a run without a network."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

import ufgir
from hub_server import COMMIT, Hub
from ufgir import prepare_weights
from ufgir.cli import run_command
from ufgir.models import pretrained

NAME = "deit_tiny_patch16_224.fb_in1k"  # of backbone=deit_t
WEIGHTS = [sys.executable, "-m", "ufgir.prepare", "weights"]
LOAD = """
import sys, ufgir
from safetensors.torch import save_file
save_file(ufgir.create_model("deit_t", num_classes=5, pretrained=True).state_dict(), sys.argv[1])
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file as the hub has it, with weights that no seed gives."""
    file = tmp_path_factory.mktemp("hub") / "model.safetensors"
    torch.manual_seed(4)
    state = timm.create_model(NAME).state_dict()
    save_file({key: torch.randn_like(value) for key, value in state.items()}, file)
    return file


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def run(home: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose caches are below `home`."""
    own = {"HF_HOME": str(home / "hf"), "TORCH_HOME": str(home / "torch"), "NO_PROXY": "127.0.0.1", "no_proxy": "*"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(command, env={**kept, **own, **environment}, capture_output=True, text=True)


@pytest.mark.slow
def test_downloaded_ahead_and_found_without_a_network(weights, tmp_path):
    command = [*WEIGHTS, "backbone=deit_t,micro,deit_t"]
    with Hub() as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        hub.repositories[f"timm/{NAME}"] = {}
        broken = run(tmp_path, command, HF_ENDPOINT=hub.address)
        assert broken.returncode == 1 and broken.stdout.split()[:2] == ["deit_t", pretrained.FAILED]
        assert "deit_t: " in broken.stderr and "Traceback" not in broken.stderr
        hub.repositories[f"timm/{NAME}"] = {"model.safetensors": weights.read_bytes()}
        done = run(tmp_path, command, HF_ENDPOINT=hub.address)
        hub.shutdown()
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["deit_t", "micro", "cache:"], "each once"
    assert lines[0][1].split() == [pretrained.FETCHED, f"{weights.stat().st_size / 1e6:.1f}", "MB"]
    assert lines[1][1] == pretrained.NO_WEIGHTS and Path(lines[2][1]) == tmp_path / "hf" / "hub"

    again = run(tmp_path, command, HF_ENDPOINT=hub.address)
    assert again.returncode == 0 and again.stdout.split()[:2] == ["deit_t", pretrained.CACHED], "without a hub"
    out = tmp_path / "loaded.safetensors"
    loaded = run(tmp_path, [sys.executable, "-c", LOAD, str(out)], HF_HUB_OFFLINE="1")
    assert loaded.returncode == 0, loaded.stderr
    found, expected = load_file(out), load_file(weights)
    assert all(found[key].equal(value) for key, value in expected.items() if not key.startswith("head."))


def test_a_cache_in_the_layout_of_the_hub_serves_the_model(cache, weights, tmp_path):
    (missing,) = pretrained.fetch_weights(prepare_weights.of_names(["deit_t"]))
    assert missing.state == pretrained.FAILED and "HF_HUB_OFFLINE" in missing.reason
    repository = cache / f"models--timm--{NAME}"
    link = repository / "snapshots" / COMMIT / "model.safetensors"
    for folder in (link.parent, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    link.symlink_to(weights)
    lost = {"name": NAME, "pretrained": True, "checkpoint": str(tmp_path / "lost.pth"), "kwargs": {}}
    local = {**lost, "checkpoint": str(weights)}
    random = {"name": "deit_base_patch16_224", "pretrained": False, "checkpoint": None, "kwargs": {}}
    found = list(pretrained.fetch_weights([*prepare_weights.of_names(["deit_t", NAME]), random, local, lost]))
    assert [(one.state, one.file) for one in found] == [
        (pretrained.CACHED, link), (pretrained.LOCAL, weights), (pretrained.FAILED, None),
    ]  # fmt: skip
    assert "lost.pth" in found[-1].reason
    model = ufgir.create_model("deit_t", num_classes=1000, pretrained=True)
    assert model.head.weight.equal(load_file(weights)["head.weight"])


def test_the_backbones_of_a_grid_are_those_of_its_runs(monkeypatch, tmp_path, cache, capsys):
    assert {backbone["name"] for backbone in prepare_weights.of_sweep("ablation")} == {"deit3_base_patch16_224.fb_in1k"}
    assert all(backbone["pretrained"] for backbone in prepare_weights.of_sweep("ablation"))
    assert prepare_weights.prepare_weights(["sweep=demo"]) == 0
    assert capsys.readouterr().out.startswith("nothing to download")
    assert not cache.exists()


def test_weights_of_their_authors_are_named(cache, capsys):
    assert prepare_weights.prepare_weights(["backbone=vit_b_mocov3"]) == 3
    out, error = capsys.readouterr()
    assert pretrained.OFFICIAL in out and "vit-b-300ep.pth.tar" in error


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "backbone=deit_s"),
        (["sweep=demo", "backbone=deit_s"], "sweep=NAME"),
        (["backbone=deit_x,resnet50"], "Did you mean 'deit_t'"),
        (["backbone=deit_x,resnet50"], "ResNet"),
        (["sweep=paper_44"], "paper_448"),
        (["out=x"], "sweep="),
    ],
)
def test_wrong_arguments(arguments, text, capsys):
    assert run_command(prepare_weights.prepare_weights, arguments) == 2
    assert text in capsys.readouterr().err
