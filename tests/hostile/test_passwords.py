"""A password that was typed or written in a wrong place is shown nowhere."""

import json
import time

import pytest

from taskdb_cli.cli.run import run
from taskdb_cli.errors import ConnectionLost
from taskdb_cli.text.escaping import hide_secrets
from tests.api.conftest import ANY_ENGINE

CANARY = "c4n4ry"

PASSWORDS = [
    CANARY,
    f"{CANARY}%40%2F%3A",
    f"x@{CANARY}",
    f"{CANARY}@x",
    f"x/{CANARY}",
    f"x:{CANARY}",
    f"x#{CANARY}?",
    f"x {CANARY}",
    f"x\n{CANARY}",
    f"x'{CANARY}",
    f'x"{CANARY}',
    f"x\\{CANARY}",
    f"1234/{CANARY}",
    f"1234 {CANARY}",
    f" {CANARY}",
    f"x://{CANARY}",
    f"ü漢{CANARY}\N{GRINNING FACE}",
    f"'({CANARY})'",
]
URLS = [
    "postgresql://u:{}@h/d",
    "postgresql://:{}@h:5432/d",
    "postgresql://u@server:{}@h/d",
    "postgres://u:{}@[::1]:5432/d",
    "POSTGRES://u:{}@/d?host=/tmp",
    "postgresql+psycopg://u:{}@h1:1,h2:2/d?sslmode=require",
    "postgresql:/u:{}@h/d",
    "postgresql:u:{}@h/d",
    "postgresql://u/{}@h/d",
    "mysql://u:{}@h/d",
    "https://u:{}@h.example.com",
    "sqlite://u:{}@h/d",
    "postgresql://u@h/d?password={}",
    "postgresql://u@h/d?sslmode=require&sslpassword={}",
]
WRITTEN = [
    f"u:{CANARY}@h:5432/d",
    f"://u:{CANARY}@h",
    f"postgresql//u:{CANARY}@h/d",
    f"jdbc:postgresql://h/d?user=u&password={CANARY}",
    f"postgresql://user@server:123 {CANARY}@h/d",
    f"host=h password={CANARY} dbname=d",
    f"host=h password = {CANARY}",
    f"host=h oauth_client_secret={CANARY}",
    f"postgresql://u@h/d?scram_client_key={CANARY}&scram_server_key={CANARY}",
    f"host=h password='x {CANARY}' dbname=d",
    rf"host=h password='x\' {CANARY}' dbname=d",
    rf"host=h password=x\ {CANARY} dbname=d",
    f"PGPASSWORD={CANARY} psql",
    f"PGPASSWORD='x {CANARY}' psql",
    f"{{'user': 'u', 'password': 'x {CANARY}'}}",
    json.dumps({"password": f"x {CANARY}"}),
    repr(f"password='x {CANARY}' and \""),
    f"postgresql://u:{CANARY}",
    f"postgresql://u:{CANARY}/d",
    f"postgresql://u:{CANARY}@",
    f"postgresql://u:{CANARY}@h/d and then postgresql://u:{CANARY}@h/d",
    f"postgresql://h:5432/d and then /x/postgresql:/u:{CANARY}@h/d",
    "taskdb_" + f"{CANARY}-_".ljust(43, "x"),
    f"--encrypt-to AGE-SECRET-KEY-1{CANARY}",
    f"age-secret-key-pq-1{CANARY}",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----",
    f"postgresql://u:{CANARY}@h/d?password={CANARY}&sslpassword={CANARY}",
]
SECRETS = [url.format(password) for url in URLS for password in PASSWORDS] + WRITTEN

HARMLESS = [
    "no user ann@example.com",
    "PostgreSQL at postgres:5432/work: no user ann@example.com",
    "PostgreSQL at db.example.com:5432/work: the role ann@example.com may not",
    "tasks.csv:3: title is empty",
    "/tmp/a b@c/x:y.db is damaged: ann@example.com",
    "serving sqlite:////tmp/x:y@z.db at http://127.0.0.1:8000; Ctrl-C stops it",
    "serving taskdb at http://[::1]:8000; Ctrl-C stops it",
    "postgresql://h1:5432,h2:5433/d",
    "postgresql://ann@h/d",
    "sqlite:///tasks.db",
    "postgresql://u:***@h/d?password=***",
    "write postgresql://user:password@host/database or sqlite:///file; in a password write @ as %40",
    "authentication failed for user 'ann': check the user and the password of the URL",
    "taskdb_backup_last_success_timestamp_seconds",
    "taskdb_test_7454_501-socket-49f55d-20261126T140759.516485Z.taskdb.zip is good",
    "taskdb_production_of_the_north_and_the_south-49f55d-20261126T140759.516485Z.taskdb.zip is good",
    "SELECT a::text, b FROM c WHERE d = %(e)s",
]


@pytest.fixture
def said(use, url, capfd):
    """Runs a command line, however it ends, and returns all that it printed."""
    use(url)

    def say(*arguments):
        run(list(arguments))
        return "".join(capfd.readouterr())

    return say


@pytest.mark.parametrize("text", SECRETS)
def test_a_password_is_hidden_wherever_it_stands(text):
    """A password in a URL or a connection string is hidden in any sentence; what stands before it is not."""
    for shown in (
        text,
        f"no such command '{text}'.",
        f"cannot open {text}: it is not there",
        f"the file ({text})",
        f'a "{text}" b',
        f"--file={text}",
        f"no file at /x/{text}",
    ):
        hidden = hide_secrets(shown)
        assert CANARY not in hidden
        assert "***" in hidden
        assert hidden.startswith(shown[: shown.index(text)])


@pytest.mark.parametrize("url", [url for url in URLS if "u/{}" not in url])
def test_half_a_url_shows_no_password(url):
    """A text that was cut to a length hides what is left of the password."""
    text = url.format(f"{CANARY}@x")
    for end in range(len(text)):
        assert CANARY[:3] not in hide_secrets(text[:end])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_password_stays(text):
    """Addresses, ports, paths and SQL are no passwords."""
    assert hide_secrets(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "postgresql://u:",
        "a:/",
        "://a:b_",
        "@",
        "x:@",
        "_x:y",
        "password=",
        "?password=",
        "password='",
        "pwd=\\'",
        'password":',
        "pwd__",
        "postgresql:",
        "taskdb_",
        "\\",
        "'",
        "[",
        "a",
        "a:/b:c_",
        "postgres://a@",
        ":/@h_",
    ],
)
def test_hiding_takes_linear_time(part):
    """A text of 200,000 characters made to be slow takes less than two seconds."""
    part = part.replace("_", " ")
    text, begun = part * (200_000 // len(part)), time.process_time()
    hide_secrets(text)
    assert time.process_time() - begun < 2


ARGUMENTS = [
    ["{}"],
    ["user", "{}"],
    ["restore", "{}"],
    ["restore", "{}", "--dir", "{}"],
    ["backup", "show", "{}"],
    ["backup", "--file", "{}"],
    ["backup", "--label", "{}"],
    ["backup", "--dir", "{}", "--check-config"],
    ["backup", "--metrics-file", "{}", "--check-config"],
    ["backup", "list", "--dir", "{}"],
    ["backup", "verify", "{}", "{}"],
    ["--log-file", "{}", "user", "list"],
    ["--log-file={}", "user", "list"],
    ["--env-file", "{}", "user", "list"],
    ["--schema", "{}", "user", "list"],
    ["--schema", "{}", "config"],
    ["--profile", "{}", "user", "list"],
    ["user", "delete", "1", "--confirm", "{}"],
    ["--{}", "user", "list"],
    ["user", "create", "{}"],
    ["user", "create", "--email", "{}", "--name", "x"],
    ["user", "show", "{}"],
    ["user", "import", "{}"],
    ["user", "list", "--sort", "{}"],
    ["user", "list", "--after", "{}"],
    ["user", "list", "--limit", "{}"],
    ["user", "list", "--fields", "{}"],
    ["user", "list", "--output", "{}"],
    ["task", "list", "--status", "{}"],
    ["task", "list", "--user", "{}"],
    ["task", "show", "{}"],
    ["task", "create", "--user", "{}", "x"],
    ["task", "create", "--user", "1", "x", "--due", "{}"],
    ["token", "create", "--name", "x", "--user", "{}"],
    ["token", "revoke", "{}"],
    ["migrate", "up", "{}"],
    ["migrate", "stamp", "{}"],
    ["migrate", "sql", "{}"],
    ["health", "--only", "{}"],
    ["serve", "--port", "{}"],
]
TYPED = [
    f"postgresql://u:{CANARY}@h/d",
    f"postgresql://u:x@y/z {CANARY}@h:5432/d",
    f"host=h password='x {CANARY}'",
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
@ANY_ENGINE
def test_an_argument_in_the_wrong_place_keeps_its_password(said, tmp_path, monkeypatch, arguments):
    """No message, JSON error, traceback or log line repeats the password of an argument."""
    log = tmp_path / "log"
    monkeypatch.setenv("TASKDB_LOG_FILE", str(log))
    text = ""
    for typed in TYPED:
        for loud in ([], ["--debug", "-vv"], ["--log-format", "json", "-v"]):
            words = [word.format(typed) for word in arguments]
            text += said(*loud, *words)
        text += said(*words, "-o", "json")
    assert text
    assert CANARY not in text + log.read_text()


@ANY_ENGINE
def test_no_directory_is_made_whose_name_holds_a_password(taskdb, tmp_path, monkeypatch):
    """The address of a database as the backup directory is refused, and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    for url in (TYPED[0], f"POSTGRES://u:{CANARY}@h/d", f"postgresql+psycopg://u:{CANARY}@h/d"):
        result = taskdb("backup", "--dir", url, expect=2)
        assert "directory" in result.err
        assert CANARY not in result.out + result.err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "name", ["TASKDB_LOG_FILE", "TASKDB_ENV_FILE", "TASKDB_SCHEMA", "TASKDB_BACKUP_LABEL"]
)
@ANY_ENGINE
def test_a_setting_in_the_wrong_place_keeps_its_password(taskdb, monkeypatch, name):
    """A URL in a variable that is for something else is refused without its password."""
    for typed in TYPED:
        monkeypatch.setenv(f"TASKDB_{name}", typed)
        result = taskdb("backup", "--check-config", expect=None)
        assert CANARY not in result.out + result.err


@ANY_ENGINE
def test_a_traceback_keeps_the_password(said, monkeypatch):
    """--debug hides a password in the messages of all exceptions of a chain, over several lines."""

    def lose():
        raise ConnectionLost(f"cannot reach postgresql://u:x\n{CANARY}@h/d")

    def broken(*_, **__):
        try:
            lose()
        except ConnectionLost as exc:
            exc.add_note(f"password={CANARY}")
            raise RuntimeError(f"bad: 'host=h password={CANARY}'") from exc

    monkeypatch.setattr("taskdb_cli.services.user.find", broken)
    text = "".join(said("--debug", "-vv", "user", "list", *options) for options in ([], ["-o", "json"]))
    assert text.count("Traceback") == 4
    assert "ConnectionLost" in text
    assert CANARY not in text


@ANY_ENGINE
def test_the_records_of_a_file_keep_their_password(taskdb, tmp_path):
    """An import repeats no password of a value that it refuses, not even half of it."""
    for length in (1, 440, 470, 490):
        record = {"title": "x", "status": "x" * length + f" postgresql://u:{CANARY}@h/d"}
        file = tmp_path / "tasks.ndjson"
        file.write_text(json.dumps(record))
        for output in ([], ["-o", "json"]):
            result = taskdb("task", "import", file, *output, expect=2)
            assert CANARY[:3] not in result.out + result.err


@ANY_ENGINE
def test_the_api_keeps_the_password(api):
    """Problem details hide the password of what a client sent."""
    url = f"postgresql://u:{CANARY}@h/d"
    answers = [
        api.post("/users/1/tasks", json={"title": "x", "status": url, url: 1}),
        api.get("/tasks", params={"status": url, "sort": url, url: url}),
        api.get("/users", params={"after": url}),
        api.post("/users", json={"email": url, "name": url}),
    ]
    for answer in answers:
        assert CANARY not in answer.text
        assert answer.status_code == 422
