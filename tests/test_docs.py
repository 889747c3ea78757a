"""Every command of the README and docs/ is tried on tiny data (training is only checked); their code and links work."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from pages import LANGUAGES, PAGES, ROOT, Command, anchors, blocks, commands, own_files
from raw_release import make_release
from tiny import make_data, train
from ufgir import authors, benchmark, cli, evaluate, prepare
from ufgir.compare import split_arguments
from ufgir.config.compose import Composer, without_plus
from ufgir.sweep.grid import jobs_of
from ufgir.utils import project_dir

SHOWN = list({(command.words, command.variables): command for page in PAGES for command in commands(page)}.values())
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MOST = 6  # runs of a grid that are composed here; all of them are in tests/sweep
SLOW = re.compile(
    r"format=(onnx|to)|classify\.py|ufgir\.compare|runs=publ|compare=paper|(weights|plan|status) sweep=paper"
)
SMALLER = {'"deit_s"': '"micro"', "224": "32", "batch_size=32": "batch_size=4", "True,\n    \"num": "False,\n    \"num",
           "max_epochs=50": "max_epochs=1"}  # fmt: skip  # in the script of a Lightning user
pytestmark = [
    pytest.mark.filterwarnings("ignore::ufgir.errors.UfgirWarning"),  # ToMe below 0.5
    pytest.mark.filterwarnings(r"ignore:\s+'hydra/:UserWarning"),  # the plugins' packages are of Hydra 1.0
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder with what the pages assume: a finished run, photographs, a raw release, own files."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_data(folder / "data" / "tiny")
        train(f"dataset.root={folder / 'data' / 'tiny'}", "plugins=clca", "trainer.max_epochs=1")
    for name in ("photos/leaf.jpg", "data/leaves/images/1.jpg", "data/leaves/images/2.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), "green").save(folder / name)
    (folder / "results").symlink_to(ROOT / "results")
    make_release(folder / "Ultra-FGVC")
    (folder / "FILE").touch()
    for name, text in own_files().items():
        (folder / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / name).write_text(text)
    return folder


@pytest.fixture
def here(folder, monkeypatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder / "mine")
    monkeypatch.setenv("UFGIR_MOCOV3", "FILE")
    return folder


def the_run() -> str:
    return str(next(Path("outputs").glob("*/results.json")).parent)


def runs(words: list[str]) -> None:
    """Run one of our commands in this process, on something small."""
    name, words = words[2].removeprefix("ufgir."), words[3:]
    if "format=onnx" in words:
        pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    if name == "dashboard":
        pytest.importorskip("wandb_workspaces")
        words.append("out=dashboard.json")
    if name == "push" and "dry_run=true" not in words:
        words.append("dry_run=true")
    if name == "compare":
        words = [word for word in words if not word.startswith(("backbone=", "image_size="))]
        words += ["backbone=micro", "image_size=32"]
    if name == "sweep" and "paper" in " ".join(words):
        words += [word for word in ("seed=1", "backbone=deit3_b") if word.split("=")[0] not in " ".join(words)]
    module = import_module(f"ufgir.{name}")
    assert (module if hasattr(module, "main") else import_module(f"ufgir.{name}.__main__")).main(words) == cli.DONE


def would_start(words: list[str]) -> None:
    """Compose and check every run of a training command, and what Hydra would start it with."""
    words = without_plus(words[3:])
    is_multirun = "--multirun" in words
    folders = [Path(word) for flag, word in zip(words, words[1:], strict=False) if flag == "--config-dir"]
    typed = [word for word in words if word not in ("--multirun", "--config-dir", *map(str, folders))]
    of_hydra = [word for word in typed if word.startswith(("hydra.", "hydra/"))]
    jobs = jobs_of([word for word in typed if word not in of_hydra and "interval(" not in word], folders)
    assert (len(jobs) > 1 or "hydra/sweeper=optuna" in typed) == is_multirun
    composer = Composer(tuple(f"file://{folder.absolute()}" for folder in folders))
    for job in jobs[:: -(-len(jobs) // MOST)]:
        composer.load(job)
    if of_hydra:
        kind, _, name = of_hydra[0].removeprefix("hydra/").partition("=")
        pytest.importorskip(f"hydra_plugins.hydra_{name.partition('_')[0]}_{kind}")
        with initialize_config_dir(str(project_dir("conf")), version_base="1.3"):
            config = compose("train", of_hydra, return_hydra_config=True)
        assert config.hydra[kind]._target_.startswith("hydra_plugins.")


def classifies(words: list[str]) -> None:
    runs(["python", "-m", "ufgir.export", f"run={the_run()}", "format=onnx"])
    answer = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
    assert re.fullmatch(r"photos/leaf\.jpg\tkind_\d\t0\.\d{4}\n", answer.stdout), answer.stderr


def is_of_wandb(words: list[str]) -> None:
    from wandb.cli.cli import cli as wandb

    assert words[1] in wandb.commands and all((ROOT / word).is_file() for word in words if word.endswith(".yaml"))


OURS = r"python -m ufgir\."
RULES: dict[str, Callable[[list[str]], object] | None] = {  # None: of the shell, of git, of another project, or a name
    rf"{OURS}train( .*)?": would_start,
    rf"{OURS}evaluate .*checkpoint=.*": lambda words: cli.parse_options(evaluate.Options, words[3:]),
    rf"{OURS}(evaluate|predict|visualize|export|push|report|compare|sweep|dashboard) .*": runs,
    rf"{OURS}authors .*": lambda words: cli.parse_options(authors.Options, words[3:]),
    rf"{OURS}benchmark .*": lambda words: any(benchmark.expand_cases(*split_arguments(benchmark.Options, words[3:]))),
    rf"{OURS}prepare weights .*": lambda words: any(
        prepare.backbones_of(cli.parse_options(prepare.WeightsOptions, words[4:]))
    ),
    rf"{OURS}prepare raw=.*": lambda words: prepare.main(words[3:]) == cli.DONE,
    rf"{OURS}\w+": None,
    r"python \S*/classify\.py .*": classifies,
    r"make [\w-]+( \w+=\S+)*": lambda words: not subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT).returncode,
    r"bash -c RUN=.*": lambda words: not os.system(f"{words[2]}; test $RUN -ef {the_run()}"),
    rf"pip install (-e '?\.\[({'|'.join(EXTRAS)})\]'?|jupyterlab|mlflow|jsonargparse.*)": None,
    r"git clone .*|ray start .*|cd ufgir|source \.venv/bin/activate|hf auth login": None,
    r"python results/\S+\.py( .*)?": None,  # tests/test_results.py runs them
    r"python cli\.py fit .*": None,  # tests/training/test_lightning.py runs such a program
    r"wandb (sync|sweep|agent)( .*)?": is_of_wandb,
}


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, id=str(one), marks=pytest.mark.slow if SLOW.search(str(one)) else ()) for one in SHOWN],
)
def test_a_command_of_the_pages(command: Command, here):
    rules = [rule for pattern, rule in RULES.items() if re.fullmatch(pattern, " ".join(command.words))]
    assert rules, "no rule covers this command: it is wrong, or RULES lacks one"
    if rules[0] is not None:
        assert rules[0]([word.replace("$RUN", the_run()) for word in command.words]) is not False


def test_every_command_is_on_a_page_and_the_first_one_early():
    assert set(cli.COMMANDS) <= {name.removeprefix("ufgir.") for command in SHOWN for name in command.words}
    assert next(commands(PAGES[0])).line < 25


def test_blocks_and_links():
    for page in PAGES:
        assert {block.language for block in blocks(page)} <= LANGUAGES | {"command"}, page
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            target, _, anchor = link.partition("#")
            file = (page.parent / target).resolve() if target else page
            if "://" not in link:
                assert file.exists() and (not anchor or anchor in anchors(file)), f"{page.name}: {link}"


def python_of(page: str) -> list[str]:
    return [block.text for block in blocks(ROOT / page) if block.language == "python"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning, for a tiny training
def test_the_python_code_of_the_pages(here, capsys):
    script, wrapped = python_of("README.md")
    for given, smaller in SMALLER.items():
        script = script.replace(given, smaller)
    exec(script, scope := {"DIR": "data/tiny"})
    assert scope["probabilities"].shape == (8, 4)
    exec(wrapped, scope)
    assert scope["logits"].shape == (4, 80) and scope["model"].keep_rates == (0.5, 0.5, 0.5)
    made, loaded = python_of("docs/models.md")
    exec(made, scope)
    assert scope["logits"].shape == (2, 80)
    exec(loaded, {"RUN": the_run(), "PHOTO": "photos/leaf.jpg"})
    assert "kind_" in capsys.readouterr().out
