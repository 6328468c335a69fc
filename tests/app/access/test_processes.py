"""A closed server as its users and its enemies meet it: real processes, sockets and certificates."""

import os
import pickle
import signal
import socket
import ssl
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import trustme

from app.access.keys import FILE, FOLDER, create_key, revoke_key
from app.access.principal import Scope
from app.command import main
from app.process import _tls
from app.settings import Settings
from app.tls import TlsError, context, ends_at
from tests.app.test_process import home, ready_home, serving, version
from tests.app.waiting import WITHIN_S, wait_until

__all__ = ["home", "ready_home", "version"]

# A look a second, and what a machine with other work adds.
REVOKED_WITHIN_S = 2.5


def raw(server, head: bytes) -> bytes:
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port), timeout=WITHIN_S) as connection:
        answer = b""
        # Past its bound on heads the server answers, and hangs up on what is still to come.
        with suppress(ConnectionError):
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head + b"\r\n")
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
        return answer


def test_a_closed_server(ready_home, png):
    """One server for all of it: a start takes seconds."""
    (_, operator), (_, camera), (_, ended) = (
        create_key(ready_home, "operator", [Scope.INSPECT, Scope.READ]),
        create_key(ready_home, "camera", [Scope.INSPECT]),
        create_key(ready_home, "ended", [Scope.READ], expires_at=datetime.now(UTC) - timedelta(seconds=1)),
    )
    leaving, leaves = create_key(ready_home, "leaving", [Scope.INSPECT, Scope.READ])
    with serving(
        ready_home, "--host", "127.0.0.1", STEELSIGHT_TRUSTED_PROXIES="127.0.0.1", STEELSIGHT_LOG_LEVEL="debug"
    ) as server:
        wait_until(lambda: server.get("/readyz").status_code == 200)
        with httpx.Client(base_url=server.url, timeout=WITHIN_S) as http:

            def status(token, path="/v1/models"):
                return http.get(path, headers={"authorization": f"Bearer {token}"}).status_code

            nearly = operator[:-1] + ("0" if operator[-1] != "0" else "1")
            assert status(operator) == 200
            assert status(camera) == 403
            assert {status(nearly), status(ended), status("sk_" + "0" * 80)} == {401}
            in_query = http.get(f"/v1/models?api_key={operator}&key={nearly}")
            in_path = http.get(f"/v1/coils/{operator}", headers={"x-api-key": nearly})
            assert (in_query.status_code, in_path.status_code) == (401, 401)
            misplaced = http.post(f"/v1/inspect?key={operator}", content=png, headers={"x-api-key": camera})
            assert misplaced.status_code == 422
            http.get("/v1/models", headers={"x-api-key": operator, "x-forwarded-for": "198.51.100.9, 203.0.113.7"})

            for head, expected in HOSTILE.items():
                answer = raw(server, head.replace(b"KEY", operator.encode()))
                hung_up = expected == 400 and not answer
                assert hung_up or answer.startswith(b"HTTP/1.1 %d " % expected), (head[:60], answer[:200])

            _revoked_under_load(server, ready_home, leaving.id, leaves, camera, png)

            (ready_home / FOLDER / FILE).write_text("{")
            wait_until(lambda: any(line["event"] == "access_file_unusable" for line in server.lines()))
            assert status(operator) == 200
            assert status(leaves) == 401
        assert server.stop() == 0
        told = server.log.read_text() + server.process.stderr.read()
    lines = [line for line in server.lines() if line["event"] == "request"]
    assert any(line.get("client") == "203.0.113.7" for line in lines)
    assert any(line.get("principal", "").startswith("key:operator:") for line in lines)
    assert not any(line["status"] >= 500 for line in lines if line.get("code") != "model_loading")
    for token in (operator, camera, ended, leaves, nearly):
        assert token.rpartition("_")[2] not in told
    assert "Traceback" not in told


HOSTILE = {
    b"Authorization: Bearer KEY\r\n": 200,
    b"authorization:Bearer KEY\r\n": 200,
    b"": 401,
    b"Authorization: Bearer \xff\xfe\x80" + "ключ".encode() + b"\r\n": 401,
    b"X-API-Key: \xe2\x82\xac\r\n": 401,
    b"Authorization: Bearer KEY\r\nAuthorization: Bearer KEY\r\n": 401,
    b"Authorization: Bearer KEY\r\nX-API-Key: KEY\r\n": 401,
    b"Authorization: Bearer KEY, Bearer KEY\r\n": 401,
    b"Authorization : Bearer KEY\r\n": 400,
    b"X_API_Key: KEY\r\n": 401,
    b"X-API-Key: " + b"k" * 60_000 + b"\r\n": 401,
    b"X-API-Key: " + b"k" * 1_000_000 + b"\r\n": 400,
    b"X-API-Key: sk_\x00\r\n": 400,
}


def _revoked_under_load(server, home, key_id, leaves, stays, png):
    """Frames come in with two keys; one of them is revoked, and within about a second none of its frames is let in."""
    stop, statuses, begun = threading.Event(), {leaves: [], stays: []}, time.monotonic

    def send(token):
        with httpx.Client(base_url=server.url, timeout=WITHIN_S) as http:
            headers = {"x-api-key": token, "content-type": "image/png"}
            while not stop.is_set():
                sent = begun()
                statuses[token].append((sent, http.post("/v1/inspect", content=png, headers=headers).status_code))

    heard: list[float] = []

    def listen():
        with (
            httpx.Client(base_url=server.url, timeout=WITHIN_S) as http,
            http.stream("GET", "/v1/live", headers={"x-api-key": leaves}) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("event: inspection"):
                    heard.append(begun())

    listener = threading.Thread(target=listen)
    listener.start()
    senders = [threading.Thread(target=send, args=(token,)) for token in (leaves, stays)]
    for sender in senders:
        sender.start()
    wait_until(lambda: heard and all(len(seen) > 5 for seen in statuses.values()))
    revoke_key(home, key_id)
    revoked = begun()
    wait_until(lambda: statuses[leaves][-1][1] == 401 and statuses[leaves][-1][0] > revoked + REVOKED_WITHIN_S)
    stop.set()
    for sender in senders:
        sender.join(WITHIN_S)
    # Frames of the other key came in all the time; whoever listened with this one heard no more of them.
    listener.join(WITHIN_S)
    assert not listener.is_alive()
    assert max(heard) < revoked + REVOKED_WITHIN_S
    assert {code for _, code in statuses[stays]} == {200}
    assert {code for sent, code in statuses[leaves] if sent < revoked} == {200}
    assert {code for sent, code in statuses[leaves] if sent > revoked + REVOKED_WITHIN_S} == {401}
    assert max(sent for sent, code in statuses[leaves] if code == 200) < revoked + REVOKED_WITHIN_S


# Of a client that offers what no client should.
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_a_server_with_a_certificate(ready_home, authority, certificate, tmp_path, monkeypatch, capsys):
    (ready_home / FOLDER).mkdir()
    _, token = create_key(ready_home, "all", list(Scope))
    tls = {"STEELSIGHT_TLS_CERTIFICATE": str(certificate[0]), "STEELSIGHT_TLS_KEY": str(certificate[1])}
    believed = ssl.create_default_context()
    authority.configure_trust(believed)
    with serving(ready_home, scheme="https", verify=believed, **tls) as server:
        with httpx.Client(base_url=server.url, verify=believed, timeout=WITHIN_S) as http:
            wait_until(lambda: http.get("/readyz").status_code == 200)
            answer = http.get("/v1/models", headers={"x-api-key": token, "x-forwarded-for": "203.0.113.7"})
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http") + "/healthz", timeout=WITHIN_S)
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url + "/healthz", timeout=WITHIN_S)  # Nobody this client believes vouches for it.
        address = httpx.URL(server.url)
        assert _handshake(address, authority, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        assert _handshake(address, authority, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        with pytest.raises(OSError, match=r"(?i)ssl|reset|closed|eof"):
            _handshake(address, authority, ssl.TLSVersion.TLSv1_1)
        ca = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(ca)
        monkeypatch.setenv("STEELSIGHT_CA", str(ca))
        play = ["simulate", "--url", server.url, "--length-m", "1", "--cameras", "1", "--faster"]
        assert main(play) == 1
        assert "this server asks for a key" in capsys.readouterr().err
        monkeypatch.setenv("STEELSIGHT_KEY", token)
        assert main(play) == 0, capsys.readouterr().err
        assert server.stop() == 0
    clients = {line["client"] for line in server.lines() if line["event"] == "request"}
    assert clients == {"127.0.0.1"}


def test_every_worker_has_the_certificate(ready_home, authority, certificate):
    tls = {"STEELSIGHT_TLS_CERTIFICATE": str(certificate[0]), "STEELSIGHT_TLS_KEY": str(certificate[1])}
    believed = ssl.create_default_context()
    authority.configure_trust(believed)
    with serving(ready_home, "--workers", "2", scheme="https", verify=believed, **tls) as server:
        wait_until(lambda: sum("Started server" in line["event"] for line in server.lines()) == 2)
        # Each is a new connection, which the system gives to either.
        for _ in range(20):
            assert httpx.get(server.url + "/readyz", verify=believed, timeout=WITHIN_S).status_code == 200
            with pytest.raises(httpx.TransportError):
                httpx.get(server.url.replace("https", "http") + "/healthz", timeout=WITHIN_S)
        assert server.stop() == 0


def _handshake(address: httpx.URL, authority: trustme.CA, most: ssl.TLSVersion) -> str | None:
    offered = ssl.create_default_context()
    authority.configure_trust(offered)
    offered.minimum_version, offered.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, most
    offered.set_ciphers("DEFAULT:@SECLEVEL=0")
    with (
        socket.create_connection((address.host, address.port), timeout=WITHIN_S) as plain,
        offered.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        return encrypted.version()


@pytest.fixture
def serve(monkeypatch, capsys):
    """`serve(STEELSIGHT_HOST=...)`: the exit code and stderr of a server that does not start."""
    before = signal.getsignal(signal.SIGTERM)
    for name in list(os.environ):
        if name.startswith("STEELSIGHT_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)

    def run(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        exit_code = main(["serve"])
        return exit_code, capsys.readouterr().err

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("variables", "exit_code", "says"),
    [
        ({"STEELSIGHT_HOST": "0.0.0.0"}, 1, "there is no key, and to listen on 0.0.0.0 one is needed"),
        ({"STEELSIGHT_HOST": "::"}, 1, "there is no key"),
        ({"STEELSIGHT_HOST": "line.plant"}, 1, "there is no key"),
        ({"STEELSIGHT_ACCESS": "keys"}, 1, "with STEELSIGHT_ACCESS=keys one is needed"),
        ({"STEELSIGHT_ACCESS": "closed"}, 2, "STEELSIGHT_ACCESS: received 'closed'"),
        ({"STEELSIGHT_TLS_KEY": "/none"}, 1, "STEELSIGHT_TLS_CERTIFICATE is not; both files are needed"),
        (
            {"STEELSIGHT_TLS_KEY": "/none", "STEELSIGHT_TLS_CERTIFICATE": "/none"},
            1,
            "/none cannot be read: No such file",
        ),
        ({"STEELSIGHT_TRUSTED_PROXIES": "*"}, 2, "'*' is no address or network of proxies"),
        ({"STEELSIGHT_TRUSTED_PROXIES": "10.0.0.1,0.0.0.0/0"}, 2, "'0.0.0.0/0' is no address or network of proxies"),
        ({"STEELSIGHT_TRUSTED_PROXIES": "proxy.plant"}, 2, "'proxy.plant' is no address"),
        ({"STEELSIGHT_RATE_PER_MINUTE": "-1"}, 2, "STEELSIGHT_RATE_PER_MINUTE: received '-1'"),
        ({"DATABASE_URL": "postgresql://u:s3cret-word@127.0.0.1:1/none"}, 1, "the postgresql database cannot be used"),
        ({"DATABASE_URL": "postgresql:/u:s3cret-word@x"}, 1, "DATABASE_URL"),
        ({"STEELSIGHT_DATABASE_URL": "mysql://u:s3cret-word@h/x"}, 1, "DATABASE_URL names 'mysql'"),
    ],
)
def test_what_keeps_a_server_from_starting_is_one_line(tmp_path, serve, variables, exit_code, says):
    code, stderr = serve(STEELSIGHT_HOME=tmp_path, **variables)
    assert code == exit_code
    assert says in stderr
    assert stderr.count("\n") == 1
    assert "s3cret-word" not in stderr


def test_keys_that_nobody_can_read_keep_a_server_from_starting(serve):
    with TemporaryDirectory() as root:
        home = Path(root)
        create_key(home, "a", [Scope.READ])
        (home / FOLDER / FILE).write_text('{"keys": [{"id": 1}]}')
        code, stderr = serve(STEELSIGHT_HOME=home)
        assert (code, stderr.count("\n")) == (1, 1)
        assert "keys.json is damaged; put the file of a backup in its place" in stderr
        if os.geteuid() != 0:
            pytest.skip("needs root")
        home.chmod(0o777)
        (home / "serve.lock").unlink()
        os.seteuid(65534)
        try:
            code, stderr = serve(STEELSIGHT_HOME=home)
        finally:
            os.seteuid(0)
        assert (code, stderr.count("\n")) == (1, 1)
        assert "cannot be read (Permission denied); it and its folder must belong to the user that serves" in stderr


def test_files_of_a_certificate_that_do_not_fit(tmp_path, authority, certificate):
    own, key = certificate
    other = tmp_path / "other.pem"
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    with pytest.raises(TlsError, match="is not the key of"):
        context(own, other)
    with pytest.raises(TlsError, match="no certificate and key in PEM"):
        context(key, own)
    nothing = tmp_path / "nothing.pem"
    nothing.write_bytes(b"")
    with pytest.raises(TlsError, match="no certificate and key in PEM"):
        context(nothing, key)
    with pytest.raises(TlsError, match="cannot be read: Is a directory"):
        context(tmp_path, key)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(_locked(key.read_bytes()))
    with pytest.raises(TlsError, match="is locked by a password"):
        context(own, locked)
    assert ends_at(own) > datetime.now(UTC)
    # Each worker is a new process, and makes its own of the settings that it is given.
    made = pickle.loads(pickle.dumps(_tls(Settings(tls_certificate=own, tls_key=key))))
    assert isinstance(made(None, None), ssl.SSLContext)
    assert context(own, key).minimum_version is ssl.TLSVersion.TLSv1_2


def _locked(key: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a word"),
    )
