"""Keys of age and of SSH as people give them, and mistakes with them, which never show a secret key."""

import subprocess

import pytest

from taskdb_cli.backup import keys
from taskdb_cli.errors import InvalidConfiguration, InvalidInput

pyrage = pytest.importorskip("pyrage")

# The names of tests hold it, so it is the same in every process.
SECRET = pyrage.x25519.Identity.from_str(
    "AGE-SECRET-KEY-14GTNMJ3S9HT0MQ6WXCPDPN39Y8M5LTZ2AGW42JNSGFR0U74U5P3QF4RHQT"
)
PUBLIC = SECRET.to_public()


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    """Return a directory of SSH keys, each named after its type."""
    directory = tmp_path_factory.mktemp("ssh")
    for name, kind, passphrase, *more in [
        ("ed25519", "ed25519", ""),
        ("rsa", "rsa", "", "-b", "2048"),
        ("pem", "rsa", "", "-m", "PEM"),
        ("ecdsa", "ecdsa", ""),
        ("protected", "ed25519", "secret"),
        ("protected-pem", "rsa", "secret", "-m", "PEM"),
        ("short", "rsa", "", "-b", "1024"),
    ]:
        command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "a comment", *more]
        subprocess.run([*command, "-f", directory / name], check=True)
    return directory


@pytest.mark.parametrize("name", ["ed25519", "rsa", "pem"])
def test_an_archive_for_an_ssh_key_is_opened_by_it(ssh, name):
    text = (ssh / f"{name}.pub").read_text()
    encrypted = pyrage.encrypt(b"rows", list(keys.recipients_of([text])))
    assert pyrage.decrypt(encrypted, list(keys.identities_of(ssh / name))) == b"rows"


def test_files_have_one_key_a_line_and_comments(tmp_path, ssh):
    file = tmp_path / "keys"
    line = (ssh / "rsa.pub").read_text()
    file.write_text(f"\ufeff# ours\r\n{PUBLIC}\r\n\r\n  {line}# the end\n")
    assert len(keys.recipients_in(file)) == 2
    file.write_text(f"# created: today\n# public key: {PUBLIC}\n{SECRET}\n\n{SECRET}")
    assert [str(key) for key in keys.identities_of(file)] == [str(SECRET)] * 2


def refusal(give, *args):
    with pytest.raises(InvalidInput) as refused:
        give(*args)
    said = f"{refused.value.message}; {refused.value.hint}"
    assert str(SECRET)[20:].lower() not in said.lower()
    assert len(said) < 300
    return said


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("", "not a public key"),
        ("ann@example.com", "ann@example.com"),
        (str(PUBLIC)[:-1], "not a public key"),
        (f"{PUBLIC}x" * 9999, "not a public key"),
        ("age1pq1" + "q" * 1000, "not a public key"),
        (f"{PUBLIC} {PUBLIC}", "not a public key"),
        ("ssh-ed25519 AAAA", "not a public key"),
        ("ssh-dss AAAAB3NzaC1kc3MAAACB", "not a public key"),
        ("sk-ssh-ed25519@openssh.com AAAA", "not a public key"),
        (str(SECRET), "secret key"),
        (str(SECRET).lower(), "secret key"),
        (f" key={SECRET}", "secret key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz", "secret key"),
    ],
)
def test_what_is_no_recipient_is_refused_and_a_secret_key_not_repeated(tmp_path, text, noun):
    assert noun in refusal(keys.recipients_of, [str(PUBLIC), text])
    if text and "\n" not in text and len(text) < 2000:
        file = tmp_path / "recipients"
        file.write_text(f"# ours\n{PUBLIC}\n{text}\n")
        assert "line 3 of" in refusal(keys.recipients_in, file)


@pytest.mark.parametrize(
    ("content", "noun"),
    [
        (b"", "names no recipient"),
        (b"# nobody yet\n", "names no recipient"),
        (b"\0", "not text"),
        (b"\xff\xfe", "not text"),
        (b"#" * 300_000, "longer than"),
        (None, "No such file"),
    ],
)
def test_a_recipients_file_that_names_nobody_is_refused(tmp_path, content, noun):
    file = tmp_path / "recipients"
    if content is not None:
        file.write_bytes(content)
    assert noun in refusal(keys.recipients_in, file)


@pytest.mark.parametrize(
    ("content", "noun"),
    [
        ("", "holds no identity"),
        (f"{PUBLIC}\n", "public key"),
        ("ssh-ed25519 AAAA ann\n", "public key"),
        (f"{SECRET}\nAGE-PLUGIN-YUBIKEY-1QQQ\n", "line 2"),
        (f"{str(SECRET)[:-1]}\n", "line 1"),
        ("AGE-SECRET-KEY-PQ-1QQQ\n", "line 1"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "SSH private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "SSH private key"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n", "passphrase"),
        ("age-encryption.org/v1\n-> scrypt AAAA 18\n", "passphrase"),
    ],
)
def test_what_is_no_identity_is_refused_and_a_secret_key_not_repeated(tmp_path, content, noun):
    file = tmp_path / "identity"
    file.write_text(content)
    assert noun in refusal(keys.identities_of, file)


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        ("ecdsa", "ssh-ed25519 or ssh-rsa"),
        ("protected", "passphrase"),
        ("protected-pem", "passphrase"),
        ("rsa.pub", "public key"),
    ],
)
def test_an_ssh_key_that_cannot_be_used_is_refused(ssh, name, noun):
    assert noun in refusal(keys.identities_of, ssh / name)


def test_a_short_rsa_key_is_no_recipient(ssh):
    assert "2048 bits" in refusal(keys.recipients_of, [(ssh / "short.pub").read_text()])


def test_a_key_in_place_of_a_file_is_refused(tmp_path):
    assert "as a key" in refusal(keys.identities_of, tmp_path / str(SECRET))
    assert "as a key" in refusal(keys.recipients_in, tmp_path / str(PUBLIC))


def test_an_identity_file_that_others_may_read_is_worth_a_warning(tmp_path, caplog):
    file = tmp_path / "identity"
    file.write_text(f"{SECRET}\n")
    for mode, warnings in ((0o600, 0), (0o400, 0), (0o640, 1), (0o604, 2)):
        file.chmod(mode)
        keys.identities_of(file)
        assert len(caplog.messages) == warnings
    assert "chmod 600" in caplog.messages[0]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyrage", None)
    with pytest.raises(InvalidConfiguration, match="not installed") as refused:
        keys.recipients_of([str(PUBLIC)])
    assert "pip install '.[offsite]'" in refused.value.hint
