"""Weights in a repository of the Hugging Face Hub: `hf-hub:USER/NAME`, fetched into the Hub's usual cache."""

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ufgir.errors import UserError
from ufgir.models.weights import reason_of

PREFIX = "hf-hub:"  # as in timm
WEIGHTS = "model.pt"  # the file in the repository


def fetched(words: Mapping[str, str]) -> dict[str, str]:
    """The same words, a repository in `checkpoint` replaced by the file on this machine.

    Raises:
        UserError: there is no such repository or file, or it cannot be had.
    """
    checkpoint = words.get("checkpoint", "")
    if not checkpoint.startswith(PREFIX):
        return dict(words)
    return {**words, "checkpoint": str(fetch(checkpoint))}


def fetch(name: str) -> Path:
    """The weights file of a repository; one that is in the cache is not fetched again, and needs no network.

    Args:
        name: `hf-hub:USER/NAME`, or `hf-hub:USER/NAME@REVISION` with a branch, tag or commit.

    Raises:
        UserError: there is no such repository or file, or it cannot be had.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        return Path(hf_hub_download(repository, WEIGHTS, revision=revision or None))
    except HFValidationError as error:
        raise UserError(f"checkpoint={name}: {repository!r} names no repository; give hf-hub:USER/NAME.") from error
    except LocalEntryNotFoundError as error:  # no network, and so told apart from what the Hub does not have
        offline = " HF_HUB_OFFLINE is set: nothing is fetched." if constants.HF_HUB_OFFLINE else ""
        raise UserError(
            f"checkpoint={name}: it is not in the cache {constants.HF_HUB_CACHE}, and cannot be fetched.{offline}"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"checkpoint={name}: there is no repository {repository}, or this machine's login may not read it; "
            "`hf auth login` or HF_TOKEN tells who you are."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"checkpoint={name}: {repository} has no revision {revision}.") from error
    except EntryNotFoundError as error:
        raise UserError(
            f"checkpoint={name}: {repository} has no {WEIGHTS}; give one that python -m ufgir.push made."
        ) from error
    except Exception as error:  # the client raises dozens of kinds for a network that fails on the way
        raise UserError(f"checkpoint={name} cannot be fetched ({reason_of(error)}).") from error


def is_fetched(file: Path) -> bool:
    """Whether a file lies in the Hub's cache, which is no place for results."""
    return Path(constants.HF_HUB_CACHE) in file.parents
