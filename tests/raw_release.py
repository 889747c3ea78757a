"""The raw Ultra-FGVC release in small: two classes of each set, under the names of its folders."""

from pathlib import Path

from PIL import Image

SETS = ("COTTON", "soybean200", "SoyGene", *(f"SoyAgeing/R{stage}" for stage in (1, 3, 4, 5, 6)), "soybean2000")


def make_release(root: Path) -> None:
    """Three images of each class to train on and one to test, in every folder with images."""
    for folder in (root / name for name in SETS):
        for name in ("images", "anno"):
            (folder / name).mkdir(parents=True)
        for part, numbers in (("train", (1, 2, 3)), ("test", (4,))):
            names = [(f"{label}_{number}_{part}.png", label) for label in (1, 2) for number in numbers]
            (folder / "anno" / f"{part}.txt").write_text("".join(f"{name} {label}\n" for name, label in names))
            for name, _ in names:
                Image.new("RGB", (2, 2), "green").save(folder / "images" / name)
