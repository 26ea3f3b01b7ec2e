"""A folder behind HTTP on localhost, with ranges, that counts what it sends.

In a process of its own: GDAL waits for an answer with the interpreter's lock in its hand.
`python -m tests.helpers.file_server FOLDER` serves one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

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


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
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


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Path(sys.argv[1])))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
