"""No error, log line or table prints a part of an address that might be a secret."""

import logging
import sys

import pytest

from privrobust.cli.main import main
from privrobust.errors import PrivRobustError
from privrobust.store import Store
from privrobust.store.address import shown, without_addresses, without_secrets

SECRET = [
    "postgresql://me:hunt/er2@127.0.0.1:1/x",
    "postgresql://me:hunt?er2@127.0.0.1:1/x",
    "postgresql://me:hunt#er2@127.0.0.1:1/x",
    "postgresql://me:hunt er2@127.0.0.1:1/x",
    "postgresql://me:hun:ter@er2@127.0.0.1:1/x",
    "postgresql://me:hunt%40er2@127.0.0.1:1/x",
    "postgresql://hunter2@127.0.0.1:1/x",
    "postgresql://127.0.0.1:1/x?user=a@hunter2",
    "postgresql://127.0.0.1:1/x?options=-c password=hunter2",
    "postgresql://127.0.0.1:1/x?hunter2=1",
    "postgresql://127.0.0.1:1/x?sslmode=hunter2",
    "postgresql://127.0.0.1:1/x?sslpassword=hunter2&sslmode=require",
    "postgresql://127.0.0.1:hunter2/x",
    "postgresql://127.0.0.1:1/x#hunter2",
    "postgresql:///me:hunter2@127.0.0.1/x",
    "postgresql:me:hunter2@h/x",
    "postgresql:/me:hunter2@h/x",
    "postgresql//me:hunter2@h/x",
    "POSTGRESQL://me:hunter2@127.0.0.1:1/x",
    "postgresql+asyncpg://me:hunter2@h/x",
    "mysql://me:hunter2@h/x",
    "//me:hunter2@h/x",
    "me:hunter2@h/x",
    "host=127.0.0.1 port=1 password=hunter2",
    "sqlite://me:hunter2@h/x.db",
    "sqlite:///x.db?password=hunter2",
    "sqlite:///x.db?hunter2=1",
    "postgresql://127.0.0.1/db&password=hunter2",
    "postgresql://127.0.0.1/db;password=hunter2",
    "postgresql://127.0.0.1/db,password=hunter2",
    "postgresql://127.0.0.1/db password=hunter2",
    "postgresql://127.0.0.1/db%3Fpassword=hunter2",
    "sqlite:///x.db;key=hunter2",
    "host=h sslpassword=hunter2 dbname=x",
    "pwd=hunter2;server=h",
]
PARTS = ("hunt", "er2", "hun:", "ter@", "secret")


def is_told(text):
    return any(part in text for part in PARTS)


@pytest.mark.parametrize("location", SECRET)
def test_a_store_that_cannot_be_opened_tells_no_secret(location, caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrivRobustError) as raised:
        Store(location)
    assert not is_told(str(raised.value)), raised.value
    assert "\n" not in str(raised.value)
    assert not is_told(caplog.text)
    assert not list(tmp_path.iterdir())  # nor is a file made of that name


@pytest.mark.parametrize("location", SECRET)
@pytest.mark.parametrize(
    "words",
    [
        "run sweep.yaml {}", "run {}", "status sweep.yaml {}", "status {}", "{}",
        "run sweep.yaml --store={}", "figure bias_variance {}",
    ],
)  # fmt: skip
def test_a_command_tells_nobody(location, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("privrobust.store.transactions._WAITS", ())
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "sweep.yaml").write_text("steps: 1\nhonest: 2\nstepz: 1")
    arguments = [word.replace("{}", location) for word in words.split()]
    monkeypatch.setattr(sys, "argv", ["privrobust", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code
    assert not is_told(out + err), out + err


@pytest.mark.parametrize(
    ("location", "safe"),
    [
        ("postgresql://me:pw@host:5432/results?a=b", "postgresql://host:5432/results"),
        ("postgresql://me@[::1]/results", "postgresql://[::1]/results"),
        ("postgresql:///results?host=/run/postgresql", "postgresql:///results"),
        ("sqlite:////a/b:c@d.db", "sqlite:////a/b:c@d.db"),
        ("results.db", "results.db"),
        ("/a/b:c@d.db", "/a/b:c@d.db"),
        ("./b:c@d.db", "./b:c@d.db"),
        ("a?b#c.db", "a?b#c.db"),
    ],
)
def test_scheme_host_and_database_are_shown_and_paths(location, safe):
    assert shown(location) == safe
    assert shown(safe) == safe


def test_what_a_driver_says_is_shown_without_parts_of_the_address():
    said = 'password authentication failed for user "me" (option "hunter" of "x y")'
    address = "postgresql://me:pw@h/x?hunter=x+y"
    assert without_secrets(said, address) == (
        'password authentication failed for user "***" (option "***" of "***")'
    )
    kept = "store: postgresql://h/x: see https://www.cs.toronto.edu/~kriz/cifar.html, or mine:Net."
    assert without_addresses(kept) == kept


def test_what_is_logged_while_a_database_is_away_tells_no_secret(monkeypatch, caplog, tmp_path):
    with Store(tmp_path / "results.db") as store:
        store._given = "postgresql://hunter2:er2@h/x"
        store._engine.dispose()
        (tmp_path / "results.db").unlink()
        (tmp_path / "results.db").mkdir()
        with caplog.at_level(logging.WARNING, "privrobust"):
            store.renew()
    assert "claims are not renewed" in caplog.text
    assert not is_told(caplog.text)
