"""Containers of Azure as places of backups: credentials, names, and the commands from the outside."""

import base64
import json
import os
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pyrage
import pytest

from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.errors import BackupRunning, InvalidConfiguration, StorageFailed
from tests.azurite import ACCOUNT, KEY, shared_access_signature
from tests.conftest import open_database
from tests.contents import hashes
from tests.s3 import S3Bucket, use_bucket
from tests.samples import add_task, add_user

on_azure = pytest.mark.parametrize("bucket", ["azure"], indirect=True)

LOCK = """
import sys
from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.errors import BackupRunning
try:
    with store_at(sys.argv[1]).lock("label"):
        print("taken", flush=True)
        input()
except BackupRunning:
    print("refused")
"""


@pytest.fixture
def amazon(s3_server, monkeypatch, tmp_path):
    """A bucket of S3, beside that of the test."""
    use_bucket(monkeypatch, s3_server.url, tmp_path)
    return S3Bucket(s3_server, "beside-azure")


@on_azure
@pytest.mark.parametrize("way", ["sas", "connection", "tools"])
def test_each_way_to_sign_in(bucket, monkeypatch, way):
    """A signature, a connection string and the names of az do what the key does."""
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    if way == "sas":
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"?{shared_access_signature()}")
    elif way == "connection":
        text = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={bucket.server.url};"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://elsewhere.example")
    else:
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    store = store_at(f"az://{bucket.name}/a b/é%20+&=#x".partition("#")[0])
    with store.lock("label"), store.create("file") as new:
        new.write(b"data")
    assert [(found.name, found.tag) for found in store.list_files()] == [("file", store.fetch("file", 4)[1])]
    store.delete("file")
    assert bucket.keys() == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"ACCOUNT_NAME": "account"},
        {"ACCOUNT_KEY": KEY},
        {"ACCOUNT_NAME": "no/secret", "ACCOUNT_KEY": KEY},
        {"ACCOUNT_NAME": "account", "ACCOUNT_KEY": "secret!"},
        {"ACCOUNT_NAME": "account", "SAS_TOKEN": "secret"},
        {"ACCOUNT_NAME": "account", "SAS_TOKEN": "sig=secret\r\nx: y"},
        {"CONNECTION_STRING": "secret"},
        {"CONNECTION_STRING": f"UseDevelopmentStorage=true;AccountKey={KEY}"},
        {"ACCOUNT_NAME": "account", "ACCOUNT_KEY": KEY, "ENDPOINT": "https://me:secret@host"},
        {"ACCOUNT_NAME": "account", "ACCOUNT_KEY": KEY, "ENDPOINT": "host/secret"},
    ],
)
def test_credentials_that_cannot_be_used(monkeypatch, variables):
    """They are refused before any request, and never repeated."""
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    for name, text in variables.items():
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", text)
    with pytest.raises(InvalidConfiguration) as refused:
        store_at("az://container/backups").list_files()
    for part in (refused.value.message, refused.value.hint):
        assert "secret" not in part
        assert KEY not in part


@on_azure
def test_a_wrong_key_is_denied(bucket, monkeypatch):
    """The service tells of a request that is not signed by the key of the account."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"another key").decode())
    store = store_at(bucket.address)
    for ask in (store.list_files, lambda: store.put("x", b"1", instead_of=None), lambda: store.size("x")):
        with pytest.raises(StorageFailed) as refused:
            ask()
        assert type(refused.value) is StorageFailed


@on_azure
def test_a_name_that_cannot_be_listed_is_told(bucket):
    """One line says what to remove; what was there before is still readable by its name."""
    bucket.put("backups/file", b"data")
    bucket.put("backups/..", b"")
    store = store_at(bucket.address)
    with pytest.raises(StorageFailed, match="listed"):
        store.list_files()
    assert store.read("file", 4) == b"data"


@on_azure
def test_two_processes_and_one_label(bucket):
    """Another process is refused while this one has the lock, and gets it afterwards."""
    store = store_at(bucket.address)

    def start():
        return Popen([sys.executable, "-c", LOCK, bucket.address], stdin=PIPE, stdout=PIPE, text=True)

    with store.lock("label"), start() as other:
        assert other.communicate() == ("refused\n", None)
    with start() as other:
        assert other.stdout.readline() == "taken\n"
        with pytest.raises(BackupRunning, match=str(other.pid)), store.lock("label"):
            pass
        other.kill()
    with store.lock("label"):
        pass
    assert bucket.keys() == []


@on_azure
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_commands_from_one_service_to_another(taskdb, url, bucket, amazon, monkeypatch):
    """An encrypted backup goes to S3, is copied to Azure, and is proven, pruned and restored there."""
    key = pyrage.x25519.Identity.generate()
    identity = Path(url.database).with_name("key.txt")
    identity.write_text(f"{key}\n")
    database = open_database(url)
    add_task(database, add_user(database).email)
    monkeypatch.setenv("TASKDB_DATABASE_URL", url.render_as_string(hide_password=False))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    taskdb("backup", "--dir", amazon.address, "--encrypt-to", key.to_public())
    taskdb("backup", "copy", "--dir", amazon.address, "--to", bucket.address)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", bucket.address)
    taskdb("backup", "--encrypt-to", key.to_public())
    taskdb("backup", "verify", "latest", "--identity", identity, "--drill")
    listed = json.loads(taskdb("backup", "list", "-o", "json").out)
    assert [bool(each["drilled_at"]) for each in listed] == [False, True]
    report = taskdb("health", "--only", "backup", "--only", "backup_archive", "-o", "json").out
    assert {each["status"] for each in json.loads(report)["checks"]} == {"ok"}
    taskdb("backup", "prune", "--keep-last", "1", "--keep-at-least", "1")
    found = bucket.keys()
    assert len([each for each in found if each.endswith(".age")]) == 1
    restored = url.set(database=str(identity.with_name("restored.sqlite3")))
    taskdb("--database-url", str(restored), "restore", "latest", "--identity", identity)
    assert hashes(open_database(restored)) == hashes(database)
