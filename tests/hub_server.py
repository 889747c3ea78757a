"""As much of the Hugging Face Hub as its client asks for when it uploads a model and fetches it again."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import close_session, constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"
NOWHERE = "http://127.0.0.1:9"


class Hub(ThreadingHTTPServer):
    """Repositories of models on this machine, with one user, `me`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits = 0
        self.refuses_commits = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_with_cache(cache: Path, patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process takes for the only one, the cache for what it downloads, and a login as `me`."""
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setenv("HF_TOKEN", TOKEN)
    patch.setenv("NO_PROXY", "127.0.0.1")
    with Hub() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        connect(server.address, patch)
        yield server
        server.shutdown()
    close_session()


def connect(address: str, patch: pytest.MonkeyPatch) -> None:
    """Look for the hub at `address`, in a new session."""
    close_session()
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


class Requests(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2":
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            self._answer({"name": "me"} if known else {"error": "Invalid credentials"}, 200 if known else 401)
        elif "/resolve/" in self.path:
            self._send_file()
        elif (name := "/".join(self.path.split("/")[3:5])) in self.server.repositories:
            self._answer({"id": name, "sha": COMMIT, "siblings": []})
        else:
            self._answer({}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name.startswith("me/"):
                self.server.repositories.setdefault(name, {})
                self._answer({"url": f"{self.server.address}/{name}"})
            else:
                self._answer({"error": "You don't have the rights to create a model there"}, 403)
        elif "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for file in json.loads(body)["files"]]  # fmt: skip
            self._answer({"files": files})
        elif "/commit/" in self.path and self.server.refuses_commits:
            self._answer({"error": "storage limit reached"}, 400)
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    file = line["value"]
                    self.server.repositories[name][file["path"]] = base64.b64decode(file["content"])
            self.server.commits += 1
            self._answer({"commitUrl": f"{self.server.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self._answer({})

    def _send_file(self) -> None:
        name, _, file = self.path.removeprefix("/").partition("/resolve/")
        file = file.partition("/")[2]
        files = self.server.repositories.get(name)
        if files is None or file not in files:
            code = "RepoNotFound" if files is None else "EntryNotFound"
            self._answer({}, 404, {"X-Error-Code": code})
        else:
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(files[file]).hexdigest()}"'}
            self._answer(files[file], 200, headers)

    def _answer(self, content: dict | bytes, status: int = 200, headers: dict | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
