"""Addresses of the page: each gives HTML, or the same facts as JSON with `.json` or `Accept: application/json`.

Owns HTTP words and status codes. A mistake in a page is an answer of 500 with a sentence; the node goes on.
"""

import json
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from node.browse.asked import Asked
from node.browse.desk import Desk, DeskBusy
from node.browse.draw import facts_of, html_of
from node.browse.gate import Admission, Gate
from node.browse.live import Live
from node.browse.pages import render
from node.browse.static_files import static_files
from node.network_file import read_network
from node.text import clean
from node.views import NothingFound
from swarm.words import SwarmError

_PAGES = {"/": "overview", "/runs": "runs", "/compare": "compare", "/lineage": "lineage", "/nodes": "nodes",
          "/topic": "topic", "/now": "now", "/runs/{name}": "run", "/nodes/{name}": "node"}  # fmt: skip


def make_app(desk: Desk, admission: Admission) -> ASGIApp:
    live = Live(desk)
    routes = [
        Route("/live", partial(_live, live)),
        Route("/metrics", partial(_metrics, desk)),
        Route("/static/{name}", _static),
    ]
    for path, page in _PAGES.items():
        json_path = "/index.json" if path == "/" else f"{path}.json"
        routes.append(Route(json_path, partial(_page, desk, page, True)))
    routes += [Route(path, partial(_page, desk, page, False)) for path, page in _PAGES.items()]
    errors = {HTTPException: _http_error}
    return Gate(Starlette(routes=routes, exception_handlers=errors), admission)  # type: ignore[arg-type] - by class


async def _page(desk: Desk, page: str, as_json: bool, request: Request) -> Response:
    as_json = as_json or _prefers_json(request.headers.get("accept", ""))
    asked = Asked(page, request.query_params.multi_items(), request.path_params.get("name", ""))
    try:
        if as_json:
            return _json(await desk.ask_when_read(asked.topic, lambda sight: facts_of(sight, asked)))
        return HTMLResponse(await desk.ask(asked.topic, lambda sight: html_of(sight, asked)))
    except NothingFound as error:
        return _error(404, str(error), as_json)
    except SwarmError as error:
        return _error(503, str(error), as_json)
    except DeskBusy:
        return _error(503, "Too many pages are asked for at once; try again in a moment.", as_json)
    except Exception as error:  # a page must never end a night's research, whatever is wrong in it
        return _error(500, f"This page cannot be made: a bug in research-swarm ({type(error).__name__}).", as_json)


async def _live(live: Live, request: Request) -> Response:
    if not live.has_room:
        return _error(503, "Too many pages are open for another one to be live.", True)
    asked = Asked("now", request.query_params.multi_items())
    return StreamingResponse(live.listen(asked), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _metrics(desk: Desk, _request: Request) -> Response:
    from node.metrics import CONTENT_TYPE, exposition

    text = exposition(desk.home.read_state(), read_network(desk.home), running=desk.home.running())
    return Response(text, media_type=CONTENT_TYPE)


async def _static(request: Request) -> Response:
    found = static_files().get(request.path_params["name"])
    if found is None:
        return _error(404, "There is no such file.", False)
    kind, data, _ = found
    kept = "max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
    return Response(data, media_type=kind, headers={"cache-control": kept})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "There is no such page.", request.url.path.endswith(".json"))


def _prefers_json(accept: str) -> bool:
    return "application/json" in accept and "text/html" not in accept


def _json(document: object, status: int = 200) -> Response:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), status, media_type="application/json")


def _error(status: int, sentence: str, as_json: bool) -> Response:
    sentence = clean(sentence, 600)
    if as_json:
        return _json({"error": sentence}, status)
    return HTMLResponse(render("error.html", status=status, sentence=sentence), status)
