"""`python -m ufgir.data.leaves`: draw the default leaves, print their baselines and write a contact sheet."""

from pathlib import Path

from ufgir.data import leaves


def main() -> None:
    """Render below `data/leaves`, where `dataset=leaves` looks for them, and write `leaves.png`."""
    spec = leaves.LeavesSpec()
    images = leaves.render(spec, Path("data/leaves")) / "images"
    for name, percent in leaves.baselines(leaves.tables(spec), images).items():
        print(f"{name}: {percent:.1f} %")
    leaves.contact_sheet(leaves.tables(spec), images, leaves.class_names(spec), Path("leaves.png"))
    print("leaves.png")


if __name__ == "__main__":
    main()
