"""Weights fetched ahead from a hub on this machine are found by a run without a network."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

import ufgir
from tiny import command
from ufgir import prepare, prepare_weights
from ufgir.config import compose_run, resolve
from ufgir.models import hub

NAME = "deit_tiny_patch16_224.fb_in1k"  # behind backbone=deit_t
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = f"/timm/{NAME}/resolve/main/model.safetensors"

# Run without a network: the weights that a pretrained model has.
LOAD = """
import sys, ufgir
from safetensors.torch import save_file
save_file(ufgir.create_model("deit_t", num_classes=5, pretrained=True).state_dict(), sys.argv[1])
"""


class Hub(ThreadingHTTPServer):
    """As much of a model hub as its own client asks for: one file in one repository."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.content = content
        self.breaks = False  # whether it stops in the middle of the file and has no more of it
        self.requests: list[str] = []


class Requests(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        content = self.server.content
        self.server.requests.append(self.command)
        found = self.path == FILE
        self.send_response(200 if found else 404)
        if found:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound" if NAME in self.path else "RepoNotFound")
        self.send_header("Content-Length", str(len(content) if found else 0))
        self.end_headers()

    def do_GET(self) -> None:
        if self.server.breaks and "GET" in self.server.requests:
            self.send_error(503)
            return
        self.do_HEAD()
        if self.path == FILE:
            content = self.server.content
            self.wfile.write(content[: len(content) // 2] if self.server.breaks else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file as the hub has it, with weights that no seed gives."""
    file = tmp_path_factory.mktemp("hub") / "model.safetensors"
    torch.manual_seed(4)
    state = timm.create_model(NAME).state_dict()
    save_file({key: torch.randn_like(value) for key, value in state.items()}, file)
    return file


@pytest.fixture
def served(weights) -> Iterator[Hub]:
    with Hub(weights.read_bytes()) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def run(home: Path, words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose caches lie below `home`."""
    own = {"HF_HOME": str(home / "hf"), "TORCH_HOME": str(home / "torch"), "NO_PROXY": "127.0.0.1", "no_proxy": "*"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(words, env={**kept, **own, **environment}, capture_output=True, text=True)


@pytest.mark.slow
def test_fetched_ahead_and_found_without_a_network(served, weights, tmp_path):
    endpoint = f"http://127.0.0.1:{served.server_port}"
    fetch = command("prepare", "weights", "backbone=deit_t,micro,deit_t")
    done = run(tmp_path, fetch, HF_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["deit_t", "micro", "cache:"]
    assert lines[0][1].split() == ["fetched", f"{len(served.content) / 1e6:.1f}", "MB"]
    assert lines[1][1] == "no weights exist"
    assert Path(lines[2][1]) == tmp_path / "hf" / "hub"

    asked = len(served.requests)
    again = run(tmp_path, fetch, HF_ENDPOINT=endpoint)
    assert again.returncode == 0 and again.stdout.startswith("deit_t                         cached already")
    assert len(served.requests) == asked, "what is there needs no network"

    out = tmp_path / "loaded.safetensors"
    loaded = run(tmp_path, [sys.executable, "-c", LOAD, str(out)], HF_HUB_OFFLINE="1")
    assert loaded.returncode == 0, loaded.stderr
    found, expected = load_file(out), load_file(weights)
    assert all(found[key].equal(value) for key, value in expected.items() if not key.startswith("head."))


@pytest.mark.slow
def test_a_broken_download_is_not_believed_and_goes_on(served, tmp_path):
    endpoint = f"http://127.0.0.1:{served.server_port}"
    fetch = command("prepare", "weights", "backbone=deit_t,vit_b_mocov3")
    served.breaks = True
    broken = run(tmp_path, fetch, HF_ENDPOINT=endpoint)
    assert broken.returncode == 1
    assert "deit_t                         could not be had" in broken.stdout
    assert "\ndeit_t: " in f"\n{broken.stderr}" and "Traceback" not in broken.stderr
    assert served.requests.count("GET") == 1 and not list((tmp_path / "hf").rglob("model.safetensors"))
    served.breaks = False
    mended = run(tmp_path, fetch, HF_ENDPOINT=endpoint)
    assert mended.returncode == 3, mended.stderr
    assert mended.stdout.startswith("deit_t                         fetched")
    assert "vit_b_mocov3                   needs an official file" in mended.stdout
    assert "vit-b-300ep.pth.tar" in mended.stderr


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub; the tests have no network, as conftest.py says."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path / "hub"


def lay_out(cache: Path, weights: Path) -> None:
    """The layout of huggingface_hub: blobs, snapshots that link to them, and which commit is main."""
    repository = cache / f"models--timm--{NAME}"
    blob = repository / "blobs" / "a1b2"
    link = repository / "snapshots" / COMMIT / "model.safetensors"
    for file in (blob, link, repository / "refs" / "main"):
        file.parent.mkdir(parents=True)
    blob.symlink_to(weights)
    link.symlink_to(Path("../../blobs/a1b2"))
    (repository / "refs" / "main").write_text(COMMIT)


def backbone(name: str, **settings: object) -> dict:
    return {"name": name, "pretrained": True, "checkpoint": None, "kwargs": {}, **settings}


def test_a_cache_in_the_hubs_layout_serves_the_model(cache, weights):
    assert [found.state for found in hub.weights_of([backbone(NAME)])] == [hub.FAILED]
    lay_out(cache, weights)
    (found,) = hub.weights_of([backbone(NAME)])
    assert (found.backbone, found.state, found.reason) == ("deit_t", hub.CACHED, "")
    assert found.megabytes == weights.stat().st_size / 1e6
    model = ufgir.create_model("deit_t", num_classes=1000, pretrained=True)
    assert model.head.weight.equal(load_file(weights)["head.weight"])


def test_a_plan_is_fetched_once_and_only_as_far_as_needed(cache, weights, tmp_path):
    lay_out(cache, weights)
    plan = [
        backbone(NAME),
        backbone(NAME),
        backbone("deit_base_patch16_224.fb_in1k", pretrained=False),  # starts from random weights
        backbone(NAME, checkpoint=str(weights)),
        backbone(NAME, checkpoint=str(tmp_path / "lost.pth")),
        backbone("vit_tiny_patch16_224", kwargs={"embed_dim": 64, "num_heads": 2}),
    ]
    found = list(hub.weights_of(plan))
    assert [(one.state, one.file) for one in found] == [
        (hub.CACHED, cache / f"models--timm--{NAME}" / "snapshots" / COMMIT / "model.safetensors"),
        (hub.LOCAL, weights),
        (hub.FAILED, None),
        (hub.NONE, None),
    ]
    assert found[2].reason == f"deit_t: there is no file {tmp_path / 'lost.pth'}."


def test_weights_that_timm_takes_from_elsewhere(cache, tmp_path, monkeypatch):
    source = timm.models.PretrainedCfg(url="https://example.org/weights/vit.pth")
    monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda name: source)
    assert hub.cached_file("vit") is None
    file = tmp_path / "torch" / "checkpoints" / "vit.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert hub.cached_file("vit") == file


def test_offline_says_why_and_what_needs_an_official_file_is_skipped(cache, capsys):
    assert prepare.main(["weights", "backbone=vit_b_mocov3"]) == 3
    assert "needs an official file" in capsys.readouterr().out
    assert prepare.main(["weights", "backbone.name=vit_small_patch14_reg4_dinov2", "backbone=vit_b_mocov3"]) == 1
    out, error = capsys.readouterr()
    assert "dinov2_s_reg" not in out and "vit_small_patch14_reg4_dinov2  could not be had" in out
    assert "HF_HUB_OFFLINE is set: nothing is fetched." in error
    assert not cache.exists()


def test_the_backbones_of_a_grid_are_those_of_its_runs(cache, tmp_path, monkeypatch, capsys):
    assert {backbone["name"] for backbone in prepare_weights.backbones_of(["sweep=ablation"])} == {
        "deit3_base_patch16_224.fb_in1k"
    }
    (tmp_path / "sweeps" / "sweep").mkdir(parents=True)
    grid = tmp_path / "sweeps" / "sweep" / "mine.yaml"
    monkeypatch.setenv("UFGIR_PATH", str(tmp_path))
    grid.write_text("union: [{dataset: cotton80, backbone.name: [vit_small_patch32_224, deit3_large_patch16_224]}]")
    found = prepare_weights.backbones_of(["sweep=mine"])
    assert [backbone["name"] for backbone in found] == ["vit_small_patch32_224", "deit3_large_patch16_224"]
    grid.write_text("union: [{dataset: cotton80, backbone: [vit_b_mocov3], seed: [1, 2]}, {dataset: cotton80}]")
    default = resolve(compose_run(["dataset=cotton80"])[0])["backbone"]
    moco, found = prepare_weights.backbones_of(["sweep=mine"])
    assert moco["pretrained"] and moco["name"] == "vit_base_patch16_224" and found == default
    grid.write_text("union: [{keep_rate: 2, seed: [1, 2]}, {keep_rate: 2, optim.lr: [1, 2]}]")
    assert prepare.main(["weights", "sweep=mine"]) == 2
    assert capsys.readouterr().err.count("keep_rate=2") == 1, "once, not for each run"


def test_runs_from_random_weights_need_nothing(cache, capsys):
    assert prepare.main(["weights", "sweep=demo"]) == 0
    assert capsys.readouterr().out.startswith("there is nothing to fetch: all of these runs start from random weights")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "name what to fetch: sweep=paper_448, backbone=deit_s,deit_b"),
        (["backbone=deit_x"], "Did you mean backbone=deit_b"),
        (["backbone.name=resnet50"], "it is a ResNet"),
        (["sweep=paper_44"], "sweep=paper_44: expected ablation, demo, lr_search, paper_224 or paper_448."),
        (["out=x"], "out=x is not understood; the words are backbone=, backbone.name= and sweep="),
    ],
)
def test_mistakes(words, text, capsys):
    assert prepare.main(["weights", *words]) == 2
    assert text in capsys.readouterr().err


def test_help(capsys):
    assert prepare.main(["weights", "--help"]) == 0
    told = capsys.readouterr().out
    for word in prepare_weights.WORDS:
        assert f"python -m ufgir.prepare weights {word}=" in told
