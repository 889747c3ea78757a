"""As much of a W&B server as `wandb sync` asks for; it notes what it is told."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Server(ThreadingHTTPServer):
    """Attributes:
    runs: variables of each mutation that makes or changes a run.
    files: the last lines of each file that was streamed.
    knows_key: whether it takes the API key that it is sent.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.runs: list[dict] = []
        self.files: dict[str, list[str]] = {}
        self.knows_key = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Requests(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        answer = {}
        if not self.server.knows_key:
            answer = {"errors": [{"message": "user is not logged in"}]}
        elif self.path == "/graphql":
            answer = {"data": self._answer(**json.loads(body))}
        elif self.path.endswith("/file_stream"):
            streamed = json.loads(body).get("files", {})
            self.server.files.update({name: chunk["content"] for name, chunk in streamed.items()})
        text = json.dumps(answer).encode()
        self.send_response(200 if self.server.knows_key else 401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _answer(self, query: str, variables: dict | None = None, **_: object) -> dict:
        if "upsertBucket" in query:
            self.server.runs.append(variables)
            project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
            run = {"id": "r", "name": variables["name"], "displayName": "", "config": "{}", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": {**run, "project": project}, "inserted": True}}
        if "createRunFiles" in query:
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": []}}
        return {"serverInfo": {"features": []}, "viewer": {"id": "u", "entity": "me", "username": "me"}}

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
