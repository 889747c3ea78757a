"""The W&B dashboard, up to the document that is sent."""

import json
import re
from types import SimpleNamespace

import pytest
import wandb

from ufgir import dashboard as command
from ufgir.cli import run_command
from ufgir.config import axes, compose_run, resolve
from ufgir.training.loggers import SUMMARY
from ufgir.training.recorder import EPOCH_COLUMNS, STEP_COLUMNS

ws = pytest.importorskip("wandb_workspaces.workspaces", reason="the extra `dashboards` is not installed")
internal = pytest.importorskip("wandb_workspaces.workspaces.internal")
make = pytest.importorskip("ufgir.workspace")

WORDS = ["project=leaves", "entity=team", "sweep=paper_448"]


@pytest.fixture
def logged_in(monkeypatch) -> list[dict]:
    """A login, and a W&B that notes what it is sent."""
    sent = []

    def take(api: object, query: str, variables: dict) -> dict:
        sent.append(variables)
        return {"upsertView": {"view": {"name": variables["name"], "id": "id"}}}

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(internal, "execute_graphql", take)
    service = SimpleNamespace(app_url="https://example.org", execute_graphql=None)
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(default_entity="me", _service_api=service))
    return sent


def run(*words: str) -> int:
    return run_command(command.dashboard, list(words), usage=command.__doc__)


def without_ids(document: object) -> object:
    """The same without what is drawn anew for every panel."""
    if isinstance(document, dict):
        return {key: without_ids(value) for key, value in document.items() if key not in ("__id__", "id")}
    return [without_ids(item) for item in document] if isinstance(document, list) else document


def test_the_document_is_what_is_sent(logged_in, tmp_path, capsys):
    assert run(*WORDS) == 0
    assert re.search(r"dashboard: https://example\.org/team/leaves\?nw=\w+\n$", capsys.readouterr().out)
    (sent,) = logged_in
    assert (sent["projectName"], sent["entityName"], sent["displayName"]) == ("leaves", "team", "ufgir paper_448")
    assert run(*WORDS, f"out={tmp_path / 'd.json'}") == 0
    document = json.loads((tmp_path / "d.json").read_text())
    assert without_ids(document["spec"]) == without_ids(json.loads(sent["spec"]))
    assert len(logged_in) == 1, "with out= nothing is sent"


def test_the_document_reads_back_as_the_same_workspace(tmp_path):
    assert run(*WORDS, f"out={tmp_path / 'd.json'}") == 0
    document = json.loads((tmp_path / "d.json").read_text())
    again = ws.Workspace._from_model(internal.View.model_validate(document))
    names = ["Accuracy and cost", "By reducer and keep_rate", "By plugins and image_size"]
    assert [section.name for section in again.sections[:3]] == names
    assert again.runset_settings.filters == """Config("grid") == 'paper_448'"""
    assert [(key.section, key.name) for key in again.runset_settings.groupby] == [("run", "Group")]
    shown = make.make_workspace("leaves", "team").runset_settings.filters
    assert shown == """Config("protocol") == 'test'"""


def test_every_key_of_a_panel_is_one_that_runs_have(tmp_path):
    assert run(*WORDS, f"out={tmp_path / 'd.json'}") == 0
    text = (tmp_path / "d.json").read_text()
    settings = {"grid", *axes(resolve(compose_run([])[0]))}
    assert set(make.AXES) <= settings
    assert set(re.findall(r'"config:(\w+)\.value"', text)) <= settings
    assert set(re.findall(r'"groupBy": "(\w+)\.value"', text)) == {
        "reducer", "keep_rate", "plugins", "image_size", "dataset", "backbone"
    }  # fmt: skip
    assert set(re.findall(r'"summary:(\w+)"', text)) <= set(SUMMARY)
    plotted = {key for keys in re.findall(r'"metrics": \[([^]]*)\]', text) for key in re.findall(r'"(.*?)"', keys)}
    assert plotted <= {*SUMMARY, *STEP_COLUMNS, *EPOCH_COLUMNS} and {"test_top1", "train/grad_max"} <= plotted


def test_the_entity_is_ones_own_unless_given(logged_in, monkeypatch):
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    assert run("project=leaves") == 0
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    assert run("project=leaves") == 0
    assert [variables["entityName"] for variables in logged_in] == ["me", "lab"]


def test_what_goes_wrong_is_told(logged_in, monkeypatch, tmp_path, capsys):
    def refuse(*_: object) -> dict:
        raise ValueError("project not found")

    monkeypatch.setattr(internal, "execute_graphql", refuse)
    assert run(*WORDS) == 1
    assert capsys.readouterr().err == "failed: W&B did not take the dashboard (ValueError: project not found).\n"
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert run("projects=x") == 2
    error = capsys.readouterr().err
    for text in (
        "projects=x is not understood", "project=NAME is missing", "there is no login at W&B. Run `wandb login`",
        "wandb-workspaces is not installed",
    ):  # fmt: skip
        assert text in error
    assert run("project=x", f"out={tmp_path}/no/d.json") == 2
    assert f"there is no folder {tmp_path}/no" in capsys.readouterr().err
