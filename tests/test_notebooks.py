"""The notebooks run from top to bottom on the embedded data, without Jupyter, and are stored without output."""

import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

from pages import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RESULTS: dict[str, Callable[[dict], bool]] = {  # what the variables of each are in the end
    "first_run": lambda scope: scope["results"]["status"] == "finished",
    "grid_tables": lambda scope: len(list(Path("grid").glob("*/results.json"))) == 10,
    "lightning": lambda scope: scope["probabilities"].shape == (24, 4) and len(scope["metrics"]) > 3,
    "own_reducer": lambda scope: scope["results"]["config"]["reducer"]["name"] == "longest",
    "own_training_loop": lambda scope: scope["losses"][-1] < scope["losses"][0],
}


def run_cell(code: str, name: str, scope: dict) -> None:
    """Run a cell and, as Jupyter does, show the value of its last line."""
    tree = ast.parse(code, name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), scope)
    value = eval(compile(ast.Expression(last.value), name, "eval"), scope) if last else None
    if hasattr(value, "_repr_png_"):
        assert value._repr_png_()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_sound_and_without_output(notebook):
    content = json.loads(notebook.read_text())
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert all(set(cell) >= {"id", "cell_type", "metadata", "source"} for cell in content["cells"])
    for cell in (cell for cell in content["cells"] if cell["cell_type"] == "code"):
        assert not cell["outputs"] and cell["execution_count"] is None, "clear the outputs"
        compile("".join(cell["source"]), notebook.name, "exec")


def test_the_readme_names_them():
    (line,) = re.findall(r"^\[`notebooks/`\].*$", (ROOT / "README.md").read_text(), flags=re.M)
    assert {notebook.stem for notebook in NOTEBOOKS} == set(RESULTS) <= set(re.findall(r"`(\w+)`", line))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning, for a tiny training
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    scope: dict = {"__name__": "__main__"}
    try:
        for cell in json.loads(notebook.read_text())["cells"]:
            if cell["cell_type"] == "code":
                run_cell("".join(cell["source"]), notebook.name, scope)
        assert RESULTS[notebook.stem](scope)
    finally:
        plt.close("all")
