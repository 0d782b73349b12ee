"""The harness's DNS server and what it is asked, without sockets."""

from harness.nameserver import Nameserver

HOSTS = {"www.example": "192.0.2.1", "six.example": "2001:db8::1"}
A, AAAA, TXT = 1, 28, 16


def query(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + b"\x00" + bytes([0, kind, 0, 1])


def answered(name: str, kind: int = A) -> tuple[int, bytes]:
    """The code, and what follows the question."""
    asked = query(name, kind)
    answer = Nameserver(HOSTS).answer(asked)
    assert answer[:2] == asked[:2]
    assert answer[12 : len(asked)] == asked[12:]
    assert answer[2] & 0x80
    return answer[3] & 15, answer[len(asked) :]


def test_a_known_name_has_its_address() -> None:
    """Of the type that is asked for, in any case."""
    head = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04"
    assert answered("WWW.example") == (0, head + bytes([192, 0, 2, 1]))
    assert answered("six.example", AAAA)[1][-1:] == b"\x01"


def test_a_known_name_without_that_type_has_no_answer() -> None:
    assert answered("www.example", AAAA) == (0, b"")
    assert answered("www.example", TXT) == (0, b"")


def test_any_other_name_does_not_exist() -> None:
    assert answered("nobody.example") == (3, b"")


def test_every_question_is_kept() -> None:
    server = Nameserver(HOSTS)
    server.answer(query("WWW.example"))
    server.answer(query("b.example", AAAA))
    assert server.questions == ["www.example", "b.example"]
