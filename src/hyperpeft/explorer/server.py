"""The explorer in a browser, served to this machine alone, and in a notebook.

The server listens on 127.0.0.1. Every request, the web socket's among them, needs the token of the
address that was printed: it is asked for once and then kept in a cookie, which pages of other
sites cannot send. The web socket is refused to pages of another origin, and every request whose
Host header is not this server's, so that no name that leads here can read it. All scripts come
from installed packages. Panel is an extra: what needs it is imported when it is there.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import warnings
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError

from hyperpeft.errors import ConfigError
from hyperpeft.explorer.state import Explorer
from hyperpeft.records import Scene

HOST = "127.0.0.1"
PAGE = "hyperpeft.explorer.page"  # needs Panel, an extra


@dataclass(frozen=True)
class Served:
    """A page that is being served.

    Attributes
    ----------
    port : int
    token : str
    """

    port: int
    token: str
    _server: Any

    @property
    def url(self) -> str:
        """The address, with the token."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def start(self) -> None:
        """Begin to answer, on the event loop of this thread."""
        self._server.io_loop.asyncio_loop.set_exception_handler(_without_closed_pages)
        self._server.start()

    def run(self) -> None:
        """Answer until it is interrupted."""
        with suppress(KeyboardInterrupt):
            self._server.io_loop.start()
        self.stop()

    def stop(self) -> None:
        """Stop answering."""
        with suppress(AssertionError):  # it has not begun, or has stopped
            self._server.stop()


def serve_page(make: Callable[[], Any], port: int = 0, title: str = "hyperpeft") -> Served:
    """Prepare a server of a page that a function makes for each visitor.

    Parameters
    ----------
    make : callable
        Returns a Panel object.
    port : int
        0 for a free one.
    title : str

    Raises
    ------
    ConfigError
        The port is taken.
    """
    get_server = import_module("panel.io.server").get_server
    port = _free_port(port)
    token = secrets.token_urlsafe(24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = get_server(
            {"/": make}, port=port, address=HOST, title=title, start=False, show=False,
            websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"],
        )  # fmt: skip
    _guard(server._tornado, token, port)
    return Served(port, token, server)


def _without_closed_pages(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what no one awaited, but a message to a page that has been closed meanwhile."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as problem:
            why = getattr(problem, "strerror", None) or problem
            raise ConfigError(
                f"port {port} cannot be used ({why})", hint="choose another --port, or leave it out"
            ) from None
        return int(probe.getsockname()[1])


def _guard(application: Application, token: str, port: int) -> None:
    """Let requests through that bring the token, in the address or in the cookie."""
    cookie, hosts = f"hyperpeft-{port}", (f"{HOST}:{port}", f"localhost:{port}")
    find = application.find_handler

    class Denied(RequestHandler):
        def prepare(self) -> None:
            self.set_status(403)
            self.finish("403: open the address that hyperpeft has printed, with its token\n")

    class Admitted(RequestHandler):
        def get(self) -> None:
            self.set_cookie(cookie, token, httponly=True, samesite="Strict", path="/")
            self.redirect("/")

    def right(given: str | bytes | None) -> bool:
        text = given.decode("utf-8", "replace") if isinstance(given, bytes) else given or ""
        return hmac.compare_digest(text.encode(), token.encode())

    def find_handler(request: HTTPServerRequest, **options: Any) -> Any:
        if request.host not in hosts:
            return application.get_handler_delegate(request, Denied)
        asked = request.arguments.get("token")
        if asked is not None and request.path == "/" and right(asked[-1]):
            return application.get_handler_delegate(request, Admitted)
        kept = request.cookies.get(cookie)
        if kept is None or not right(kept.value):
            return application.get_handler_delegate(request, Denied)
        return find(request, **options)

    application.find_handler = find_handler  # type: ignore[method-assign]


def explore(
    scene: str | Path | Scene,
    *,
    labels: str | Path | None = None,
    run: str | Path | None = None,
    folder: str | Path | None = None,
    height: int = 760,
) -> Any:
    """The explorer as a Panel object, which a notebook shows.

    Parameters
    ----------
    scene : str, Path or Scene
        A card's name, a file, or a scene in memory.
    labels : str or Path, optional
        Labels to start from; a GeoPackage of the explorer is continued.
    run : str or Path, optional
        A run folder to show.
    folder : str or Path, optional
        Where labels and runs are written; the current one.
    height : int
        In pixels.

    Returns
    -------
    panel.viewable.Viewable
        Its attribute `explorer` is the state: `view.explorer.labels`, `view.explorer.run`.

    Raises
    ------
    ConfigError
        Panel is not installed.
    InputError
        Whatever is wrong with scene, labels or run.
    """
    require_panel()
    import_module("panel").extension()
    make_page = import_module(PAGE).make_page
    place = None if folder is None else Path(folder)
    explorer = Explorer(scene, labels=labels, run=run, folder=place)
    page = make_page(explorer, height=height)
    page.explorer = explorer
    return page


def serve(explorer: Explorer, port: int = 0) -> Any:
    """Prepare the server of an explorer's page, a `server.Served`.

    Raises
    ------
    ConfigError
        Panel is not installed, or the port is taken.
    """
    require_panel()
    make_page = import_module(PAGE).make_page
    name = f"{explorer.view.name} - hyperpeft"
    return serve_page(lambda: make_page(explorer), port, name)


def require_panel() -> None:
    """Say how the extra is installed, where it is missing."""
    missing = [name for name in ("panel", "bokeh") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the explorer needs {' and '.join(missing)}",
            hint='install with: pip install "hyperpeft[explore]"',
        )
