"""`swarm browse`: the page of a home, whether or not a node runs in it."""

import webbrowser

import click
import trio

from node.browse.address import PageAddress, remembered_port
from node.browse.server import PageServer
from node.browse.token_file import page_token
from node.cli.launch import check_page_address
from node.cli.options import PageAddressType, home_option
from node.home import Home


@click.command()
@click.option("--dashboard", "address", type=PageAddressType(off=False), metavar="HOST:PORT",
              help="Where to serve it; a free port of 127.0.0.1 unless one is named.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65_535), metavar="PORT", help="The port on 127.0.0.1.")
@click.option("--dashboard-expose", "expose", is_flag=True,
              help="Allow an address that other machines can reach; the page then asks for its token.")  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Open it in the browser of this machine.")
@home_option
def browse(home: Home, address: PageAddress | None, port: int | None, expose: bool, opens: bool) -> None:
    """Show what was found as a web page, until Ctrl-C."""
    home.require()
    if address is not None and port is not None:
        raise click.UsageError("--port is the port of 127.0.0.1; with --dashboard HOST:PORT leave it out")
    chosen = address or PageAddress(port=port)
    check_page_address(chosen, expose)
    own = None if home.running() else remembered_port(home.read_state().get("dashboard"))
    server = PageServer(home, chosen, page_token(home, chosen), own)
    click.echo(f"the page is at {server.url_with_token}")
    if opens:
        webbrowser.open(server.url_with_token)
    try:
        trio.run(server.run)
    except KeyboardInterrupt:
        click.echo("")
