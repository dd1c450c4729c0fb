"""Findings survive the wire exactly, hostile bytes give MalformedRecord only, and the verdict knows noise."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from samples import TRACK, make_brief, make_finding, make_trial

from swarm.brief import decode_brief, encode_brief
from swarm.finding import Finding, Trial, check_against, decode_finding, encode_finding
from swarm.words import BriefError, Condition, MalformedRecord, Outcome

BRIEF = make_brief()


def test_finding_survives_the_wire():
    finding = make_finding(BRIEF, number=3, val_bpb=1.25, width=128)
    assert decode_finding(encode_finding(finding)) == finding


def test_unknown_fields_do_not_matter():
    raw = msgpack.unpackb(encode_finding(make_finding(BRIEF)))
    raw["mood"] = {"of": ["the", "author"]}
    assert decode_finding(msgpack.packb(raw)) == make_finding(BRIEF)


@given(st.binary(max_size=300))
def test_random_bytes_are_malformed_and_nothing_else(data):
    with pytest.raises(MalformedRecord):
        decode_finding(data)


@given(st.data())
def test_a_flipped_byte_is_a_finding_or_malformed(data):
    raw = bytearray(encode_finding(make_finding(BRIEF)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedRecord):
        assert isinstance(decode_finding(bytes(raw)), Finding)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 0.0, 64.0, "1.0", None, True])
def test_a_score_that_is_no_score_is_refused(number):
    raw = msgpack.unpackb(encode_finding(make_finding(BRIEF)))
    raw["trials"][0]["val_bpb"] = number
    with pytest.raises(MalformedRecord):
        decode_finding(msgpack.packb(raw))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("effect", 1e308),
        ("effect", -64.0),
        ("noise_sd", 1e-300),
        ("noise_sd", 1e300),
        ("noise_dof", 1e-3),
        ("noise_dof", 1e300),
        ("parent_scores", [1e308]),
        ("parent_scores", [0.0]),
    ],
)
def test_a_verdict_holds_no_number_that_leads_out_of_the_numbers(field, value):
    raw = msgpack.unpackb(encode_finding(make_finding(BRIEF)))
    raw["verdict"] |= {"effect": 0.1, "interval": 0.1, "p_better": 0.9, field: value}
    with pytest.raises(MalformedRecord):
        decode_finding(msgpack.packb(raw))


def test_deep_nesting_is_malformed():
    with pytest.raises(MalformedRecord):
        decode_finding(b"\x91" * 60_000)


def test_a_bad_ending_has_no_number():
    with pytest.raises(ValidationError):
        Trial(outcome=Outcome.CRASHED, track=TRACK, seed=1, seconds=1.0, val_bpb=1.0)
    with pytest.raises(ValidationError):
        Trial(outcome=Outcome.MEASURED, track=TRACK, seed=1, seconds=1.0)


def test_source_must_have_its_hash():
    raw = msgpack.unpackb(encode_finding(make_finding(BRIEF)))
    raw["proposal"]["source"] = "import os"
    with pytest.raises(MalformedRecord, match="hash"):
        decode_finding(msgpack.packb(raw))


def test_config_outside_the_brief_is_refused():
    finding = make_finding(BRIEF)
    wrong = finding.model_copy(update={"proposal": finding.proposal.model_copy(update={"config": {"width": 64}})})
    with pytest.raises(BriefError, match="missing"):
        check_against(BRIEF, wrong)
    unseen = finding.model_copy(update={"proposal": finding.proposal.model_copy(update={"source_sha256": "f" * 64})})
    with pytest.raises(BriefError, match="does not carry"):
        check_against(BRIEF, unseen)


def test_a_finding_scores_the_mean_of_what_counts():
    marked = make_trial(1.0).model_copy(update={"condition": Condition.CONTENDED})
    several = make_finding(BRIEF).model_copy(update={"trials": (make_trial(2.0), marked, make_trial(3.0))})
    assert (several.outcome, several.val_bpb) == (Outcome.MEASURED, 2.5)
    assert make_finding(BRIEF).model_copy(update={"trials": (marked,)}).val_bpb == 1.0


def test_a_finding_that_fails_with_one_seed_has_no_number():
    failed = make_trial(None).model_copy(update={"reason": "no such layer"})
    finding = make_finding(BRIEF).model_copy(update={"trials": (make_trial(2.0), failed)})
    assert (finding.outcome, finding.val_bpb, finding.reason) == (Outcome.CRASHED, None, "no such layer")


def test_a_finding_that_was_stopped_early_has_no_number_and_has_not_failed():
    stopped = make_trial(None, outcome=Outcome.CENSORED).model_copy(update={"reason": "stopped early"})
    finding = make_finding(make_brief()).model_copy(update={"trials": (make_trial(1.5), stopped)})
    assert (finding.outcome, finding.val_bpb, finding.reason) == (Outcome.CENSORED, None, "stopped early")
    crashed = finding.model_copy(update={"trials": (stopped, make_trial(None))})
    assert crashed.outcome is Outcome.CRASHED
    beside = stopped.model_copy(update={"condition": Condition.CONTENDED})
    again = finding.model_copy(update={"trials": (beside, make_trial(1.5))})
    assert (again.outcome, again.val_bpb) == (Outcome.MEASURED, 1.5)


def test_values_of_a_kind_share_the_set_of_their_fields_and_a_copy_changes_it_for_nobody():
    one, other = (decode_finding(encode_finding(make_finding(BRIEF, number))) for number in (1, 2))
    for a, b in ((one, other), (one.proposal, other.proposal), (one.trials[0], other.trials[0])):
        assert a.model_fields_set is b.model_fields_set
    assert one.model_copy(update={"node_name": "another", "no field": 1}).node_name == "another"
    assert other.model_fields_set == set(Finding.model_fields)


def test_brief_bytes_are_canonical():
    data = encode_brief(BRIEF)
    assert decode_brief(data) == BRIEF
    assert encode_brief(decode_brief(data)) == data


@given(st.binary(max_size=200))
def test_random_bytes_are_no_brief(data):
    with pytest.raises(BriefError):
        decode_brief(data)
