"""The token that a page may ask for: made once for a home, kept in it for its owner only."""

import secrets

from node.browse.address import BrowseError, PageAddress
from node.home import Home, write_atomically

FILE_NAME = "browse.token"
_LEAST_CHARACTERS = 32


def page_token(home: Home, address: PageAddress) -> str | None:
    """None on loopback, where nobody but this machine's users can come. Not so with a private swarm in the home: what
    the file system keeps from other users, the page must keep from them, too. Raises BrowseError."""
    is_private = home.private.exists() and any(home.private.glob("*.key"))
    if address.is_loopback and not is_private:
        return None
    path = home.path / FILE_NAME
    try:
        if path.exists() and len(token := path.read_text().strip()) >= _LEAST_CHARACTERS:
            return token
        made = secrets.token_urlsafe(32)
        write_atomically(path, f"{made}\n".encode(), mode=0o600)
    except (OSError, ValueError) as error:
        raise BrowseError(f"cannot keep the page's token in {path}: {error}") from None
    return made
