"""Pages as a browser understands them: where forms go, and what they send unseen."""

import pytest

from harness.browsing import Page
from harness.errors import HarnessError

TWO = """
<form method="get" action="/search"><input name="q"></form>
<form METHOD="POST" action='/first?a=1&amp;b=2' class=x>
  <input type=hidden name="token" value="&quot;1&quot;"><input name=sub required>
  <button name="answer" value="yes">Yes</button>
</form>
<input name="outside">
<form method="post"><button name="answer" value="no">No</button><button name="later">Later</button></form>
"""


def page(text: str) -> Page:
    return Page(200, text, "https://a.example/here?x=1", {})


def test_a_form_goes_where_it_says_with_what_it_hides() -> None:
    assert page(TWO).form == ("https://a.example/first?a=1&b=2", {"token": '"1"'})


def test_without_an_action_it_goes_to_the_page_itself() -> None:
    assert page(TWO).form_with("later") == ("https://a.example/here?x=1", {})


def test_the_form_with_the_button_is_taken() -> None:
    """And the first of several."""
    assert page(TWO).form_with("answer")[0] == "https://a.example/first?a=1&b=2"
    assert page(TWO).form_with("answer", "later")[0] == "https://a.example/here?x=1"
    for missing in ("outside", "q", "other"):
        with pytest.raises(HarnessError, match=f"without a form with {missing}"):
            page(TWO).form_with(missing)


def test_a_page_without_a_form_has_none() -> None:
    plain = page("<p>&lt;form method=post&gt;</p>")
    assert not plain.has_form
    with pytest.raises(HarnessError, match="answered 200 without a form"):
        plain.form  # noqa: B018
