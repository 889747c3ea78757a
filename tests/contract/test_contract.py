"""Numbers and values that were frozen before the code was rebuilt, and must not change."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ufgir
from tiny import make_data
from ufgir.config import load_config
from ufgir.errors import UserError
from ufgir.training.build import build_data
from ufgir.training.schedules import paper_schedule

FROZEN = {file.stem: json.loads(file.read_text()) for file in Path(__file__).parent.glob("*.json")}
COMMANDS, MODELS = FROZEN["commands"], FROZEN["tokens_and_gmacs"]
RATES = {epochs: part["lr"] for epochs, part in FROZEN["lr_schedule"]["epochs"].items()}
RATES["50"] = json.loads(Path(__file__).parents[1].joinpath("golden/lr_schedule.json").read_text())["lr"]  # the paper's


def resolve(overrides: list[str]) -> dict:
    """A run as `python -m ufgir.train *overrides` would plan it, data included, by the names in `commands.json`."""
    config = load_config(overrides)
    data = build_data(config)
    data.check_batch_size(config.batch_size)
    if data.splits.leaves is None:  # they would be rendered
        data.check_images()
    values = config.model_dump()
    held = data.splits.val if config.protocol == "val" else data.splits.test
    found = {
        f"{group}.{key}": value
        for group in values
        if isinstance(values[group], dict)
        for key, value in values[group].items()
    }
    reducer = {key: value for key, value in values["reducer"].items() if key not in ("_target_", "keep_rate")}
    return {
        **values, **found, "reducer": reducer, "plugins.cache": values["plugins"]["cache"] or False,
        "num_classes": data.num_classes, "train_images": len(data.splits.train), "test_images": len(held),
    }  # fmt: skip


def learning_rates(max_epochs: int) -> list[float]:
    """The learning rate of each epoch of a run of default recipe with so many epochs."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-4)
    schedule = paper_schedule(optimizer, max_epochs=max_epochs)
    return [1e-4 * schedule.lr_lambdas[0](epoch) for epoch in range(max_epochs)]


def render_leaves(root: Path) -> Path:
    """Render the default `dataset=leaves` below `root`: the folder that holds `images/` and the tables."""
    data = build_data(load_config([f"dataset.root={root}"]))
    data.prepare_data()
    return data.splits.image_root.parent


def case_id(case: dict) -> str:
    return "-".join(str(case[key]) for key in ("backbone", "img_size", "reducer", "keep_rate", "plugins"))


def is_fast(case: dict) -> bool:
    return case["group"] == "deit_t" and case["plugins"] in ("base", "clca")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=case_id(c), marks=[] if is_fast(c) else pytest.mark.slow) for c in MODELS["cases"]],
)
def test_tokens_and_macs(case):
    size, plugins = case["img_size"], case["plugins"]
    torch.manual_seed(0)
    model = ufgir.create_model(
        case["backbone"], num_classes=MODELS["num_classes"], img_size=size, reducer=case["reducer"],
        keep_rate=case["keep_rate"], cache=plugins in ("clc", "clca"),
        head=plugins.replace("clca", "cla") if plugins in ("cla", "clca", "ifa") else "linear",
    ).eval()  # fmt: skip
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert [int(tokens) for tokens in model.tokens_after_block(image)] == case["tokens"]
    assert ufgir.count_macs(model, size) == case["macs"]
    assert sum(parameter.numel() for parameter in model.parameters()) == case["params"]
    if "initial_sum" in case:  # weights as drawn from the seed; their last digits depend on the processor
        total = 0.0
        for name, value in model.state_dict().items():
            ramp = torch.linspace(1, 2, value.numel(), dtype=torch.float64)
            total += len(name) + float(value.flatten().double() @ ramp)
        assert total == pytest.approx(case["initial_sum"], rel=1e-6)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Puts the folders of two small data sets, of the same images, in the place of {csv} and {folder}."""
    root = make_data(tmp_path_factory.mktemp("data") / "csv")
    return lambda overrides: [word.format(csv=root, folder=root / "images") for word in overrides]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def line(command: dict) -> str:
    return " ".join(command["overrides"]) or "default"


@pytest.mark.parametrize("command", COMMANDS["resolved"], ids=line)
def test_command_resolves(command, filled):
    found = resolve(filled(command["overrides"]))
    assert {key: found[key] for key in command["values"]} == command["values"]


@pytest.mark.parametrize("command", COMMANDS["refused"], ids=line)
def test_command_is_refused(command, filled, tmp_path):
    with pytest.raises(UserError) as refused:
        resolve(filled(command["overrides"]))
    assert [name for name in command["names"] if name not in str(refused.value)] == []
    assert not list(tmp_path.iterdir())  # a mistake leaves nothing behind


@pytest.mark.parametrize("epochs", RATES)
def test_learning_rates(epochs):
    assert learning_rates(int(epochs)) == pytest.approx(RATES[epochs], rel=1e-12)


@pytest.mark.slow
def test_leaves(tmp_path):
    folder, frozen = render_leaves(tmp_path), FROZEN["leaves"]
    tables = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in frozen["tables"]}
    assert tables == frozen["tables"]
    for name, means in frozen["images"].items():  # of the quarters; the last digits of pixels depend on the processor
        pixels = np.asarray(Image.open(folder / "images" / name), dtype=float)
        half = len(pixels) // 2
        quarters = [
            pixels[rows, columns]
            for rows in (slice(half), slice(half, None))
            for columns in (slice(half), slice(half, None))
        ]
        assert [mean for quarter in quarters for mean in quarter.mean((0, 1))] == pytest.approx(means, abs=0.1), name
    assert len(list(folder.rglob("*.jpg"))) == frozen["count"]
