"""The answers of `policy explain` and `policy diff` as people read them."""

from collections.abc import Iterator
from typing import Any, Final

# More names than these on a line are counted, not listed; -o json has them all.
NAMES_MAX: Final = 10
# Everything that a rule without a protocol admits.
_ANYTHING: Final = {"tcp:*", "udp:*", "icmp", "ipv6-icmp"}


def explanation(document: dict[str, Any]) -> str:
    """A paragraph for each answer, and notes."""
    paragraphs = ["\n".join(_answer(document, each)) for each in document["answers"]]
    notes = "\n".join(f"note: {note}" for note in document["notes"])
    return "\n\n".join([*paragraphs, *([notes] if notes else [])])


def _answer(document: dict[str, Any], answer: dict[str, Any]) -> Iterator[str]:
    asked, port = document["protocol"], document["port"]
    what = asked if port is None else f"{asked} port {port}"
    pair = f"{_names(answer['sources'])} → {_names(answer['targets'])}, {what}"
    if answer["allowed"]:
        through = " or ".join(answer["through"])
        yield f"allowed: {pair}" + (f", but only {through}" if through != asked and port is not None else "")
        yield from _rules(answer, "by")
        return
    yield f"denied: {pair}"
    if answer["nearly"]:
        yield "  the rules between the two are about other traffic:"
        yield from _rules(answer, "nearly", indent="    ")
    else:
        yield "  no rule lets the one reach the other"
    if answer["others"]:
        yield "  who may send this there:"
        yield from _rules(answer, "others", indent="    ")
    else:
        yield "  nobody may send this there"


def _rules(answer: dict[str, Any], key: str, indent: str = "  ") -> Iterator[str]:
    for rule in answer[key]:
        place = f"{rule['path']} (line {rule['line']}): " if rule["line"] else ""
        yield f"{indent}{place}{rule['says']}"
    if more := answer[f"{key}More"]:
        yield f"{indent}and {more} more"


def difference(document: dict[str, Any]) -> str:
    """Who gains (+) and who loses (-) what, by target; attributes and routes of nodes, and tags, after that."""
    if not document["changed"]:
        return "no difference in access"
    paragraphs = [
        [f"{_names(each['sources'])} → {each['target']}", *_changes(each)] for each in document["access"]
    ]
    paragraphs += [
        [f"attributes of {_names(each['nodes'])}", *_changes(each)] for each in document["attributes"]
    ]
    paragraphs += [
        [f"routes of {_names(each['nodes'])}, approved automatically", *_changes(each)]
        for each in document["autoApprovals"]
    ]
    # A server of before does not say.
    paragraphs += [[f"who may give {each['tag']}", *_changes(each)] for each in document.get("tagOwners", ())]
    return "\n".join("\n".join(lines) for lines in paragraphs)


def _changes(each: dict[str, Any]) -> Iterator[str]:
    for sign, key in (("+", "gained"), ("-", "lost")):
        if each[key]:
            yield f"  {sign} {', '.join(_shortened(each[key]))}"


def _shortened(what: list[str]) -> list[str]:
    """`*` for all that a rule without a protocol admits."""
    if set(what) >= _ANYTHING:
        return ["*", *(each for each in what if each not in _ANYTHING)]
    return what


def _names(names: list[str]) -> str:
    if len(names) > NAMES_MAX:
        names = [*names[:NAMES_MAX], f"{len(names) - NAMES_MAX} more"]
    return ", ".join(names)
