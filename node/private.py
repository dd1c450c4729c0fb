"""Whether a node works in a private swarm, and with which key: from the ticket, the option and what the home has kept.

A home that has worked on a topic in private never works on it in public: its journal would tell strangers everything.
"""

import secrets

from gossip.ticket import KEY_BYTES, Ticket
from node.home import Home
from swarm.words import BriefId, SwarmError


class PrivacyConflict(SwarmError):
    """The option, the ticket and the home do not go together: wrong usage."""


def check_private_option(asked: bool, ticket: Ticket | None) -> None:
    """What can be said before anything starts. Raises PrivacyConflict."""
    if asked and ticket is not None and not ticket.is_private:
        raise PrivacyConflict(
            "--private: this ticket is of a public swarm; leave --private out to join it, or start a private swarm of "
            "your own with: swarm launch --private"
        )


def swarm_key(home: Home, brief: BriefId, *, asked: bool, ticket: Ticket | None) -> bytes | None:
    """The key to use, kept in the home from now on; None: a public swarm. Raises PrivacyConflict, HomeError."""
    check_private_option(asked, ticket)
    kept = home.load_swarm_key(brief)
    if ticket is None:
        return kept if kept is not None or not asked else _keep(home, brief, secrets.token_bytes(KEY_BYTES))
    if kept is not None and kept != ticket.psk:
        whose = "another private swarm" if ticket.is_private else "a public swarm"
        raise PrivacyConflict(
            f"{home.path} works on this topic in a private swarm and the ticket is of {whose}: choose another --home, "
            "so that nothing gets from one to the other"
        )
    return kept if kept is not None or ticket.psk is None else _keep(home, brief, ticket.psk)


def _keep(home: Home, brief: BriefId, key: bytes) -> bytes:
    home.save_swarm_key(brief, key)
    return key
