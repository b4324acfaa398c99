"""Request bodies as members: what is refused, in whose words, and when a body is passed on as it came."""

import pytest

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


@pytest.mark.parametrize("body", [b'{"a":1}', b'{ "a" : [1,\n 2] }\r\n', '{"ä":"ö \\u00fc"}'.encode()])
def test_a_body_that_says_no_more_than_its_members_is_passed_on_as_it_came(body: bytes) -> None:
    fields, read = json_body.read(body, _refuse)
    assert json_body.render(fields, read) is body


@pytest.mark.parametrize("body", [b'{"a":1,"a":2}', b'{"\\u0061":2}'])
def test_a_body_that_another_reader_could_take_otherwise_is_written_anew(body: bytes) -> None:
    assert json_body.render(*json_body.read(body, _refuse)) == b'{"a":2}'


def test_renaming_the_model_changes_no_other_byte_and_not_the_members() -> None:
    fields, _ = json_body.read(b'{"a":[1, 2],"model":"x"}', _refuse)
    assert json_body.render_renamed(fields, 'y"') == b'{"a":[1, 2],"model":"y\\""}'
    assert bytes(fields["model"]) == b'"x"'


def test_an_absent_member_is_read_like_a_null() -> None:
    fields, _ = json_body.read(b'{"a":null,"b":[1]}', _refuse)
    assert [json_body.field(fields, name, _refuse) for name in "abc"] == [None, [1], None]
