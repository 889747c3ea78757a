"""The W&B dashboard, up to the documents that are sent."""

import json
import re
from types import SimpleNamespace

import pytest
import wandb

from ufgir import dashboard as command
from ufgir.cli import run_command

ws = pytest.importorskip("wandb_workspaces.workspaces", reason="the extra `dashboards` is not installed")
internal = pytest.importorskip("wandb_workspaces.workspaces.internal")

# What runs log: the configuration's keys at the top level, and the numbers of results.json.
CONFIG = {"grid", "dataset", "backbone", "reducer", "keep_rate", "plugins", "image_size", "lr", "seed", "protocol"}
SUMMARY = {"test_top1", "val_top1", "gmacs", "params_m", "images_per_second", "peak_memory_gb", "train_minutes"}
WORDS = ["project=leaves", "entity=team", "sweep=paper_448"]


@pytest.fixture
def logged_in(monkeypatch) -> list[dict]:
    """A login, and a W&B that notes what it is sent."""
    sent = []

    def take(api: object, query: str, variables: dict) -> dict:
        sent.append(variables)
        return {"upsertView": {"view": {"name": variables["name"], "id": "id"}}}

    monkeypatch.setattr(wandb, "api", SimpleNamespace(api_key="a key"))
    monkeypatch.setattr(internal, "execute_graphql", take)
    service = SimpleNamespace(app_url="https://example.org", execute_graphql=None)
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(default_entity="me", _service_api=service))
    return sent


def run(*words: str) -> int:
    return run_command(command.main, list(words), usage=command.__doc__)


def documents(tmp_path, *words: str) -> list[dict]:
    assert run(*words, f"out={tmp_path / 'd.json'}") == 0
    return json.loads((tmp_path / "d.json").read_text())


def keys_of(document: dict) -> list[str]:
    return re.findall(r"(?:config|summary):\w+", json.dumps(document))


def test_there_is_a_view_of_each_data_set_and_it_is_what_is_sent(logged_in, tmp_path, capsys):
    assert run(*WORDS, "dataset=cotton80,soygene") == 0
    assert len(re.findall(r"dashboard: https://example\.org/team/leaves\?nw=\w+", capsys.readouterr().out)) == 2
    written = documents(tmp_path, *WORDS, "dataset=cotton80,soygene")
    assert [sent["displayName"] for sent in logged_in] == ["ufgir paper_448 cotton80", "ufgir paper_448 soygene"]
    for document, sent in zip(written, logged_in, strict=True):
        spec = json.loads(sent["spec"])
        assert document["spec"].keys() == spec.keys() and keys_of(document["spec"]) == keys_of(spec)
    assert len(documents(tmp_path, *WORDS)) == 5, "the data sets of the sweep"


def test_cells_are_compared_one_by_one_in_the_colours_of_reducer_and_plugins(tmp_path):
    (document,) = documents(tmp_path, *WORDS, "dataset=cotton80")
    view = ws.Workspace._from_model(internal.View.model_validate(document))
    assert [key.name for key in view.runset_settings.groupby] == ["reducer", "plugins", "Group"]
    colours = view.runset_settings.group_colors
    assert colours[ws.GroupPath("evit", "clca")] != colours[ws.GroupPath("evit", "base")]
    assert len({str(colour) for colour in command.group_colours().values()}) >= 9 * 4 - 2
    assert view.settings.max_runs >= 675, "all cells of the grid"
    text = json.dumps(document)
    assert set(re.findall(r'"config:(\w+)', text)) == CONFIG
    assert set(re.findall(r'"summary:(\w+)', text)) <= SUMMARY
    assert '"tokens"' in text, "token pictures"
    bars = [panel for section in view.sections for panel in section.panels if type(panel).__name__ == "BarPlot"]
    assert bars and all(getattr(bar.groupby, "name", bar.groupby) == "Group" for bar in bars), (
        "no mean over unlike cells"
    )


@pytest.mark.parametrize("words", [["sweep=lr_search", "dataset=cotton80"], ["protocol=val"]])
def test_validation_numbers_are_never_named_test(tmp_path, words):
    (document,) = documents(tmp_path, "project=leaves", *words)
    text = json.dumps(document)
    assert "val_top1" in text and not re.search("test", text, re.IGNORECASE)


def test_the_entity_is_ones_own_unless_given(logged_in, monkeypatch):
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    assert run("project=leaves") == 0
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    assert run("project=leaves") == 0
    assert [variables["entityName"] for variables in logged_in] == ["me", "lab"]


def test_errors(logged_in, monkeypatch, tmp_path, capsys):
    def refuse(*_: object) -> dict:
        raise ValueError("project not found")

    monkeypatch.setattr(internal, "execute_graphql", refuse)
    assert run(*WORDS) == 1
    assert "project not found" in capsys.readouterr().err
    monkeypatch.setattr(wandb, "api", SimpleNamespace(api_key=None))
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert run("project=x") == 2
    error = capsys.readouterr().err
    assert "wandb login" in error and "out=FILE.json" in error and ".[dashboards]" in error
    assert run("projects=x") == 2 and "projects=x" in capsys.readouterr().err
    assert run("project=x", f"out={tmp_path}/no/d.json") == 2 and f"{tmp_path}/no" in capsys.readouterr().err
