"""Request bodies as members: what is refused, in whose words, and when a body is passed on as it came."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import json_body
from adapters.errors import ClientError, Failure, Kind


def _refuse(message: str) -> ClientError:
    return ClientError(Failure(400, Kind.INVALID_REQUEST, message))


def _refusal_of(body: bytes, **options: str) -> str:
    with pytest.raises(ClientError) as caught:
        json_body.read(body, _refuse, **options)
    return caught.value.failure.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The request body is empty; a JSON object is required."),
        (b" \r\n", "The request body is empty; a JSON object is required."),
        (b'{"a": "\xff"}', "The request body is not valid UTF-8 (byte 7)."),
        (b'{"a": "\xc3', "The request body is not valid UTF-8 (byte 7)."),
        (b"[]", "The request body must be a JSON object."),
        (b'["\\ud83d"]', "The request body must be a JSON object."),
        (b'{"a":' + b"[" * 100_000, "The request body is nested too deeply."),
        (b'{"a":"\\ud83d","b":' + b"[" * 100_000, "The request body is nested too deeply."),
    ],
)
def test_a_body_that_is_no_object_is_refused_with_the_reason(body: bytes, message: str) -> None:
    assert _refusal_of(body) == message


@pytest.mark.parametrize("body", [b'{"a": 1,}', b'{"a": 1', b'{"a": "\\ud83d", }'])
def test_broken_syntax_is_refused_with_the_place_and_in_the_dialects_words(body: bytes) -> None:
    own = _refusal_of(body)
    assert own.startswith("The request body is not valid JSON: ")
    assert "byte" in own
    assert _refusal_of(body, not_json="Broken") == own.replace("The request body is not valid JSON", "Broken")


def test_half_a_character_is_replaced_and_the_members_stand_in_the_repaired_body() -> None:
    fields, body = json_body.read(b'{"a": "\\ud83d"}', _refuse)
    assert body == b'{"a": "\\ufffd"}'
    assert bytes(fields["a"]) == b'"\\ufffd"'


@given(st.binary(max_size=12), st.integers(-6, 6))
def test_utf8_is_judged_as_a_whole_however_long_the_body(odd: bytes, offset: int) -> None:
    body = b'{"a":"' + b"x" * (65_536 - 6 + offset) + odd + "é".encode() * 70_000 + b'"}'
    fault = ""
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        fault = f"The request body is not valid UTF-8 (byte {exc.start})."
    said = ""
    try:
        json_body.read(body, _refuse)
    except ClientError as exc:
        said = exc.failure.message
    assert said == fault or (not fault and "UTF-8" not in said)


@pytest.mark.parametrize("body", [b'{"a":1}', b'{ "a" : [1,\n 2] }\r\n', '{"ä":"ö \\u00fc"}'.encode()])
def test_a_body_that_says_no_more_than_its_members_is_passed_on_as_it_came(body: bytes) -> None:
    fields, read = json_body.read(body, _refuse)
    assert json_body.render(fields, read) is body


@pytest.mark.parametrize("body", [b'{"a":1,"a":2}', b'{"\\u0061":2}'])
def test_a_body_that_another_reader_could_take_otherwise_is_written_anew(body: bytes) -> None:
    assert json_body.render(*json_body.read(body, _refuse)) == b'{"a":2}'


LONG = "x" * 70_000
NAMES = ["a", "b", "ä", "\n"]
BLANK = st.sampled_from(["", "", " ", "\r\n", "\t "])
VALUES = st.sampled_from(["1", "12", "1.5", "null", '"b"', '{"b":1}', '{"b":1,"a":2}', "[1, 2]", '"1,\\"b\\":2"', '""'])


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES, BLANK), max_size=6), st.integers(0, 6), BLANK)
def test_a_long_body_is_judged_as_a_short_one(members: list[tuple[str, str, str]], at: int, blank: str) -> None:
    def body(long: str) -> bytes:
        every = [*members[:at], ("long", long, blank), *members[at:]]
        told = ",".join(f"{gap}{json.dumps(name)}{gap}:{gap}{value}{gap}" for name, value, gap in every)
        return f"{blank}{{{told}}}{blank}".encode()

    short, long = body('"-"'), body(f'"{LONG}"')
    rendered = json_body.render(*json_body.read(long, _refuse))
    assert rendered == json_body.render(*json_body.read(short, _refuse)).replace(b'"-"', b'"%b"' % LONG.encode())
    names = [name for name, *_ in members]
    assert (rendered is long) == (len(names) == len(set(names)) and "ä" not in names)


def test_what_only_looks_like_the_members_of_a_long_body_is_not_passed_on() -> None:
    # By their lengths alone the members are this: "a" seven bytes from its first value on, then "xxx", then the rest.
    body = b'{"a":1,"b":"      ,xxx:%b","a":"12345"}' % LONG.encode()
    assert json_body.render(*json_body.read(body, _refuse)) != body


@pytest.mark.parametrize("body", [b'{"a":' + b"1" * 70_000 + b',"a":1}', b"{" + b" " * 70_000 + b"}"])
def test_of_a_long_body_no_member_is_passed_on_twice_and_blanks_are(body: bytes) -> None:
    assert (json_body.render(*json_body.read(body, _refuse)) is body) == (b"a" not in body)


def test_renaming_the_model_changes_no_other_byte_and_not_the_members() -> None:
    fields, _ = json_body.read(b'{"a":[1, 2],"model":"x"}', _refuse)
    assert json_body.render_renamed(fields, 'y"') == b'{"a":[1, 2],"model":"y\\""}'
    assert bytes(fields["model"]) == b'"x"'


def test_an_absent_member_is_read_like_a_null() -> None:
    fields, _ = json_body.read(b'{"a":null,"b":[1]}', _refuse)
    assert [json_body.field(fields, name, _refuse) for name in "abc"] == [None, [1], None]
