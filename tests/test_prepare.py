"""The raw Ultra-FGVC release, in small, becomes data sets that can be trained on, or nothing; weights become files."""

import shutil
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

import ufgir
import ufgir.prepare as prepare
from hub_server import COMMIT, hub_with_cache
from raw_release import STAGES, make_release, write_anno
from ufgir.cli import run_command
from ufgir.data import ImageDataModule
from ufgir.data.ultra_fgvc import SETS
from ufgir.errors import UfgirWarning, UserError
from ufgir.prepare import WeightsOptions, backbones_of, main

CONF = Path(__file__).parents[1] / "conf" / "dataset"
NAME = "deit_tiny_patch16_224.fb_in1k"  # of backbone=deit_t


@pytest.fixture
def raw(tmp_path) -> Path:
    """Two classes of each set: the folder names of the release, each of its ways to annotate."""
    root = tmp_path / "Ultra-FGVC"
    make_release(root)
    shutil.rmtree(root / "COTTON" / "anno")  # file names tell
    for name in ("soybean200", "SoyGene"):
        shutil.rmtree(root / name)
    write_anno(
        root / "soybean200",
        train=[("a b.png", 1), ("b.png", 2), ("c.png", 1), ("d.png", 2)],
        val=[("e.png", 1), ("f.png", 2)],
        test=[("g.png", 2), ("h.png", 1)],
    )
    write_anno(
        root / "SoyGene", train=[(f"{number:02}", number % 2 + 1) for number in range(11)], test=[("x1", 1), ("x2", 2)]
    )
    return root


def run(**options) -> int:
    return main([f"{key}={value}" for key, value in options.items()])


def refused(**options) -> str:
    with pytest.raises(UserError) as caught:
        run(**options)
    return "\n".join(caught.value.messages)


def rows(folder: Path, split: str) -> list[str]:
    header, *lines = (folder / f"{split}.csv").read_text().splitlines()
    assert header == "class_id,dir"
    return lines


def check_images(folder: Path) -> None:
    ImageDataModule(folder, protocol="holdout", progress=False).check_images()


def test_all_five_sets(raw, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    conf = shutil.copytree(CONF, tmp_path / "conf" / "dataset")
    (conf / "soygene.yaml").write_text("expected: {classes: 2, train: 8, val: 3, train_val: 11, test: 2}")
    monkeypatch.setattr("ufgir.prepare.project_dir", lambda name: tmp_path / name)
    assert run(raw=raw, out="prepared") == 0
    out = tmp_path / "prepared"
    assert sorted(folder.name for folder in out.iterdir()) == sorted(SETS)
    for name in SETS:
        check_images(out / name)
    text = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert lines["cotton80"] == ["2", "4", "2", "6", "2", "no,", "80,", "160,", "80,", "240,", "240"]
    assert lines["soygene"] == ["2", "8", "3", "11", "2", "yes"]
    assert "dataset=csv dataset.root=prepared/cotton80" in text
    assert "dataset=soygene dataset.root=prepared/soygene" in text

    assert rows(out / "cotton80", "val") == ["0,1_3_train.png", "1,2_3_train.png"]
    assert rows(out / "cotton80", "test") == ["0,1_4_test.png", "1,2_4_test.png"]
    pooled = ["0,a b.png", "1,b.png", "0,c.png", "1,d.png", "0,e.png", "1,f.png"]
    assert rows(out / "soylocal", "train_val") == pooled
    assert rows(out / "soylocal", "train") == pooled[:4] and rows(out / "soylocal", "val") == pooled[4:]
    assert rows(out / "soyageing", "test") == [
        f"{label - 1},{stage}/images/{label}_4_test.png" for stage in STAGES for label in (1, 2)
    ]
    # The authors' rule: of each class the first int(0.8 n) rows are for training, 4 of 6 and 4 of 5.
    assert rows(out / "soygene", "train") == [f"{number % 2},{number:02}.png" for number in range(8)]
    assert rows(out / "soygene", "val") == ["0,08.png", "1,09.png", "0,10.png"]


def test_val_that_repeats_rows_of_train_adds_nothing(raw, tmp_path):
    shutil.copy(raw / "SoyGene" / "anno" / "train.txt", raw / "SoyGene" / "anno" / "val.txt")
    assert run(raw=raw, out=tmp_path, dataset="soygene") == 0
    assert len(rows(tmp_path / "soygene", "train_val")) == 11


@pytest.mark.parametrize("layout", ["SoyAgeing/SoyAgeing-{}/{}", "SoyAging-{}", "{}"])
def test_other_layouts_of_the_stages(raw, tmp_path, layout):
    for stage in STAGES:
        shutil.copytree(raw / "SoyAgeing" / stage, tmp_path / "other" / layout.format(stage, stage))
    assert run(raw=tmp_path / "other", out=tmp_path) == 0
    assert len(rows(tmp_path / "soyageing", "train_val")) == 30


def test_one_set_under_any_name(raw, tmp_path):
    (raw / "SoyGene").rename(raw / "beans")
    with pytest.warns(UfgirWarning, match=f"{raw}/beans is left out"):
        assert run(raw=raw, out=tmp_path / "out") == 0
    assert not (tmp_path / "out" / "soygene").exists()
    with pytest.warns(UfgirWarning):
        assert "dataset=NAME" in refused(raw=raw / "beans", out=tmp_path / "out")
    assert run(raw=raw / "beans", out=tmp_path / "out", dataset="soygene") == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "SoyGene").symlink_to(raw / "beans")  # a link goes by its own name
    assert run(raw=tmp_path / "elsewhere", out=tmp_path / "again") == 0


def test_again_is_fine_other_content_is_refused_and_copies_need_no_original(raw, tmp_path):
    out = raw / "prepared"  # earlier results are not taken for sets
    assert run(raw=raw, out=out) == run(raw=raw, out=out) == run(raw=raw, out=tmp_path / "copies", copy="true") == 0
    assert (out / "soygene" / "images").is_symlink()
    (out / "soygene" / "test.csv").write_text("class_id,dir\n0,x1.png\n")
    shutil.rmtree(out / "cotton80")
    assert f"{out}/soygene exists" in refused(raw=raw, out=out)
    assert not (out / "cotton80").exists()
    raw.rename(tmp_path / "moved")
    for name in SETS:
        check_images(tmp_path / "copies" / name)
    assert "not where they were" in refused(raw=tmp_path / "moved", out=tmp_path / "moved/prepared", dataset="soylocal")


def test_all_errors_of_all_sets_at_once_and_nothing_written(raw, tmp_path):
    write_anno(raw / "soybean2000", test=[("1_3.png", 1), ("2_3.png", 4)])
    (raw / "SoyGene" / "anno" / "test.txt").write_text("x1 1\nx2\nx2 0\nx3 2\n")
    (raw / "soybean200" / "anno" / "test.txt").unlink()
    (raw / "COTTON" / "images" / "1_4_test.png").rename(raw / "COTTON" / "images" / "leaf.png")
    shutil.rmtree(raw / "SoyAgeing" / "R4")
    error = refused(raw=raw, out=tmp_path / "out")
    for part in [
        "soyglobal",
        "no image of class 2",
        f"{raw}/SoyGene/anno/test.txt",
        "line 2 ('x2'), line 3 ('x2 0')",
        f"that are not in {raw}/SoyGene/images: x3",
        f"{raw}/soybean200/anno/test.txt cannot be read",
        "CLASS_INDEX_test.png",
        "leaf.png",
        f"soyageing below raw={raw} lacks R4",
    ]:
        assert part in error
    shutil.copytree(raw / "SoyGene", raw / "soybean_gene")
    assert f"{raw}/SoyGene, {raw}/soybean_gene" in refused(raw=raw, out=tmp_path / "out", dataset="soygene")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file as the hub has it, with weights that no seed gives."""
    file = tmp_path_factory.mktemp("hub") / "model.safetensors"
    torch.manual_seed(4)
    save_file({key: torch.randn_like(value) for key, value in timm.create_model(NAME).state_dict().items()}, file)
    return file


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_downloaded_ahead_and_found_without_a_network(weights, tmp_path, monkeypatch, run_ufgir):
    command = ("prepare", "weights", "backbone=deit_t,micro,deit_t")
    with hub_with_cache(tmp_path / "hub", monkeypatch) as hub:
        hub.repositories[f"timm/{NAME}"] = {}
        broken = run_ufgir(*command)
        assert broken.code == 1 and broken.out.split()[:3] == ["deit_t", "not", "available"]
        assert NAME in broken.err and "Traceback" not in broken.err
        hub.repositories[f"timm/{NAME}"] = {"model.safetensors": weights.read_bytes()}
        done = run_ufgir(*command)
    lines = [line.split(maxsplit=1) for line in done.out.splitlines()]
    assert [line[0] for line in lines] == ["deit_t", "micro", "cache:"], "each once"
    assert done.code == 0 and [lines[0][1], lines[1][1]] == ["ready", "not available"], done.err
    assert Path(lines[2][1]) == tmp_path / "hub"
    again = run_ufgir(*command)
    assert again.code == 0 and again.out.split()[:2] == ["deit_t", "ready"], "without a hub"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = ufgir.create_model("deit_t", num_classes=5, pretrained=True).state_dict()
    assert all(found[key].equal(value) for key, value in load_file(weights).items() if not key.startswith("head."))


def test_a_cache_in_the_layout_of_the_hub_serves_the_model(hub_cache, weights, tmp_path, monkeypatch, capsys):
    assert main(["weights", f"backbone=deit_t,{NAME}"]) == 1
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err
    repository = hub_cache / f"models--timm--{NAME}"
    link = repository / "snapshots" / COMMIT / "model.safetensors"
    for folder in (link.parent, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    link.symlink_to(weights)
    deit = {"name": NAME, "pretrained": True, "checkpoint": None, "kwargs": {}}
    random, lost = {**deit, "pretrained": False}, {**deit, "checkpoint": str(tmp_path / "lost.pth")}
    wanted = [deit, deit, random, {**deit, "checkpoint": str(weights)}, lost]
    monkeypatch.setattr(prepare, "backbones_of", lambda options: wanted)
    assert main(["weights", "sweep=mine"]) == 1
    out, error = capsys.readouterr()
    assert [line.split(maxsplit=1)[1] for line in out.splitlines()[:-1]] == ["ready", "ready", "not available"]
    assert "lost.pth" in error
    model = ufgir.create_model("deit_t", num_classes=1000, pretrained=True)
    assert model.head.weight.equal(load_file(weights)["head.weight"])


def test_the_weights_of_a_grid_and_those_of_their_authors(hub_cache, capsys):
    grid = backbones_of(WeightsOptions(sweep="ablation"))
    assert {backbone["name"] for backbone in grid if backbone["pretrained"]} == {"deit3_base_patch16_224.fb_in1k"}
    assert main(["weights", "sweep=demo"]) == 0
    assert capsys.readouterr().out.startswith("nothing to download")
    assert main(["weights", "backbone=vit_b_mocov3"]) == 3
    out, error = capsys.readouterr()
    assert "not available" in out and "vit-b-300ep.pth.tar" in error
    assert not hub_cache.exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("rwa=x raw=. out=y", "Did you mean 'raw'?"),
        ("raw=.", "out: missing"),
        ("raw=/no out=y", "raw=/no"),
        ("raw=. out=y dataset=soygenes", "dataset=soygenes: expected 'cotton80'"),
        ("raw=. out=y copy=maybe", "copy=maybe"),
        ("weights", "backbone=deit_s"),
        ("weights sweep=demo backbone=deit_s", "sweep=NAME"),
        ("weights backbone=deit_x", "Did you mean 'deit_t'"),
        ("weights backbone=resnet50", "ResNet"),
        ("weights sweep=paper_44", "paper_448"),
        ("weights out=x", "sweep="),
    ],
)
def test_wrong_arguments(arguments, text, capsys):
    assert run_command(main, arguments.split()) == 2
    assert text in capsys.readouterr().err
