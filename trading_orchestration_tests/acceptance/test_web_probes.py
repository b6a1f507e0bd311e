"""What a hostile page can make a browser send, sent to the guarded server of a system that is up."""

import base64
import http.client
import json
import os
import socket
from urllib.parse import quote

import pytest

from trading_orchestration_tests.acceptance.conftest import Demo

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.usefixtures("system")]

MUTATION = 'mutation { setConcurrencyLimit(concurrencyKey: "probe", limit: 7) }'
JSON = {"Content-Type": "application/json"}
EVIL = {"Origin": "https://evil.example"}
NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
SCRIPT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}


@pytest.fixture(scope="module")
def port(demo: Demo) -> int:
    return int(demo.environment["TRADING_UI_PORT"])


def ask(
    port: int, method: str, path: str, headers: dict[str, str], query: str | None = None
) -> tuple[int, str]:
    body = json.dumps({"query": query}).encode() if query else None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {"Host": f"127.0.0.1:{port}", **headers})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, text


def concurrency_limits(port: int) -> str:
    query = "{ instance { concurrencyLimits { concurrencyKey } } }"
    status, text = ask(port, "POST", "/graphql", JSON, query)
    assert status == 200
    return text


@pytest.mark.parametrize(
    ("method", "path", "headers", "query"),
    [
        ("POST", "/graphql", {**JSON, **EVIL}, MUTATION),
        ("POST", "/graphql", {**JSON, "Origin": "null"}, MUTATION),
        ("POST", "/graphql", {**JSON, "Origin": "http://127.0.0.1:1"}, MUTATION),
        ("POST", "/graphql", {**JSON, "Host": "evil.example"}, MUTATION),
        ("GET", "/", {"Host": "evil.example"}, None),
        ("POST", "/graphql", {"Content-Type": "text/plain"}, MUTATION),
        ("POST", "/graphql", {"Content-Type": "application/x-www-form-urlencoded"}, MUTATION),
        ("POST", "/graphql", {"Content-Type": "multipart/form-data; boundary=a"}, MUTATION),
        ("GET", f"/graphql?query={quote(MUTATION)}", {}, None),
        ("GET", f"/graphql/?query={quote(MUTATION)}", NAVIGATION, None),
        ("GET", f"/graphql?query={quote(MUTATION)}", SCRIPT, None),
        ("OPTIONS", "/graphql", {**EVIL, "Access-Control-Request-Method": "POST"}, None),
        ("PUT", "/graphql", JSON, MUTATION),
    ],
    ids=[
        *("cross-site", "null origin", "other port", "rebinding", "rebinding a page", "text/plain", "form"),
        *("upload", "link", "link with a slash", "script", "preflight", "put"),
    ],
)
def test_what_another_site_can_send_is_refused_and_changes_nothing(
    port: int, method: str, path: str, headers: dict[str, str], query: str | None
) -> None:
    status, text = ask(port, method, path, headers, query)
    assert status == 403
    assert text.strip().endswith(".")
    assert "probe" not in concurrency_limits(port)


def test_what_the_ui_sends_is_answered(port: int) -> None:
    own = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
    assert ask(port, "GET", "/", NAVIGATION)[0] == 200
    assert "version" in ask(port, "POST", "/graphql", {**JSON, **own}, "{ version }")[1]
    assert upgraded(port, own) == "101"


def test_a_websocket_of_another_site_is_refused(port: int) -> None:
    assert upgraded(port, EVIL) == "403"
    assert upgraded(port, {"Host": "evil.example", "Origin": "http://evil.example"}) == "403"


def upgraded(port: int, headers: dict[str, str]) -> str:
    """The status of the answer to a request for a websocket."""
    sent = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "graphql-ws",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(f"GET /graphql HTTP/1.1\r\n{lines}\r\n".encode())
        return connection.recv(4096).split(b" ")[1].decode()
