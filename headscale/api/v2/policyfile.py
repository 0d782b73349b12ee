"""/tailnet/{tailnet}/acl: the policy, byte for byte as it was set, with the tag (ETag) by which writers find out that
somebody else was faster.
"""

import base64
import hashlib
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from headscale.api.questions import Naming, read_question
from headscale.api.v2.endpoints import Call, Endpoint
from headscale.errors import Malformed, NotFound, Outdated
from headscale.policy import hujson
from headscale.policy.checks import FAILED
from headscale.policy.compiled import Compiled
from headscale.policy.complaints import Complaint, PolicyRefused
from headscale.policy.explain import traffic_text
from headscale.policy.grants import Row
from headscale.policy.hujson import HuJSONError
from headscale.policy.paths import carries, heard_by, sent_by
from headscale.policy.program import Program
from headscale.records import PolicyText
from headscale.sources.policyfile import TEXT_MAX_BYTES, TOO_LARGE
from headscale.state.effect import Effect, Moment
from headscale.state.scopes import POLICY, read
from headscale.state.snapshot import Snapshot

HUJSON: Final = "application/hujson"
JSON: Final = "application/json"
# What is in force without a policy, as a policy that says the same; its tag is also called so in If-Match.
DEFAULT: Final = """\
// No policy is set: everybody may reach everybody.
{
	"acls": [
		{"action": "accept", "src": ["*"], "dst": ["*:*"]},
	],
}
"""
DEFAULT_TAG: Final = "ts-default"


class Details(msgspec.Struct, frozen=True):
    """The policy with ?details=1; `acl` is base64."""

    acl: str
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the tests of one source found wrong."""

    errors: tuple[str, ...]
    user: str = ""


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a policy could be set: empty when it could."""

    message: str = ""
    data: tuple[Failed, ...] = ()


class Match(msgspec.Struct, frozen=True, rename="camel"):
    """A rule about whom or what was asked for: who may reach what, and the line where it stands."""

    users: tuple[str, ...]
    ports: tuple[str, ...]
    line_number: int
    postures: tuple[str, ...] = ()
    via: tuple[str, ...] = ()


class Preview(msgspec.Struct, frozen=True, rename="camel"):
    """The rules of a policy about one user, or one address and port."""

    matches: tuple[Match, ...]
    type: str
    preview_for: str


async def get(call: Call[None]) -> object:
    """As it was set to who accepts HuJSON; as plain JSON, without comments, to everybody else."""
    text = text_in_force(call.snapshot)
    if call.request.query.get("details") == "1":
        document = Details(base64.b64encode(text.encode()).decode())
        return _with_tag(call.snapshot, msgspec.json.encode(document), JSON)
    accepted = call.request.headers.get(hdrs.ACCEPT, "")
    return _shown(call.snapshot, text, as_written=HUJSON in accepted)


async def set_file(call: Call[bytes]) -> object:
    """Put it in force, unless `If-Match` names another one than is. The answer is what was set, with its tag."""
    text = _text_of(call.body)
    wanted = call.request.headers.get(hdrs.IF_MATCH, "")

    def guarded(step: Any) -> Any:
        def act(snapshot: Snapshot, moment: Moment) -> Effect[PolicyText]:
            check_tag(snapshot, wanted)
            return call.acts.in_the_name_of(call.request, "policy.set", step)(snapshot, moment)

        return act

    check_tag(call.snapshot, wanted)
    await call.parts.policy.set(text, act=guarded)
    as_written = HUJSON in call.request.headers.get(hdrs.ACCEPT, "") or not _is_json(call.request)
    return _shown(call.snapshot, text, as_written=as_written)


async def validate(call: Call[bytes]) -> Verdict:
    """Whether a policy could be set; or, for a list of tests, whether they pass with the policy in force."""
    text = _text_of(call.body)
    if text.lstrip().startswith("["):
        text = _with_tests(text_in_force(call.snapshot), text)
    try:
        await call.parts.policy.check(text)
    except PolicyRefused as refusal:
        return verdict(text, refusal.complaints)
    return Verdict()


async def preview(call: Call[bytes]) -> Preview:
    """Which rules of a policy are about a user (?type=user), or about an address and port (?type=ipport)."""
    kind, asked = call.request.query.get("type", ""), call.request.query.get("previewFor", "")
    if kind not in ("user", "ipport") or not asked:
        raise Malformed("say ?type=user or ?type=ipport, and ?previewFor= for whom or for what")
    look = partial(_of_user if kind == "user" else _of_address, asked)
    found = await call.parts.policy.ask(look, _text_of(call.body) if call.body.strip() else None)
    return Preview(found, kind, asked)


def text_in_force(snapshot: Snapshot) -> str:
    """The policy's text; without one, one that says the same."""
    return snapshot.policy_text.text if snapshot.policy_text is not None else DEFAULT


def tag_of(text: str) -> str:
    """The text's tag, without quotation marks."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_tag(snapshot: Snapshot, wanted: str) -> None:
    """Raises Outdated when the policy in force is none of those that If-Match names; an empty one names all."""
    if not wanted.strip():
        return
    here = {"*", tag_of(text_in_force(snapshot))}
    if snapshot.policy_text is None:
        here.add(DEFAULT_TAG)
    named = {each.strip().removeprefix("W/").strip('"') for each in wanted.split(",")}
    if not named & here:
        raise Outdated(
            "the policy was changed meanwhile: If-Match names another one than is in force; get it again first"
        )


def verdict(text: str, complaints: tuple[Complaint, ...]) -> Verdict:
    """What is wrong: of a policy that is none its first mistake, of one whose tests fail each by its source."""
    broken = [each for each in complaints if not each.message.startswith(FAILED)]
    if broken:
        first = broken[0]
        where = f"line {first.line}, column {first.column}: " if first.line else ""
        others = tuple(map(str, broken[1:]))
        return Verdict(f"{where}{first.message}", (Failed(others),) if others else ())
    tests = msgspec.json.decode(hujson.strip(text).encode()).get("tests", [])
    by_source: dict[str, list[str]] = {}
    for each in complaints:
        by_source.setdefault(_source_of(each.path, tests), []).append(
            each.message.removeprefix(f"{FAILED}: ")
        )
    return Verdict(FAILED, tuple(Failed(tuple(errors), user) for user, errors in by_source.items()))


def _source_of(path: str, tests: list[dict[str, Any] | None]) -> str:
    number = path.removeprefix("tests[").partition("]")[0]
    if not path.startswith("tests[") or not number.isdecimal():
        return ""
    test = tests[int(number)] or {}  # null is a test that says nothing
    return str(test.get("src") or test.get("user") or "")


def _with_tests(policy: str, tests: str) -> str:
    """The policy with these tests in place of its own."""
    try:
        document = msgspec.json.decode(hujson.strip(policy).encode())
        wanted = msgspec.json.decode(hujson.strip(tests).encode())
    except (HuJSONError, msgspec.DecodeError) as problem:
        raise Malformed(str(problem)) from None
    return msgspec.json.encode({**document, "tests": wanted, "sshTests": []}).decode()


def _of_user(asked: str, snapshot: Snapshot, policies: tuple[Compiled, ...]) -> tuple[Match, ...]:
    compiled = policies[0]
    ends = Naming(snapshot, compiled).sources(asked)
    rows = {row for end in ends for family in (4, 6) for row in sent_by(compiled.program, end, family)}
    return _matches(compiled.program, rows)


def _of_address(asked: str, snapshot: Snapshot, policies: tuple[Compiled, ...]) -> tuple[Match, ...]:
    compiled = policies[0]
    question = read_question("*", asked)
    ends = Naming(snapshot, compiled).targets(question.target)
    if ends is None:
        raise NotFound(f"{asked[:80]} is no address and port")
    program = compiled.program
    rows = {
        row
        for end in ends
        for family in end.families
        for row in heard_by(program, end, family)
        if not question.packets or any(carries(program, row, packet) for packet in question.packets)
    }
    return _matches(program, rows)


def _matches(program: Program, numbers: Iterable[int]) -> tuple[Match, ...]:
    """A match for each rule, in the order of the policy; what a rule says of one place stands together."""
    by_place: dict[int, list[Row]] = {}
    for number in sorted(numbers):
        row = program.rows[number]
        if row.traffic is not None:
            by_place.setdefault(row.place.line, []).append(row)
    return tuple(
        Match(
            users=tuple(dict.fromkeys(a.text for row in rows for a in program.source_aliases[row.source])),
            ports=tuple(
                dict.fromkeys(
                    f"{alias.text}:{traffic_text(row.traffic)}"
                    for row in rows
                    for alias in row.targets
                    if row.traffic is not None
                )
            ),
            line_number=line,
            via=tuple(dict.fromkeys(tag for row in rows for tag in row.via)),
        )
        for line, rows in sorted(by_place.items())
    )


def _shown(snapshot: Snapshot, text: str, *, as_written: bool) -> web.Response:
    if as_written:
        return _with_tag(snapshot, text.encode(), HUJSON)
    try:
        plain = msgspec.json.format(hujson.strip(text), indent=2).encode()
    except (
        HuJSONError,
        msgspec.DecodeError,
    ) as problem:  # kept by an older release, and no policy to this one
        raise Malformed(f"the policy in force is not HuJSON: {problem}") from None
    return _with_tag(snapshot, plain, JSON)


def _with_tag(snapshot: Snapshot, body: bytes, content_type: str) -> web.Response:
    headers = {hdrs.ETAG: f'"{tag_of(text_in_force(snapshot))}"'}
    return web.Response(body=body, content_type=content_type, headers=headers)


def _is_json(request: web.Request) -> bool:
    return request.content_type == JSON


def _text_of(body: bytes) -> str:
    if len(body) > TEXT_MAX_BYTES:
        raise web.HTTPRequestEntityTooLarge(
            max_size=TEXT_MAX_BYTES, actual_size=len(body), text=f"{TOO_LARGE}, this one has {len(body)}"
        )
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Malformed("the policy is not UTF-8 text") from None


_TEXT: Final[dict[str, Any]] = {"body": bytes, "body_type": HUJSON, "body_max_bytes": TEXT_MAX_BYTES + 1}

ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    Endpoint(
        method="GET",
        path="/tailnet/{tailnet}/acl",
        summary="Get the policy; with Accept: application/hujson as it was written",
        handler=get,
        scopes=(read(POLICY),),
        answer=bytes,
        answer_type=HUJSON,
        other_answer_type=JSON,
        query=("details",),
    ),
    Endpoint(
        method="POST",
        path="/tailnet/{tailnet}/acl",
        summary="Set the policy, unless If-Match names another one than is in force",
        handler=set_file,
        scopes=(POLICY,),
        answer=bytes,
        answer_type=HUJSON,
        other_answer_type=JSON,
        **_TEXT,
    ),
    Endpoint(
        method="POST",
        path="/tailnet/{tailnet}/acl/validate",
        summary="Check a policy and its tests, or tests with the policy in force",
        handler=validate,
        scopes=(read(POLICY),),
        answer=Verdict,
        **_TEXT,
    ),
    Endpoint(
        method="POST",
        path="/tailnet/{tailnet}/acl/preview",
        summary="Which rules of a policy are about a user, or about an address and port",
        handler=preview,
        scopes=(read(POLICY),),
        answer=Preview,
        query=("type", "previewFor"),
        **_TEXT,
    ),
)
