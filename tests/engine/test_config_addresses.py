"""Addresses: what is read, what is refused, and that a refusal never quotes what was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.addresses import (
    BaseUrl,
    Listen,
    TcpListen,
    UnixListen,
    check_proxy_url,
    check_web_origin,
    parse_base_url,
    parse_listen,
)
from engine.config.findings import MalformedError

HOST = "has a host that is neither a name (in ASCII) nor an IP address"
HOST_OR_PORT = "has a malformed host or port"
NO_PORT = 'must be "host:port", "[ipv6]:port" or "unix:/path"'
SOCKET = "must name the socket by its absolute path: unix:/run/example.sock"


@pytest.mark.parametrize(
    ("text", "expected", "private"),
    [
        ("127.0.0.1:8080", TcpListen("127.0.0.1", 8080), True),
        ("127.9.9.9:1", TcpListen("127.9.9.9", 1), True),
        ("127.0.0.1:0", TcpListen("127.0.0.1", 0), True),
        ("[::1]:8080", TcpListen("::1", 8080), True),
        ("[0:0:0:0:0:0:0:1]:8080", TcpListen("::1", 8080), True),
        ("LocalHost:8080", TcpListen("localhost", 8080), True),
        ("0.0.0.0:8080", TcpListen("0.0.0.0", 8080), False),
        ("[::]:8080", TcpListen("::", 8080), False),
        ("10.0.0.7:65535", TcpListen("10.0.0.7", 65535), False),
        ("gateway.example:80", TcpListen("gateway.example", 80), False),
        ("localhost.example:80", TcpListen("localhost.example", 80), False),
        ("[::ffff:127.0.0.1]:80", TcpListen("::ffff:7f00:1", 80), False),
        ("unix:/run/hedgerow.sock", UnixListen("/run/hedgerow.sock"), True),
        ("unix:/run/mit leer.sock", UnixListen("/run/mit leer.sock"), True),
    ],
)
def test_listen_addresses(text: str, expected: Listen, private: bool) -> None:
    address = parse_listen(text)
    assert address == expected
    assert address.private is private
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", HOST),
        ("8080", HOST),
        ("127.0.0.1", NO_PORT),
        ("localhost", NO_PORT),
        (":8080", 'has no host; "0.0.0.0" or "[::]" stands for every address of this machine'),
        ("*:8080", HOST),
        ("127.0.0.1:", HOST_OR_PORT),
        ("127.0.0.1:http", HOST_OR_PORT),
        ("127.0.0.1:-1", HOST_OR_PORT),
        ("127.0.0.1:+1", HOST_OR_PORT),
        ("127.0.0.1: 80", HOST_OR_PORT),
        ("127.0.0.1:8080\n", HOST_OR_PORT),
        ("127.0.0.1:٨٠", HOST_OR_PORT),
        ("127.0.0.1:65536", "has a port over 65535"),
        ("127.0.0.1:999999", HOST_OR_PORT),
        ("fe80::1:8080", HOST_OR_PORT),
        ("[::1]8080", HOST_OR_PORT),
        ("[::1]x:8080", HOST_OR_PORT),
        ("[::1", HOST_OR_PORT),
        ("[127.0.0.1]:80", "has something in [] that is not an IPv6 address"),
        ("[]:80", "has something in [] that is not an IPv6 address"),
        ("127.1:80", HOST),
        ("256.0.0.1:80", HOST),
        ("0x7f.1:80", HOST),
        ("bücher.example:80", HOST),
        ("a b:80", HOST),
        ("http://127.0.0.1:8080", HOST_OR_PORT),
        ("unix:", SOCKET),
        ("unix:run/x.sock", SOCKET),
        ("unix:/run/", SOCKET),
        ("unix:/a\0b", SOCKET),
        ("unix:/" + "x" * 103, "has a socket path longer than 103 bytes"),
        ("unix:/" + "é" * 52, "has a socket path longer than 103 bytes"),
    ],
)
def test_what_is_no_listen_address(text: str, sentence: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_listen(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", True),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:80", False),
    ],
)
def test_overlapping_addresses(one: str, other: str, overlap: bool) -> None:
    assert parse_listen(one).overlaps(parse_listen(other)) is overlap
    assert parse_listen(other).overlaps(parse_listen(one)) is overlap


@pytest.mark.parametrize(
    ("text", "expected", "authority", "private"),
    [
        ("https://api.example/v1", BaseUrl("https", "api.example", 443, "/v1"), "api.example", False),
        ("https://api.example/v1/", BaseUrl("https", "api.example", 443, "/v1"), "api.example", False),
        ("https://api.example", BaseUrl("https", "api.example", 443, ""), "api.example", False),
        ("https://api.example:443/", BaseUrl("https", "api.example", 443, ""), "api.example", False),
        ("HTTPS://API.Example:8443", BaseUrl("https", "api.example", 8443, ""), "api.example:8443", False),
        ("http://127.0.0.1:11434/v1", BaseUrl("http", "127.0.0.1", 11434, "/v1"), "127.0.0.1:11434", True),
        ("http://localhost/v1", BaseUrl("http", "localhost", 80, "/v1"), "localhost", True),
        ("http://[::1]:80/v1", BaseUrl("http", "::1", 80, "/v1"), "[::1]", True),
        ("http://[2001:DB8::1]:81", BaseUrl("http", "2001:db8::1", 81, ""), "[2001:db8::1]:81", False),
        ("http://my_service:8000/a%20b", BaseUrl("http", "my_service", 8000, "/a%20b"), "my_service:8000", False),
        ("https://e.x/v1/acc@x/~m:1", BaseUrl("https", "e.x", 443, "/v1/acc@x/~m:1"), "e.x", False),
        ("unix:/run/llm.sock", BaseUrl("unix", "/run/llm.sock", 0, ""), "localhost", True),
        ("unix:/run/llm.sock:/v1/", BaseUrl("unix", "/run/llm.sock", 0, "/v1"), "localhost", True),
    ],
)
def test_base_urls(text: str, expected: BaseUrl, authority: str, private: bool) -> None:
    url = parse_base_url(text)
    assert url == expected
    assert url.authority == authority
    assert url.private is private
    assert parse_base_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a URL in plain ASCII without spaces"),
        ("https://a b/", "must be a URL in plain ASCII without spaces"),
        ("https://example.org/\n", "must be a URL in plain ASCII without spaces"),
        ("https://bücher.example", "must be a URL in plain ASCII without spaces"),
        ("api.example/v1", "must start with https://, http:// or unix:/"),
        ("sk-pasted-into-the-wrong-line", "must start with https://, http:// or unix:/"),
        ("ftp://api.example", "must start with https://, http:// or unix:/"),
        ("wss://api.example", "must start with https://, http:// or unix:/"),
        ("https:/api.example", "must start with https://, http:// or unix:/"),
        ("https://api.example/v1?key=sk-1", "must have no query and no fragment"),
        ("https://api.example/v1?", "must have no query and no fragment"),
        ("https://api.example/v1#x", "must have no query and no fragment"),
        ("https://user:pw@api.example", "must not hold a user name or password; use key or headers"),
        ("https://", HOST),
        ("https:///v1", HOST),
        ("https://:443", HOST),
        ("https://-api.example", HOST),
        ("https://api..example", HOST),
        ("https://1.2.3", HOST),
        ("https://api.example:0", "has port 0, where nothing can be reached"),
        ("https://api.example:65536", "has a port over 65535"),
        ("https://api.example:x", HOST_OR_PORT),
        ("https://[::1]x/v1", HOST_OR_PORT),
        ("https://api\\example", HOST),
        ("https://api.example/<v1>", "has a character in its path that must be percent-encoded"),
        ("https://api.example/%zz", "has a character in its path that must be percent-encoded"),
        ("unix:run/x.sock", SOCKET),
        ("unix:///", SOCKET),
        ("unix:/run/x.sock:v1", "has a malformed path after the socket; write unix:/socket:/path"),
        ("unix:/run/x.sock:/v1?x", "has a malformed path after the socket; write unix:/socket:/path"),
    ],
)
def test_what_is_no_base_url(text: str, sentence: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_base_url(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "text", ["http://proxy:3128", "http://proxy", "http://user:p%40ss@10.0.0.1:3128/", "http://[::1]:3128"]
)
def test_proxy_urls(text: str) -> None:
    check_proxy_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy:3128",
        "https://proxy:3128",
        "socks5://proxy",
        "http://proxy/x",
        "http://proxy?x",
        "http://",
        "http://a b",
    ],
)
def test_what_is_no_proxy_url(text: str) -> None:
    with pytest.raises(MalformedError):
        check_proxy_url(text)


@pytest.mark.parametrize("text", ["*", "https://app.example", "http://localhost:3000", "chrome-extension://abcdef"])
def test_web_origins(text: str) -> None:
    check_web_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "app.example",
        "https://",
        "https://app.example/",
        "https://App.example",
        "https://a b",
        "https://a?b",
        "**",
    ],
)
def test_what_is_no_web_origin(text: str) -> None:
    with pytest.raises(MalformedError):
        check_web_origin(text)


@given(text=st.text() | st.from_regex(r"(unix:|https?://|\[)?[a-z0-9.:\[\]/@%-]*"))
def test_any_text_is_an_address_or_malformed_and_is_not_quoted(text: str) -> None:
    for parse in (parse_listen, parse_base_url, check_proxy_url, check_web_origin):
        try:
            read = parse(text)
        except MalformedError as exc:
            assert len(text) < 12 or text not in str(exc)  # noqa: PT017
        else:
            if isinstance(read, BaseUrl):
                assert parse_base_url(str(read)) == read
            elif isinstance(read, TcpListen | UnixListen):
                assert parse_listen(str(read)) == read
