"""The grids: their runs by axis, narrowed and extended by words."""

import random
from collections import Counter

import pytest

from ufgir.config import compose_run, resolve
from ufgir.config.base import composed_whole
from ufgir.errors import UserError
from ufgir.grids.grid import expand, grid_names, grid_of, jobs_told, label, load_grid
from ufgir.grids.survey import survey
from ufgir.resources import conf_dir

NINE = {
    "deit_b", "deit3_b", "deit3_b_in21k", "vit_b_in21k", "vit_b_miil", "vit_b_mocov3", "vit_b_dino", "vit_b_mae",
    "vit_b_clip",
}  # fmt: skip


def counts(jobs, axis):
    return dict(Counter(label(job, axis) for job in jobs))


def test_the_papers_grid_at_448():
    jobs = jobs_told(["sweep=paper_448"])
    assert len(jobs) == len(set(jobs)) == 2025
    assert counts(jobs, "backbone") == dict.fromkeys(NINE, 225)
    assert counts(jobs, "dataset") == dict.fromkeys(["cotton80", "soylocal", "soygene", "soyageing", "soyglobal"], 405)
    assert counts(jobs, "keep_rate") == dict.fromkeys(["0.1", "0.25", "0.5", "0.7", "1.0"], 405)
    assert counts(jobs, "plugins") == dict.fromkeys(["base", "cla", "clca"], 675)
    assert counts(jobs, "seed") == dict.fromkeys(["1", "10", "100"], 675)
    assert not any("optim.lr" in word for job in jobs for word in job), "all of these were trained with 1e-4"


def test_the_papers_grid_at_224():
    jobs = jobs_told(["sweep=paper_224"])
    assert len(jobs) == len(set(jobs)) == 2430
    assert counts(jobs, "backbone") == dict.fromkeys(NINE, 270)
    six = dict.fromkeys(["dyvit", "ats", "tome", "patchmerger", "sit", "dpcknn"], 270)
    assert counts(jobs, "reducer") == {"evit": 648, "none": 162, **six}
    assert counts(jobs, "keep_rate") == {"0.1": 162, "0.25": 702, "0.5": 702, "0.7": 702, "1.0": 162}
    assert counts(jobs, "plugins") == {"base": 1242, "cla": 594, "clca": 594}
    quarters = [job for job in jobs if label(job, "reducer") == "tome" and label(job, "keep_rate") == "0.25"]
    assert len(quarters) == 90 and all("reduction_layers=[2,3,5,6,8,9]" in job for job in quarters)
    rates = Counter(label(job, "optim.lr") for job in jobs)
    assert sum(rates.values()) - rates[None] == 371, "the 377 of the table but for 6 with ifa"


@pytest.mark.parametrize(("name", "runs"), [("lr_search", 225), ("ablation", 144), ("demo", 10)])
def test_the_other_grids(name, runs):
    assert len(jobs_told([f"sweep={name}"])) == runs


def test_every_grid_on_disk_is_known():
    assert grid_names() == ("ablation", "demo", "lr_search", "paper_224", "paper_448")


def test_words_narrow_extend_and_multiply():
    jobs = jobs_told(["sweep=paper_448", "dataset=cotton80", "seed=1,10", "trainer.max_epochs=1,2", "optim.lr=2e-4"])
    assert len(jobs) == 405 * 2 // 3 * 2
    assert counts(jobs, "dataset") == {"cotton80": len(jobs)}
    assert counts(jobs, "optim.lr") == {"2e-4": len(jobs)}
    quarter = jobs_told(["sweep=paper_448", "keep_rate=0.10"])
    assert set(counts(quarter, "keep_rate")) == {"0.1"}
    assert counts(jobs_told(["sweep=demo", "~callbacks.tokens"]), "keep_rate") == {"0.1": 4, "0.5": 4, "1.0": 2}
    assert jobs_told(["seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]) == (("seed=1",), ("seed=2",))


@pytest.mark.parametrize("name", grid_names())
def test_every_value_of_the_table_of_a_grid_can_be_asked_for(name):
    jobs = jobs_told([f"sweep={name}"])
    for axis in load_grid(name).axes.keys() - {"reduction_layers"}:
        for value, count in counts(jobs, axis).items():
            asked = jobs_told([f"sweep={name}", f"{axis}={value}"])
            assert len(asked) == count and set(asked) <= set(jobs), f"{axis}={value}"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["sweep=paper_44"], ["sweep=paper_44: expected ablation", "Did you mean sweep=paper_448"]),
        (["sweep=paper_448", "dataset=leaves", "seed=3"], ["dataset=leaves: sweep=paper_448 has", "seed=3: sweep="]),
        (["sweep=demo,ablation"], ["expected one grid"]),
        (["sweep=demo", "keep_rate=0.3"], ["keep_rate=0.3: sweep=demo has keep_rate=0.1, 0.5 or 1.0."]),
        (["sweep=paper_448", "reducer=none", "keep_rate=0.1"], ["sweep=paper_448 reducer=none keep_rate=0.1: no run"]),
        (["seed=range(1,1)"], ["seed=range(1,1): these words name no run"]),
    ],
)
def test_a_mistake_says_what_there_is(words, parts):
    with pytest.raises(UserError) as caught:
        jobs_told(words)
    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_is_no_grid_is_refused():
    unions = ({"seed": 1}, [], [{"seed": []}])
    for content in ({"name": "x"}, *({"union": union} for union in unions), {"union": [{"seed": 1}], "lr": 3}):
        with pytest.raises(UserError, match="mine.yaml"):
            grid_of(content, "mine.yaml")


def test_the_plan_equals_a_full_compose_of_random_runs():
    """Planning composes each choice once and shares what only differs in its seed."""
    jobs = tuple(random.Random(0).sample([*expand(load_grid("paper_224")), *expand(load_grid("paper_448"))], 25))
    for run in survey(jobs):
        if run.config is None:
            assert "vit_b_mocov3" in run.faults[0]
            continue
        # Hydra itself, on all words at once.
        words = tuple(f"{'' if word.partition('=')[0] in CHOICES else '++'}{word}" for word in run.words)
        assert run.config == resolve(composed_whole(conf_dir(), words).resolved)
        assert run.config == resolve(compose_run(run.words)[0])


CHOICES = ("dataset", "backbone", "reducer", "plugins", "experiment")
