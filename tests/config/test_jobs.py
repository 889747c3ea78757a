"""Several models out of words with several values."""

from ufgir.config import sound_jobs


def test_each_model_has_its_words_one_without_a_value_among_them():
    jobs = list(sound_jobs(["backbone=micro", "image_size=96", "~debug", "reducer=none,evit", "keep_rate=0.1,0.5"]))
    told = {"backbone": "micro", "image_size": "96", "~debug": ""}
    assert [words for words, _ in jobs] == [
        {**told, "reducer": "none"},
        {**told, "reducer": "evit", "keep_rate": "0.1"},
        {**told, "reducer": "evit", "keep_rate": "0.5"},
    ]
    assert [config["keep_rate"] for _, config in jobs] == [1.0, 0.1, 0.5]
