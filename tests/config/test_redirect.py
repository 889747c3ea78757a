"""Settings that exist already get other data, and nothing else changes."""

from copy import deepcopy

import pytest

from ufgir.config import compose_run, resolve
from ufgir.config.redirect import with_other_data


@pytest.fixture(scope="module")
def config():
    words = ["dataset=csv", "dataset.root=old", "dataset.resize=48", "backbone=micro", "image_size=40"]
    composed, faults = compose_run([*words, "backbone.kwargs.embed_dim=128", "keep_rate=[0.5,0.25,0.5]"])
    assert not faults
    return resolve(composed)


def test_only_the_data_change(config):
    before = deepcopy(config)
    changed, faults = with_other_data(config, {"dataset": "folder", "dataset.root": "new", "protocol": "val"})
    assert not faults and config == before
    assert (changed["dataset"]["format"], changed["dataset"]["root"], changed["protocol"]) == ("folder", "new", "val")
    assert changed["dataset"]["resize"] == 48, "which belongs to the model"
    assert {**changed, "dataset": 0, "protocol": 0} == {**config, "dataset": 0, "protocol": 0}


def test_single_settings(config):
    changed, _ = with_other_data(config, {"dataset.images": "here", "dataset.resize": "40", "out": "x"})
    assert changed["dataset"] == {**config["dataset"], "images": "here", "resize": 40}
    assert with_other_data(config, {"dataset.resize": "null"})[0]["dataset"]["resize"] == 45
    assert with_other_data(config, {"run": "x"}) == (config, [])


def test_faults_are_those_of_a_training(config):
    _, faults = with_other_data(config, {"dataset.resize": "32", "protocol": "both"})
    text = "\n".join(faults)
    assert "dataset.resize=32: expected at least image_size=40" in text
    assert "protocol=both: expected test or val" in text
