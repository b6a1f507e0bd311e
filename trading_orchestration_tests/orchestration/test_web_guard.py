"""The probes of those who would use the UI from elsewhere, against the web server as it is served."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from trading_orchestration.cli.processes import accepts_connections, free_port
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER

pytestmark = ON_DAGSTER

START_S = 60
QUERY = {"query": "{ version }"}
MUTATION = 'mutation { deletePipelineRun(runId: "none") { __typename } }'
FOREIGN = "http://evil.example"


@pytest.fixture(scope="session")
def port(instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the guarded web server listens; its workspace is empty, its instance real."""
    assert instance.is_persistent
    workspace = tmp_path_factory.mktemp("web") / "workspace.yaml"
    workspace.write_text("load_from: []\n")
    port = free_port()
    command = [
        *(sys.executable, "-m", "trading_orchestration.orchestration.webserver", "--host", "127.0.0.1"),
        *("--port", str(port), "--workspace", str(workspace), "--allow-host", "desk.example:8443"),
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=dict(os.environ), stdout=quiet, stderr=quiet) as server:
        deadline = time.monotonic() + START_S
        while not accepts_connections(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
        server.terminate()


@pytest.fixture
def web(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        yield client


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 403, answer.text[:200]
    return answer.text


def of_browser(site: str, mode: str = "cors", dest: str = "empty") -> dict[str, str]:
    return {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}


def test_the_uis_own_query_is_answered(web: httpx.Client, port: int) -> None:
    own = {"origin": f"http://127.0.0.1:{port}", **of_browser("same-origin")}
    answer = web.post("/graphql", json=QUERY, headers=own)
    assert answer.status_code == 200
    assert answer.json()["data"]["version"] == dg.__version__


def test_the_uis_own_mutation_is_carried_out(web: httpx.Client, port: int) -> None:
    own = {"origin": f"http://localhost:{port}", "host": f"localhost:{port}"}
    answer = web.post("/graphql", json={"query": MUTATION}, headers=own)
    assert answer.json()["data"]["deletePipelineRun"]["__typename"] == "RunNotFoundError"


@pytest.mark.parametrize("path", ["/", "/overview/activity", "/server_info"])
def test_a_person_opens_pages_by_typing_and_by_links_of_others(web: httpx.Client, path: str) -> None:
    for headers in (
        {},
        of_browser("none", "navigate", "document"),
        of_browser("cross-site", "navigate", "document"),
    ):
        answer = web.get(path, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["x-frame-options"] == "DENY"


def test_a_host_that_is_named_as_allowed_is_answered(web: httpx.Client) -> None:
    named = {"host": "desk.example:8443", "origin": "https://desk.example:8443"}
    assert web.post("/graphql", json=QUERY, headers=named).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3000", "127.0.0.1", "127.0.0.1.evil.example", ""]
)
def test_a_foreign_host_is_refused(web: httpx.Client, host: str) -> None:
    """As after DNS rebinding."""
    for answer in (
        web.get("/", headers={"host": host}),
        web.post("/graphql", json=QUERY, headers={"host": host}),
    ):
        assert refusal(answer) == (
            f"The host '{host}' is not one this server answers to; TRADING_UI_HOSTS names more."
        )


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1", "http://localhost:1"])
def test_a_foreign_origin_is_refused(web: httpx.Client, origin: str) -> None:
    answer = web.post("/graphql", json={"query": MUTATION}, headers={"origin": origin})
    assert refusal(answer) == f"Requests from {origin} are refused."


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_mutation_in_a_link_is_refused(web: httpx.Client, method: str) -> None:
    for path in ("/graphql", "/graphql/", "/graph%71l"):
        answer = web.request(method, path, params={"query": MUTATION})
        assert answer.status_code == 403
        assert method == "HEAD" or answer.text == "GraphQL is answered to POST only."


def test_an_image_on_another_site_is_refused(web: httpx.Client) -> None:
    answer = web.get("/server_info", headers=of_browser("cross-site", "no-cors", "image"))
    assert refusal(answer) == "Cross-site requests are refused."


def test_a_frame_on_another_site_is_refused(web: httpx.Client) -> None:
    answer = web.get("/", headers=of_browser("cross-site", "navigate", "iframe"))
    assert refusal(answer) == "Cross-site requests are refused."


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "",
    ],
)
def test_a_post_that_a_form_of_another_site_can_send_is_refused(web: httpx.Client, content_type: str) -> None:
    body = json.dumps({"query": MUTATION})
    for params in ({}, {"query": MUTATION}):
        answer = web.post("/graphql", content=body, params=params, headers={"content-type": content_type})
        assert "is refused; send application/json" in refusal(answer)


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH"])
def test_no_other_method_is_let_through(web: httpx.Client, method: str) -> None:
    """OPTIONS is a browser's question whether another site may send JSON."""
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    assert refusal(web.request(method, "/graphql", headers=preflight)) == f"{method} is refused."


def test_a_header_that_decides_is_not_given_twice(web: httpx.Client, port: int) -> None:
    twice = [
        ("origin", f"http://127.0.0.1:{port}"),
        ("origin", FOREIGN),
        ("content-type", "application/json"),
    ]
    answer = web.post("/graphql", content=json.dumps(QUERY), headers=twice)
    assert refusal(answer) == "A request names its host and its origin once."


def open_socket(port: int, **given: Any) -> str:
    """What the UI's websocket answers to a greeting."""
    protocol = Subprotocol("graphql-ws")
    with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=[protocol], proxy=None, **given) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        return str(json.loads(socket.recv(timeout=10))["type"])


def test_the_uis_own_websocket_is_answered(port: int) -> None:
    assert open_socket(port, origin=Origin(f"http://127.0.0.1:{port}")) == "connection_ack"


@pytest.mark.parametrize(
    "given",
    [{"origin": Origin(FOREIGN)}, {"origin": Origin("null")}, {"additional_headers": {"Host": "evil"}}],
)
def test_a_foreign_websocket_is_refused(port: int, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidStatus) as caught:
        open_socket(port, **given)
    assert caught.value.response.status_code == 403
