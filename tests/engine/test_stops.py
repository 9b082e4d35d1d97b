"""Stop strings cut exactly, however the text is split, and no part of one is ever shown."""

from hypothesis import given
from hypothesis import strategies as st

from inference.engine.text.stops import StopMatcher

SHORT = st.text(alphabet="ab", min_size=1, max_size=4)


def run(stops, pieces):
    """What is shown, and the stop string that ended it."""
    matcher = StopMatcher(stops)
    shown = []
    for piece in pieces:
        shown.append(matcher.push(piece))
        if matcher.matched is not None:
            return "".join(shown), matcher.matched, shown
    shown.append(matcher.flush())
    return "".join(shown), None, shown


def test_without_stops_all_is_shown_at_once():
    assert run([], ["ab", "c"])[2] == ["ab", "c", ""]


def test_it_cuts_before_the_stop_string():
    assert run(["\n\n"], ["one", "\n", "\ntwo"])[:2] == ("one", "\n\n")


def test_it_cuts_inside_a_token():
    assert run(["STOP"], ["go STOP go"])[:2] == ("go ", "STOP")


def test_what_only_began_like_one_is_shown_in_the_end():
    assert run(["STOP"], ["ST", "O"])[:2] == ("STO", None)


def test_the_earliest_wins():
    assert run(["cd", "b"], ["abcd"])[:2] == ("a", "b")
    assert run(["b", "abc"], ["xabc"])[:2] == ("xa", "b")


def test_the_first_to_be_complete_wins_however_the_text_is_split():
    for pieces in (["baba"], ["bab", "a"], ["b", "a", "b", "a"]):
        assert run(["a", "baba"], pieces)[:2] == ("b", "a")


@given(stops=st.lists(SHORT, min_size=1, max_size=4), pieces=st.lists(SHORT, max_size=12))
def test_any_split_gives_what_the_whole_text_gives(stops, pieces):
    text = "".join(pieces)
    found = [(text.find(stop) + len(stop), text.find(stop), stop) for stop in stops if stop in text]
    shown, matched, parts = run(stops, pieces)
    assert shown == (text[: min(found)[1]] if found else text)
    assert matched == (min(found)[2] if found else None)
    so_far = ""
    for part in parts:
        so_far += part
        assert not any(stop in so_far for stop in stops)
