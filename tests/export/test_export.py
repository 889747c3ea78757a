"""Exported models compute what the model does, name what they lack, and are written whole or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from packaging.version import Version
from PIL import Image

import ufgir
from tiny import make_data, make_run
from ufgir.cli import run_command
from ufgir.errors import UserError
from ufgir.export import __main__ as command
from ufgir.export import timm as timm_export
from ufgir.export.graph import distances
from ufgir.reducers import REDUCERS
from ufgir.reducers.evit import EViT
from ufgir.utils import staged

FEW = ["++backbone.kwargs.depth=2", "reduction_layers=[1]"]  # blocks: the exporters take their time for each
PLAIN = ["reducer=none", "keep_rate=1", "plugins=base"]
CLC = ["reducer=none", "keep_rate=1", "plugins=clc", "plugins.cache.num_clr=0"]


def export(*arguments: str) -> int:
    return run_command(command.main, arguments, usage=command.__doc__)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clca(data, tmp_path_factory) -> Path:
    """The weights of a run with EViT and CLCA, in a folder with a comma and parentheses."""
    return make_run(tmp_path_factory.mktemp("clca, (1)") / "run", data, *FEW).weights


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("plain") / "run", data, *FEW, *PLAIN).weights


def odd_images(folder: Path) -> list[Path]:
    """Transparent, grey, rotated by EXIF, palette and CMYK."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (50, 70, 3)).astype(np.uint8))
    transparent = picture.convert("RGBA")
    transparent.putalpha(Image.fromarray(rng.integers(0, 255, (50, 70)).astype(np.uint8)))
    transparent.save(folder / "alpha.png")
    picture.convert("L").save(folder / "grey.png")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    picture.save(folder / "rotated.jpg", exif=rotated)
    return sorted(folder.iterdir())


def test_onnx_and_its_script_answer_as_the_model_does(clca, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "given (2), out"
    assert export(f"run={clca.parent}", "format=onnx", f"out={out}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "8 of the 8 test images of csv, in batches of 1, 3, 5 and 8" in lines[0]
    assert lines[-1] == f"export: {out / 'model.onnx'}"
    assert {file.name for file in out.iterdir()} == {"model.onnx", "preprocessing.json", "classify.py"}
    about = json.loads((out / "preprocessing.json").read_text())
    assert 0 < about["check"]["largest_difference"] < 1e-4 and about["check"]["other_answers"] == 0

    classifier = ufgir.load(clca)
    session = onnxruntime.InferenceSession(out / "model.onnx")
    for size in (1, 3, 5):
        images = torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(size))
        with torch.inference_mode():
            expected = classifier.model(images)
        (found,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)

    paths = odd_images(tmp_path / "images")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = [sys.executable, out / "classify.py", *paths]
    done = subprocess.run(script, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        logits = classifier.model(torch.stack([classifier.transform(Image.open(path)) for path in paths]))
    answers = [line.split("\t") for line in done.stdout.splitlines()]
    assert [answer[0] for answer in answers] == [str(path) for path in paths]
    assert [answer[1] for answer in answers] == [classifier.class_names[number] for number in logits.argmax(dim=1)]
    expected = logits.softmax(dim=1).amax(dim=1)
    assert [float(answer[2]) for answer in answers] == pytest.approx(expected.tolist(), abs=2e-4)
    (broken := tmp_path / "broken.png").write_bytes(paths[0].read_bytes()[:40])
    script = [*script[:2], broken, tmp_path / "none.png", paths[0]]
    done = subprocess.run(script, env=kept, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.splitlines() == ["\t".join(answers[0])]
    assert "broken.png" in done.stderr and "none.png" in done.stderr and "Traceback" not in done.stderr


def test_the_script_needs_nothing_but_three_packages():
    script = Path(command.__file__).parent / "templates/classify.py"
    imported = {line.split()[1].split(".")[0] for line in script.read_text().splitlines()
                if line.startswith(("import ", "from "))}  # fmt: skip
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}


@pytest.mark.slow
@pytest.mark.parametrize("plugins", ["base", "clca"])
@pytest.mark.parametrize("reducer", ["none", *REDUCERS])
def test_every_reducer_as_onnx_and_as_a_graph(reducer, plugins, data, tmp_path):
    pytest.importorskip("onnxscript")
    rate = "1" if reducer == "none" else "0.5"
    run = make_run(
        tmp_path / "run", data, *FEW, f"reducer={reducer}", f"keep_rate={rate}", f"plugins={plugins}", "image_size=64"
    )
    assert export(f"run={run.path}", "format=onnx", "tolerance=1e-5") == 0
    assert export(f"run={run.path}", "format=torchexport", "tolerance=1e-6") == 0


@pytest.mark.skipif(Version(torch.__version__) < Version("2.11"), reason="torch 2.7 exports no batch of any size")
def test_a_graph_loads_back_for_any_batch(clca, capsys):
    assert export(f"checkpoint={clca}", "format=torchexport") == 0
    assert "8 of the 8 test images" in capsys.readouterr().out
    folder = clca.parent / "export/torchexport"
    assert {file.name for file in folder.iterdir()} == {"model.pt2", "preprocessing.json"}
    with torch.inference_mode():
        loaded, model = torch.export.load(folder / "model.pt2").module(), ufgir.load(clca).model
        for size in (1, 4):
            images = torch.randn(size, 3, 32, 32)
            torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=1e-6)


def test_timm_computes_the_same_where_nothing_is_reduced(plain, data, tmp_path, capsys):
    file = tmp_path / "leaf.safetensors"
    assert export(f"checkpoint={plain}", "format=timm", f"out={file}") == 0
    shown = capsys.readouterr().out
    assert "not in the file" not in shown and "logits differ by at most 0 " in shown
    about = json.loads((tmp_path / "config.json").read_text())
    vit = timm.create_model(
        about["architecture"], num_classes=about["num_classes"], checkpoint_path=str(file), **about["model_args"]
    )
    classifier, picture = ufgir.load(plain), Image.open(data / "images/kind_1/test_0.png")
    with torch.inference_mode():
        images = classifier.transform(picture)[None]
        assert torch.equal(vit.eval()(images), classifier.model(images))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=about["pretrained_cfg"]))
    torch.testing.assert_close(transform(picture), classifier.transform(picture), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "part"), [(["reducer=evit", "plugins=base"], "reducer is left out"), (CLC, "cache is left out")]
)
def test_parts_without_weights_that_timm_lacks_are_named(overrides, part, data, tmp_path, capsys):
    run = make_run(tmp_path / "run", data, *FEW, "++backbone.kwargs.depth=3", *overrides)
    assert export(f"run={run.path}", "format=timm") == 0
    shown = capsys.readouterr().out
    assert part in shown and "not in the file" not in shown and "logits differ by at most 0 " not in shown


def test_parts_with_weights_that_timm_lacks_are_named(clca, data, tmp_path, capsys):
    assert export(f"checkpoint={clca}", "format=timm") == 0
    shown = capsys.readouterr().out
    assert "(cache.*, 2 tensors)" in shown and "aggregation head" in shown and "norm.weight, norm.bias" in shown
    assert json.loads((clca.parent / "export/timm/config.json").read_text())["num_classes"] == 0
    run = make_run(tmp_path / "run", data, *FEW, "reducer=dyvit", "plugins=base")
    assert export(f"run={run.path}", "format=timm") == 0
    assert "(reducers.*, " in capsys.readouterr().out


def test_a_difference_beyond_the_tolerance_is_refused(plain, tmp_path, monkeypatch, capsys):
    def with_other_eps(content, make=timm_export.build, **options):
        vit = make(content, **options)
        vit.norm.eps = 1e-4
        return vit

    monkeypatch.setattr(timm_export, "build", with_other_eps)
    arguments = (f"checkpoint={plain}", "format=timm", f"out={tmp_path / 'new'}")
    assert export(*arguments) == 1
    assert "tolerance=0 is accepted" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert export(*arguments, "tolerance=1") == 0


def test_the_data_to_check_on(plain, data, tmp_path, capsys):
    alone = tmp_path / "model.pt"
    alone.write_bytes(plain.read_bytes())
    content = torch.load(alone, weights_only=True)
    content["config"]["dataset"]["root"] = str(tmp_path / "moved")
    content["config"]["trainer"]["accelerator"] = "gpu"  # which makes no difference to an export
    torch.save(content, alone)
    assert export(f"checkpoint={alone}", "format=timm") == 0
    assert "16 images of noise" in (shown := capsys.readouterr().out) and "moved" in shown and "precision" not in shown
    (odd := tmp_path / "leaves, (1)").symlink_to(data)
    assert export(f"checkpoint={alone}", "format=timm", f"dataset.root={odd}") == 0
    assert "8 of the 8 test images of csv" in capsys.readouterr().out
    assert export(f"checkpoint={alone}", "format=timm", "dataset=folder", f"dataset.root={data / 'images'}") == 0
    assert "test images of folder" in capsys.readouterr().out
    assert export(f"checkpoint={alone}", "format=timm", f"dataset.root={tmp_path / 'nowhere'}") == 2
    assert "nowhere" in capsys.readouterr().err
    (data / "test.csv").rename(data / "test.bak")  # the run has tables of its own
    try:
        assert export(f"run={plain.parent}", "format=timm") == 0
    finally:
        (data / "test.bak").rename(data / "test.csv")
    assert "8 of the 8 test images of csv" in capsys.readouterr().out


def test_a_model_that_cannot_be_traced(clca, monkeypatch, capsys):
    monkeypatch.setattr(EViT, "after_attention", lambda self, tokens, attention: (tokens, int(tokens.x.sum()) % 2)[0])
    out = clca.parent / "none"
    assert export(f"checkpoint={clca}", "format=torchexport", f"out={out}") == 1
    error = capsys.readouterr().err
    assert "reducer=evit cannot be written as a graph" in error and "Traceback" not in error and not out.exists()


def test_files_that_exist_are_not_overwritten(plain, tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text("mine")
    assert export("run=nowhere", "format=timm", f"out={tmp_path}") == 2
    assert "config.json exists" in capsys.readouterr().err
    assert export("run=nowhere", "format=timm", f"out={tmp_path}/config.json/below") == 2
    assert "config.json is a file" in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("config.json", "mine")]
    for _ in range(2):  # the default folder is replaced
        assert export(f"checkpoint={plain}", "format=timm") == 0
    assert {file.name for file in (plain.parent / "export/timm").iterdir()} == {"model.safetensors", "config.json"}


def test_staged_files(tmp_path, monkeypatch):
    """They wait in the folder itself where it exists: the one around it may be read-only, or on another disk."""
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    for folder, around in (("there", "there"), (".", "."), ("there/new/folder", "there")):
        with staged(Path(folder), ["leaf.onnx"]) as waiting:
            assert waiting.parent == tmp_path / around
            (waiting / "leaf.onnx").write_text("a model")
            assert not Path(folder, "leaf.onnx").exists()
        assert Path(folder, "leaf.onnx").read_text() == "a model"
    with pytest.raises(UserError, match="leaf.onnx.data exists"), staged(Path("two"), []) as waiting:
        (waiting / "leaf.onnx.data").write_text("a model")
        Path("two").mkdir()
        Path("two/leaf.onnx.data").write_text("mine")
    assert Path("two/leaf.onnx.data").read_text() == "mine"
    assert not list(tmp_path.rglob(".export-*"))


def test_mistakes(plain, monkeypatch, capsys):
    assert export("format=onxx", "tolerance=-1", "otu=x") == 2
    error = capsys.readouterr().err
    for part in ("format=onxx", "torchexport", "tolerance=-1", "Did you mean 'out'"):
        assert part in error
    assert export(f"checkpoint={plain}", "format=timm", "out=leaf.onnx") == 2
    assert "*.safetensors" in capsys.readouterr().err
    assert export("format=timm") == 2
    assert "run=DIR" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda package: None)
    assert export(f"checkpoint={plain}", "format=onnx") == 2
    assert "pip install onnx onnxruntime onnxscript" in capsys.readouterr().err
    assert export("--help") == 0
    assert "format=onnx|torchexport|timm" in capsys.readouterr().out


def test_distances_are_those_of_torch():
    for tokens, tolerance in ((20, 1e-5), (60, 0)):
        x, y = torch.randn(2, tokens, 8), torch.randn(2, tokens - 3, 8)
        torch.testing.assert_close(distances(x, y), torch.cdist(x, y), rtol=0, atol=tolerance)
