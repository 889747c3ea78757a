"""Every command that the README and the pages of docs/ show is tried, and what they say of folders and numbers is so.

What a laptop can do at once is really run, on a tiny run and tiny data; training, which takes data sets, GPUs or hours,
is composed and checked to the point where it would start. A command that no rule below covers fails.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from pages import LANGUAGES, PAGES, ROOT, Command, anchors, blocks, commands, own_files
from raw_release import make_release
from tiny import WORDS, make_data
from ufgir import benchmark, prepare_weights
from ufgir.cli import DONE, parse_words
from ufgir.config import compose_run
from ufgir.grids.grid import jobs_told
from ufgir.prepare import main as prepare
from ufgir.resources import conf_dir
from ufgir.runs.plan import plan_run
from ufgir.runs.start import start_run

SHOWN = list({(command.words, command.variables): command for page in PAGES for command in commands(page)}.values())
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MOST = 12  # runs of a grid that are composed; all of them are in tests/grids
SLOW = re.compile(r"format=(onnx|torchexport)|classify\.py|ufgir\.compare backbone=")

pytestmark = [
    pytest.mark.filterwarnings("ignore::ufgir.errors.UfgirWarning"),  # ToMe below 0.5
    pytest.mark.filterwarnings(r"ignore:\s+'hydra/launcher/:UserWarning"),  # the engines' packages are of Hydra 1.0
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder with what the pages take for granted: a finished run, photographs, a raw release, own files."""
    folder = tmp_path_factory.mktemp("docs")
    words = [*WORDS, f"dataset.root={make_data(folder / 'data' / 'tiny')}", f"output_root={folder / 'outputs'}"]
    start_run(plan_run([*words, "plugins=clca", "trainer.max_epochs=1", "trainer.progress=false"]))
    for place in ("photos/leaf.jpg", "data/leaves/images/1.jpg", "data/leaves/images/2.jpg"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), "green").save(folder / place)
    make_release(folder / "Ultra-FGVC")
    for weights in ("moco.pth.tar", "FILE"):
        (folder / weights).touch()
    for name, text in own_files().items():
        (folder / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / name).write_text(text)
    return folder


@pytest.fixture
def here(folder, monkeypatch) -> Path:
    """That folder as the working folder; MoCo v3's file is said to be there."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UFGIR_MOCOV3", str(folder / "moco.pth.tar"))
    monkeypatch.setenv("UFGIR_CACHE", str(folder / ".cache"))
    return folder


def the_run(folder: Path) -> str:
    return str(next((folder / "outputs").glob("*/results.json")).parent)


def really(command: Command, words: list[str]) -> None:
    """Run one of our commands, in this process."""
    name = command.words[2].removeprefix("ufgir.")
    if name == "export" and "format=onnx" in words:
        pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    if name == "push" and "dry_run=true" not in words:
        words.append("dry_run=true")
    if name == "compare":
        words = [word for word in words if not word.startswith(("backbone=", "image_size="))]
        words += ["backbone=micro", "image_size=32"]
    if name == "dashboard":
        pytest.importorskip("wandb_workspaces")
        words.append("out=dashboard.json")
    if name == "sweep" and "paper" in str(command):
        words += [word for word in ("seed=1", "backbone=deit3_b") if word.split("=")[0] not in str(command)]
    assert getattr(import_module(f"ufgir.{name}"), name)(words) == DONE


def would_start(command: Command, words: list[str]) -> None:
    """Compose every run of a training command, and what Hydra starts them with."""
    typed = [word for word in words if word != "--multirun"]
    jobs = jobs_told(typed)
    assert (len(jobs) > 1) == ("--multirun" in words)
    for job in jobs[:: -(-len(jobs) // MOST)]:
        assert compose_run(list(job))[1] == [], job
    if of_hydra := [word for word in words if word.startswith(("hydra.", "hydra/"))]:
        pytest.importorskip(f"hydra_plugins.hydra_{of_hydra[0].partition('=')[2].partition('_')[0]}_launcher")
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("train", of_hydra, return_hydra_config=True)
        assert config.hydra.launcher._target_.startswith("hydra_plugins.")


def is_understood(command: Command, words: list[str]) -> None:
    """Parse the words of a command whose files are not to be had."""
    allowed = import_module(command.words[2]).WORDS
    assert parse_words(words, allowed)[1] == []


def is_measurable(command: Command, words: list[str]) -> None:
    """Check the words of a benchmark and compose its models."""
    own, others = benchmark.own_words(words)
    assert own["targets"] or benchmark.models(others, own["mode"].split(","))


def is_prepared(command: Command, words: list[str]) -> None:
    assert prepare(words) == DONE


def names_weights(command: Command, words: list[str]) -> None:
    assert prepare_weights.backbones_of(words[1:])


def is_a_target(command: Command, words: list[str]) -> None:
    dry = subprocess.run(["make", "--dry-run", command.words[1]], cwd=ROOT, capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr


def classifies(command: Command, words: list[str]) -> None:
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    script, *images = [*command.words[1:]]
    run = the_run(Path.cwd())
    export = import_module("ufgir.export").export
    assert export([f"run={run}", "format=onnx"]) == DONE
    answer = subprocess.run([sys.executable, script.replace("$RUN", run), *images], capture_output=True, text=True)
    assert re.fullmatch(r"photos/leaf\.jpg\tkind_\d\t0\.\d{4}\n", answer.stdout), answer.stderr


def names_the_run(command: Command, words: list[str]) -> None:
    told = subprocess.run(["bash", "-c", f"{command.words[2]}; echo $RUN"], capture_output=True, text=True)
    assert Path(told.stdout.strip()).resolve() == Path(the_run(Path.cwd())).resolve()


def is_an_extra(command: Command, words: list[str]) -> None:
    (name,) = re.findall(r"ufgir\[(\w+)\]", command.words[2])
    assert name in EXTRAS


def is_a_verb_of_wandb(command: Command, words: list[str]) -> None:
    from wandb.cli.cli import cli

    assert command.words[1] in cli.commands
    assert all((ROOT / word).is_file() for word in command.words if word.endswith(".yaml"))


def is_of_ray(command: Command, words: list[str]) -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    known = {option for parameter in scripts.start.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in command.words[2:]} <= known


def is_installed(command: Command, words: list[str]) -> None:
    assert command.words[0] in {entry.name for entry in entry_points(group="console_scripts")}


def is_plain(command: Command, words: list[str]) -> None:
    """Of the shell, of git or of another project."""


def is_run_elsewhere(command: Command, words: list[str]) -> None:
    """A reducer of one's own is found when the program starts: tests/runs/test_own_reducer.py trains it."""


OURS = r"python -m ufgir\."
RULES: dict[str, Callable[[Command, list[str]], None]] = {
    rf"{OURS}train reducer=every_other reducer\.step=3": is_run_elsewhere,
    rf"{OURS}train( .*)?": would_start,
    rf"{OURS}evaluate .*checkpoint=.*": is_understood,
    rf"{OURS}(evaluate|predict|visualize|export|push|report|compare|sweep|dashboard) .*": really,
    rf"{OURS}authors .*": is_understood,
    rf"{OURS}benchmark .*": is_measurable,
    rf"{OURS}prepare weights .*": names_weights,
    rf"{OURS}prepare raw=.*": is_prepared,
    rf"{OURS}\w+": is_plain,  # a name in a sentence
    r"python \S*/classify\.py .*": classifies,
    r"make [\w-]+": is_a_target,
    r"bash -c RUN=.*": names_the_run,
    r"pip install ufgir\[\w+\]": is_an_extra,
    r"pip install jupyterlab|git clone REPOSITORY ufgir|cd ufgir|source \.venv/bin/activate": is_plain,
    r"wandb (sync|sweep|agent)( .*)?": is_a_verb_of_wandb,
    r"ray start .*": is_of_ray,
    r"hf auth login": is_installed,
}


def rule_for(command: Command) -> Callable[[Command, list[str]], None] | None:
    text = " ".join(command.words)
    return next((rule for pattern, rule in RULES.items() if re.fullmatch(pattern, text)), None)


def _marked(command: Command):
    return pytest.param(command, id=str(command), marks=pytest.mark.slow if SLOW.search(str(command)) else ())


@pytest.mark.parametrize("command", [_marked(command) for command in SHOWN])
def test_a_command_of_the_pages(command, here, monkeypatch, capsys):
    rule = rule_for(command)
    assert rule is not None, "no rule covers this command: it is wrong, or RULES lacks one"
    for name, value in command.variables:
        monkeypatch.setenv(name, value)
    rule(command, [word.replace("$RUN", the_run(here)) for word in command.words[3:]])


def test_a_command_without_a_rule_is_noticed():
    page = "Text with `python -m ufgir.train seed=1`.\n\n    python -m ufgir.trian seed=1 && rm x   # why\n"
    page += "\n```text\n    make nothing\n```\n"
    found = list(commands(Path("page.md"), page))
    assert [" ".join(command.words) for command in found] == [
        "python -m ufgir.train seed=1", "python -m ufgir.trian seed=1", "rm x",
    ]  # fmt: skip
    assert [rule_for(command) for command in found] == [would_start, None, None]


def test_every_command_is_on_a_page_and_the_first_one_early():
    entries = {file.stem for file in (ROOT / "src" / "ufgir").glob("*.py") if "__main__" in file.read_text()}
    assert entries == {name.removeprefix("ufgir.") for c in SHOWN for name in c.words if name.startswith("ufgir.")}
    unfolded = re.sub(r"<details>.*?</details>", "", PAGES[0].read_text(), flags=re.S)
    assert next(commands(PAGES[0])).line < 25 and len(unfolded.splitlines()) < 220


def test_blocks_say_what_they_are():
    for page in PAGES:
        assert {block.language for block in blocks(page)} <= LANGUAGES | {"command"}, page


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            target, _, anchor = link.partition("#")
            if "://" not in link:
                file = (page.parent / target).resolve() if target else page
                assert file.exists(), f"{page.name}: {link}"
                assert not anchor or anchor in anchors(file), f"{page.name}: {link}"


def test_the_folders_before_and_after_preparation(here):
    assert prepare(["raw=Ultra-FGVC", "out=data"]) == DONE
    shown = [block.text for block in blocks(ROOT / "docs" / "data.md") if block.language == "text"][:2]
    for line in "".join(shown).splitlines():
        assert list(here.glob(line.split()[0])), line


def python_of(page: str) -> list[str]:
    found = [block.text for block in blocks(ROOT / page) if block.language == "python"]
    return [code for code in found if "class EveryOther" not in code]  # run by tests/runs/test_own_reducer.py


def test_the_training_loop_of_the_readme():
    (code,) = python_of("README.md")
    exec(compile(code, "README.md", "exec"), scope := {})
    assert scope["loss"].isfinite() and scope["model"].reducer_loss() > 0
    assert scope["vit"].blocks[3].attn.qkv.weight.equal(scope["model"].blocks[3].attn.qkv.weight)


def test_the_models_in_python(here, capsys):
    made, loaded = python_of("docs/models.md")
    exec(compile(made, "models.md", "exec"), scope := {})
    assert scope["logits"].shape == (2, 80)
    gmacs, tokens = capsys.readouterr().out.splitlines()
    assert 6.9 < float(gmacs) < 7.8
    assert tokens.startswith("[786, 786, 786, ")
    exec(compile(loaded, "models.md", "exec"), {"RUN": the_run(here), "PHOTO": os.path.join("photos", "leaf.jpg")})
    assert capsys.readouterr().out.startswith("kind_")
    assert torch.is_inference_mode_enabled() is False
