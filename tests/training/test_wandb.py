"""What Weights & Biases learns of a run, written offline, and the search that its agent conducts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from click.testing import CliRunner
from wandb.apis.public import sweeps as sweeps_api
from wandb.cli.cli import cli
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args, load_sweep_config
from wandb.wandb_agent import Agent

from tiny import WORDS, environment, make_data, results_of, run
from ufgir.config import compose_run
from ufgir.training.loggers import SUMMARY
from wandb_file import run_of
from wandb_server import serving

SEARCH = Path(__file__).parents[2] / "sweeps" / "wandb" / "lr_search.yaml"
AGENTS = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_DIR")  # variables that the agent sets
AXES = {
    "grid": "ablation", "dataset": "csv", "backbone": "micro", "reducer": "evit", "keep_rate": 0.5,
    "plugins": "clca", "image_size": 32, "lr": 5e-4, "seed": 10, "protocol": "test",
}  # fmt: skip

# wandb leaves the sweep file open after it has read it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file .*lr_search.yaml:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in.*lr_search.yaml:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cwd(tmp_path, monkeypatch) -> Path:
    """A folder with a data set, and an environment in which W&B is offline and python is this one."""
    make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    variables = environment() | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("PATH", "OMP_NUM_THREADS", "WANDB_MODE"):
        monkeypatch.setenv(name, variables[name])
    return tmp_path


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> tuple[dict, Path]:
    """The results of a run that was logged offline as part of a grid, and its .wandb file."""
    cwd = tmp_path_factory.mktemp("offline")
    make_data(cwd / "data")
    words = (*WORDS, "dataset.root=data", "trainer.max_epochs=1", "seed=10", "logger=wandb", "logger.tags=[mine]")
    words = (*words, "callbacks.tokens=true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UFGIR_SWEEP", "ablation")
        results = results_of(run("train", *words, cwd=cwd), cwd)
    (file,) = cwd.glob("outputs/*/wandb/offline-run-*/*.wandb")
    return results, file


def test_a_run_offline_has_all_that_dashboards_need(offline):
    results, file = offline
    opened, config, summary = run_of(file)
    name = file.parents[2].name
    assert (opened.display_name, opened.run_id, opened.project) == (name, name.rsplit("-", 1)[-1], "ufgir")
    assert file.parent.name.endswith(f"-{opened.run_id}")
    assert {path.name for path in file.parents[4].iterdir()} == {"data", "outputs"}
    assert opened.run_group.startswith("csv-micro-evit-0.5-clca-32-") and "-s10" not in opened.run_group
    assert (opened.job_type, list(opened.tags)) == ("train", ["mine", "ablation"])
    assert {key: config[key] for key in AXES} == AXES
    assert config["config"] == results["config"]
    assert {key: summary[key] for key in SUMMARY} == {key: results[key] for key in SUMMARY}


def test_pictures_of_tokens_are_logged_as_images(offline):
    _, file = offline
    logged = (file.parent / "files" / "media" / "images").glob("tokens*.png")
    figures = (file.parents[2] / "tokens").glob("*.png")
    assert len(contents := sorted(path.read_bytes() for path in logged)) == 4
    assert contents == sorted(path.read_bytes() for path in figures)


def test_wandb_sync_brings_it_up_later(offline):
    results, file = offline
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with serving() as server:
        variables = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40, "NO_PROXY": "*", "no_proxy": "*"}
        sync = [sys.executable, "-m", "wandb", "sync", file.parent]
        environment = kept | variables
        done = subprocess.run(sync, cwd=file.parents[4], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "Finished syncing" in done.stderr, done.stderr
    assert server.runs[0]["groupName"] == run_of(file)[0].run_group
    config = {key: item["value"] for key, item in json.loads(server.runs[-1]["config"]).items()}
    assert {key: config[key] for key in AXES} == AXES
    summary = json.loads(server.files["wandb-summary.json"][-1])
    assert {key: summary[key] for key in SUMMARY} == {key: results[key] for key in SUMMARY}


def test_the_search_is_what_wandb_sweep_sends(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    sent = []
    stub = SimpleNamespace(settings={"project": None, "entity": None, "base_url": ""}, default_entity=None)
    monkeypatch.setattr(wandb, "Api", lambda: stub)
    answer = {"name": "x"}, []  # the registered sweep, and no warnings
    monkeypatch.setattr(sweeps_api, "_upsert_sweep", lambda api, config, **_: sent.append(config) or answer)
    done = CliRunner().invoke(cli, ["sweep", "--project", "ufgir", str(SEARCH)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (config,) = sent
    assert config == load_sweep_config(str(SEARCH))
    assert (config["method"], config["metric"]) == ("grid", {"name": "test_top1", "goal": "maximize"})
    assert config["parameters"]["optim.lr"]["values"] == [1e-4, 5e-4, 5e-5, 1e-5, 5e-6]


def test_every_word_of_the_search_is_one_of_ours():
    parameters = load_sweep_config(str(SEARCH))["parameters"]
    for lr in parameters["optim.lr"]["values"]:
        args = {**parameters, "optim.lr": {"value": lr}}
        words = create_sweep_command_args({"args": args})["args_no_hyphens"]
        config, faults = compose_run(["logger=wandb", "protocol=val", *words])
        assert faults == [] and config["optim"]["lr"] == lr


@pytest.mark.slow
def test_the_agent_trains_and_hears_of_finished_runs_too(cwd, monkeypatch):
    for name in AGENTS:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WANDB_SWEEP_ID", "search")
    monkeypatch.setenv("WANDB_DIR", str(cwd))
    agent = Agent(api=None, queue=None, sweep_id="search")
    search = load_sweep_config(str(SEARCH))
    agent._sweep_command = search["command"]
    tiny = dict(word.split("=") for word in (*WORDS, "dataset.root=data", "trainer.max_epochs=1"))
    values = {name: setting.get("value") for name, setting in search["parameters"].items()}
    args = {name: {"value": value} for name, value in {**values, **tiny, "optim.lr": 5e-6}.items()}
    for run_id in ("first", "second"):
        agent._command_run({"run_id": run_id, "args": args, "program": search["program"]})
        assert agent._run_processes[run_id].wait(timeout=100) == 0
        (file,) = cwd.glob(f"outputs/*/wandb/offline-run-*-{run_id}/*.wandb")
        opened, config, summary = run_of(file)
        assert (opened.run_id, opened.sweep_id) == (run_id, "search")
        assert (config["optim.lr"], config["lr"], config["protocol"]) == (5e-6, 5e-6, "val")
        assert 0 <= summary["test_top1"] <= 100 and summary["gmacs"] > 0
    assert len(list((cwd / "outputs").glob("csv-*"))) == 1
