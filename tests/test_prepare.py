"""The raw Ultra-FGVC release, in small, becomes data sets that can be trained on; or nothing is written."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ufgir.data import ImageDataModule
from ufgir.data.ultra_fgvc import SETS, split_train_val
from ufgir.errors import UserError
from ufgir.prepare import prepare

CONF = Path(__file__).parents[1] / "conf" / "dataset"
STAGES = ("R1", "R3", "R4", "R5", "R6")


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), "green").save(path)


def write_anno(folder: Path, **parts: list[tuple[str, int]]) -> None:
    (folder / "anno").mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / "anno" / f"{part}.txt").write_text("".join(f"{name} {label}\n" for name, label in rows))
        for name, _ in rows:
            draw(folder / "images" / (name if name.endswith(".png") else f"{name}.png"))


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    """Two classes of each set: the folder names of the release, each of its ways to annotate."""
    monkeypatch.setenv("UFGIR_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "Ultra-FGVC"
    for label in (1, 2):  # without anno/: file names tell
        for index, part in enumerate(["train", "train", "train", "test"]):
            draw(root / "Cotton80" / "COTTON" / "images" / f"{label}_{index + 1}_{part}.png")
    write_anno(root / "soybean200", train=[("a b.png", 1), ("b.png", 2), ("c.png", 1), ("d.png", 2)],
               val=[("e.png", 1), ("f.png", 2)], test=[("g.png", 2), ("h.png", 1)])
    write_anno(root / "SoyGene", train=[(f"{number:02}", number % 2 + 1) for number in range(11)],
               test=[("x1", 1), ("x2", 2)])
    for stage in STAGES:
        write_anno(root / "SoyAgeing" / stage, train=[("1.png", 1), ("2.png", 2)], test=[("3.png", 2), ("4.png", 1)])
    write_anno(root / "SoyGlobal", train=[("1_1.png", 1), ("2_1.png", 2)], val=[("1_2.png", 1), ("2_2.png", 2)],
               test=[("1_3.png", 1), ("2_3.png", 2)])
    return root


def run(**words) -> int:
    return prepare([f"{word}={value}" for word, value in words.items()])


def refused(**words) -> str:
    with pytest.raises(UserError) as caught:
        run(**words)
    return "\n".join(caught.value.messages)


def rows(folder: Path, split: str) -> list[str]:
    header, *lines = (folder / f"{split}.csv").read_text().splitlines()
    assert header == "class_id,dir"
    return lines


def check_images(folder: Path) -> None:
    ImageDataModule(folder, protocol="holdout", progress=False).check_images()


def test_all_five_sets(raw, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(raw=raw, out="prepared") == 0
    out = tmp_path / "prepared"
    assert sorted(folder.name for folder in out.iterdir()) == sorted(SETS)
    for name in SETS:
        check_images(out / name)
        assert ImageDataModule(out / name).num_classes == 2
    text = capsys.readouterr().out
    assert "python -m ufgir.train dataset=csv dataset.root=prepared/soygene" in text
    line = next(line for line in text.splitlines() if line.startswith("cotton80"))
    assert line.split() == ["cotton80", "2", "4", "2", "6", "2", "no,", "80,", "160,", "80,", "240,", "240"]


def test_tables_of_each_way_to_annotate(raw, tmp_path):
    assert run(raw=raw, out=tmp_path) == 0
    assert rows(tmp_path / "cotton80", "val") == ["0,1_3_train.png", "1,2_3_train.png"]
    assert rows(tmp_path / "cotton80", "test") == ["0,1_4_test.png", "1,2_4_test.png"]
    pooled = ["0,a b.png", "1,b.png", "0,c.png", "1,d.png", "0,e.png", "1,f.png"]
    assert rows(tmp_path / "soylocal", "train_val") == pooled
    assert rows(tmp_path / "soylocal", "train") == pooled[:4] and rows(tmp_path / "soylocal", "val") == pooled[4:]
    assert rows(tmp_path / "soyageing", "train_val") == [
        f"{number - 1},{stage}/images/{number}.png" for stage in STAGES for number in (1, 2)]
    assert "0,00.png" in rows(tmp_path / "soygene", "train")  # named without ending in anno/


def test_split_by_the_authors_rule():
    """Of each class the first int(0.8 n) rows are for training: 4 of 6, 4 of 5."""
    train, val = split_train_val([(number % 2, f"{number:02}") for number in range(11)])
    assert [name for label, name in train if label == 0] == ["00", "02", "04", "06"]
    assert [name for label, name in train if label == 1] == ["01", "03", "05", "07"]
    assert val == [(0, "08"), (1, "09"), (0, "10")]


def test_val_that_repeats_rows_of_train_adds_nothing(raw, tmp_path):
    for name in ("SoyGlobal", "SoyGene"):
        shutil.copy(raw / name / "anno" / "train.txt", raw / name / "anno" / "val.txt")
    assert "soyglobal: no class has two images" in refused(raw=raw, out=tmp_path, dataset="soyglobal")
    assert run(raw=raw, out=tmp_path, dataset="soygene") == 0
    assert len(rows(tmp_path / "soygene", "train_val")) == 11


@pytest.mark.parametrize("layout", ["SoyAgeing/SoyAgeing-{}/{}", "SoyAging-{}", "{}"])
def test_other_layouts_of_the_stages(raw, tmp_path, layout):
    other = tmp_path / "other"
    for stage in STAGES:
        shutil.copytree(raw / "SoyAgeing" / stage, other / layout.format(stage, stage))
    assert run(raw=other, out=tmp_path) == 0
    assert len(rows(tmp_path / "soyageing", "train_val")) == 10


def test_one_set_under_any_name(raw, tmp_path):
    (raw / "SoyGene").rename(tmp_path / "beans")
    assert "dataset=NAME" in refused(raw=tmp_path / "beans", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(raw=tmp_path / "beans", out=tmp_path / "out", dataset="soygene") == 0
    (raw / "SoyGene").symlink_to(tmp_path / "beans")  # a link goes by its own name
    assert run(raw=raw, out=tmp_path / "again") == 0
    assert run(raw=raw / "Cotton80" / "COTTON", out=tmp_path / "out") == 0
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["cotton80", "soygene"]


def test_images_are_linked_or_copied(raw, tmp_path):
    assert run(raw=raw, out=tmp_path / "links") == run(raw=raw, out=tmp_path / "copies", copy="true") == 0
    link = tmp_path / "links" / "soygene" / "images"
    assert link.is_symlink() and link.resolve() == raw / "SoyGene" / "images"
    shutil.rmtree(raw)
    for name in SETS:
        check_images(tmp_path / "copies" / name)


def test_again_is_fine_and_other_content_is_refused(raw, tmp_path, capsys):
    out = raw / "prepared"  # below raw: earlier results are not taken for sets
    assert run(raw=raw, out=out) == run(raw=raw, out=out) == 0
    assert "was there already" in capsys.readouterr().out
    (out / "soygene" / "test.csv").write_text("class_id,dir\n0,x1.png\n")
    shutil.rmtree(out / "cotton80")
    assert f"{out}/soygene exists with other content" in refused(raw=raw, out=out)
    assert not (out / "cotton80").exists()


def test_moved_images_are_noticed(raw, tmp_path):
    assert run(raw=raw, out=tmp_path / "out", dataset="soygene") == 0
    raw.rename(tmp_path / "moved")
    assert "not where they were" in refused(raw=tmp_path / "moved", out=tmp_path / "out", dataset="soygene")


def test_all_errors_of_all_sets_at_once_and_nothing_written(raw, tmp_path):
    write_anno(raw / "SoyGlobal", test=[("1_3.png", 1), ("2_3.png", 4)])
    (raw / "SoyGene" / "anno" / "test.txt").write_text("x1 1\nx2\nx2 0\nx3 2\n")
    (raw / "soybean200" / "anno" / "test.txt").unlink()
    images = raw / "Cotton80" / "COTTON" / "images"
    (images / "1_4_test.png").rename(images / "leaf.png")
    shutil.rmtree(raw / "SoyAgeing" / "R4")
    error = refused(raw=raw, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for part in ["soyglobal", "no image of class 2", f"{raw}/SoyGene/anno/test.txt", "line 2 ('x2'), line 3 ('x2 0')",
                 f"that are not in {raw}/SoyGene/images: x3", f"{raw}/soybean200/anno/test.txt cannot be read",
                 "CLASS_INDEX_test.png: leaf.png", f"soyageing below raw={raw} lacks R4"]:
        assert part in error


def test_two_folders_of_one_set_are_refused(raw, tmp_path):
    shutil.copytree(raw / "SoyGene", raw / "soybean_gene")
    assert f"are soygene by their names: {raw}/SoyGene, {raw}/soybean_gene" in refused(raw=raw, out=tmp_path / "out")


def test_set_with_the_published_counts_is_trained_by_its_name(raw, tmp_path, monkeypatch, capsys):
    counts = {"classes": 2, "train": 8, "val": 3, "train_val": 11, "test": 2}
    monkeypatch.setitem(SETS, "soygene", replace(SETS["soygene"], counts=counts))
    assert run(raw=raw, out=tmp_path / "out", dataset="soygene") == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].split() == ["soygene", "2", "8", "3", "11", "2", "yes"]
    assert f"python -m ufgir.train dataset=soygene dataset.root={tmp_path}/out/soygene" in text


def test_folder_of_an_unknown_set_is_left_out_and_named(raw, tmp_path, capsys):
    (raw / "SoyGene").rename(raw / "SoyNew")
    assert run(raw=raw, out=tmp_path / "out") == 3
    assert f"left out: {raw}/SoyNew" in capsys.readouterr().err


def test_wrong_arguments(raw):
    error = refused(rwa="x", dataset="soygenes", copy="yes", raw=f"{raw}/no")
    for part in ("rwa=x", "Did you mean 'raw'?", "out=DIR is missing", f"raw={raw}/no is not a folder",
                 "dataset=soygenes", "Did you mean 'soygene'?", "copy=yes"):
        assert part in error


@pytest.mark.parametrize("name", SETS)
def test_counts_are_those_of_the_configuration(name):
    assert yaml.safe_load((CONF / f"{name}.yaml").read_text())["expected"] == SETS[name].counts
