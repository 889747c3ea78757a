"""What the README and the notebooks show is run."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python_of_the_readme() -> list[str]:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    return [text for text in code if "class " not in text]  # the reducer is run by tests/runs/test_own_reducer.py


def test_the_model_of_the_readme(capsys):
    code, _ = python_of_the_readme()
    exec(compile(code, "README.md", "exec"), scope := {})
    assert scope["logits"].shape == (2, 80)
    gmacs, tokens = capsys.readouterr().out.splitlines()
    assert 6.9 < float(gmacs) < 7.8
    assert tokens.startswith("[786, 786, 786, ")


def test_the_training_loop_of_the_readme():
    _, code = python_of_the_readme()
    exec(compile(code, "README.md", "exec"), scope := {})
    assert scope["loss"].isfinite() and scope["model"].reducer_loss() > 0
    assert scope["vit"].blocks[3].attn.qkv.weight.equal(scope["model"].blocks[3].attn.qkv.weight)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads(notebook.read_text())["cells"]
    scope: dict = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "outputs go stale; clear them"
            exec(compile("".join(cell["source"]), notebook.name, "exec"), scope)
    assert scope["results"]["status"] == "finished"
