"""The console's routes: the quick-start page, /api/status, /metrics, and an error in the form its reader expects.

Every answer is made from the files in the runtime directory as they are at that moment; the app keeps nothing but its
own static files. All of it is public. Pages load nothing from elsewhere and run no inline script or style, which the
content security policy enforces.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath

import msgspec
from quart import Response, has_request_context, render_template, request, websocket
from quart.wrappers import Request, Websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from engine.console.origin import origin_of
from engine.console.page import STATES, page, state_of
from engine.console.status import Status, read_status
from engine.exposition import render as render_metrics
from engine.snapshots import Totals, merge

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 1 << 20
"""Nothing here takes a body yet; this bounds what is read of one before it is refused."""

API_PREFIXES = ("/api/", "/v1/", "/v1beta/", "/anthropic/", "/compatible/")
"""Below these an error is JSON, whatever the client says it accepts."""

PANEL_PATHS = frozenset(
    ("/api/user/self", "/api/user/topup/info", "/api/log/self", "/api/log/self/stat", "/api/usage/token")
)
"""Where an error comes as `{"success": false, "message"}`: routes whose clients were written for another panel."""

ERROR_TYPES = {403: "permission_error"}
"""The type of an error with that status; else the one of its class."""

STATIC_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
STATIC_FOREVER = "public, max-age=31536000, immutable"

KEPT_ERROR_HEADERS = frozenset({"allow", "retry-after", "www-authenticate"})

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file of the package, in memory, with a version that changes with its content."""

    content: bytes
    content_type: str
    version: str


class Console:
    """The routes' handlers: what they read (the runtime directory) and the wall clock (seconds since 1970)."""

    def __init__(self, runtime: Path, now: Callable[[], float] = time.time) -> None:
        self.runtime = runtime
        self.now = now
        self.static = load_static()

    async def quick_start(self) -> Response:
        """GET /."""
        status = self.status()
        shown = page(status, visitor_origin(status), self.now())
        return html(await render_template("quick_start.html", page=shown, states=STATES, static=self.static))

    async def api_status(self) -> Response:
        """GET /api/status: 503 until the supervisor has said anything."""
        status = self.status()
        if status is None:
            return json({"success": False, "message": "the gateway is starting", "data": {}}, 503)
        data = status_data(status, visitor_origin(status), self.now())
        data["candidates"] = candidate_rows(merge(self.runtime, [worker.incarnation for worker in status.workers]))
        return json({"success": True, "message": "", "data": data})

    async def metrics(self) -> Response:
        """GET /metrics, in the format that the Accept header asks for."""
        body, content_type = render_metrics(self.runtime, self.status(), request.headers.get("accept", ""))
        answer = Response(body, content_type=content_type)
        answer.headers["cache-control"] = "no-store"
        answer.headers["vary"] = "accept"
        return answer

    async def static_file(self, name: str) -> Response:
        """GET /static/NAME?v=VERSION: cached for good under its current version, asked for again otherwise."""
        file = self.static.get(name)
        if file is None:
            return await self.error(404, f"There is no file {name}.", "unknown_url")
        answer = Response(file.content, content_type=file.content_type)
        answer.headers["cache-control"] = STATIC_FOREVER if request.args.get("v") == file.version else "no-cache"
        return answer

    async def http_error(self, error: HTTPException) -> Response:
        """Answer what the framework refused: no such path, wrong method, too large, and a bug as 500."""
        status = error.code or 500
        if status == 404:
            return await self.error(404, f"There is nothing at {asked().path}.", "unknown_url")
        name = error.name.lower().replace(" ", "_")
        answer = await self.error(status, error.description or error.name, name)
        for header, value in error.get_headers():
            if header.lower() in KEPT_ERROR_HEADERS:
                answer.headers[header] = value
        return answer

    async def error(self, status: int, message: str, code: str) -> Response:
        """Answer an error as a page for browsers, as the API's JSON envelope for everybody else."""
        if asked().path.rstrip("/") in PANEL_PATHS:
            return json({"success": False, "message": message}, status)
        wants_page = "text/html" in asked().headers.get("accept", "")
        if wants_page and not asked().path.startswith(API_PREFIXES):
            content = await render_template("error.html", status=status, message=message, static=self.static)
            return html(content, status)
        kind = ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        return json({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)

    def status(self) -> Status | None:
        """Return the gateway's status; None, and a line in the log when there is more to say, when it cannot be had."""
        try:
            return read_status(self.runtime)
        except (OSError, msgspec.DecodeError):
            logger.exception("cannot read the gateway's status")
            return None


def create_app(console: Console) -> QuartTrio:
    """Return the app. It keeps no state: everything it answers is in the runtime directory."""
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    for path, handler in (
        ("/", console.quick_start),
        ("/api/status", console.api_status),
        ("/metrics", console.metrics),
        ("/static/<name>", console.static_file),
    ):
        app.add_url_rule(path, view_func=handler)
    app.register_error_handler(HTTPException, console.http_error)
    app.after_request(add_headers)
    return app


def load_static() -> dict[str, StaticFile]:
    """Read the package's static files: a handful, a few kilobytes, never the file system's business again."""
    static = {}
    for entry in files("engine.console").joinpath("static").iterdir():
        content_type = STATIC_TYPES.get(PurePath(entry.name).suffix)
        if content_type is not None:
            content = entry.read_bytes()
            static[entry.name] = StaticFile(content, content_type, hashlib.sha256(content).hexdigest()[:12])
    return static


def status_data(status: Status, origin: str, now: float) -> dict[str, object]:
    """Return what /api/status tells: names and numbers that the page shows too, no key."""
    return {
        "version": status.version,
        "start_time": int(status.start_time),
        "uptime_seconds": max(0, int(now - status.start_time)),
        "system_name": "Hedgerow",
        "server_address": origin,
        "state": state_of(status),
        "workers": status.workers,
        "workers_serving": status.workers_serving(),
        "models": [model.id for model in status.model_rows()],
        "providers": status.providers,
        "surfaces": status.surfaces,
        "keys_required": status.keys_required,
    }


def candidate_rows(totals: Totals) -> list[dict[str, object]]:
    """Return the candidates of all workers together: who is asked, how busy, and in how many a breaker is open."""
    in_flight, opened, openings = (
        totals.values.get(f"hedgerow_candidate_{name}", {})
        for name in ("in_flight", "breaker_open", "breaker_openings_total")
    )
    return [
        {
            "provider": provider,
            "model": model,
            "credential": int(credential),
            "in_flight": count,
            "workers_open": opened.get((provider, model, credential), 0),
            "openings_total": openings.get((provider, model, credential), 0),
        }
        for (provider, model, credential), count in in_flight.items()
    ]


def visitor_origin(status: Status | None) -> str:
    """Return the base of all addresses shown to this visitor."""
    host = request.headers.get("x-forwarded-host") or request.headers.get("host")
    return origin_of(request.headers.get("x-forwarded-proto"), host, status.listen if status is not None else [])


def asked() -> Request | Websocket:
    """Return what is being answered: a WebSocket may be refused too."""
    return request if has_request_context() else websocket


def html(content: str, status: int = 200) -> Response:
    """Return a page that nobody keeps: it names the visitor's address and the state of this moment."""
    answer = Response(content, status=status, content_type="text/html; charset=utf-8")
    answer.headers["cache-control"] = "no-store"
    return answer


def json(value: object, status: int = 200) -> Response:
    """Return a JSON answer that nobody keeps."""
    answer = Response(msgspec.json.encode(value), status=status, content_type="application/json")
    answer.headers["cache-control"] = "no-store"
    return answer


async def add_headers(answer: Response) -> Response:
    """Add what every answer carries: the security headers, and the request's id as the worker made it."""
    answer.headers.update(SECURITY_HEADERS)
    request_id = request.headers.get("x-request-id")
    if request_id:
        answer.headers["x-request-id"] = request_id
    return answer
