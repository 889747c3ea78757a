"""Weights downloaded ahead, from a hub on this machine, are found by a run without a network."""

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
from ufgir import prepare_weights
from ufgir.cli import run_command
from ufgir.models import pretrained

NAME = "deit_tiny_patch16_224.fb_in1k"  # of backbone=deit_t
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = f"/timm/{NAME}/resolve/main/model.safetensors"
WEIGHTS = [sys.executable, "-m", "ufgir.prepare", "weights"]
LOAD = """
import sys, ufgir
from safetensors.torch import save_file
save_file(ufgir.create_model("deit_t", num_classes=5, pretrained=True).state_dict(), sys.argv[1])
"""


class Hub(ThreadingHTTPServer):
    """As much of a model hub as its client asks for: one file in one repository."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.content = content
        self.breaks = False  # whether it stops in the middle of the file and has no more of it
        self.requests: list[str] = []


class Requests(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        content, found = self.server.content, self.path == FILE
        self.server.requests.append(self.command)
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
def hub(weights) -> Iterator[Hub]:
    with Hub(weights.read_bytes()) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


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
def test_downloaded_ahead_and_found_without_a_network(hub, weights, tmp_path):
    command, endpoint = [*WEIGHTS, "backbone=deit_t,micro,deit_t"], f"http://127.0.0.1:{hub.server_port}"
    hub.breaks = True
    broken = run(tmp_path, command, HF_ENDPOINT=endpoint)
    assert broken.returncode == 1 and broken.stdout.split()[:2] == ["deit_t", pretrained.FAILED]
    assert "deit_t: " in broken.stderr and "Traceback" not in broken.stderr
    assert not list((tmp_path / "hf").rglob("model.safetensors")), "half a file is not believed"

    hub.breaks = False
    done = run(tmp_path, command, HF_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["deit_t", "micro", "cache:"], "each once"
    assert lines[0][1].split() == [pretrained.FETCHED, f"{len(hub.content) / 1e6:.1f}", "MB"]
    assert lines[1][1] == pretrained.NO_WEIGHTS and Path(lines[2][1]) == tmp_path / "hf" / "hub"

    asked = len(hub.requests)
    again = run(tmp_path, command, HF_ENDPOINT=endpoint)
    assert again.returncode == 0 and again.stdout.split()[:2] == ["deit_t", pretrained.CACHED]
    assert len(hub.requests) == asked, "what is there needs no network"

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
