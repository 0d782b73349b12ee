"""The drawing of a tailnet, and the truth table beside it."""

import math
import re
from xml.etree import ElementTree

from harness.history import Way
from harness.report.drawing import Edge, as_json, draw, edges_of, edges_of_peers, from_json
from harness.report.truth import truth_table


def way(
    prober: str, target: str, how: str = "tcp 1:80", *, want: bool = True, got: bool | None = None
) -> Way:
    reached = want if got is None else got
    return Way(prober, target, how, want, reached, want == reached, "timeout")


def test_the_ways_of_a_pair_are_one_edge() -> None:
    """One surprise outweighs all that is as expected."""
    ways = [
        *(way("a", "b"), way("a", "b", "udp 1:80")),
        *(way("b", "a"), way("b", "a", "udp 1:80", want=False)),
        *(way("a", "c", want=False),),
        *(way("c", "a"), way("c", "a", "udp 1:80", want=False, got=True)),
    ]
    assert edges_of(ways) == [
        Edge("a", "b", "yes"),
        Edge("a", "c", "no"),
        Edge("b", "a", "part"),
        Edge("c", "a", "wrong"),
    ]


def test_the_drawing_is_sound_and_says_it_in_words() -> None:
    """Names are text, whatever is in them; both ways alike are one line; a machine that nobody probed is there."""
    edges = [Edge("a", "<b>", "yes"), Edge("<b>", "a", "yes"), Edge("a", "c", "wrong"), Edge("c", "a", "no")]
    root = ElementTree.fromstring(draw({"a": "1.80.3", "<b>": "", "c": "", "lonely": "1.102.4"}, edges))
    kinds = [group.get("class") for group in root.findall("g") if group.get("class") != "machine"]
    assert sorted(filter(None, kinds)) == ["no", "wrong", "yes"]
    assert len(root.findall(".//circle")) == 4
    assert "not as expected: a to c" in (root.get("aria-label") or "")
    assert "a reaches <b>, and the other way round" in {title.text for title in root.iter("title")}


def test_machines_do_not_lie_on_each_other() -> None:
    """From one to many."""
    for count in (1, 2, 5, 12, 30):
        svg = draw({f"m{n}": "" for n in range(count)}, [])
        places = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', svg)]
        gaps = [math.dist(p, q) for i, p in enumerate(places) for q in places[:i]]
        assert len(places) == count
        assert min(gaps, default=99) > 20, count


def test_a_line_of_results_holds_the_whole_drawing() -> None:
    """And an empty tailnet has none."""
    nodes, edges = {"a": "1", "b": "2"}, edges_of_peers({"a": ["b"], "b": []})
    assert from_json(as_json(nodes, edges)) == draw(nodes, edges)
    assert 'class="sees"' in draw(nodes, edges)
    assert draw({}, []) == ""


def test_the_table_puts_expected_against_actual() -> None:
    """Rows with a surprise come first; what was not probed is not a no."""
    table = truth_table([way("a", "b"), way("c", "b", want=False), way("a", "z", want=True, got=False)])
    assert table.probers == ("a", "c")
    assert [(target, [cell.word for cell in cells]) for target, cells in table.rows] == [
        ("z tcp 1:80", ["NO, not yes", "·"]),
        ("b tcp 1:80", ["yes", "no"]),
    ]
    assert (table.total, [found.target for found in table.wrong]) == (3, ["z"])
