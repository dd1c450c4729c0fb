"""Who may see the page, over real HTTP: names it answers to, other sites, tokens, and what browsers are told."""

import re
import shutil
import stat
from pathlib import Path

import pytest
import trio
from served_page import served
from small_home import furnish
from small_lab import BRIEF_ID

from gossip.identity import load_or_create
from node.browse.address import BrowseError, PageAddress, parse_page_address
from node.browse.gate import Admission
from node.browse.token_file import FILE_NAME, page_token
from node.cli.launch import check_page_address
from node.home import Home
from node.launching import UsageError

TOKEN = "t" * 43
PATHS = ["/", "/runs", "/runs/1", "/lineage", "/nodes", "/topic", "/compare", "/now", "/metrics", "/index.json"]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("gate") / "home")


@pytest.fixture
def home(furnished, tmp_path):
    return Home(Path(shutil.copytree(furnished.path, tmp_path / "home")))


async def test_every_answer_forbids_what_the_page_does_not_need(home):
    async with served(home) as page:
        for path in [*PATHS, "/nope", "/static/page.css", "/static/../gate.py", "/runs/zzzz"]:
            answer = await page.client.get(path)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in answer.headers
            assert "server" not in answer.headers


async def test_pages_have_no_script_and_no_style_of_their_own(home):
    async with served(home) as page:
        for path in PATHS[:8]:
            text = (await page.client.get(path)).text
            assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:", text), path
            assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", text), path
            assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), path


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7420", "127.0.0.1.nip.io", "", "localhost@evil", "10.0.0.1", "127.0.0.1:x"]
)
async def test_a_name_that_is_not_ours_gets_nothing(home, host):
    async with served(home) as page:
        for path in ("/", "/topic.json", "/live", "/static/page.js"):
            answer = await page.client.get(path, headers={"host": host})
            assert answer.status_code in (400, 421)
            assert "small" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:1", "127.9.9.9", "[::1]:5"])
async def test_names_of_this_machine_at_any_port_are_answered(home, host):
    async with served(home) as page:
        assert (await page.client.get("/", headers={"host": host})).status_code == 200


async def test_another_sites_page_gets_nothing(home):
    async with served(home) as page:
        own = f"http://127.0.0.1:{page.port}"
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": f"https://127.0.0.1:{page.port}"},
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
            {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        ):
            assert (await page.client.get("/runs.json", headers=headers)).status_code == 403, headers
        assert (await page.client.get("/", headers={"origin": own})).status_code == 200
        link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert (await page.client.get("/", headers=link)).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
async def test_nothing_can_be_done_but_reading(home, method):
    async with served(home) as page:
        answer = await page.client.request(method, "/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_the_token_comes_once_in_the_address_and_then_as_a_cookie(home):
    async with served(home, token=TOKEN) as page:
        for path in [*PATHS, "/static/page.css", "/live"]:
            assert (await page.client.get(path)).status_code == 401, path
        for wrong in ("x" * 43, "", "ü", TOKEN[:-1]):
            assert (await page.client.get("/", params={"token": wrong})).status_code == 401
        welcome = await page.client.get("/runs", params={"q": "a b", "token": TOKEN})
        assert (welcome.status_code, welcome.headers["location"]) == (303, "/runs?q=a+b")
        cookie = welcome.headers["set-cookie"]
        assert f"swarm_{page.port}={TOKEN}" in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert (await page.client.get("/runs")).status_code == 200, "the client kept the cookie"
        page.client.cookies.clear()
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await page.client.get("/metrics", headers=bearer)).status_code == 200


async def test_the_way_back_never_leads_to_another_host(home):
    async with served(home, token=TOKEN) as page:
        stream = await trio.open_tcp_stream("127.0.0.1", page.port)
        await stream.send_all(f"GET //evil.example/?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = bytes(await stream.receive_some(65_536)).decode()
        await stream.aclose()
        assert re.search(r"^location: /evil", answer, re.IGNORECASE | re.MULTILINE)


def test_no_page_is_exposed_without_a_token():
    with pytest.raises(AssertionError):
        Admission(exposed=True)
    with pytest.raises(UsageError, match="--dashboard-expose"):
        check_page_address(PageAddress("0.0.0.0", 7420), expose=False)
    check_page_address(PageAddress("0.0.0.0", 7420), expose=True)
    check_page_address(PageAddress("127.0.0.1", 7420), expose=False)
    check_page_address(None, expose=False)


def test_the_token_is_its_owners_only_and_stays(home):
    assert page_token(home, PageAddress()) is None, "this machine, and nothing private"
    token = page_token(home, PageAddress("0.0.0.0", 1))
    assert token == page_token(home, PageAddress("0.0.0.0", 1))
    assert len(token) >= 43
    assert stat.S_IMODE((home.path / FILE_NAME).stat().st_mode) == 0o600
    (home.path / FILE_NAME).write_text("short")
    assert page_token(home, PageAddress("0.0.0.0", 1)) not in (token, "short")
    (home.path / FILE_NAME).unlink()
    (home.path / FILE_NAME).mkdir()
    with pytest.raises(BrowseError, match="cannot keep the page's token"):
        page_token(home, PageAddress("0.0.0.0", 1))


async def test_a_private_swarm_asks_for_the_token_and_shows_no_ticket(home):
    ticket = home.read_state()["ticket"]
    async with served(home) as page:
        assert ticket in (await page.client.get("/topic")).text
    home.save_swarm_key(BRIEF_ID, b"k" * 32)
    token = page_token(home, PageAddress())
    assert token is not None
    async with served(home, token=token) as page:
        bearer = {"authorization": f"Bearer {token}"}
        for path in [*PATHS, "/topic.json", "/nodes.json"]:
            answer = await page.client.get(path, headers=bearer)
            assert answer.status_code == 200
            assert ticket not in answer.text, path
        assert "swarm ticket" in (await page.client.get("/topic", headers=bearer)).text
    assert load_or_create(home.key).peer_id


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("7420", "127.0.0.1", 7420), ("0.0.0.0:0", "0.0.0.0", 0), ("[::1]:9", "::1", 9)],
)
def test_an_address_is_an_ip_address_and_a_port(text, host, port):
    assert parse_page_address(text) == PageAddress(host, port)


@pytest.mark.parametrize("text", ["", "x", "localhost:1", "1.2.3.4:", "1.2.3.4:70000", "²", ":1", "1:2:3:4"])
def test_anything_else_is_none(text):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever part it is
        parse_page_address(text)
