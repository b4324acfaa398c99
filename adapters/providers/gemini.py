"""Gemini, Google's own API for it. Address and variables as Google's SDKs read them (google-genai, `_api_client.py`).

Its errors are `google.rpc.Status`: the canonical word, the quota, the reason and the delay to wait are kept. A wrong
key is a 400 that only its reason tells from a bad request.
"""

from collections.abc import Iterable

from adapters import rpc_status
from adapters.errors import Failure
from adapters.providers import Headers, Provider, UsageInStream, base_url_with_path

_VERSION = "/v1beta"


def sign(key: str | None) -> Headers:
    """Sign with `x-goog-api-key`; no key, no header. Raises `ValueError` for a key that no header can carry."""
    if not key:
        return ()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key may hold printable ASCII characters only")
    return ((b"x-goog-api-key", key.encode("ascii")),)


class _Gemini(Provider):
    """A provider whose errors say more than their message."""

    __slots__ = ()

    def failure(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Failure:
        """Return what an answer that is not 2xx means for the client."""
        details = rpc_status.read_document(body)
        failure = super().failure(401 if status == 400 and details.refuses_credentials else status, headers, body)
        if failure.status != status or details == rpc_status.NONE:
            return failure
        named = {name for name, _ in failure.headers}
        delay = () if b"retry-after" in named else details.headers()
        useless = ((b"x-should-retry", b"false"),) if details.is_daily and b"x-should-retry" not in named else ()
        return Failure(
            failure.status,
            details.kind(failure.kind),
            failure.message,
            type=details.told or failure.type,
            code=details.word or failure.code,
            param=failure.param,
            headers=(*failure.headers, *delay, *useless),
        )


PROVIDER = _Gemini(
    name="gemini",
    title="Gemini",
    base_url=f"https://generativelanguage.googleapis.com{_VERSION}",
    base_url_env="GOOGLE_GEMINI_BASE_URL",
    key_env="GEMINI_API_KEY",
    key_env_others=("GOOGLE_API_KEY",),
    dialects=(("gemini", "/models"),),
    models_path="/models?pageSize=1000",
    usage_in_stream=UsageInStream.ALWAYS,
    sign=sign,
    read_base_url=base_url_with_path(_VERSION),
)
