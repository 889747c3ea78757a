"""The way to the Hub: one commit with all files, after everything that can be known before was asked."""

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from ufgir.errors import RunFailed, UserError, behind
from ufgir.models.weights import reason_of

LOGIN = "Run `hf auth login`, or set HF_TOKEN"
DRY = "dry_run=true writes the files to a folder and needs none."


def login_faults() -> list[str]:
    """Why nothing can be uploaded from here, as far as that shows without a network."""
    if constants.HF_HUB_OFFLINE:
        return ["HF_HUB_OFFLINE is set, so nothing is uploaded; unset it, or give dry_run=true."]
    if not get_token():
        return [f"there is no login at the Hugging Face Hub. {LOGIN}; {DRY}"]
    return []


def check_login() -> str:
    """The name that the Hub knows this login by.

    Raises:
        UserError: the token is wrong.
        RunFailed: the Hub cannot be reached.
    """
    try:
        return HfApi().whoami()["name"]
    except Exception as error:
        raise _told(error, "nothing was uploaded") from error


def upload(folder: Path, repository: str, private: bool) -> str:
    """Make the repository unless it is there, and put the files of a folder into it, in one commit.

    Returns:
        the address of the commit.

    Raises:
        UserError: this login may not write there.
        RunFailed: the Hub did not take it.
    """
    api, state = HfApi(), "nothing was uploaded"
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        state = f"{repository} is there, without these files; the same command tries again"
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Trained with ufgir"))
    except Exception as error:
        raise _told(error, state) from error


def _told(error: Exception, state: str) -> Exception:
    """What the client raises, of a dozen kinds, as something for the user."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return UserError(f"the Hugging Face Hub does not know this token; {state}. {LOGIN}.")
    if status == 403:
        return UserError(f"this login may not write there; {state}. Give repo= below your own name or organisation.")
    if status is None and any(isinstance(cause, OSError) for cause in behind(error)):  # a connection was refused
        return RunFailed(f"the Hugging Face Hub cannot be reached ({reason_of(error)}); {state}.")
    return RunFailed(f"the Hugging Face Hub did not take it ({reason_of(error)}); {state}.")
