"""`bucketwheel up` and the commands around it: what starts, what is told, what is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
from minio.error import MinioException
from pydantic import AnyHttpUrl, SecretStr
from urllib3.exceptions import HTTPError

from bucketwheel import ports, servers
from bucketwheel.credentials import Credentials
from bucketwheel.errors import InstanceError
from bucketwheel.instance import Instance
from bucketwheel.settings import UpSettings
from bucketwheel.testing import System
from storage import client
from storage.settings import StorageSettings
from tests.conftest import wait_until
from tests.system.conftest import begun, deployed, wait_for

#: Seconds that `up` may take, on a machine that does much else.
STARTED = 200.0
FREE = {f"BUCKETWHEEL_{name}_PORT": "0" for name in ("S3", "CONSOLE", "REDIS", "FLOWER")}
COMMANDS = {
    "up": "Start MinIO, Redis, intake, worker and Flower",
    "down": "Stop the system",
    "env": "Print variables",
    "deploy": "Deploy functions",
    "functions": "List the functions",
    "invoke": "Run a function",
    "logs": "Show what a function's invocations logged",
    "layer": "Publish layers",
    "layers": "List the layers",
    "status": "Show hosts",
    "dead": "Look at what was given up",
    "sweep": "Run functions for uploads",
    "replay": "Run a function again",
    "intake": "Run an intake",
    "worker": "Run this host's worker",
    "flower": "Run Flower",
    "alive": "Say whether this host's intake, worker or Flower is at work",
    "runtimes": "List runtimes",
}


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of `bucketwheel`, with these variables only."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "bucketwheel", *arguments],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _instance(data: Path) -> Instance | None:
    try:
        return Instance.read(data)
    except InstanceError:
        return None


@contextmanager
def _foreground(data: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """`bucketwheel up` as a shell runs it: leader of a process group; its output in a file."""
    data.parent.mkdir(parents=True, exist_ok=True)
    with data.with_suffix(".out").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bucketwheel", "up"],
            env={**os.environ, **FREE, "BUCKETWHEEL_DATA": str(data), **variables},
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)


def _is_ready(data: Path) -> bool:
    found = _instance(data)
    return found is not None and found.ready


def _mention(data: Path) -> list[str]:
    """Processes whose arguments or variables name this folder, those that ended aside."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if any(str(data) in word for word in words) and process.pid != os.getpid():
                found.append(f"{process.pid} {process.cmdline()}")
        except psutil.Error:
            continue
    return found


# -- one life of a system, from the first start to the last ----------------------------------------


def test_a_killed_system_leaves_nothing_and_comes_back_whole(tmp_path: Path) -> None:
    """SIGKILL of `up` ends all of its processes; the next `up` has functions and credentials."""
    data = tmp_path / "data"
    with _foreground(data) as up:
        wait_until(lambda: _is_ready(data), "it is ready", STARTED)
        deployed(
            System(data),
            tmp_path,
            "@function(bucket='kept')\ndef survive(event, context):\n    return 'here'\n",
        )
        credentials = (data / "credentials.json").read_text()
        up.kill()
        up.wait()
        wait_until(lambda: not _mention(data), f"nothing of it is left: {_mention(data)}", 15)
        assert "no system runs on" in _run("status", BUCKETWHEEL_DATA=str(data)).stderr

    with _foreground(data) as up:
        wait_until(lambda: _is_ready(data), "it is ready again", STARTED)
        system = System(data)
        assert (data / "credentials.json").read_text() == credentials
        assert system.run("invoke", "survive", "--timeout", "30") == '"here"\n'
        system.s3().put_object(Bucket="kept", Key="a", Body=b"x")
        wait_for(system, "survive", succeeded=2)
        _interrupt(up, data)


def _interrupt(up: subprocess.Popen[bytes], data: Path) -> None:
    """Ctrl-C: the whole foreground group gets SIGINT; all ends in order, nothing is left."""
    os.killpg(up.pid, signal.SIGINT)

    assert up.wait(60) == 0
    assert not _mention(data)
    assert not (data / "instance.json").exists()
    told = data.with_suffix(".out").read_text()
    assert "stopping; Ctrl-C again to hurry" in told
    assert "had to be killed" not in told and "Traceback" not in told


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C need not wait until everything runs."""
    data = tmp_path / "data"
    with _foreground(data) as up:
        wait_until(lambda: (data / "redis" / "redis.conf").exists(), "it has begun")
        os.killpg(up.pid, signal.SIGINT)

        assert up.wait(60) == 0
        wait_until(lambda: not _mention(data), "nothing of it is left", 15)
    assert "Traceback" not in data.with_suffix(".out").read_text()


# -- one system a folder ---------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--detach",)])
def test_a_second_system_on_a_folder_is_refused(system: System, flags: tuple[str, ...]) -> None:
    """One sentence says who runs there and how to stop it; the first goes on."""
    done = _run("up", *flags, BUCKETWHEEL_DATA=str(system.data), **FREE)

    assert done.returncode == 2
    assert done.stderr == (
        f"bucketwheel: a system already runs on {system.data} (process {system.instance.pid}):"
        " `bucketwheel down` stops it\n"
    )


def test_stopping_what_does_not_run_says_so(tmp_path: Path) -> None:
    """`down` twice is no failure."""
    done = _run("down", BUCKETWHEEL_DATA=str(tmp_path))

    assert (done.returncode, done.stderr) == (0, f"no system runs on {tmp_path}\n")


@pytest.mark.parametrize("command", ["status", "env", "functions", "logs x", "invoke x", "worker"])
def test_without_a_system_commands_say_how_to_start_one(tmp_path: Path, command: str) -> None:
    """One sentence with both ways out: start one, or name its folder."""
    done = _run(*command.split(), BUCKETWHEEL_DATA=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr == (
        f"bucketwheel: no system runs on {tmp_path}: start one with `bucketwheel up`,"
        " or name its folder with --data or BUCKETWHEEL_DATA\n"
    )


# -- settings --------------------------------------------------------------------------------------

BAD_SETTINGS = {
    "S3_PORT": ("http", "Input should be a valid integer"),
    "FLOWER_PORT": ("70000", "Input should be less than or equal to 65535"),
    "FLOWER_ADDRESS": ("0.0.0.0", "set also BUCKETWHEEL_FLOWER_PASSWORD"),
    "FLOWER_PASSWORD": ("short", "at least 8"),
    "USER_SECRET_KEY": ("short", "at least 8"),
    "DRAIN_TIMEOUT": ("-1", "Input should be greater than or equal to 0"),
    "CONCURRENCY": ("0", "Input should be greater than or equal to 1"),
    "IDLE_TIMEOUT": ("0", "Input should be greater than 0"),
    "RETRY_DELAY": ("soon", "Input should be a valid number"),
    "EVENT_BATCH": ("0", "Input should be greater than or equal to 1"),
    "WORKER_NAME": ("two words", "String should match pattern"),
    "SYSTEM_BUCKET": ("No_Bucket", "'No_Bucket' is no bucket's name"),
    "EVENT_QUEUE": ("maybe", "Input should be a valid boolean"),
    "S3_ENDPOINT": ("nowhere", "Input should be a valid URL"),
    "REDIS_URL": ("redis://127.0.0.1:6390/3", "into database 0"),
    "MINIO": ("/nowhere", "/nowhere is no program"),
    "DATA": ("/dev/null/data", "/dev/null/data cannot be used for data: Not a directory"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_bad_setting_is_one_clear_line(tmp_path: Path, name: str) -> None:
    """It names the variable and says what is wrong, before anything is started."""
    value, told = BAD_SETTINGS[name]
    variables = {"BUCKETWHEEL_DATA": str(tmp_path), **FREE, f"BUCKETWHEEL_{name}": value}

    done = _run("up", **variables)

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert told in line and line.startswith("bucketwheel: ")
    assert f"BUCKETWHEEL_{name}" in line or name == "DATA"
    assert not _mention(tmp_path)


@pytest.mark.parametrize("name", ["S3_PORT", "CONSOLE_PORT", "REDIS_PORT", "FLOWER_PORT"])
def test_a_taken_port_names_its_setting(tmp_path: Path, name: str) -> None:
    """And says what to set instead."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own = {f"BUCKETWHEEL_{name}": str(port)}
        done = _run("up", **{"BUCKETWHEEL_DATA": str(tmp_path), **FREE, **own})

    assert (done.returncode, done.stderr) == (
        2,
        f"bucketwheel: port {port} is taken: set BUCKETWHEEL_{name} to another,"
        " or 0 for any free one\n",
    )


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"S3_ENDPOINT": "http://127.0.0.1:9"},
            "set also BUCKETWHEEL_S3_ACCESS_KEY and BUCKETWHEEL_S3_SECRET_KEY",
        ),
        (
            {"S3_ENDPOINT": "http://127.0.0.1:9", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"},
            "the object store that BUCKETWHEEL_S3_ENDPOINT names does not answer",
        ),
        (
            {"REDIS_URL": "redis://127.0.0.1:9/0"},
            "Redis that BUCKETWHEEL_REDIS_URL names does not answer",
        ),
    ],
)
def test_a_server_that_is_not_there_is_told(
    tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    """What a variable names as running must run."""
    named = {f"BUCKETWHEEL_{name}": value for name, value in variables.items()}
    done = _run("up", **{"BUCKETWHEEL_DATA": str(tmp_path), **FREE, **named})

    assert done.returncode == 2
    assert told in done.stderr and "Traceback" not in done.stderr
    assert not _mention(tmp_path)


# -- servers that run already ----------------------------------------------------------------------


def test_running_servers_are_used(tmp_path: Path, redis_url: str, storage: StorageSettings) -> None:
    """BUCKETWHEEL_S3_ENDPOINT and BUCKETWHEEL_REDIS_URL name them: neither is started."""
    named = {**_named(storage), "BUCKETWHEEL_REDIS_URL": redis_url}
    with begun(tmp_path / "data", **named) as system:
        assert sorted(system.instance.children) == ["flower", "intake", "worker"]
        deployed(system, tmp_path, "@function(bucket='others')\ndef run(event, context): ...\n")
        system.s3().put_object(Bucket="others", Key="a", Body=b"x")

        wait_for(system, "run", succeeded=1)


def test_a_store_without_our_event_target_is_refused(tmp_path: Path) -> None:
    """Uploads to it would run nothing: `up` says what to start it with."""
    with _bare_store(tmp_path) as named:
        done = _run("up", **{"BUCKETWHEEL_DATA": str(tmp_path / "data"), **FREE, **named})

    assert done.returncode == 2
    assert "BUCKETWHEEL_S3_ENDPOINT: the object store has no event target" in done.stderr
    assert "MINIO_NOTIFY_REDIS_ENABLE_BUCKETWHEEL=on" in done.stderr


@contextmanager
def _bare_store(folder: Path) -> Iterator[dict[str, str]]:
    """A MinIO that tells nobody of its events; the settings that name it."""
    credentials = Credentials.keep(folder)
    port, console = ports.choose({"S3_PORT": 0, "CONSOLE_PORT": 0}).values()
    spec = servers.minio_spec(UpSettings(), folder, (port, console), credentials, "redis://x/0")
    bare = {name: text for name, text in spec.environment.items() if "_NOTIFY_" not in name}
    found = StorageSettings(
        s3_endpoint=AnyHttpUrl(f"http://127.0.0.1:{port}"),
        s3_access_key=credentials.s3_access_key,
        s3_secret_key=SecretStr(credentials.s3_secret_key),
    )
    process = subprocess.Popen(spec.command, env=bare, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _lists_buckets(found), "the store answers")
        yield _named(found)
    finally:
        process.kill()
        process.wait()


def _lists_buckets(storage: StorageSettings) -> bool:
    try:
        return client.connect(storage).list_buckets() == []
    except (MinioException, HTTPError):
        return False


def _named(storage: StorageSettings) -> dict[str, str]:
    """The settings that name a running store."""
    return {
        "BUCKETWHEEL_S3_ENDPOINT": str(storage.s3_endpoint),
        "BUCKETWHEEL_S3_ACCESS_KEY": storage.s3_access_key,
        "BUCKETWHEEL_S3_SECRET_KEY": storage.s3_secret_key.get_secret_value(),
    }


# -- secrets and addresses -------------------------------------------------------------------------


def test_what_holds_secrets_is_its_owners_alone(system: System) -> None:
    """Credentials, the description of the instance, logs and folders: nobody else's to read."""
    for name in ("credentials.json", "instance.json", "redis/redis.conf", "logs/worker.log"):
        assert stat.S_IMODE((system.data / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(system.data.stat().st_mode) & 0o077 == 0


def test_no_secret_is_among_arguments_or_in_logs(system: System) -> None:
    """Every user of the machine may list the arguments of processes."""
    secrets = json.loads((system.data / "credentials.json").read_text()).values()
    texts = {path.name: path.read_text() for path in (system.data / "logs").iterdir()}
    for process in psutil.process_iter():
        try:
            texts[f"process {process.pid}"] = " ".join(process.cmdline())
        except psutil.Error:
            continue

    told = [name for name, text in texts.items() for secret in secrets if secret in text]
    assert not told


def test_everything_listens_on_loopback_only(system: System) -> None:
    """No port of ours can be reached from outside."""
    found = system.instance
    ours = [psutil.Process(pid) for pid in (found.pid, *found.children.values())]
    ours += [each for process in ours for each in process.children(recursive=True)]
    listening = {each for process in ours for each in _listening(process)}
    assert len(listening) >= 4
    assert all(ip_address(address).is_loopback for _, address, _ in listening), listening


def _listening(process: psutil.Process) -> set[tuple[str, str, int]]:
    """Name, address and port of what it listens on: nothing once it has ended."""
    try:
        name, connections = process.name(), process.net_connections("inet")
    except psutil.NoSuchProcess:  # environments are reaped while others are asked
        return set()
    return {
        (name, each.laddr.ip, each.laddr.port)
        for each in connections
        if each.status == psutil.CONN_LISTEN
    }


# -- commands --------------------------------------------------------------------------------------


def test_env_is_read_by_a_shell_and_by_awss_tools(system: System) -> None:
    """`eval "$(bucketwheel env)"` is all that boto3 needs."""
    program = (
        "import boto3; print([b['Name'] for b in boto3.client('s3').list_buckets()['Buckets']])"
    )
    script = f'eval "$({sys.executable} -m bucketwheel env)" && {sys.executable} -c "{program}"'
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": os.environ["PATH"], "BUCKETWHEEL_DATA": str(system.data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "'bucketwheel'" in done.stdout, done.stderr


def test_env_prints_one_quoted_variable_a_line(system: System) -> None:
    """People script against it."""
    lines = system.run("env").splitlines()

    assert [line.split("=")[0] for line in lines] == [
        "export AWS_ENDPOINT_URL_S3",
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
        "export AWS_REGION",
        "export BUCKETWHEEL_DATA",
    ]
    assert all(re.fullmatch(r"export \w+='[^']+'", line) for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does(command: str) -> None:
    """`--help` works without a system."""
    done = _run(command, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert COMMANDS[command] in " ".join(done.stdout.split())


def test_the_overview_lists_every_command() -> None:
    """In the order people need them, each with one whole sentence."""
    done = _run("--help")
    listed = re.findall(
        r"^  (\w+) +([A-Z].*)$", done.stdout.partition("Commands:")[2], re.MULTILINE
    )

    assert [name for name, _ in listed] == list(COMMANDS)
    assert all(text.endswith(".") and not text.endswith("...") for _, text in listed)


def test_the_script_and_the_module_are_the_same() -> None:
    """`python -m bucketwheel` serves where no script is on the path."""
    script = Path(sys.executable).parent / "bucketwheel"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == _run("--version").stdout
    assert done.stdout.startswith("bucketwheel, version ")


def test_status_shows_the_system_at_rest(system: System) -> None:
    """The worker's name, and no event that waits."""
    told = system.run("status")

    assert re.search(r"^workers +\S+$", told, re.MULTILINE)
    assert re.search(r"^events waiting +0$", told, re.MULTILINE)


def test_logs_of_a_function_that_nobody_has_is_an_error(system: System) -> None:
    """A typing mistake must not look like silence."""
    done = system.tried("logs", "nobodys")

    assert (done.returncode, done.stdout) == (2, "")
    assert "no function 'nobodys' is deployed" in done.stderr


def test_logs_follow_what_comes(system: System, tmp_path: Path) -> None:
    """`logs --follow` prints an invocation's lines while they come, each as JSON if asked."""
    deployed(system, tmp_path, "@function\ndef tell(event, context):\n    print('told', event)\n")
    system.run("invoke", "tell", "--payload", "1")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bucketwheel", "logs", "tell", "--follow", "--json"],
        env={**os.environ, "BUCKETWHEEL_DATA": str(system.data)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "told 1" in json.loads(process.stdout.readline())["text"]
        system.run("invoke", "tell", "--payload", "2")
        assert "told 2" in json.loads(process.stdout.readline())["text"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
