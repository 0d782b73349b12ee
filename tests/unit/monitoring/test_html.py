"""Debug pages as HTML."""

from headscale.monitoring.html import node_form, page


def test_what_nodes_say_is_no_markup() -> None:
    wild = "<script>alert(1)</script>"
    text = page(
        wild,
        {wild: wild, "rows": [{wild: wild}], "list": [wild], "lines": f"{wild}\n"},
        form=node_form(f'"{wild}'),
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 6
    assert 'value="&quot;&lt;script&gt;' in text


def test_rows_have_a_column_for_every_key_that_any_has() -> None:
    text = page("t", {"rows": [{"a": 1}, {"b": None}]})
    assert "<tr><th>a</th><th>b</th></tr><tr><td>1</td><td>-</td></tr><tr><td>-</td><td>-</td></tr>" in text
