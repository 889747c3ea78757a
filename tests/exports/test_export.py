"""Exported models compute what the model does, say what they lack, and are written whole or not at all."""

import importlib.util
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
from tiny import WORDS, files_up_to, make_data
from ufgir import export as command
from ufgir.cli import run_command
from ufgir.errors import UserError
from ufgir.exports.place import Place
from ufgir.exports.to_onnx import distances
from ufgir.reducers import reducer_names
from ufgir.runs.build import build_model
from ufgir.runs.trained import find_trained
from ufgir.training.checkpoint import save_weights

FEW = ["++backbone.kwargs.depth=2", "reduction_layers=[1]"]  # blocks: the exporters take their time for each


def export(*words: str) -> int:
    return run_command(command.export, list(words), usage=command.__doc__)


def write_model(folder: Path, data: Path, *words: str) -> Path:
    """A model.pt as a run leaves it, its weights random and far from their start."""
    from ufgir.config import compose_run, resolve

    config, faults = compose_run([*WORDS, f"dataset.root={data}", *FEW, *words])
    assert not faults
    config = resolve(config)
    torch.manual_seed(0)
    model = build_model(config, 4)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    folder.mkdir(parents=True)
    save_weights(folder / "model.pt", model, config, [f"kind {number}" for number in range(4)])
    return folder / "model.pt"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clca(data, tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("clca") / "run", data, "reducer=evit", "plugins=clca")


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("plain") / "run", data, "reducer=none", "keep_rate=1", "plugins=base")


def names_of(form: str) -> set[str]:
    """The files that are looked for before the work."""
    return {command.FORMATS[form].name, *command.FORMATS[form].beside}


def needs_onnx() -> None:
    for package in command.NEEDED["onnx"]:
        pytest.importorskip(package)


def odd_images(folder: Path) -> list[Path]:
    """Files of all kinds that a user may have: transparent, grey, turned by EXIF, palette, CMYK."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (50, 70, 3)).astype(np.uint8))
    transparent = picture.convert("RGBA")
    transparent.putalpha(Image.fromarray(rng.integers(0, 255, (50, 70)).astype(np.uint8)))
    transparent.save(folder / "alpha.png")
    picture.convert("L").save(folder / "grey.png")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=turned)
    return sorted(folder.iterdir())


def test_onnx_and_its_script_answer_as_the_model_does(clca, tmp_path, capsys):
    needs_onnx()
    import onnxruntime

    out = tmp_path / "given"
    assert export(f"checkpoint={clca}", "format=onnx", f"out={out}") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        "onnxruntime against PyTorch on 8 of the 8 test images of csv, in batches of 1, 3, 5 and 8"
    )
    assert said[-1] == f"export: {out / 'model.onnx'}"
    assert {file.name for file in out.iterdir()} == names_of("onnx")
    about = json.loads((out / "preprocessing.json").read_text())
    assert 0 < about["check"]["largest_difference"] < 1e-4 and about["check"]["other_answers"] == 0
    assert about["class_names"] == ["kind 0", "kind 1", "kind 2", "kind 3"]

    classifier = ufgir.load(clca)
    session = onnxruntime.InferenceSession(out / "model.onnx")
    for size in (1, 3, 5):
        images = torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(size))
        with torch.inference_mode():
            expected = classifier.model(images)
        (found,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)

    (folder := tmp_path / "images").mkdir()
    paths = odd_images(folder)
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


def test_the_script_needs_nothing_but_three_packages():
    script = Path(importlib.util.find_spec("ufgir").origin).parent / "exports/data/classify.py"
    imported = {line.split()[1].split(".")[0] for line in script.read_text().splitlines()
                if line.startswith(("import ", "from "))}  # fmt: skip
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}


@pytest.mark.slow
@pytest.mark.parametrize("plugins", ["base", "clca"])
@pytest.mark.parametrize("reducer", ["none", *reducer_names()])
def test_every_reducer_as_onnx_and_as_a_graph(reducer, plugins, data, tmp_path):
    needs_onnx()
    rate = "1" if reducer == "none" else "0.5"
    model = write_model(
        tmp_path / "run", data, f"reducer={reducer}", f"keep_rate={rate}", f"plugins={plugins}", "image_size=64"
    )
    assert export(f"checkpoint={model}", "format=onnx", "tolerance=1e-5") == 0
    assert export(f"checkpoint={model}", "format=torchexport", "tolerance=1e-6") == 0


@pytest.mark.skipif(Version(torch.__version__) < Version("2.11"), reason="torch 2.7 exports no batch of any size")
def test_a_graph_loads_back_for_any_batch(clca, capsys):
    assert export(f"checkpoint={clca}", "format=torchexport") == 0
    assert "the file loaded back on 8 of the 8 test images" in capsys.readouterr().out
    written = {file.name for file in (clca.parent / "export/torchexport").iterdir()}
    assert written == names_of("torchexport")
    with torch.inference_mode():
        loaded = torch.export.load(clca.parent / "export/torchexport/model.pt2").module()
        model = find_trained({"checkpoint": str(clca)}).build().eval()
        for size in (1, 4):
            images = torch.randn(size, 3, 32, 32)
            torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=1e-6)


def test_timm_computes_the_same_where_nothing_is_reduced(plain, data, tmp_path, capsys):
    file = tmp_path / "leaf.safetensors"
    assert export(f"checkpoint={plain}", "format=timm", f"out={file}") == 0
    said = capsys.readouterr().out
    assert "not in the file" not in said and "logits differ by at most 0 " in said
    facts = json.loads((tmp_path / "config.json").read_text())
    vit = timm.create_model(
        facts["architecture"], num_classes=facts["num_classes"], checkpoint_path=str(file), **facts["model_args"]
    )
    classifier = ufgir.load(plain)
    picture = Image.open(data / "images/kind_1/test_0.png")
    with torch.inference_mode():
        images = classifier.transform(picture)[None]
        assert torch.equal(vit.eval()(images), classifier.model(images))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=facts["pretrained_cfg"]))
    torch.testing.assert_close(transform(picture), classifier.transform(picture), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["reducer=evit", "plugins=base"], "the reducer is left out: timm keeps every token"),
        (["reducer=tome", "plugins=base"], "the reducer is left out: timm keeps every token"),
        (
            ["reducer=none", "keep_rate=1", "plugins=clc", "plugins.cache.num_clr=0"],
            "the cross-layer cache is left out: timm's blocks see no tokens of earlier ones",
        ),
    ],
)
def test_timm_may_compute_something_else_where_a_part_without_weights_is_left_out(words, told, data, tmp_path, capsys):
    model = write_model(tmp_path / "run", data, *words, "++backbone.kwargs.depth=3")  # the last block is too late
    assert export(f"checkpoint={model}", "format=timm") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == told and "not in the file" not in "".join(said)
    assert said[1].startswith("timm's model, which keeps all tokens, against ours on 8 of the 8 test images")
    assert "logits differ by at most 0 " not in said[1]


def test_timm_must_compute_the_same_where_nothing_is_left_out(plain, tmp_path, monkeypatch, capsys):
    from ufgir.exports import to_timm

    def other_eps(facts, make=to_timm._timm_model, **options):
        vit = make(facts, **options)
        vit.norm.eps = 1e-4
        return vit

    monkeypatch.setattr(to_timm, "_timm_model", other_eps)
    words = (f"checkpoint={plain}", "format=timm", f"out={tmp_path}")
    assert export(*words) == 1
    error = capsys.readouterr().err
    assert "timm's model does not compute what the model does" in error and "tolerance=0 is accepted" in error
    assert not list(tmp_path.iterdir())
    assert export(*words, "tolerance=1") == 0


def test_timm_is_told_what_it_does_not_get(clca, capsys):
    assert export(f"checkpoint={clca}", "format=timm") == 0
    said = capsys.readouterr().out
    assert "not in the file: the CLR tokens of the cross-layer cache (cache.*, 2 tensors)" in said
    assert "not in the file: the classifier, an aggregation head" in said
    assert "untrained in the file, since our head does without: norm.weight, norm.bias" in said
    facts = json.loads((clca.parent / "export/timm/config.json").read_text())
    assert facts["num_classes"] == 0


def test_noise_is_called_noise(data, tmp_path, capsys):
    model = write_model(tmp_path / "run", data, "reducer=dyvit", "plugins=base")
    assert export(f"checkpoint={model}", "format=timm", f"dataset.images={tmp_path}") == 0
    said = capsys.readouterr().out
    assert "not in the file: what the reducer learned (reducers.*, " in said
    assert (
        f"16 images of noise, as the test images were not found (no image of the test table lies below {tmp_path})"
        in said
    )


def test_a_difference_beyond_the_tolerance_is_refused(clca, monkeypatch, capsys):
    broken = find_trained({"checkpoint": str(clca)}).build().eval()
    torch.nn.init.zeros_(broken.head[4].bias)
    monkeypatch.setattr("ufgir.exports.to_torch.trace_graph", lambda model, images, reducer: None)
    monkeypatch.setattr(torch.export, "save", lambda graph, stream: None)
    monkeypatch.setattr(torch.export, "load", lambda file: type("Graph", (), {"module": lambda self: broken})())
    out = clca.parent / "refused"
    assert export(f"checkpoint={clca}", "format=torchexport", f"out={out}") == 1
    error = capsys.readouterr().err
    assert "the graph of a model with reducer=evit does not compute what the model does" in error
    assert "tolerance=0.001 is accepted" in error
    assert not out.exists() and not list(clca.parent.glob(".export-*"))


def test_a_full_disk_leaves_nothing(clca, monkeypatch, capsys):
    monkeypatch.setattr("ufgir.exports.to_torch.trace_graph", lambda model, images, reducer: model.state_dict())
    monkeypatch.setattr(torch.export, "save", torch.save)
    out = clca.parent / "full"
    for form in ("timm", "torchexport"):
        with files_up_to(100_000):
            assert export(f"checkpoint={clca}", f"format={form}", f"out={out}") == 1
        assert f"failed: out={out} cannot be written: File too large." in capsys.readouterr().err
        assert not out.exists() and not list(clca.parent.glob(".export-*"))


def test_a_reducer_that_cannot_be_exported_is_named_with_the_reason(clca, monkeypatch, capsys):
    from ufgir.reducers.evit import EViT

    def depends_on_values(self, tokens, attention):
        return tokens if int(tokens.x.sum() * 1000) % 2 else tokens.assign(None)

    monkeypatch.setattr(EViT, "after_attention", depends_on_values)
    assert export(f"checkpoint={clca}", "format=torchexport", f"out={clca.parent / 'none'}") == 1
    error = capsys.readouterr().err
    assert "a model with reducer=evit cannot be written as a graph; nothing was written. " in error
    assert "Traceback" not in error and not (clca.parent / "none").exists()


def test_what_is_there_is_not_overwritten(plain, tmp_path, capsys):
    (tmp_path / "config.json").write_text("mine")
    assert export(f"checkpoint={plain}", "format=timm", f"out={tmp_path}") == 2
    assert f"out={tmp_path} has config.json already; give another out=." in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    for _ in range(2):  # the folder of its own is replaced
        assert export(f"checkpoint={plain}", "format=timm") == 0
    assert {file.name for file in (plain.parent / "export/timm").iterdir()} == names_of("timm")


@pytest.mark.parametrize("form", ["onnx", "torchexport", "timm"])
def test_what_cannot_be_written_is_told_before_the_model_is_read(form, tmp_path, monkeypatch, capsys):
    def read(words):
        raise AssertionError("too early")

    monkeypatch.setattr(command, "find_trained", read)
    monkeypatch.setattr(command, "find_spec", lambda package: True)
    for name in names_of(form):
        (folder := tmp_path / Path(name).stem).mkdir()
        (folder / name).write_text("mine")
        assert export("run=x", f"format={form}", f"out={folder}", "tolerance=-1") == 2
        error = capsys.readouterr().err
        assert f"out={folder} has {name} already; give another out=." in error and "tolerance=-1: expected" in error
        below = folder / name / "below"
        assert export("run=x", f"format={form}", f"out={below}") == 2
        assert f"out={below}: {folder / name} is a file, not a folder" in capsys.readouterr().err
    assert export("run=x", f"format={form}", "out=~no-such-user/leaf") == 2
    assert "out=~no-such-user/leaf: ~no-such-user is nobody's home folder here" in capsys.readouterr().err


def test_a_usual_place_that_cannot_be_written_is_told_before_the_model_is_built(plain, tmp_path, monkeypatch, capsys):
    (tmp_path / "model.pt").write_bytes(plain.read_bytes())
    (tmp_path / "export").write_text("mine")
    monkeypatch.setattr("ufgir.runs.trained.build_model", None)
    assert export(f"checkpoint={tmp_path / 'model.pt'}", "format=timm") == 2
    told = f"out={tmp_path}/export/timm: {tmp_path}/export is a file, not a folder; give another place."
    assert told in capsys.readouterr().err


def test_files_wait_in_the_folder_itself_where_it_exists(tmp_path, monkeypatch):
    """The folder around it may be closed, as /home is around a home folder, or on another disk."""
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    for folder, around in (("there", "there"), (".", "."), ("there/new/folder", "there")):
        with Place(Path(folder), ["leaf.onnx"], replaces=False).filled() as waiting:
            assert waiting.parent == tmp_path / around
            (waiting / "leaf.onnx").write_text("a model")
            assert not Path(folder, "leaf.onnx").exists()
        assert Path(folder, "leaf.onnx").read_text() == "a model"
    assert not list(tmp_path.rglob(".export-*"))


def test_a_file_that_came_during_the_work_is_not_overwritten(tmp_path):
    with pytest.raises(UserError, match="has leaf.onnx.data already; give another out="):
        with Place(tmp_path, ["leaf.onnx"], replaces=False).filled() as waiting:
            for name in ("leaf.onnx", "leaf.onnx.data"):
                (waiting / name).write_text("a model")
            (tmp_path / "leaf.onnx.data").write_text("mine")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("leaf.onnx.data", "mine")]


def test_mistakes_are_told_together(plain, monkeypatch, capsys):
    assert export("format=onxx", "tolerance=much") == 2
    error = capsys.readouterr().err
    assert "give either run=DIR" in error
    assert "format=onxx: expected onnx, torchexport or timm. Did you mean onnx?" in error
    assert "tolerance=much: expected a number of at least 0, such as 0.001." in error
    assert export(f"checkpoint={plain}", "format=timm", "out=leaf.onnx") == 2
    assert "for format=timm give a folder, or a new file named *.safetensors" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda package: None)
    assert export(f"checkpoint={plain}", "format=onnx") == 2
    assert "format=onnx needs onnx, onnxruntime and onnxscript: pip install onnx onnxruntime" in capsys.readouterr().err


def test_distances_are_those_of_torch():
    for tokens, tolerance in ((20, 1e-5), (60, 0)):
        x, y = torch.randn(2, tokens, 8), torch.randn(2, tokens - 3, 8)
        torch.testing.assert_close(distances(x, y), torch.cdist(x, y), rtol=0, atol=tolerance)


def test_help(capsys):
    assert export("--help") == 0
    assert "format=onnx|torchexport|timm" in capsys.readouterr().out
