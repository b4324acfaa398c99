"""Ollama. OLLAMA_HOST registers it, without a key, in every form that Ollama's own client reads (envconfig/config.go):
`host`, `host:port`, `:port`, `[::1]:port`, or a URL; the port is 11434 without a scheme, else the scheme's.
"""

from urllib.parse import urlsplit

from adapters.providers import Provider

PORT = 11434
_PATH = "/v1"
_LOOPBACK_BY_WILDCARD = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
"""The same variable tells a server where to listen; from outside, "everywhere" is reached at the loopback."""


def read_host(value: str) -> str:
    """Return the base URL that a value of OLLAMA_HOST means. Raises `ValueError` when it means none."""
    value = value.strip().strip("\"'").strip()
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
    elif scheme not in {"http", "https"}:
        raise ValueError("must be host:port, or a URL that begins with http:// or https://")
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    try:
        url = urlsplit(f"{scheme}://{rest}")
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError("must be host:port with a port below 65536, or a URL") from None
    if url.query or url.fragment or "@" in url.netloc or any(character.isspace() for character in rest):
        raise ValueError("must be host:port, or a URL without user, query and fragment")
    host = _LOOPBACK_BY_WILDCARD.get(host, host)
    host = f"[{host}]" if ":" in host else host
    if port is None and not separator:
        port = PORT
    path = url.path.rstrip("/").removesuffix(_PATH)
    return f"{scheme}://{host}" + (f":{port}" if port is not None else "") + path + _PATH


PROVIDER = Provider(
    name="ollama",
    title="Ollama",
    base_url=f"http://127.0.0.1:{PORT}{_PATH}",
    base_url_env="OLLAMA_HOST",
    key_env="OLLAMA_API_KEY",
    key_required=False,
    dialects=(("chat", "/chat/completions"), ("legacy", "/completions")),
    read_base_url=read_host,
)
