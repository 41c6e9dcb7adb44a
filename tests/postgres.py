"""A PostgreSQL server for the tests, where one can be started."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

OPTIONS = "-c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories="


class Server:
    """A server on a port of its own; its files are gone when it is."""

    def __init__(self, folder):
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._run("initdb", "-D", folder, "-U", "tester", "-A", "trust", "-E", "UTF8")

    def start(self):
        options = f"{OPTIONS} -c port={self._port}"
        self._run("pg_ctl", "-D", self._folder, "-o", options, "-l", f"{self._folder}/log", "-w", "start")

    def stop(self):
        self._run("pg_ctl", "-D", self._folder, "-m", "immediate", "stop")

    def new_database(self, name):
        import psycopg

        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._dsn(name)

    def _dsn(self, name):
        return f"postgresql://tester@127.0.0.1:{self._port}/{name}"

    def _run(self, *command):
        # PostgreSQL refuses to run as root
        as_user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
        subprocess.run(
            [str(each) for each in command],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            **as_user,
        )


@contextmanager
def server():
    """A started server; the test is skipped, with the reason, where that cannot be."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'privrobust[postgresql]'")
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("no PostgreSQL server can start: initdb and pg_ctl are not on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="privrobust-postgres-"))
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    try:
        made = Server(folder / "data")
        made.start()
        try:
            yield made
        finally:
            made.stop()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no PostgreSQL server can start: {error.stderr.decode().strip()[-300:]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
