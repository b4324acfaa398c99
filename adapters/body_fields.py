"""The members of a request's body that are decoded, checked, and refused by name.

For dialects whose body names its model in `model` and asks for a stream with `stream`, and whose clients expect a
refusal in whole sentences with the parameter quoted. A dialect with other words takes `refusal` and `unreadable` only,
or nothing.
"""

from adapters import json_body
from adapters.errors import ClientError, Failure, Kind
from adapters.json_body import Members

_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
}


def refusal(message: str, param: str | None, code: str) -> ClientError:
    """Return the 400 of a request that cannot be served as it stands."""
    return ClientError(Failure(400, Kind.INVALID_REQUEST, message, code=code, param=param))


def unreadable(message: str) -> ClientError:
    """Return the refusal of a body that is no JSON object."""
    return refusal(message, None, "invalid_json")


def too_deep(name: str) -> ClientError:
    """Return the refusal of a member that is nested deeper than can be read."""
    return refusal(f"'{name}' is nested too deeply.", name, "invalid_type")


def wrong_type(name: str, wanted: str, value: object) -> ClientError:
    """Return the refusal of a member whose value is not `wanted`, as "a string"."""
    given = _JSON_TYPES.get(type(value), "null")
    message = f"Invalid type for '{name}': expected {wanted}, but got {given} instead."
    return refusal(message, name, "invalid_type")


def field(fields: Members, name: str) -> object:
    """Decode one member; an absent one is None, like a null. Raises `ClientError` when it is nested too deeply."""
    return json_body.field(fields, name, too_deep)


def read_model(fields: Members) -> str:
    """Return the model's name as the client wrote it. Raises `ClientError` when there is none."""
    model = field(fields, "model")
    if model is None:
        raise refusal("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    if not model.strip():
        raise refusal(
            "Invalid 'model': empty string. Name a model, as GET /models lists them.", "model", "empty_string"
        )
    return model


def read_stream(fields: Members) -> bool:
    """Return whether the answer is to be a stream. Raises `ClientError` when that is no boolean."""
    stream = field(fields, "stream")
    if stream is not None and not isinstance(stream, bool):
        raise wrong_type("stream", "a boolean", stream)
    return bool(stream)
