"""Words in messages."""

import pytest

from ufgir.config.messages import did_you_mean, listed, nearest, nearest_key, typed


@pytest.mark.parametrize(
    ("word", "found"),
    [("evti", ["evit"]), ("EViT", ["evit"]), ("topkk", ["topk"]), ("cl", ["cla", "clc"]), ("xyz", []), ("", [])],
)
def test_nearest(word, found):
    assert nearest(word, ["evit", "topk", "none", "cla", "clc"]) == found


def test_nothing_is_near_among_nothing():
    assert nearest("evit", []) == []


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("lr", ["optim.lr"]),
        ("optim.foo", []),
        ("keep_rat", ["keep_rate"]),
        ("reducer.keep_rat", ["reducer.keep_rate"]),
        ("trainer.seed", ["seed"]),
    ],
)
def test_nearest_key(word, found):
    assert nearest_key(word, ["keep_rate", "reducer.keep_rate", "optim.lr", "optim.eps", "seed"]) == found


def test_lists_and_questions():
    assert (listed([]), listed(["a"]), listed(["a", "b"]), listed("abc", "and")) == ("", "a", "a or b", "a, b and c")
    assert (did_you_mean([]), did_you_mean(["a", "b"])) == ("", " Did you mean a or b?")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        ([0.5, None], "[0.5,null]"),
        ({"a": {"b": 1}}, "{a:{b:1}}"),
        ("word", "word"),
        ("1", '"1"'),
        ("true", '"true"'),
        ("", ""),
    ],
)
def test_typed(value, text):
    assert typed("key", value) == f"key={text}"
