"""A stand-in for the parts of the Hugging Face Hub that a push and a pull use, on localhost."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlparse


class Hub:
    """Repositories as dictionaries of files, and the requests that were made."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.address = ""


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, value: object, status: int = 200, **headers: str) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, text in headers.items():
                self.send_header(name.replace("_", "-"), text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_POST(self) -> None:
            path = urlparse(self.path).path
            hub.requests.append(f"POST {path}")
            content = self.body()
            if not (self.headers.get("Authorization") or "").startswith("Bearer "):
                return self.answer({"error": "Invalid username or password."}, 401)
            if path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            if path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked.get('organization') or 'me'}/{asked['name']}"
                hub.files.setdefault(name, {})
                return self.answer({"url": f"{hub.address}/{name}", "name": name, "id": name})
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
            if found is None:
                return self.answer({"error": "not found"}, 404)
            if found[2] == "preupload":
                modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                         for f in json.loads(content)["files"]]  # fmt: skip
                return self.answer({"files": modes})
            for line in content.splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    value = part["value"]
                    hub.files[found[1]][value["path"]] = base64.b64decode(value["content"])
            return self.answer({"commitUrl": f"{hub.address}/{found[1]}/commit/{'0' * 40}",
                                "commitOid": "0" * 40, "success": True})  # fmt: skip

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", path)
            if found and found[1] in hub.files:
                return self.answer({"id": found[1], "sha": "0" * 40, "private": False,
                    "siblings": [{"rfilename": n} for n in hub.files[found[1]]]})  # fmt: skip
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path)
            if found and found[1] in hub.files:
                return self.answer([{"type": "file", "path": n, "size": len(v), "oid": "0" * 40}
                                    for n, v in hub.files[found[1]].items()])  # fmt: skip
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
            if found and found[2] in hub.files.get(found[1], {}):
                content = hub.files[found[1]][found[2]]
                tag = hashlib.sha1(content).hexdigest()
                return self.answer(content, ETag=f'"{tag}"', X_Repo_Commit="0" * 40)
            return self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")

        do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    return Handler
