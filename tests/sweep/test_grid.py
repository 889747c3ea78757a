"""The grids: their runs by axis, narrowed and extended on the command line."""

from collections import Counter

import pytest

from ufgir.errors import UserError
from ufgir.sweep.grid import Grid, jobs_of, label, load_grid

NINE = {
    "deit_b", "deit3_b", "deit3_b_in21k", "vit_b_in21k", "vit_b_miil", "vit_b_mocov3", "vit_b_dino", "vit_b_mae",
    "vit_b_clip",
}  # fmt: skip


def counts(jobs, axis):
    return dict(Counter(label(job, axis) for job in jobs))


def test_the_papers_grid_at_448():
    jobs = jobs_of(["sweep=paper_448"])
    assert len(jobs) == len(set(jobs)) == 2025
    assert counts(jobs, "backbone") == dict.fromkeys(NINE, 225)
    assert counts(jobs, "dataset") == dict.fromkeys(["cotton80", "soylocal", "soygene", "soyageing", "soyglobal"], 405)
    assert counts(jobs, "keep_rate") == dict.fromkeys(["0.1", "0.25", "0.5", "0.7", "1.0"], 405)
    assert counts(jobs, "plugins") == dict.fromkeys(["base", "cla", "clca"], 675)
    assert counts(jobs, "seed") == dict.fromkeys(["1", "10", "100"], 675)


def test_the_papers_grid_at_224():
    jobs = jobs_of(["sweep=paper_224"])
    assert len(jobs) == len(set(jobs)) == 2430
    assert counts(jobs, "backbone") == dict.fromkeys(NINE, 270)
    six = dict.fromkeys(["dyvit", "ats", "tome", "patchmerger", "sit", "dpcknn"], 270)
    assert counts(jobs, "reducer") == {"evit": 648, "none": 162, **six}
    assert counts(jobs, "keep_rate") == {"0.1": 162, "0.25": 702, "0.5": 702, "0.7": 702, "1.0": 162}
    quarters = [job for job in jobs if label(job, "reducer") == "tome" and label(job, "keep_rate") == "0.25"]
    assert len(quarters) == 90 and all("reduction_layers=[2,3,5,6,8,9]" in job for job in quarters)
    rates = Counter(label(job, "optim.lr") for job in jobs)
    assert sum(rates.values()) - rates[None] == 371, "the 377 of the published table without 6 of ifa"


def test_overrides_narrow_extend_and_multiply():
    jobs = jobs_of(["sweep=paper_448", "dataset=cotton80", "seed=1,10", "trainer.max_epochs=1,2", "optim.lr=2e-4"])
    assert len(jobs) == 405 * 2 // 3 * 2
    assert counts(jobs, "dataset") == {"cotton80": len(jobs)} and counts(jobs, "optim.lr") == {"2e-4": len(jobs)}
    assert set(counts(jobs_of(["sweep=paper_448", "keep_rate=0.10"]), "keep_rate")) == {"0.1"}
    assert jobs_of(["seed=1,2", "hydra/launcher=joblib"]) == (("seed=1",), ("seed=2",))
    for name in ("paper_448", "ablation"):
        jobs = jobs_of([f"sweep={name}"])
        for axis in load_grid(name).axes.keys() - {"reduction_layers"}:
            for value, count in counts([job for job in jobs if label(job, axis)], axis).items():
                assert len(jobs_of([f"sweep={name}", f"{axis}={value}"])) == count


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["sweep=paper_44"], ["sweep=paper_44", "ablation", "'paper_448'"]),
        (["sweep=paper_448", "dataset=leaves", "seed=3"], ["dataset=leaves", "seed=3"]),
        (["sweep=demo,ablation"], ["one grid"]),
        (["sweep=demo", "keep_rate=0.3"], ["keep_rate=0.3", "0.1,0.5,1.0"]),
        (["sweep=paper_448", "reducer=none", "keep_rate=0.1"], ["no run"]),
    ],
)
def test_a_mistake_says_what_there_is(overrides, parts):
    with pytest.raises(UserError) as caught:
        jobs_of(overrides)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [{"name": "x"}, {"union": {"a": 1}}, {"union": []}, {"union": [{"a": []}]}, {"union": [{"a": 1}], "lr": 3}],
)  # fmt: skip
def test_a_file_that_is_no_grid_is_refused(content):
    with pytest.raises(UserError, match="sweep=mine"):
        Grid.of(content, "mine")
