"""docs/redteam.md says what the pack does, also about what it does not catch."""

import pytest

from node.trials import source_text
from redteam.laboratory import SHIPPED
from redteam.page import PAGE, page
from redteam.remaining import REMAINING
from swarm.brief import MAX_SOURCE_BYTES


def test_the_page_is_in_step_with_the_pack():
    assert PAGE.read_text() == page(), "docs/redteam.md is behind: run `python tests/redteam/page.py`"


@pytest.mark.parametrize("name", REMAINING)
def test_what_is_said_to_be_known_and_not_caught_is_so(name):
    """When this fails, a rule has got better: make a cheat of it in leaving.py."""
    source = REMAINING[name].source.encode()
    assert len(source) <= MAX_SOURCE_BYTES
    shipped = SHIPPED.encode()
    assert source_text.refusal(source_text.count(source), source_text.count(shipped)) == ""
    assert source_text.too_new(source, shipped) == ""
