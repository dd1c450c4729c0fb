"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gossip.identity import public_key_of
from node.browse.address import PageAddress, parse_page_address
from node.home import Home, default_home

F = TypeVar("F", bound=Callable[..., Any])


class HomeType(click.ParamType[Home]):
    name = "DIR"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Home:
        if isinstance(value, Home):
            return value
        if not str(value).strip():
            self.fail("the home directory has an empty name", param, ctx)
        return Home(Path(str(value)))


class PeerType(click.ParamType[str]):
    name = "PEER"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not isinstance(value, str) or public_key_of(value) is None:
            self.fail(f"{value!r} is not a peer id; one has 52 characters and begins with 12D3KooW", param, ctx)
        return value


class PageAddressType(click.ParamType[PageAddress | None]):
    name = "HOST:PORT|off"

    def __init__(self, *, off: bool) -> None:
        self._off = off

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PageAddress | None:
        if isinstance(value, PageAddress) or (self._off and value == "off"):
            return value if isinstance(value, PageAddress) else None
        try:
            return parse_page_address(str(value))
        except ValueError:
            off = ", nor off" if self._off else ""
            self.fail(f"{value!r} is not an IP address and a port such as 127.0.0.1:7420{off}", param, ctx)


class NamesType(click.ParamType[tuple[str, ...]]):
    """Several names, separated by commas, each once. What may be named is asked for when it is wanted: it may take a
    while to import."""

    name = "LIST"

    def __init__(self, what: str, known: Callable[[], tuple[str, ...]]) -> None:
        self._what, self._known = what, known

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        named, known = tuple(dict.fromkeys(part.strip() for part in str(value).split(","))), self._known()
        for name in named:
            if name not in known:
                self.fail(f"{name!r} is no {self._what}; known are {', '.join(known)}", param, ctx)
        return named


def home_option(command: F) -> F:
    return click.option(
        "--home",
        type=HomeType(),
        metavar="DIR",
        default=default_home,
        envvar="SWARM_HOME",
        help="Where the node keeps its key, journal and results.",
    )(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def topic_option(command: F) -> F:
    return click.option(
        "--topic", metavar="NAME", default=None, help="Another topic of this home than the one last worked on."
    )(command)
