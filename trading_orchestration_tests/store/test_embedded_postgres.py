"""The embedded server, with real processes, real kills and a real disk."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from trading_orchestration.errors import DatabaseUnavailableError
from trading_orchestration.store import embedded_postgres
from trading_orchestration.store.embedded_postgres import EmbeddedPostgres
from trading_orchestration.store.postgres_folder import ServerFolder

WAIT_S = 30.0

# A user of the server in a process of its own: says which postmaster it got, then waits for its end.
USER = """
import sys
from pathlib import Path
from trading_orchestration.store import embedded_postgres
from trading_orchestration.store.postgres_folder import ServerFolder
server = embedded_postgres.use(Path(sys.argv[1]))
print(ServerFolder(Path(sys.argv[1]).resolve() / "postgres").postmaster().pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that was used once, on a real disk; its server is stopped."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    folder = ServerFolder(home / "postgres")
    embedded_postgres.use(home).close()
    eventually(lambda: folder.postmaster() is None and not embedded_postgres._has_guardian(folder))
    return home


@pytest.fixture
def used_home(prepared: Path, trading_home: Path) -> Path:
    """A copy of it: a start from here takes less than a first start."""
    subprocess.run(["cp", "-a", prepared, trading_home], check=True)
    return trading_home


@pytest.fixture
def server(used_home: Path) -> Iterator[EmbeddedPostgres]:
    with embedded_postgres.use(used_home) as server:
        yield server


@pytest.fixture
def folder(trading_home: Path) -> ServerFolder:
    return ServerFolder(trading_home / "postgres")


def postmaster_pid(folder: ServerFolder) -> int:
    postmaster = folder.postmaster()
    assert postmaster is not None
    return postmaster.pid


def guardian_pid(folder: ServerFolder) -> int:
    """The process that holds `start.lock`, as the kernel lists it."""
    inode = folder.start_lock.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    raise AssertionError("nobody holds start.lock")


def is_up(server: EmbeddedPostgres) -> bool:
    try:
        psycopg.connect(server.trading_url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def eventually(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def start_user(home: Path, prefix: Sequence[str] = ()) -> "subprocess.Popen[str]":
    command = [*prefix, sys.executable, "-c", USER, str(home)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")


def end_user(user: "subprocess.Popen[str]") -> None:
    user.kill()
    user.communicate()


def test_a_first_use_gives_two_durable_utf8_databases_in_utc(trading_home: Path) -> None:
    wanted = {
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "fsync": "on",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
    }
    found = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
    with embedded_postgres.use(trading_home) as server:
        for url, name in ((server.trading_url, "trading"), (server.dagster_url, "dagster")):
            with psycopg.connect(url) as connection:
                assert dict(connection.execute(found, [list(wanted)]).fetchall()) == wanted
                assert connection.execute("SELECT current_database()").fetchone() == (name,)
                assert connection.info.server_version // 10_000 == 18


def test_the_server_asks_for_the_password(server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.trading_url, password="wrong")


def test_the_password_is_in_its_file_only(
    server: EmbeddedPostgres, folder: ServerFolder, trading_home: Path
) -> None:
    password = folder.password.read_text()
    assert folder.password.stat().st_mode & 0o777 == 0o600
    assert password not in repr(server) + folder.log.read_text()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert password.encode() not in process.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    folder.password.write_text("wrong-but-secret")
    with pytest.raises(DatabaseUnavailableError, match="restore that file") as caught:
        server.ensure_running()
    assert "wrong-but-secret" not in str(caught.value)
    assert str(trading_home) in str(caught.value)


def test_processes_that_start_it_at_once_share_one_server(trading_home: Path) -> None:
    users = [start_user(trading_home) for _ in range(4)]
    try:
        pids = {user.stdout.readline().strip() for user in users if user.stdout}
    finally:
        for user in users:
            end_user(user)
    assert len(pids) == 1
    assert pids != {""}


def test_it_stops_after_its_last_user_was_killed_and_starts_again_with_its_data(
    used_home: Path, folder: ServerFolder
) -> None:
    with embedded_postgres.use(used_home) as server:
        url = server.trading_url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        user = start_user(used_home)
        assert user.stdout is not None
        assert int(user.stdout.readline()) == postmaster_pid(folder)
    assert folder.postmaster() is not None, "another process uses it"
    end_user(user)
    eventually(lambda: folder.postmaster() is None)
    assert "database system is shut down" in folder.log.read_text()
    with embedded_postgres.use(used_home) as server:
        assert server.trading_url == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_killed_server_is_started_again_without_losing_a_committed_row(
    server: EmbeddedPostgres, folder: ServerFolder
) -> None:
    url, committed = server.trading_url, list[int]()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE counted (number integer PRIMARY KEY)")

    def count_until_the_connection_breaks() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                for number in range(10**9):
                    connection.execute("INSERT INTO counted VALUES (%s)", [number])
                    committed.append(number)
        except psycopg.OperationalError:
            return

    writer = threading.Thread(target=count_until_the_connection_breaks)
    writer.start()
    eventually(lambda: len(committed) >= 200)
    killed = postmaster_pid(folder)
    os.kill(killed, signal.SIGKILL)
    writer.join(WAIT_S)
    eventually(lambda: is_up(server))
    assert postmaster_pid(folder) != killed
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT number FROM counted").fetchall()
    assert set(committed) <= {row[0] for row in rows}


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux to find the guardian's process")
def test_a_new_guardian_adopts_the_server_of_a_killed_one(used_home: Path, folder: ServerFolder) -> None:
    with embedded_postgres.use(used_home) as server:
        running, killed = postmaster_pid(folder), guardian_pid(folder)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not embedded_postgres._has_guardian(folder))
        assert is_up(server)
        server.ensure_running()
        assert postmaster_pid(folder) == running
        assert guardian_pid(folder) != killed
    eventually(lambda: folder.postmaster() is None)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux to find the guardian's process")
def test_it_starts_again_after_everything_was_killed(used_home: Path, folder: ServerFolder) -> None:
    user = start_user(used_home)
    assert user.stdout is not None
    server_pid = int(user.stdout.readline())
    os.kill(guardian_pid(folder), signal.SIGKILL)
    os.kill(server_pid, signal.SIGKILL)
    end_user(user)
    (folder.path / "data.new-left-over").mkdir()
    with embedded_postgres.use(used_home) as server:
        assert is_up(server)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux to find the guardian's process")
def test_a_guardian_ends_with_its_last_user_and_not_by_a_signal_for_its_terminal(
    server: EmbeddedPostgres, folder: ServerFolder
) -> None:
    guardian, running = guardian_pid(folder), postmaster_pid(folder)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(guardian, number)
    server.ensure_running()
    assert (guardian_pid(folder), postmaster_pid(folder)) == (guardian, running)


def test_it_starts_although_another_program_has_the_pid_of_a_killed_server(
    used_home: Path, folder: ServerFolder
) -> None:
    """Of the same user: PostgreSQL itself takes any such program for its old server and refuses to start."""
    owner = folder.data.stat()
    other = subprocess.Popen(["sleep", "60"], user=owner.st_uid if os.geteuid() == 0 else None)
    try:
        left_over = folder.data / "postmaster.pid"
        left_over.write_text(f"{other.pid}\n{folder.data}\n1700000000\n5432\n\n127.0.0.1\n1 2\nready\n")
        os.chown(left_over, owner.st_uid, owner.st_gid)
        with embedded_postgres.use(used_home) as server:
            assert is_up(server)
    finally:
        other.kill()
        other.wait()


def test_a_log_that_grew_is_put_aside(used_home: Path, folder: ServerFolder) -> None:
    with folder.log.open("ab") as log:
        log.truncate(9 * 1024 * 1024)
    with embedded_postgres.use(used_home) as server:
        eventually(lambda: folder.log_size() < 1024 * 1024)
        assert folder.log.with_name("log.1").stat().st_size > 8 * 1024 * 1024
        with psycopg.connect(server.trading_url, autocommit=True) as connection:
            connection.execute("DO $$ BEGIN RAISE WARNING 'written afterwards'; END $$")
        eventually(lambda: "written afterwards" in folder.log.read_text())


def test_another_port_is_chosen_when_the_remembered_one_is_taken(
    used_home: Path, folder: ServerFolder
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        folder.port.write_text(str(taken.getsockname()[1]))
        with embedded_postgres.use(used_home) as server:
            assert is_up(server)
            assert int(folder.port.read_text()) != taken.getsockname()[1]


def test_a_dead_pid_a_zombie_and_a_reused_pid_are_no_server(tmp_path: Path) -> None:
    folder = ServerFolder(tmp_path)
    folder.data.mkdir()
    zombie = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    assert zombie.stdout is not None
    zombie.stdout.read()  # it has ended, and nobody has asked for its status
    for pid in (zombie.pid, os.getpid(), 2**22 + 1):
        lines = [str(pid), str(folder.data), "1700000000", "5432", "", "127.0.0.1", "1 2", "ready   "]
        (folder.data / "postmaster.pid").write_text("\n".join(lines))
        assert folder.postmaster() is None, pid
    zombie.communicate()


def test_a_stop_does_not_wait_for_users_and_leaves_nothing_to_recover(
    used_home: Path, folder: ServerFolder
) -> None:
    with embedded_postgres.use(used_home):
        offset = folder.log_size()
        embedded_postgres.stop(used_home)
        assert folder.postmaster() is None
    assert "received fast shutdown request" in folder.log_since(offset)


def test_a_removed_folder_takes_its_server_with_it(used_home: Path, folder: ServerFolder) -> None:
    with embedded_postgres.use(used_home) as server:
        shutil.rmtree(folder.path)
        eventually(lambda: not is_up(server))
        with pytest.raises(DatabaseUnavailableError, match=r"start\.lock"):
            server.ensure_running()


def test_a_home_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, not a folder")
    with pytest.raises(DatabaseUnavailableError, match="TRADING_HOME") as caught:
        embedded_postgres.use(tmp_path / "home")
    assert str(tmp_path / "home") in str(caught.value)


def test_a_server_that_cannot_start_shows_why_and_the_end_of_its_log(
    used_home: Path, folder: ServerFolder
) -> None:
    (folder.data / "global" / "pg_control").unlink()
    with pytest.raises(DatabaseUnavailableError, match="pg_control") as caught:
        embedded_postgres.use(used_home)
    assert str(folder.log) in str(caught.value)


def test_a_platform_without_binaries_is_told_about_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DatabaseUnavailableError, match="DATABASE_URL"):
        embedded_postgres.binaries()


NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")


@NEEDS_ROOT
def test_root_without_setpriv_is_told_what_is_missing(
    trading_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DatabaseUnavailableError, match="setpriv"):
        embedded_postgres.use(trading_home)


@NEEDS_ROOT
def test_root_may_keep_home_and_binaries_in_a_folder_of_its_own(
    tmp_path: Path, trading_home: Path, folder: ServerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    package = embedded_postgres.binaries().parents[1]
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, private / part.name)
    copied = private / package.name / "pginstall18" / "bin"
    monkeypatch.setattr(embedded_postgres, "binaries", lambda: copied)
    ancestors = {path: path.stat().st_mode for path in [private, *private.parents]}
    with embedded_postgres.use(trading_home) as server:
        assert is_up(server)
        assert folder.data.stat().st_uid != 0
        assert Path(f"/proc/{postmaster_pid(folder)}").stat().st_uid == folder.data.stat().st_uid
    assert {path: path.stat().st_mode for path in ancestors} == ancestors


@NEEDS_ROOT
def test_a_normal_user_runs_it_as_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.chown(home, "nobody")
    user = start_user(home, prefix=as_nobody())
    try:
        assert user.stdout is not None
        pid = int(user.stdout.readline())
        assert Path(f"/proc/{pid}").stat().st_uid == home.stat().st_uid
    finally:
        end_user(user)
        embedded_postgres.stop(home)
    with embedded_postgres.use(home):  # root, on a home that is another user's
        pid = postmaster_pid(ServerFolder(home / "postgres"))
        assert Path(f"/proc/{pid}").stat().st_uid == home.stat().st_uid
        embedded_postgres.stop(home)


def as_nobody() -> list[str]:
    """What to put before a command: user nobody, who may read this installation wherever it lies."""
    drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    keep = ["--inh-caps=-all,+{}", "--ambient-caps=-all,+{}", "--securebits=+no_setuid_fixup"]
    for capability in ("dac_read_search", "dac_override"):
        prefix = [*drop, *(option.format(capability) for option in keep)]
        probe = [*prefix, sys.executable, "-c", "import trading_orchestration.store.embedded_postgres"]
        if subprocess.run(probe, check=False, cwd="/").returncode == 0:
            return prefix
    pytest.skip("user nobody cannot run this Python here")
