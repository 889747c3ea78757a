"""The figures of any images have names of their own, with as many folders as part them."""

from pathlib import Path

import pytest

from ufgir.pictures import figure_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([], []),
        (["leaves/a.jpg", "leaves/b.jpg"], ["a", "b"]),
        (["x/one/a.jpg", "x/two/a.jpg", "x/b.jpg"], ["one-a", "two-a", "b"]),
        (["one/x/a.jpg", "two/x/a.jpg"], ["one-x-a", "two-x-a"]),
        # Two that no folder parts, beside one that lies deeper than they do.
        (["leaves/a.jpg", "leaves/a.png", "leaves/2024/june/b.jpg"], ["leaves-a", "leaves-a-2", "b"]),
        (["/leaves/a.jpg", "/leaves/a.png", "/leaves/2024/june/b.jpg"], ["leaves-a", "leaves-a-2", "b"]),
        (["a.jpg", "a.png", "2024/june/a.jpg"], ["a", "a-2", "june-a"]),
    ],
)
def test_figure_names(paths, names):
    assert figure_names(list(map(Path, paths))) == [f"{name}.png" for name in names]
