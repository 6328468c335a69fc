"""API keys on disk: what is kept, who may read it, and what a damaged file does."""

import hashlib
import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest

from app.access.keys import FILE, FOLDER, SECRET, Keys, create_key, read_keys, revoke_key
from app.access.principal import Scope
from app.access.watched import AccessError
from app.refusals import Refusal, ServiceCode


def file_of(home):
    return home / FOLDER / FILE


def refused(keys, token):
    with pytest.raises(Refusal) as raised:
        keys.principal(token)
    return raised.value


@pytest.fixture
def keys(tmp_path):
    """A server's view, as it looks now."""
    seen = Keys(tmp_path)
    seen.refresh()
    return seen


def test_a_key_is_who_it_was_made_for(tmp_path, keys):
    key, token = create_key(tmp_path, "line-1", [Scope.INSPECT, Scope.READ], cameras=["top-1"], rate_per_minute=60)
    keys.refresh()
    principal = keys.principal(token.encode())
    assert (principal.name, principal.kind, principal.id) == ("line-1", "key", key.id)
    assert principal.scopes == {Scope.INSPECT, Scope.READ}
    assert (principal.cameras, principal.rate_per_minute) == ({"top-1"}, 60)


def test_the_secret_is_kept_nowhere(tmp_path):
    _, token = create_key(tmp_path, "line-1", [Scope.READ])
    secret = token[SECRET]
    kept = file_of(tmp_path).read_text()
    assert secret not in kept
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    assert len(secret) * 4 == 256


def test_only_the_owner_reads_the_folder(tmp_path):
    before = os.umask(0)
    try:
        create_key(tmp_path, "a", [Scope.READ])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600
    create_key(tmp_path, "b", [Scope.READ])
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600


def test_what_root_makes_belongs_to_the_user_that_serves(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(tmp_path, 10001, 10001)
    create_key(tmp_path, "a", [Scope.READ])
    owners = {path.stat().st_uid for path in (tmp_path / FOLDER, *(tmp_path / FOLDER).iterdir())}
    assert owners == {10001}


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token[:3] + "f" * 16 + token[19:],
        lambda token: token.upper(),
        lambda token: token + "\n",
        lambda token: token[:-1],
        lambda token: "sk_",
        lambda token: "sk_" + "0" * 16 + "_" + "0" * 64,
        lambda token: "sk_" + "a" * 1_000_000,
        lambda token: token.replace("sk_", "sk_\xff"),
    ],
)
def test_nothing_but_the_whole_token_is_valid(tmp_path, keys, change):
    _, token = create_key(tmp_path, "a", [Scope.READ])
    keys.refresh()
    refusal = refused(keys, change(token).encode("latin-1"))
    assert refusal.code is ServiceCode.KEY_INVALID
    assert len(refusal.message) < 200
    assert token not in refusal.message


def test_a_revoked_key_says_so_to_whoever_has_it(tmp_path, keys):
    key, token = create_key(tmp_path, "a", [Scope.READ])
    revoked = revoke_key(tmp_path, key.id)
    assert revoke_key(tmp_path, key.id) == revoked
    keys.refresh()
    assert "revoked" in refused(keys, token.encode()).message
    assert "revoked" not in refused(keys, token[:-4].encode() + b"0000").message
    # Its end does not open the server again, and its name may be given anew.
    assert keys.exist
    create_key(tmp_path, "a", [Scope.READ])


def test_a_key_ends_when_its_time_has_come(tmp_path, keys):
    past, future = (datetime.now(UTC) + timedelta(seconds=by) for by in (-1, 60))
    _, ended = create_key(tmp_path, "ended", [Scope.READ], expires_at=past)
    _, valid = create_key(tmp_path, "valid", [Scope.READ], expires_at=future)
    keys.refresh()
    assert "expired" in refused(keys, ended.encode()).message
    assert keys.principal(valid.encode()).name == "valid"
    assert [key.state(datetime.now(UTC)) for key in read_keys(tmp_path)] == ["expired", "valid"]


@pytest.mark.parametrize(
    ("name", "scopes", "cameras"),
    [("", [Scope.READ], None), ("a\nb", [Scope.READ], None), ("a:b", [Scope.READ], None),
     ("a" * 65, [Scope.READ], None), ("a", [], None), ("a", [Scope.READ], ["top-1"]),
     ("a", [Scope.INSPECT], [""]), ("a", [Scope.INSPECT], ["top-1", "a\n"]), ("a", [Scope.INSPECT], ["c" * 129])],
)  # fmt: skip
def test_a_key_that_would_say_nothing_clear_is_not_made(tmp_path, name, scopes, cameras):
    with pytest.raises(AccessError):
        create_key(tmp_path, name, scopes, cameras=cameras)
    assert read_keys(tmp_path) == ()


def test_two_keys_of_one_name_are_not_made(tmp_path):
    create_key(tmp_path, "a", [Scope.READ])
    with pytest.raises(AccessError, match="already"):
        create_key(tmp_path, "a", [Scope.READ])


def test_keys_that_are_made_at_once_are_all_there(tmp_path):
    makers = [
        threading.Thread(target=create_key, args=(tmp_path, f"key-{number}", [Scope.READ])) for number in range(16)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(read_keys(tmp_path)) == 16


DAMAGE = {
    "empty": b"",
    "no JSON": b"{",
    "another thing": b'{"people": []}',
    "a list": b"[]",
    "not UTF-8": b"\xff\xfe",
    "a key without scopes": json.dumps(
        {"keys": [{"id": "0" * 16, "name": "a", "sha256": "0" * 64, "scopes": [],
                   "created_at": "2026-01-01T00:00:00Z"}]}
    ).encode(),
    "two of one id": json.dumps(
        {"keys": [{"id": "0" * 16, "name": "a", "sha256": "0" * 64, "scopes": ["read"],
                   "created_at": "2026-01-01T00:00:00Z"}] * 2}
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_lets_nobody_in_and_takes_nothing_from_who_was_in(tmp_path, keys, content):
    _, token = create_key(tmp_path, "a", [Scope.READ])
    keys.refresh()
    file_of(tmp_path).write_bytes(content)
    keys.refresh()
    assert keys.principal(token.encode()).name == "a"
    with pytest.raises(AccessError, match="damaged"):
        create_key(tmp_path, "b", [Scope.READ])
    begun_anew = Keys(tmp_path)
    begun_anew.refresh()
    assert begun_anew.exist
    assert refused(begun_anew, token.encode()).code is ServiceCode.KEYS_UNAVAILABLE
    with pytest.raises(AccessError, match=str(file_of(tmp_path))):
        begun_anew.require()


def test_a_file_that_vanishes_opens_nothing(tmp_path, keys):
    _, token = create_key(tmp_path, "a", [Scope.READ])
    keys.refresh()
    file_of(tmp_path).unlink()
    keys.refresh()
    assert keys.exist
    assert keys.principal(token.encode()).name == "a"
    # Another one in its place counts again.
    create_key(tmp_path, "b", [Scope.READ])
    keys.refresh()
    assert refused(keys, token.encode()).code is ServiceCode.KEY_INVALID


def test_a_folder_in_the_place_of_the_file_is_said_in_one_line(tmp_path):
    file_of(tmp_path).mkdir(parents=True)
    with pytest.raises(AccessError, match="cannot be read"):
        Keys(tmp_path).require()
