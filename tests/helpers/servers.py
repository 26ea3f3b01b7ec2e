"""Servers on localhost: a folder behind HTTP, and a stand-in for the Hugging Face Hub.

The folder has ranges and counts what it sends, in a process of its own: GDAL waits for an answer
with the interpreter's lock in its hand. `python -m tests.helpers.servers FOLDER` serves one. The
stand-in answers the requests that a push and a pull make.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlparse, urlsplit

import requests

_CONTROL = "/.control"
_ROOT = Path(__file__).parents[2]


class Served:
    """A server that runs, and how it answers."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address

    def answer(self, **how: Any) -> dict[str, Any]:
        """Change the answers: status (for everything), ranges (0: none), delay in seconds."""
        found: dict[str, Any] = requests.get(f"{self.address}{_CONTROL}", how, timeout=30).json()
        return found

    @property
    def sent(self) -> int:
        """Bytes of all bodies so far, of answers that have ended.

        A client may have read a body before its thread here has counted it.
        """
        for _ in range(500):
            state = self.answer()
            if not state["writing"]:
                break
            time.sleep(0.02)
        return int(state["sent"])

    @property
    def requests(self) -> list[str]:
        """Method and path of all requests so far."""
        return list(self.answer()["requests"])


@contextmanager
def file_server(folder: Path) -> Iterator[Served]:
    """Serve the files of a folder; /bucket/key is the file bucket/key, as S3 has it."""
    words = [sys.executable, "-m", __name__, str(folder)]
    with subprocess.Popen(words, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Served(folder, process.stdout.readline().strip())
        finally:
            process.kill()


def _file_handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    state: dict[str, Any] = {"sent": 0, "requests": [], "status": 200, "ranges": 1, "delay": 0}
    state["writing"] = 0  # answers whose bodies are under way
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == _CONTROL:
                with lock:
                    state.update({k: float(v) for k, v in parse_qsl(parts.query)})
                    self.reply(200, json.dumps(state).encode())
                return
            name = unquote(parts.path).lstrip("/")
            with lock:
                state["requests"].append(f"{self.command} {name}")
            time.sleep(state["delay"])
            file, status = folder / name, int(state["status"])
            if status != 200 or not file.is_file():
                self.reply(status if status != 200 else 404, b"")
                return
            data = file.read_bytes()
            tag = f'"{file.stat().st_mtime_ns:x}-{len(data):x}"'
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if found and state["ranges"]:
                first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
                span = f"bytes {first}-{last}/{len(data)}"
                self.reply(206, data[first : last + 1], ETag=tag, Content_Range=span)
            else:
                self.reply(200, data, ETag=tag)

        def reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for header, text in headers.items():
                self.send_header(header.replace("_", "-"), text)
            counted = body and self.command != "HEAD" and not self.path.startswith(_CONTROL)
            if counted:  # before the client can know of an answer
                with lock:
                    state["writing"] += 1
            self.end_headers()
            if self.command == "HEAD" or not body:
                return
            if not counted:
                self.wfile.write(body)
                return
            sent = 0
            try:
                self.wfile.write(body)
                sent = len(body)
            except (BrokenPipeError, ConnectionResetError):
                pass
            finally:
                with lock:
                    state["sent"] += sent
                    state["writing"] -= 1

    return Handler


class Hub:
    """Repositories as dictionaries of files, and the requests that were made."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.address = ""


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _hub_handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _hub_handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
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


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _file_handler(Path(sys.argv[1])))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
