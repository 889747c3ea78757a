"""The raw Ultra-FGVC release in small: two classes of each set, under the names of its folders."""

from pathlib import Path

from PIL import Image

STAGES = ("R1", "R3", "R4", "R5", "R6")
FOLDERS = ("COTTON", "soybean200", "SoyGene", *(f"SoyAgeing/{stage}" for stage in STAGES), "soybean2000")


def make_release(root: Path) -> None:
    """Three images of each class to train on and one to test, in every folder with images."""
    for folder in FOLDERS:
        parts = {
            part: [(f"{label}_{number}_{part}.png", label) for label in (1, 2) for number in numbers]
            for part, numbers in (("train", (1, 2, 3)), ("test", (4,)))
        }
        write_anno(root / folder, **parts)


def write_anno(folder: Path, **parts: list[tuple[str, int]]) -> None:
    """Write `anno/<part>.txt` of the names and labels of each part, and a picture for each name."""
    for name in ("anno", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / "anno" / f"{part}.txt").write_text("".join(f"{name} {label}\n" for name, label in rows))
        for name, _ in rows:
            Image.new("RGB", (2, 2), "green").save(folder / "images" / f"{name.removesuffix('.png')}.png")
