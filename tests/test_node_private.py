"""Which key a node uses: every combination of option, ticket and home, and what the home keeps of it."""

import stat

import pytest

from gossip.ticket import Ticket
from node.events import Listening, event_json
from node.home import Home, HomeError
from node.private import PrivacyConflict, check_private_option, swarm_key
from node.screen import describe
from swarm.words import BriefId

BRIEF, OTHER_BRIEF = BriefId("ab" * 32), BriefId("cd" * 32)
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
PRIVATE, PUBLIC = Ticket("tiny", BRIEF, (), KEY), Ticket("tiny", BRIEF, ())


@pytest.fixture
def home(tmp_path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_public_is_the_default_and_leaves_nothing_behind(home):
    assert swarm_key(home, BRIEF, asked=False, ticket=None) is None
    assert swarm_key(home, BRIEF, asked=False, ticket=PUBLIC) is None
    assert not home.private.exists()


def test_a_key_is_made_once_for_each_topic_and_remembered_without_the_option(home):
    key = swarm_key(home, BRIEF, asked=True, ticket=None)
    assert key is not None
    assert len(key) == 32
    assert swarm_key(home, BRIEF, asked=True, ticket=None) == key
    assert swarm_key(home, BRIEF, asked=False, ticket=None) == key
    assert home.is_private(BRIEF)
    assert swarm_key(home, OTHER_BRIEF, asked=True, ticket=None) != key
    assert swarm_key(Home(home.path), BRIEF, asked=False, ticket=None) == key


def test_the_key_of_a_ticket_is_kept_for_the_next_start(home):
    assert swarm_key(home, BRIEF, asked=False, ticket=PRIVATE) == KEY
    assert swarm_key(home, BRIEF, asked=True, ticket=PRIVATE) == KEY
    assert swarm_key(home, BRIEF, asked=False, ticket=None) == KEY


def test_only_the_owner_can_read_a_key_and_the_state_with_its_ticket(home):
    home.save_swarm_key(BRIEF, KEY)
    home.write_state({"ticket": "swarm1secret"})
    for path, mode in ((home.swarm_key_file(BRIEF), 0o600), (home.private, 0o700), (home.state, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


@pytest.mark.parametrize(
    ("ticket", "asked", "says"),
    [
        (PUBLIC, True, "of a public swarm"),
        (PUBLIC, False, "of a public swarm"),
        (PRIVATE, False, "another private swarm"),
    ],
)
def test_what_does_not_go_together_is_one_clear_sentence_and_changes_nothing(home, ticket, asked, says):
    home.save_swarm_key(BRIEF, OTHER_KEY)
    with pytest.raises(PrivacyConflict, match=says) as caught:
        swarm_key(home, BRIEF, asked=asked, ticket=ticket)
    assert "\n" not in str(caught.value)
    assert home.load_swarm_key(BRIEF) == OTHER_KEY


def test_the_option_with_a_public_ticket_is_refused_before_anything_starts():
    with pytest.raises(PrivacyConflict, match="--private"):
        check_private_option(True, PUBLIC)
    for asked, ticket in ((True, None), (True, PRIVATE), (False, PUBLIC), (False, PRIVATE), (False, None)):
        check_private_option(asked, ticket)


@pytest.mark.parametrize("content", [b"", KEY[:31], KEY + b"\n"])
def test_a_damaged_key_is_said_and_never_replaced(home, content):
    home.save_swarm_key(BRIEF, KEY)
    home.swarm_key_file(BRIEF).write_bytes(content)
    with pytest.raises(HomeError, match="32 bytes"):
        swarm_key(home, BRIEF, asked=True, ticket=None)
    assert home.swarm_key_file(BRIEF).read_bytes() == content


def test_what_a_node_prints_never_holds_the_ticket_of_a_private_swarm():
    private = Listening(addresses=("/ip4/192.0.2.7/tcp/1",), ticket="swarm1secret", port=1, private=True)
    assert "secret" not in str(event_json(private))
    assert "secret" not in (describe(private) or "")
    assert "private" in (describe(private) or "")
    public = Listening(addresses=(), ticket="swarm1public", port=1)
    assert event_json(public)["ticket"] == "swarm1public"
    assert "swarm1public" in (describe(public) or "")
