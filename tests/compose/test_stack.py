"""The stack of docker-compose.yml: how it comes up, what it may, what survives."""

from __future__ import annotations

import io
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.compose.daemon import Docker
from tests.compose.project import Project
from tests.conftest import wait_until

pytestmark = pytest.mark.compose

SERVICES = {"redis", "minio", "intake", "worker", "flower"}
#: What the worker needs to give each environment a user and a root folder of its own.
WORKERS = {
    *("SYS_ADMIN", "SYS_CHROOT", "SETUID", "SETGID"),
    *("SETPCAP", "KILL", "CHOWN", "DAC_OVERRIDE"),
}

CODE = """
    import time

    import boto3

    @function(bucket="loads", prefix="in/", reserved_concurrency=6, timeout=60)
    def carry(event, context):
        time.sleep(0.5)
        key = event["Records"][0]["s3"]["object"]["key"]
        boto3.client("s3").put_object(Bucket="loads", Key=key.replace("in/", "out/", 1), Body=b"")
"""


def _service(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def _photo() -> bytes:
    file = io.BytesIO()
    Image.effect_mandelbrot((1_200, 900), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(file, "JPEG")
    return file.getvalue()


# -- before it is up -------------------------------------------------------------------------------


def test_without_passwords_it_says_how_to_make_them(docker: Docker, tmp_path: Path) -> None:
    """Nothing is started, nothing is built."""
    project = Project(docker, tmp_path)

    done = project.tried("up", "--detach")

    assert done.returncode != 0
    assert "no passwords yet, run scripts/compose-env" in done.stderr
    assert "warning" not in done.stderr
    assert project.docker.run("ps", "--quiet", "--filter", f"name={project.name}") == ""


def test_passwords_are_random_and_nobody_elses_to_read(docker: Docker, tmp_path: Path) -> None:
    """And made once: a second time the command keeps what the data belong to."""
    one, other = Project(docker, tmp_path / "1"), Project(docker, tmp_path / "2")
    assert one.write_env().returncode == other.write_env().returncode == 0
    file = one.folder / ".env"
    before = file.read_text()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = [name for name in one.variables if name.endswith(("PASSWORD", "KEY"))]
    assert len(secrets) == 6
    for name in secrets:
        assert one.variables[name] != other.variables[name]
        assert len(one.variables[name]) >= 20 and one.variables[name].isalnum()
    again = one.write_env()
    assert (again.returncode, file.read_text()) == (1, before)
    assert "stays" in again.stderr


# -- what it is ------------------------------------------------------------------------------------


def test_all_of_it_is_healthy(project: Project) -> None:
    """By probes of what each is for."""
    found = {_service(each): each["State"]["Health"]["Status"] for each in project.containers()}

    assert found == dict.fromkeys(SERVICES, "healthy")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_container_has_no_more_rights_than_it_needs(project: Project, service: str) -> None:
    """And its log is bounded, and it comes back when it ends."""
    (found,) = project.containers(service)
    host = found["HostConfig"]

    assert host["CapDrop"] == ["ALL"]
    assert {each.removeprefix("CAP_") for each in host["CapAdd"] or []} == (
        WORKERS if service == "worker" else set()
    )
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert not host["Privileged"]
    assert host["ReadonlyRootfs"] is (service != "worker")
    assert (found["Config"]["User"] in ("root", "0", "")) is (service == "worker")
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    for each in found["NetworkSettings"]["Ports"].values():
        assert {binding["HostIp"] for binding in each or []} <= {"127.0.0.1"}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_password_is_in_a_process_argument_or_a_log(project: Project, service: str) -> None:
    """Of no process of the container."""
    (found,) = project.containers(service)
    top = project.docker.run("top", found["Id"], "-eo", "pid,args")
    log = project.compose("logs", "--no-color", service)

    for name, value in project.variables.items():
        if name.endswith(("PASSWORD", "KEY")):
            assert value not in top and value not in log


def test_the_stores_user_can_push_events_and_nothing_else(project: Project) -> None:
    """What MinIO knows of Redis opens nothing."""
    port = int(project.variables["BUCKETWHEEL_REDIS_PORT"])
    password = project.variables["BUCKETWHEEL_REDIS_EVENTS_PASSWORD"]
    with Redis(port=port, username="minio", password=password) as redis:
        assert redis.ping()
        for refused in (
            lambda: redis.get("bucketwheel:functions"),
            lambda: redis.lrange("bucketwheel:events", 0, -1),
            lambda: redis.rpush("bucketwheel:dead", "x"),
            lambda: redis.config_get("*"),
            redis.flushall,
        ):
            with pytest.raises(NoPermissionError):
                refused()


def test_redis_keeps_what_it_is_told(project: Project) -> None:
    """On disk, and never evicting anything."""
    with project.redis() as redis:
        settings: Any = redis.config_get("append*", "maxmemory-policy")

    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"


def test_a_redis_that_nobody_knows_is_closed(project: Project) -> None:
    """Without a password nothing is answered."""
    with (
        Redis(port=int(project.variables["BUCKETWHEEL_REDIS_PORT"])) as redis,
        pytest.raises(AuthenticationError),
    ):
        redis.ping()


# -- what it does ----------------------------------------------------------------------------------


def test_an_example_crops_what_is_uploaded(project: Project) -> None:
    """Deployed by its container; the photo goes in and out by the published port."""
    output = project.compose("run", "--rm", "examples")
    assert "crop version 1" in output

    project.s3().put_object(Bucket="photos", Key="in/me.jpg", Body=_photo())
    project.wait_for_keys("photos", "cropped/", {"me.jpg"})

    stored = project.s3().get_object(Bucket="photos", Key="cropped/me.jpg")["Body"].read()
    assert Image.open(io.BytesIO(stored)).size == (800, 800)


def test_functions_are_deployed_and_called_from_this_machine(project: Project) -> None:
    """By the same commands, with the settings of .env."""
    project.deploy("""
        @function(timeout=60)
        def twice(event, context):
            print("seen")
            return 2 * event
    """)

    assert project.bucketwheel("invoke", "twice", "--payload", "21") == "42\n"
    assert "twice" in project.bucketwheel("functions")
    wait_until(lambda: "seen" in project.bucketwheel("logs", "twice"), "its log is there")


def test_nothing_is_lost_when_a_worker_of_three_is_killed(project: Project) -> None:
    """Its container comes back, and what it had in hand runs again."""
    project.deploy(CODE)
    project.up("--scale", "worker=3", "--no-recreate")
    wait_until(lambda: len(project.hosts()) == 3, "three workers tell of themselves")
    keys = {f"{number:03}" for number in range(120)}
    for key in sorted(keys):
        project.s3().put_object(Bucket="loads", Key=f"in/{key}", Body=key.encode())
    wait_until(lambda: len(project.keys("loads", "out/")) > 10, "work is under way")

    victim = project.containers("worker")[0]
    os.kill(victim["State"]["Pid"], signal.SIGKILL)

    project.wait_for_keys("loads", "out/", keys)
    wait_until(lambda: project.status("carry")["succeeded"] >= len(keys), "all is told", 180)
    assert project.status("carry")["dead"] == 0
    wait_until(lambda: len(project.hosts()) == 3, "the killed one is back")
    (after,) = (each for each in project.containers("worker") if each["Id"] == victim["Id"])
    assert after["RestartCount"] == 1
    project.up("--scale", "worker=1", "--no-recreate")


def test_a_worker_that_is_stopped_ends_its_work_first(project: Project) -> None:
    """A warm shutdown: nothing that runs is cut off."""
    project.deploy("""
        import time
        @function(timeout=60)
        def slow(event, context):
            time.sleep(15)
            return "whole"
    """)
    command = ("invoke", "slow", "--payload", "{}", "--async")
    project.bucketwheel(*command)
    wait_until(lambda: project.status("slow")["running"] == 1, "it runs")

    project.compose("restart", "worker")

    assert project.status("slow")["succeeded"] == 1
    assert project.status("slow")["failed"] == 0
    wait_until(project.hosts, "the worker is back")


def test_down_leaves_nothing_and_up_finds_all_again(project: Project) -> None:
    """Containers and network go, the data stay: functions, objects, dead letters."""
    project.deploy("@function(maximum_retry_attempts=0)\ndef broken(event, context): 1 / 0")
    project.bucketwheel("invoke", "broken", "--payload", "{}", "--async")
    wait_until(lambda: "broken" in project.bucketwheel("dead", "list"), "it is given up")
    project.s3().put_object(Bucket="loads", Key="kept", Body=b"still here")

    project.compose("down")

    filters = ("--filter", f"label=com.docker.compose.project={project.name}")
    assert project.docker.run("ps", "--all", "--quiet", *filters) == ""
    assert project.docker.run("network", "ls", "--quiet", *filters) == ""
    project.up()
    assert project.s3().get_object(Bucket="loads", Key="kept")["Body"].read() == b"still here"
    assert project.bucketwheel("invoke", "twice", "--payload", "4") == "8\n"
    assert "broken" in project.bucketwheel("dead", "list")
    project.s3().put_object(Bucket="loads", Key="in/after", Body=b"x")
    project.wait_for_keys("loads", "out/", {"after"})


def test_another_image_of_the_store_may_be_named(project: Project) -> None:
    """It gets the same folder and user, and nothing is built from source."""
    (found,) = project.containers("minio")
    project.docker.run("tag", found["Image"], "elsewhere/minio:1")

    project.compose("build", "minio", BUCKETWHEEL_MINIO_IMAGE="elsewhere/minio:1")

    history = project.docker.run(
        "history", "--no-trunc", "--format", "{{.CreatedBy}}", "bucketwheel/minio"
    )
    assert history.count("chown 10001:10001 /data") == 2
    project.up()
