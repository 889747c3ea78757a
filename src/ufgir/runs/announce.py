"""What a run says on the screen: what it is about to do, and what came of it."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from ufgir.data import Source


def announce_start(name: str, config: Mapping[str, Any], source: Source, facts: Mapping[str, Any]) -> None:
    """Say which data, model and cost a run has, and how many tokens are left after each reduction layer."""
    rows = {
        "data": f"{source.name}: {source.num_classes} classes, {len(source.train)} training and "
        f"{len(source.test)} test images (protocol={config['protocol']})",
        "model": f"{config['backbone']['name']}, {facts['params_m']:.2f} M parameters, {config['plugins']['name']}, "
        f"{'pretrained' if config['backbone']['pretrained'] or config['backbone']['checkpoint'] else 'from scratch'}",
        "cost": f"{facts['gmacs']:.3f} GMACs an image at {config['image_size']} px",
        "tokens": tokens_left(config, facts["tokens"]),
        "training": f"{config['trainer']['max_epochs']} epochs, batch {config['optim']['batch_size']}, "
        f"lr {config['optim']['lr']:g}, {config['trainer']['precision']}, seed {config['seed']}",
    }
    show(name, rows)


def tokens_left(config: Mapping[str, Any], tokens: list[int]) -> str:
    """Tokens after each reduction layer, as `197 -> 21 after block 3 -> ...`; recovered ones join after that."""
    stages = [f"{tokens[layer]} after block {layer}" for layer in config["reduction_layers"]]
    return f"{tokens[0]} after block 0, {', '.join(stages)}, {tokens[-1]} at the end"


def announce_results(name: str, results: Mapping[str, Any]) -> None:
    """Show the figures of a finished run."""
    show(
        name,
        {
            "test top-1": f"{results['test_top1']:.2f} %",
            "test top-5": f"{results['test_top5']:.2f} %",
            "test images": str(results["test_images"]),
            "cost": f"{results['gmacs']:.3f} GMACs, {results['params_m']:.2f} M parameters",
            "speed": f"{results['images_per_second']:.1f} images/s in the test pass",
            "training": f"{results['train_minutes']:.1f} minutes",
            "memory": f"{results['peak_memory_gb']:.2f} GB at most",
        },
    )


def show(title: str, rows: Mapping[str, str]) -> None:
    """A small table with a heading."""
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, text in rows.items():
        table.add_row(label, text)
    console = Console(highlight=False)
    console.print(f"\n[bold]{title}[/bold]", soft_wrap=True)
    console.print(table)
