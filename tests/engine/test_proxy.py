"""Which proxy the environment means, as rows; the tunnel itself is tested in test_connect."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connect import ConnectError, Proxy, proxy_for, proxy_from_url
from engine.net import Origin
from engine.proxy import bypassed, is_loopback

HTTPS = Origin("https", "api.example.com", 443)
HTTP = Origin("http", "api.example.com", 80)
SECRET = "p@ss/word:ü"

ENVIRONMENTS: list[tuple[Origin, dict[str, str], str | None]] = [
    (HTTPS, {}, None),
    (HTTPS, {"HTTPS_PROXY": "http://proxy:3128"}, "proxy:3128"),
    (HTTPS, {"https_proxy": "http://proxy:3128"}, "proxy:3128"),
    (HTTPS, {"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:2"}, "lower:1"),
    (HTTPS, {"https_proxy": "", "HTTPS_PROXY": "http://upper:2"}, "upper:2"),
    (HTTPS, {"https_proxy": " ", "ALL_PROXY": "http://all:3"}, "all:3"),
    (HTTPS, {"HTTP_PROXY": "http://proxy:3128"}, None),
    (HTTPS, {"all_proxy": "http://all:3"}, "all:3"),
    (HTTPS, {"ALL_PROXY": "http://all:3", "HTTPS_PROXY": "http://https:4"}, "https:4"),
    (HTTPS, {"HTTPS_PROXY": "proxy:3128"}, "proxy:3128"),
    (HTTPS, {"HTTPS_PROXY": "http://proxy"}, "proxy:80"),
    (HTTPS, {"HTTPS_PROXY": "HTTP://Proxy/"}, "proxy:80"),
    (HTTPS, {"HTTPS_PROXY": "http://[::1]:3128"}, "[::1]:3128"),
    (HTTP, {"HTTP_PROXY": "http://proxy:3128"}, "proxy:3128"),
    (HTTP, {"http_proxy": "http://proxy:3128"}, "proxy:3128"),
    (HTTP, {"HTTPS_PROXY": "http://proxy:3128"}, None),
    # httpoxy: in a CGI environment HTTP_PROXY is the client's Proxy header.
    (HTTP, {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}, None),
    (HTTP, {"http_proxy": "http://proxy:1", "REQUEST_METHOD": "GET"}, "proxy:1"),
    # Never through a proxy.
    (Origin("unix", "/run/model.sock", 0), {"ALL_PROXY": "http://all:3"}, None),
    (Origin("http", "localhost", 8080), {"ALL_PROXY": "http://all:3"}, None),
    (Origin("http", "LOCALHOST.", 8080), {"ALL_PROXY": "http://all:3"}, None),
    (Origin("http", "127.8.9.1", 8080), {"ALL_PROXY": "http://all:3"}, None),
    (Origin("http", "::1", 8080), {"ALL_PROXY": "http://all:3"}, None),
    (Origin("http", "::ffff:127.0.0.1", 8080), {"ALL_PROXY": "http://all:3"}, None),
    (Origin("http", "10.0.0.1", 8080), {"ALL_PROXY": "http://all:3"}, "all:3"),
    # NO_PROXY is asked for a proxy that would be used.
    (HTTPS, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.com"}, None),
    (HTTPS, {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "other.com", "NO_PROXY": "example.com"}, "proxy:3128"),
    (HTTPS, {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "", "NO_PROXY": "example.com"}, None),
]


@pytest.mark.parametrize(("origin", "environ", "expected"), ENVIRONMENTS)
def test_the_environment_names_a_proxy(origin: Origin, environ: dict[str, str], expected: str | None) -> None:
    proxy = proxy_for(origin, environ)
    assert (None if proxy is None else str(proxy)) == expected


NO_PROXY: list[tuple[str, str, int, bool]] = [
    ("", "api.example.com", 443, False),
    ("*", "api.example.com", 443, True),
    ("*", "10.0.0.1", 443, True),
    ("example.com", "example.com", 443, True),
    ("example.com", "api.example.com", 443, True),
    ("example.com", "notexample.com", 443, False),
    ("example.com", "example.com.org", 443, False),
    (".example.com", "api.example.com", 443, True),
    (".example.com", "example.com", 443, True),
    (".example.com", "notexample.com", 443, False),
    ("*.example.com", "api.example.com", 443, True),
    ("*.example.com", "notexample.com", 443, False),
    ("EXAMPLE.com", "API.Example.COM.", 443, True),
    ("example.com.", "example.com", 443, True),
    ("api.example.com:443", "api.example.com", 443, True),
    ("api.example.com:80", "api.example.com", 443, False),
    (".example.com:443", "api.example.com", 443, True),
    ("other.com, example.com", "example.com", 443, True),
    ("other.com example.com", "example.com", 443, True),
    (" , ,example.com,", "example.com", 443, True),
    (",", "example.com", 443, False),
    (".", "example.com", 443, False),
    ("com", "example.com", 443, True),
    ("10.0.0.1", "10.0.0.1", 443, True),
    ("10.0.0.1", "10.0.0.10", 443, False),
    ("0.1", "10.0.0.1", 443, False),
    (".0.1", "10.0.0.1", 443, False),
    ("10.0.0.1:8080", "10.0.0.1", 8080, True),
    ("10.0.0.1:8080", "10.0.0.1", 443, False),
    ("10.0.0.0/8", "10.200.3.4", 443, True),
    ("10.0.0.1/8", "10.200.3.4", 443, True),
    ("10.0.0.0/8", "11.0.0.1", 443, False),
    ("10.0.0.0/99", "10.0.0.1", 443, False),
    ("10.0.0.0/8", "host-10.0.0.0", 443, False),
    ("2001:db8::/32", "2001:db8::5", 443, True),
    ("2001:db8::5", "2001:0db8:0::5", 443, True),
    ("[2001:db8::5]", "2001:db8::5", 443, True),
    ("[2001:db8::5]:443", "2001:db8::5", 443, True),
    ("[2001:db8::5]:80", "2001:db8::5", 443, False),
    ("[2001:db8::5]:443", "[2001:db8::5]", 443, True),
    ("10.0.0.1", "::ffff:10.0.0.1", 443, True),
    ("10.0.0.0/8", "2001:db8::5", 443, False),
    ("[", "2001:db8::5", 443, False),
]


@pytest.mark.parametrize(("no_proxy", "host", "port", "expected"), NO_PROXY)
def test_no_proxy(no_proxy: str, host: str, port: int, expected: bool) -> None:
    assert bypassed(host, port, no_proxy) is expected


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 65535))
def test_no_proxy_is_a_yes_or_no_for_anything(no_proxy: str, host: str, port: int) -> None:
    assert bypassed(host, port, no_proxy) in {True, False}
    assert is_loopback(host) in {True, False}


def test_user_and_password_are_decoded_and_hidden() -> None:
    proxy = proxy_from_url("http://user%40corp:p%40ss%2Fword%3A%C3%BC@proxy.corp:3128")
    assert proxy.authorization == b"Basic " + base64.b64encode(f"user@corp:{SECRET}".encode())
    assert repr(proxy) == "Proxy('proxy.corp', 3128, authorization=<hidden>)"
    assert str(proxy) == "proxy.corp:3128"
    assert repr(Proxy("proxy", 80)) == "Proxy('proxy', 80, authorization=None)"
    assert proxy_from_url("http://token@proxy").authorization == b"Basic " + base64.b64encode(b"token:")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://user:SECRET@proxy:443", "only http:// proxies"),
        ("socks5://user:SECRET@proxy:1080", "only http:// proxies"),
        ("http://user:SECRET@proxy:99999", "not the URL of a proxy"),
        ("http://user:SECRET@proxy:port", "not the URL of a proxy"),
        ("http://user:SEC#RET@proxy:3128", "not the URL of a proxy"),
        ("http://user:SECRET@", "not the URL of a proxy"),
        ("http://user:SECRET@[::1", "not the URL of a proxy"),
        ("http://user:SECRET@pro xy:1", "not the URL of a proxy"),
        ("http://", "not the URL of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable_alone(url: str, message: str) -> None:
    with pytest.raises(ConnectError, match=message) as caught:
        proxy_for(HTTPS, {"HTTPS_PROXY": url})
    error = caught.value
    assert error.phase == "proxy"
    assert str(error).startswith("HTTPS_PROXY")
    assert "SEC" not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
    assert "SEC" not in str(caught.getrepr(style="short", showlocals=False)).replace(url, "")


@given(st.text(max_size=60))
def test_any_url_is_a_proxy_or_a_connect_error(url: str) -> None:
    try:
        proxy = proxy_from_url(url)
    except ConnectError:
        return
    assert proxy.host.isascii()
    assert 0 < proxy.port < 65536
