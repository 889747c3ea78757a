"""The raw Ultra-FGVC release, in small, becomes data sets that can be trained on; or nothing is written."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ufgir import prepare
from ufgir.data import image_faults, load_source
from ufgir.data.ultra_fgvc import SETS

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


@pytest.fixture
def run(capsys):
    """Runs the command: exit code, standard output, standard error."""
    def command(**words):
        code = prepare.main([f"{word}={value}" for word, value in words.items()])
        return code, *capsys.readouterr()

    return command


def rows(folder: Path, split: str) -> list[str]:
    header, *lines = (folder / f"{split}.csv").read_text().splitlines()
    assert header == "class_id,dir"
    return lines


def source_of(folder: Path, protocol: str = "test"):
    dataset = {"name": "csv", "format": "csv", "root": str(folder), "images": "images"}
    return load_source(dataset, protocol=protocol, seed=1)


def test_all_five_sets_through_the_real_command(raw, tmp_path):
    command = [sys.executable, "-m", "ufgir.prepare", f"raw={raw}", "out=prepared"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "prepared"
    assert sorted(folder.name for folder in out.iterdir()) == sorted(SETS)
    for name in SETS:
        for protocol in ("test", "val"):
            source = source_of(out / name, protocol)
            assert source.num_classes == 2
            assert image_faults(source, progress=False) == []
    assert "python -m ufgir.train dataset=csv dataset.root=prepared/soygene" in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("cotton80"))
    assert line.split() == ["cotton80", "2", "4", "2", "6", "2", "no,", "80,", "160,", "80,", "240,", "240"]


def test_file_names_tell_where_anno_is_missing(raw, tmp_path, run):
    assert run(raw=raw, out=tmp_path, dataset="cotton80")[0] == 0
    assert rows(tmp_path / "cotton80", "train") == ["0,1_1_train.png", "0,1_2_train.png", "1,2_1_train.png",
                                                    "1,2_2_train.png"]
    assert rows(tmp_path / "cotton80", "val") == ["0,1_3_train.png", "1,2_3_train.png"]
    assert rows(tmp_path / "cotton80", "test") == ["0,1_4_test.png", "1,2_4_test.png"]


def test_train_and_val_are_pooled_and_split_by_the_authors_rule(raw, tmp_path, run):
    assert run(raw=raw, out=tmp_path, dataset="soylocal")[0] == 0
    pooled = ["0,a b.png", "1,b.png", "0,c.png", "1,d.png", "0,e.png", "1,f.png"]
    assert rows(tmp_path / "soylocal", "train_val") == pooled
    assert rows(tmp_path / "soylocal", "train") == pooled[:4]  # int(0.8 * 3) = 2 of each class
    assert rows(tmp_path / "soylocal", "val") == pooled[4:]
    assert rows(tmp_path / "soylocal", "test") == ["1,g.png", "0,h.png"]


def test_val_that_repeats_rows_of_train_adds_nothing(raw, tmp_path, run):
    shutil.copy(raw / "SoyGlobal" / "anno" / "train.txt", raw / "SoyGlobal" / "anno" / "val.txt")
    code, _, error = run(raw=raw, out=tmp_path, dataset="soyglobal")
    assert code == 2 and "soyglobal: no class has two images in train.txt and val.txt" in error
    shutil.copy(raw / "SoyGene" / "anno" / "train.txt", raw / "SoyGene" / "anno" / "val.txt")
    assert run(raw=raw, out=tmp_path, dataset="soygene")[0] == 0
    assert len(rows(tmp_path / "soygene", "train_val")) == 11


def test_names_without_ending_and_the_share_of_larger_classes(raw, tmp_path, run):
    assert run(raw=raw, out=tmp_path, dataset="soygene")[0] == 0
    train = rows(tmp_path / "soygene", "train")
    assert [row for row in train if row[0] == "0"] == ["0,00.png", "0,02.png", "0,04.png", "0,06.png"]  # 4 of 6
    assert [row for row in train if row[0] == "1"] == ["1,01.png", "1,03.png", "1,05.png", "1,07.png"]  # 4 of 5


def test_stages_are_pooled_in_order(raw, tmp_path, run):
    assert run(raw=raw, out=tmp_path, dataset="soyageing")[0] == 0
    assert rows(tmp_path / "soyageing", "train_val") == [
        f"{number - 1},{stage}/images/{number}.png" for stage in STAGES for number in (1, 2)]
    assert len(rows(tmp_path / "soyageing", "train")) == 8


@pytest.mark.parametrize("layout", ["SoyAgeing/SoyAgeing-{}/{}", "SoyAging-{}", "{}"])
def test_other_layouts_of_the_stages(raw, tmp_path, run, layout):
    other = tmp_path / "other"
    for stage in STAGES:
        shutil.copytree(raw / "SoyAgeing" / stage, other / layout.format(stage, stage))
    assert run(raw=other, out=tmp_path)[0] == 0
    assert len(source_of(tmp_path / "soyageing").train) == 10


def test_linked_set_goes_by_the_name_of_its_link(raw, tmp_path, run):
    (raw / "SoyGene").rename(tmp_path / "beans")
    (raw / "SoyGene").symlink_to(tmp_path / "beans")
    assert run(raw=raw, out=tmp_path / "out", dataset="soygene")[0] == 0


def test_one_set_under_any_name(raw, tmp_path, run):
    (raw / "SoyGene").rename(tmp_path / "beans")
    code, _, error = run(raw=tmp_path / "beans", out=tmp_path / "out")
    assert code == 2 and "raw=FOLDER_OF_ONE_SET dataset=NAME" in error
    assert not (tmp_path / "out").exists()
    assert run(raw=tmp_path / "beans", out=tmp_path / "out", dataset="soygene")[0] == 0
    assert run(raw=raw / "Cotton80" / "COTTON", out=tmp_path / "out")[0] == 0
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["cotton80", "soygene"]


def test_images_are_linked_or_copied(raw, tmp_path, run):
    assert run(raw=raw, out=tmp_path / "links")[0] == 0
    link = tmp_path / "links" / "soygene" / "images"
    assert link.is_symlink() and link.resolve() == raw / "SoyGene" / "images"
    assert run(raw=raw, out=tmp_path / "copies", copy="true")[0] == 0
    shutil.rmtree(raw)
    for name in SETS:
        assert image_faults(source_of(tmp_path / "copies" / name), progress=False) == []


def test_again_is_fine_and_other_content_is_refused(raw, tmp_path, run):
    out = raw / "prepared"  # below raw: earlier results are not taken for sets
    assert run(raw=raw, out=out)[0] == 0
    code, text, _ = run(raw=raw, out=out)
    assert code == 0 and f"{out}/soygene is there already, with the same tables" in text
    (out / "soygene" / "test.csv").write_text("class_id,dir\n0,x1.png\n")
    shutil.rmtree(out / "cotton80")
    code, _, error = run(raw=raw, out=out)
    assert code == 2
    assert error == f"{out}/soygene exists and holds something else; remove it or give another out=\n"
    assert not (out / "cotton80").exists()


def test_moved_images_are_noticed(raw, tmp_path, run):
    assert run(raw=raw, out=tmp_path / "out", dataset="soygene")[0] == 0
    raw.rename(tmp_path / "moved")
    code, _, error = run(raw=tmp_path / "moved", out=tmp_path / "out", dataset="soygene")
    assert code == 2 and "its images are not where they were" in error


def test_all_faults_of_all_sets_at_once_and_nothing_written(raw, tmp_path, run):
    write_anno(raw / "SoyGlobal", test=[("1_3.png", 1), ("2_3.png", 4)])
    (raw / "SoyGene" / "anno" / "test.txt").write_text("x1 1\nx2\nx2 0\nx3 2\n")
    (raw / "soybean200" / "anno" / "test.txt").unlink()
    (raw / "Cotton80" / "COTTON" / "images" / "1_4_test.png").rename(
        raw / "Cotton80" / "COTTON" / "images" / "leaf.png")
    shutil.rmtree(raw / "SoyAgeing" / "R4")
    code, text, error = run(raw=raw, out=tmp_path / "out")
    assert (code, text) == (2, "")
    assert not (tmp_path / "out").exists()
    for fault in [
        "soyglobal (class ids counted from 0): the class ids have gaps: 3 classes with ids up to 3, but no image of "
        "class 2",
        f"{raw}/SoyGene/anno/test.txt: each line must be `name class` with a class from 1 on, but see line 2 ('x2'), "
        "line 3 ('x2 0')",
        f"{raw}/SoyGene/anno/test.txt names 1 images that are not in {raw}/SoyGene/images: x3",
        f"{raw}/soybean200/anno/test.txt cannot be read: No such file or directory",
        "not named CLASS_INDEX_train.png or CLASS_INDEX_test.png: leaf.png",
        f"soyageing below raw={raw} lacks R4; it is pooled from the folders R1, R3, R4, R5, R6",
    ]:
        assert fault in error


def test_two_folders_of_one_set_are_refused(raw, tmp_path, run):
    shutil.copytree(raw / "SoyGene", raw / "soybean_gene")
    code, _, error = run(raw=raw, out=tmp_path / "out")
    assert code == 2
    assert f"2 folders below raw={raw} are soygene by their names: {raw}/SoyGene, {raw}/soybean_gene" in error


def test_set_with_the_published_counts_is_trained_by_its_name(raw, tmp_path, run, monkeypatch):
    counts = {"classes": 2, "train": 8, "val": 3, "train_val": 11, "test": 2}
    monkeypatch.setitem(SETS, "soygene", replace(SETS["soygene"], counts=counts))
    _, text, _ = run(raw=raw, out=tmp_path / "out", dataset="soygene")
    assert text.splitlines()[1].split() == ["soygene", "2", "8", "3", "11", "2", "yes"]
    assert f"python -m ufgir.train dataset=soygene dataset.root={tmp_path}/out/soygene" in text


def test_folder_of_an_unknown_set_is_left_out_aloud(raw, tmp_path, run):
    (raw / "SoyGene").rename(raw / "SoyNew")
    code, _, error = run(raw=raw, out=tmp_path / "out")
    assert code == 3
    assert error == f"left out: {raw}/SoyNew, whose name tells no set; name it with raw={raw}/SoyNew dataset=NAME\n"


def test_words(raw, capsys):
    assert prepare.main(["rwa=x", "dataset=soygenes", "copy=yes", f"raw={raw}/no"]) == 2
    error = capsys.readouterr().err
    assert "rwa=x is not understood; the words are raw=, out=, dataset= and copy=. Did you mean raw?" in error
    assert "out=DIR is missing" in error
    assert f"raw={raw}/no is no folder" in error
    assert "dataset=soygenes is unknown" in error and "Did you mean soygene?" in error
    assert "copy=yes must be true or false" in error
    assert prepare.main(["--help"]) == 0
    assert "python -m ufgir.prepare raw=DIR out=DIR" in capsys.readouterr().out


@pytest.mark.parametrize("name", SETS)
def test_counts_are_those_of_the_configuration(name):
    assert yaml.safe_load((CONF / f"{name}.yaml").read_text())["expected"] == SETS[name].counts
