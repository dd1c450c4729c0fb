"""The gate: who may see the page, and what every answer tells the browser to forbid.

On loopback every page of the web can make the owner's browser ask us, so the names we answer to are checked (a name
that resolves to 127.0.0.1 is the way of DNS rebinding), and requests that another site's page makes are refused. Where
a token is wanted, it comes once in the address, and from then on as a cookie that scripts and other sites never see.
Nothing here changes anything: there is no request that could.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from secrets import compare_digest
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE_SECONDS = 90 * 24 * 3600
MAX_QUERY_BYTES = 8192
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Admission:
    """Who is let in."""

    exposed: bool = False  # on an address that others can reach
    token: str | None = None  # None: whoever is on this machine

    def __post_init__(self) -> None:
        assert self.token is not None or not self.exposed, "exposed without a token"


class Gate:
    """ASGI, around the whole application."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refuse(scope) or self._ask_for_token(scope)
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return _said(405, "This page is only to be read.", {"allow": "GET, HEAD"})
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            return _said(414, "The address is too long.")
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._answers_to(hosts[0]):
            return _said(421, "This page answers to the address it was opened with: see what the node printed.")
        origins = headers.getlist("origin")
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return _said(403, "Another site's page asked for this; it is not given.")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_navigation(headers):
            return _said(403, "Another site's page asked for this; it is not given.")
        return None

    def _answers_to(self, host: str) -> bool:
        """Any port: it may be another one at this end of a tunnel. An exposed page has a token to keep others out, and
        a name of its own that we cannot know; it is a cookie's name, so rebinding gets no cookie."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        return self._admission.exposed or found[1].lower() in _LOOPBACK_NAMES or _is_loopback(found[1])

    def _ask_for_token(self, scope: Scope) -> Response | None:
        token = self._admission.token
        if token is None:
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in pairs if name == "token"]
        if given:
            return _welcome(scope, pairs, token) if any(_equal(one, token) for one in given) else _no_token()
        return None if any(_equal(one, token) for one in _tokens(Headers(scope=scope), _cookie(scope))) else _no_token()


def _welcome(scope: Scope, pairs: Iterable[tuple[str, str]], token: str) -> Response:
    """To the same address without the token, so that it stays in no history and in no bookmark."""
    rest = urlencode([(name, value) for name, value in pairs if name != "token"])
    path = "/" + str(scope["path"]).lstrip("/\\")  # never to another host
    response = RedirectResponse(f"{path}?{rest}" if rest else path, status_code=303)
    response.set_cookie(_cookie(scope), token, max_age=COOKIE_SECONDS, httponly=True, samesite="strict", path="/")
    return response


def _cookie(scope: Scope) -> str:
    """Cookies do not tell ports apart, and two nodes may share a machine."""
    return f"swarm_{(scope.get('server') or ('', 0))[1]}"


def _tokens(headers: Headers, cookie: str) -> list[str]:
    """In the cookie, or as a bearer's: for a Prometheus that scrapes."""
    found = [one.removeprefix("Bearer ") for one in headers.getlist("authorization") if one.startswith("Bearer ")]
    for text in headers.getlist("cookie"):
        try:
            jar: SimpleCookie = SimpleCookie(text)
        except CookieError:
            continue
        found += [jar[cookie].value] if cookie in jar else []
    return found


def _equal(given: str, token: str) -> bool:
    return compare_digest(given.encode(), token.encode())


def _no_token() -> Response:
    return _said(401, "This page wants its token: open it with the address that the node or swarm browse printed.")


def _is_navigation(headers: Headers) -> bool:
    """A link somebody followed, in a tab of its own."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _said(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, headers)
