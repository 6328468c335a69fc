"""model.signing: whoever may publish is whoever holds the key, and nobody else."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model.artifact import MANIFEST, read_manifest, verify, write_manifest
from model.command import main
from model.errors import ErrorCode, SteelsightError
from model.inspector import Inspector
from model.registry import Registry
from model.signing import (
    PUBLIC_KEYS,
    SIGNATURE,
    SIGNING_KEY,
    configured_keys,
    configured_signing_key,
    key_id,
    keygen,
    public_keys,
    sign,
    signing_key,
)
from tests.left_out import left_out

VERSION = "tiny-64-first"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    keygen(tmp_path / "plant.pem")
    return tmp_path / "plant.pem"


@pytest.fixture
def trusted(key: Path) -> tuple[bytes, ...]:
    return public_keys(f"{key}.pub")


@pytest.fixture
def signed(own_models: Path, key: Path) -> Path:
    folder = own_models / VERSION
    sign(folder, (folder / MANIFEST).read_bytes(), signing_key(key))
    return folder


def refused(folder: Path, trusted: tuple[bytes, ...], match: str) -> None:
    for look in (verify, read_manifest):
        with pytest.raises(SteelsightError, match=match) as caught:
            look(folder, trusted)
        assert caught.value.code is ErrorCode.ARTIFACT_INVALID


def test_what_is_signed_is_let_in_everywhere(signed: Path, trusted: tuple[bytes, ...], own_models: Path) -> None:
    registry = Registry(own_models, trusted)
    assert registry.manifest(VERSION).version == VERSION
    assert registry.activate(VERSION).active == VERSION
    assert Inspector.load(registry, VERSION, "onnx").version == VERSION
    verify(signed)


def test_what_is_not_signed_is_let_in_nowhere(own_models: Path, trusted: tuple[bytes, ...]) -> None:
    registry = Registry(own_models, trusted)
    refused(own_models / VERSION, trusted, r"manifest\.sig is missing.*python -m model sign")
    for use in (
        lambda: registry.activate(VERSION),
        lambda: Inspector.load(registry, VERSION, "onnx"),
        lambda: registry.manifest(VERSION),
        registry.manifests,
    ):
        with pytest.raises(SteelsightError, match="not signed"):
            use()


class TestForged:
    def test_nothing_is_parsed_before_the_signature(self, signed: Path, trusted: tuple[bytes, ...]) -> None:
        (signed / MANIFEST).write_text("{")
        refused(signed, trusted, "one of them was changed after signing")

    def test_every_byte_of_the_manifest_counts(self, signed: Path, trusted: tuple[bytes, ...]) -> None:
        content = (signed / MANIFEST).read_bytes()
        for position in range(0, len(content), 97):
            broken = bytearray(content)
            broken[position] ^= 1
            (signed / MANIFEST).write_bytes(broken)
            refused(signed, trusted, "changed after signing")

    def test_every_bit_of_the_signature_counts(self, signed: Path, trusted: tuple[bytes, ...]) -> None:
        line = (signed / SIGNATURE).read_bytes()
        start = line.rindex(b" ") + 1
        for position in range(start, len(line) - 3):
            broken = bytearray(line)
            broken[position] = ord("A") if broken[position] != ord("A") else ord("B")
            (signed / SIGNATURE).write_bytes(broken)
            refused(signed, trusted, "changed after signing|is not a line")

    @pytest.mark.parametrize(
        "line",
        [b"", b"\n", b"ed25519", b"ed25519 a b c", b"rsa a b", b"\xff\xfe", b"ed25519 a " + b"A" * 900, b"A" * 1025],
        ids=lambda line: str(line[:12]),
    )
    def test_a_line_that_is_none(self, signed: Path, trusted: tuple[bytes, ...], line: bytes) -> None:
        (signed / SIGNATURE).write_bytes(line)
        refused(signed, trusted, "is not a line|more than 1024 bytes")

    def test_by_another_key(self, signed: Path, tmp_path: Path) -> None:
        other = keygen(tmp_path / "other.pem")
        refused(signed, (other,), f"the keys trusted here are {key_id(other)}")

    def test_of_another_version(self, signed: Path, trusted: tuple[bytes, ...], own_models: Path) -> None:
        """Its signature and manifest under another name, which a version's folder has."""
        shutil.copytree(signed, own_models / "renamed")
        refused(own_models / "renamed", trusted, f"that of version {VERSION}")

    def test_of_the_version_before(self, signed: Path, trusted: tuple[bytes, ...]) -> None:
        line = (signed / SIGNATURE).read_bytes()
        write_manifest(signed, read_manifest(signed).model_copy(update={"training": {"seed": 7}}))
        assert not (signed / SIGNATURE).exists(), "a new manifest has no signature yet"
        (signed / SIGNATURE).write_bytes(line)
        refused(signed, trusted, "changed after signing")

    def test_without_its_purpose(self, signed: Path, key: Path, trusted: tuple[bytes, ...]) -> None:
        """What the key signs elsewhere, of the same bytes, is no signature of a model."""
        import base64

        raw = base64.b64encode(signing_key(key).sign((signed / MANIFEST).read_bytes())).decode()
        (signed / SIGNATURE).write_text(f"ed25519 {key_id(trusted[0])} {raw}\n")
        refused(signed, trusted, "changed after signing")

    def test_a_link_or_pipe_for_a_signature(self, signed: Path, trusted: tuple[bytes, ...], tmp_path: Path) -> None:
        shutil.move(signed / SIGNATURE, tmp_path / "elsewhere")
        (signed / SIGNATURE).symlink_to(tmp_path / "elsewhere")
        refused(signed, trusted, "not a plain file")
        with pytest.raises(SteelsightError, match="not a plain file"):
            verify(signed)
        (signed / SIGNATURE).unlink()
        os.mkfifo(signed / SIGNATURE)
        refused(signed, trusted, "not a plain file")


class TestKeys:
    def test_are_for_their_owner_alone_and_never_replaced(self, key: Path) -> None:
        assert key.stat().st_mode & 0o777 == 0o600
        with pytest.raises(SteelsightError, match="never replaced"):
            keygen(key)
        key.unlink()
        with pytest.raises(SteelsightError, match=r"plant\.pem\.pub.*never replaced"):
            keygen(key)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
    def test_that_others_may_use_sign_nothing(self, key: Path, mode: int) -> None:
        key.chmod(mode)
        with pytest.raises(SteelsightError, match="chmod 600") as caught:
            signing_key(key)
        assert caught.value.code is ErrorCode.SIGNING_KEY_INVALID

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
    def test_of_another_user_sign_nothing(self, key: Path) -> None:
        os.chown(key, 12345, 12345)
        with pytest.raises(SteelsightError, match="another user"):
            signing_key(key)

    def test_as_openssl_makes_them(self, tmp_path: Path, own_models: Path) -> None:
        if shutil.which("openssl") is None:
            left_out("openssl is not installed: left out is that its keys are read")
        private, public = tmp_path / "a.pem", tmp_path / "a.pub"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
        private.chmod(0o600)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
        folder = own_models / VERSION
        sign(folder, (folder / MANIFEST).read_bytes(), signing_key(private))
        verify(folder, public_keys(str(public)))

    def test_of_another_kind_are_refused(self, tmp_path: Path, key: Path) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

        other = generate_private_key(SECP256R1())
        path = tmp_path / "ec.pem"
        path.write_bytes(
            other.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        path.chmod(0o600)
        with pytest.raises(SteelsightError, match="another kind"):
            signing_key(path)
        public = Path(shutil.copy(f"{key}.pub", tmp_path / "public.pem"))
        public.chmod(0o600)
        with pytest.raises(SteelsightError, match="not a private key"):
            signing_key(public)
        with pytest.raises(SteelsightError, match="not a public key"):
            public_keys(str(key))

    @pytest.mark.parametrize("content", [b"", b"x" * 5000, b"\xff" * 100, b"-----BEGIN PUBLIC KEY-----\nx\n"])
    def test_that_are_none(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "none.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        for read in (signing_key, lambda path: public_keys(str(path))):
            with pytest.raises(SteelsightError) as caught:
                read(path)
            assert caught.value.code is ErrorCode.SIGNING_KEY_INVALID

    def test_missing_ones_stop_whoever_asks_for_them(self, tmp_path: Path) -> None:
        for named in (str(tmp_path / "none"), str(tmp_path)):
            with pytest.raises(SteelsightError, match=r"cannot be read|not a plain file"):
                configured_keys({PUBLIC_KEYS: named})
        with pytest.raises(SteelsightError):
            configured_signing_key({SIGNING_KEY: str(tmp_path / "none")})

    @pytest.mark.parametrize("named", [",", " ", ", ,", "\t"])
    def test_a_list_that_names_none_is_refused_and_lets_nothing_in(
        self, named: str, own_models: Path, monkeypatch
    ) -> None:
        monkeypatch.setenv(PUBLIC_KEYS, named)
        with pytest.raises(SteelsightError, match="names none") as caught:
            Registry(own_models)
        assert caught.value.code is ErrorCode.SIGNING_KEY_INVALID

    def test_several_may_be_trusted(self, signed: Path, key: Path, tmp_path: Path) -> None:
        keygen(tmp_path / "next.pem")
        verify(signed, public_keys(f"{tmp_path / 'next.pem.pub'}, {key}.pub"))
        assert configured_keys({}) == configured_keys({PUBLIC_KEYS: ""}) == ()


# Ends as a power cut would have it, at the moment when the signature is written and not in place yet.
KILLED = """
import os, signal, sys
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
from model.command import main
main(sys.argv[1:])
"""


def test_signing_that_was_killed_leaves_the_version_as_it_was(signed: Path, key: Path, tmp_path: Path) -> None:
    models, before = signed.parent, (signed / SIGNATURE).read_bytes()
    keygen(tmp_path / "next.pem")
    listed = set(models.iterdir())
    command = [sys.executable, "-c", KILLED, "sign", VERSION, "--key", tmp_path / "next.pem", "--models", models]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(set(models.iterdir()) - listed) == 1, "it was killed before it wrote anything"
    assert (signed / SIGNATURE).read_bytes() == before
    verify(signed, public_keys(f"{key}.pub"))
    assert Registry(models).versions() == ["tiny-64-first", "tiny-64-second"]
    assert main(["sign", VERSION, "--key", str(tmp_path / "next.pem"), "--models", str(models)]) == 0
    assert set(models.iterdir()) == listed, "the next one clears up"
    verify(signed, public_keys(f"{tmp_path / 'next.pem.pub'}"))


class TestCommands:
    @pytest.fixture
    def run(self, capfd):
        def run_main(*arguments):
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as leaving:
                code = leaving.code
            captured = capfd.readouterr()
            return code, captured.out, captured.err

        return run_main

    def test_from_a_key_to_a_served_version(self, run, own_models: Path, tmp_path: Path) -> None:
        key = tmp_path / "plant.pem"
        code, out, err = run("keygen", key)
        assert (code, err) == (0, "")
        assert "BEGIN" not in out
        code, out, err = run(
            "verify", VERSION, "--models", own_models, "--public-keys", f"{key}.pub", "--engine", "onnx"
        )
        assert (code, out) == (1, "")
        assert "not signed" in err
        code, out, err = run("sign", VERSION, "--key", key, "--models", own_models)
        assert (code, err) == (0, "")
        code, out, err = run(
            "verify", VERSION, "--models", own_models, "--public-keys", f"{key}.pub", "--engine", "onnx"
        )
        assert (code, err) == (0, "")
        assert "signature: of a trusted key" in out
        assert "scores as recorded" in out

    def test_the_environment_binds_every_command(self, run, own_models: Path, key: Path, monkeypatch) -> None:
        monkeypatch.setenv(PUBLIC_KEYS, f"{key}.pub")
        assert run("activate", VERSION, "--models", own_models)[0] == 1
        monkeypatch.setenv(SIGNING_KEY, str(key))
        assert run("sign", VERSION, "--models", own_models)[0] == 0
        assert run("activate", VERSION, "--models", own_models)[0] == 0
        monkeypatch.setenv(PUBLIC_KEYS, "nowhere.pub")
        code, out, err = run("list", "--models", own_models)
        assert (code, out, len(err.splitlines())) == (1, "", 1)

    def test_a_damaged_version_is_not_vouched_for(self, run, own_models: Path, key: Path) -> None:
        (own_models / VERSION / "model.onnx").write_bytes(b"x")
        code, _, err = run("sign", VERSION, "--key", key, "--models", own_models)
        assert code == 1
        assert "model.onnx is not the file that was published" in err
        assert not (own_models / VERSION / SIGNATURE).exists()

    @pytest.mark.parametrize("arguments", [["sign", VERSION], ["keygen"], ["sign"], ["verify"]], ids=" ".join)
    def test_wrong_usage_is_2(self, run, arguments: list[str]) -> None:
        assert run(*arguments)[0] == 2

    def test_faults_are_one_line(self, run, own_models: Path, key: Path, tmp_path: Path) -> None:
        for arguments in (
            ["keygen", key],
            ["keygen", ""],
            ["keygen", "."],
            ["keygen", ".."],
            ["keygen", "/"],
            ["keygen", tmp_path / "no" / "folder.pem"],
            ["sign", "none", "--key", key, "--models", own_models],
            ["sign", VERSION, "--key", tmp_path / "none", "--models", own_models],
            ["verify", "none", "--models", own_models],
        ):
            code, out, err = run(*arguments)
            assert (code, out, len(err.splitlines())) == (1, "", 1), arguments
