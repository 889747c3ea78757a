"""Our composing equals Hydra's, and its errors are sentences."""

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from ufgir.config.compose import Composer, compose, to_plain
from ufgir.errors import UserError
from ufgir.utils import project_dir


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("backbone=deit_t", "reducer=tome", "plugins=cla", "seed=10"),
        ("image_size=448", "dataset=cotton80", "backbone=deit3_b_in21k", "keep_rate=0.7", "plugins=base", "seed=10"),
        ("image_size=224", "dataset=soylocal", "backbone=deit3_b", "reducer=tome", "reduction_layers=[2,3,5,6,8,9]"),
        ("experiment=demo", "keep_rate=[0.7,0.5,0.3]", "optim.lr=1e-3"),
        ("dataset=cotton80", "data_root=/elsewhere", "trainer.max_epochs=3"),
        ("logger=[wandb,tensorboard]", "callbacks=[ema,tokens]", "+trainer.deterministic=true"),
        ("optim=sgd", "~schedule", "++optim.momentum=0.5"),
        ("debug=overfit", "augment=strong", "image_size=64", "dataset.epochs=7"),
    ],
)
def test_the_same_as_hydra(overrides):
    with initialize_config_dir(config_dir=str(project_dir("conf")), version_base="1.3"):
        expected = to_plain(hydra_compose("train", list(overrides)))
    assert compose(overrides) == expected


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("optim.lrr=1", ["optim.lrr", "'optim.lr'"]),
        ("reducer=evti", ["reducer=evti", "'evit'", "dyvit"]),
        ("seed=1,2", ["seed=1,2", "--multirun"]),
        ("a b", ["a b"]),
        ("schedule=null", ["~schedule"]),
    ],
)
def test_errors_of_hydra_name_the_closest(override, parts):
    with pytest.raises(UserError) as caught:
        compose([override])
    for part in parts:
        assert part in str(caught.value)


def test_a_folder_of_the_users_own(tmp_path):
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.5\n")
    values = Composer((f"file://{tmp_path}",)).compose(["optim=mine", "optim.lr=0.25"])
    assert values["optim"] == {"_target_": "torch.optim.SGD", "lr": 0.25}
