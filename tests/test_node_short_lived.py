"""Work whose objects die with it: nothing that a node does again and again waits for Python's collector."""

import gc
from collections.abc import Iterator
from typing import Self

import pytest

from node.report.pictures import RunPoint, curve_png, progress_png
from node.short_lived import short_lived
from swarm.trial import CurvePoint

CURVE = tuple(CurvePoint(step=10 * i, seconds=4.0 * i, train_loss=5.5 - i * 0.1) for i in range(30))


class Knot:
    """Points at itself: only the collector frees it."""

    def __init__(self) -> None:
        self.self: Self = self


@pytest.fixture(autouse=True)
def nobody_collects() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(*names: str) -> int:
    return sum(type(one).__name__ in names for one in gc.get_objects())


def test_what_points_at_itself_is_gone_when_the_work_returns():
    @short_lived()
    def work() -> int:
        return len([Knot() for _ in range(100)])

    assert work() == 100
    assert alive("Knot") == 0


def test_what_the_work_hands_out_and_what_was_there_before_stays():
    before = Knot()
    made = short_lived()(Knot)()
    assert made.self is made
    assert before.self is before


def test_the_collector_is_on_again_afterwards_if_it_was_also_after_an_error():
    @short_lived()
    def fail() -> None:
        assert not gc.isenabled()
        raise ValueError("no")

    gc.enable()
    with pytest.raises(ValueError, match="no"):
        fail()
    assert gc.isenabled()


def test_a_picture_that_was_drawn_leaves_none_of_its_pixels_in_memory():
    points = [RunPoint(1, "keep", 2.0), RunPoint(2, "crash", None)]
    assert curve_png(CURVE, "t", 1.9, 120.0)
    assert progress_png(points, "t")
    assert alive("Figure", "RendererAgg") == 0
