"""What rides on the customer's channel: whole again after the journey, and nothing else is taken for it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccsvc.domain.ids import CallId
from ccsvc.domain.resume import EPOCH, Place, decode, encode

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True) | st.just("")
INSTANTS = st.integers(0, 10**16).map(lambda micros: EPOCH + timedelta(microseconds=micros))
PLACES = st.builds(
    Place,
    call=st.from_regex(
        r"[a-z0-9][a-z0-9_-]{0,31}/([A-Za-z0-9.-]{1,40}-)?[0-9]{1,12}\.[0-9]{1,9}", fullmatch=True
    ).map(CallId),
    started_at=INSTANTS,
    language=st.sampled_from(["fa", "ar", "en"]),
    ivr=NAMES,
    node=NAMES,
    queue=NAMES,
    entry_n=st.integers(0, 999_999),
    entered_at=INSTANTS,
    priority=st.integers(-100, 100),
    served=st.booleans(),
)
WORD = encode(Place(CallId("pbx1/1.2"), datetime(2026, 1, 5, 8, 0, 0, 123456, UTC), "fa", queue="sales", entry_n=1))


@given(PLACES)
def test_a_place_comes_back_as_it_was(place: Place) -> None:
    assert decode(encode(place)) == place


@settings(max_examples=50)
@given(PLACES)
def test_a_word_survives_an_argument_of_the_dialplan(place: Place) -> None:
    word = encode(place)
    assert not set(word) & set(" ,;\"'\\()${}[]\n\r\t&")
    assert len(word) < 400


@given(st.text())
def test_garbage_is_nobodys_place(text: str) -> None:
    assert decode(text) is None


@settings(max_examples=50)
@given(st.data())
def test_a_word_that_was_cut_or_spoilt_never_raises(data: st.DataObject) -> None:
    word = encode(data.draw(PLACES))
    n = data.draw(st.integers(0, len(word) - 1))
    spoilt = data.draw(st.sampled_from([word[:n], word[:n] + data.draw(st.characters()) + word[n + 1 :], word + "|"]))
    place = decode(spoilt)
    assert place is None or decode(encode(place)) == place


@pytest.mark.parametrize(
    "word",
    [
        "",
        "v2" + WORD[2:],
        WORD + "\n",
        WORD.replace("|fa|", "|de|"),
        WORD.replace("|sales|", "|sa les|"),
        WORD.replace("sales|1|", "sales|\u0661|"),
        WORD.replace("sales|1|", "sales|-1|"),
        WORD.replace("pbx1/1.2", "pbx1/" + "1" * 130),
    ],
)
def test_what_is_not_quite_ours_is_refused(word: str) -> None:
    assert decode(word) is None


def test_an_instant_beyond_all_calendars_is_bounded() -> None:
    place = decode(WORD.rpartition("|0|0")[0].rpartition("|")[0] + "|" + "9" * 18 + "|0|0")
    assert place is not None
    assert place.entered_at.year < 2300
