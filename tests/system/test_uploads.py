"""Objects that land in buckets: each finished write runs each function that waits for it, once."""

from __future__ import annotations

import json
import re
import urllib.request
import uuid
from typing import Any

import pytest

from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.system.conftest import Deploy, logged, status, stopped, wait_for

MB = 1024 * 1024

#: A function that logs its event; NAME, BUCKET and FURTHER arguments are filled in.
RECORDER = """
    import json

    @function(name="NAME", bucket="BUCKET", timeout=30FURTHER)
    def record(event, context):
        print("EVENT", json.dumps(event))
"""

#: Whatever the store takes as a key. A slash in front it strips itself.
KEYS = [
    "plain.txt",
    "with space.txt",
    " at both ends ",
    "a+b.txt",
    "100%.txt",
    "%41%2F.txt",
    "a%20b",
    "ü/ñ/日本語.txt",
    "😀.txt",
    "e\u0301",
    "new\nline",
    "carriage\rreturn",
    "tab\tkey",
    "\x01\x7f",
    "\u2028\ufeff\uffff\u202e",
    "quote\"'`$(true);&|<>*",
    "back\\slash",
    "#fragment?query=1&x=2",
    "a=b&c=d;e,f:g",
    "{brace}[bracket]~!@^",
    ".hidden/..txt",
    "folder/",
    "x" * 255,
    "/".join(["y" * 204] * 5),  # 1,024 bytes
    "/".join(["é" * 127] * 4),
]


@pytest.fixture
def s3(system: System) -> Any:
    """A client with the user's rights."""
    return system.s3()


@pytest.fixture
def name() -> str:
    """Name of a function that no other test uses."""
    return f"recorder-{uuid.uuid4().hex[:10]}"


def _recorder(name: str, bucket: str, further: str = "") -> str:
    text = RECORDER.replace("NAME", name).replace("BUCKET", bucket)
    return text.replace("FURTHER", f", {further}" if further else "")


def _events(system: System, name: str) -> list[dict[str, Any]]:
    """The events that a recorder was run with."""
    found = re.findall(r"^EVENT (.*)$", logged(system, name), re.MULTILINE)
    return [json.loads(each) for each in found]


def _keys(system: System, name: str) -> list[str]:
    """Keys as they are in the events: encoded as AWS does."""
    events = _events(system, name)
    return sorted(each["Records"][0]["s3"]["object"]["key"] for each in events)


def _names(system: System, name: str) -> list[str]:
    """Names of the events."""
    return sorted(each["Records"][0]["eventName"] for each in _events(system, name))


def test_an_upload_runs_the_function_once_with_awss_event(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """The event is the one an AWS handler knows: `Records[0].s3`, key encoded, source `aws:s3`."""
    deploy(_recorder(name, bucket))
    s3.put_object(Bucket=bucket, Key="in/a photo+.jpg", Body=b"12345")

    wait_for(system, name, succeeded=1, queued=0, running=0)
    (event,) = _events(system, name)
    (record,) = event["Records"]
    assert record["eventSource"] == "aws:s3"
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["awsRegion"] == "us-east-1"
    assert record["s3"]["bucket"]["name"] == bucket
    assert record["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"
    assert record["s3"]["object"]["key"] == "in/a+photo%2B.jpg"
    assert record["s3"]["object"]["size"] == 5
    assert record["s3"]["object"]["eTag"] == "827ccb0eea8a706c4c34a16891f84e7b"


def test_only_keys_with_prefix_and_suffix_count(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """A key must begin with the prefix and end with one of the suffixes."""
    deploy(_recorder(name, bucket, 'prefix="in/", suffix=(".jpg", ".png")'))
    for key in ("a.jpg", "in/a.txt", "in/a.jpg", "xin/a.jpg", "in/b/c.png", "in/d.JPG", "in/.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=bucket, Key="in/last.png", Body=b"x")

    wait_for(system, name, succeeded=4, queued=0)
    assert _keys(system, name) == ["in/.jpg", "in/a.jpg", "in/b/c.png", "in/last.png"]


def test_a_key_may_hold_every_kind_of_character(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """AWS's `unquote_plus` gives back the key, under which the function then finds the object."""
    deploy(f"""
        from urllib.parse import unquote_plus
        import boto3

        @function(name="{name}", bucket="{bucket}", timeout=60, memory=256)
        def find(event, context):
            record = event["Records"][0]["s3"]
            key = unquote_plus(record["object"]["key"])
            boto3.client("s3").head_object(Bucket=record["bucket"]["name"], Key=key)
            print("FOUND", ascii(key))
    """)
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    row = wait_for(system, name, succeeded=len(KEYS), queued=0, running=0)
    found = re.findall(r"^FOUND (.*)$", logged(system, name), re.MULTILINE)
    assert sorted(found) == sorted(ascii(key) for key in KEYS)
    assert (row["failed"], row["dead"]) == (0, 0)


def test_a_function_stores_its_result_in_the_same_bucket(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """Unmodified boto3 code reads, works and writes; its own write does not run it again."""
    deploy(f"""
        import boto3

        @function(name="{name}", bucket="{bucket}", prefix="in/", timeout=30, memory=256)
        def shout(event, context):
            key = event["Records"][0]["s3"]["object"]["key"]
            s3 = boto3.client("s3")
            text = s3.get_object(Bucket="{bucket}", Key=key)["Body"].read()
            s3.put_object(Bucket="{bucket}", Key=f"out/{{key[3:]}}", Body=text.upper())
    """)
    for n in range(3):
        s3.put_object(Bucket=bucket, Key=f"in/{n}.txt", Body=f"text {n}".encode())

    wait_for(system, name, succeeded=3, failed=0, queued=0, running=0)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]
    texts = [s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in listed]
    assert sorted(texts) == [b"TEXT 0", b"TEXT 1", b"TEXT 2"]


def test_a_functions_rights_end_at_its_bucket(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """A function reads and writes where it is triggered: no foreign bucket, no system bucket."""
    s3.create_bucket(Bucket=f"{bucket}-foreign")
    s3.put_object(Bucket=f"{bucket}-foreign", Key="secret", Body=b"x")
    deploy(f"""
        import boto3
        from botocore.exceptions import ClientError

        @function(name="{name}", bucket="{bucket}", prefix="in/", timeout=30, memory=256)
        def spy(event, context):
            s3 = boto3.client("s3")
            def tried(call, **arguments):
                try:
                    getattr(s3, call)(**arguments)
                except ClientError as error:
                    return error.response["Error"]["Code"]
                return "allowed"
            foreign = "{bucket}-foreign"
            return {{
                "own read": tried("list_objects_v2", Bucket="{bucket}"),
                "own write": tried("put_object", Bucket="{bucket}", Key="out/a", Body=b""),
                "read": tried("get_object", Bucket=foreign, Key="secret"),
                "list": tried("list_objects_v2", Bucket=foreign),
                "write": tried("put_object", Bucket=foreign, Key="out", Body=b""),
                "delete": tried("delete_object", Bucket=foreign, Key="secret"),
                "system": tried("list_objects_v2", Bucket="bucketwheel"),
                "code": tried("get_object", Bucket="bucketwheel", Key="functions/{name}.json"),
                "deploy": tried("put_object", Bucket="bucketwheel", Key="deployments/x.zip"),
                "make": tried("create_bucket", Bucket="{bucket}-made"),
                "rules": tried("put_bucket_notification_configuration", Bucket="{bucket}",
                               NotificationConfiguration={{}}),
            }}
    """)
    found = json.loads(system.run("invoke", name))

    allowed = [each for each, code in found.items() if code == "allowed"]
    assert allowed == ["own read", "own write"]
    assert set(found.values()) == {"allowed", "AccessDenied"}


def test_an_empty_object_runs_the_function(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """An object of zero bytes is an upload like any other."""
    deploy(_recorder(name, bucket))
    s3.put_object(Bucket=bucket, Key="empty")

    wait_for(system, name, succeeded=1)
    assert _events(system, name)[0]["Records"][0]["s3"]["object"]["size"] == 0


def test_an_object_that_is_gone_fails_its_own_invocation_alone(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """It is tried again twice, then kept as a dead letter with its reason; others run."""
    deploy(f"""
        import boto3

        @function(name="{name}", bucket="{bucket}", timeout=30, memory=256)
        def read(event, context):
            key = event["Records"][0]["s3"]["object"]["key"]
            boto3.client("s3").get_object(Bucket="{bucket}", Key=key)
    """)
    with stopped(system, "worker"):
        s3.put_object(Bucket=bucket, Key="gone", Body=b"x")
        s3.put_object(Bucket=bucket, Key="here", Body=b"x")
        s3.delete_object(Bucket=bucket, Key="gone")

    wait_for(system, name, succeeded=1, failed=3, dead=1, retrying=0, queued=0)
    assert f"last error of {name}: NoSuchKey: " in system.run("status")
    assert system.run("logs", name).count("[ERROR] NoSuchKey") == 3


def test_two_functions_of_one_bucket_both_run(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """Each upload runs every function whose trigger it meets, each once."""
    deploy(_recorder(f"{name}-all", bucket))
    deploy(_recorder(f"{name}-in", bucket, 'prefix="in/"'))
    for key in ("in/a", "in/b", "other"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    wait_for(system, f"{name}-all", succeeded=3, queued=0)
    wait_for(system, f"{name}-in", succeeded=2, queued=0)
    assert _keys(system, f"{name}-all") == ["in/a", "in/b", "other"]
    assert _keys(system, f"{name}-in") == ["in/a", "in/b"]


def test_every_way_of_writing_counts_once_and_nothing_else_does(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """Put, form post, copy and multipart upload run it; tagging, reading and removal do not."""
    deploy(_recorder(name, bucket))
    s3.put_object(Bucket=bucket, Key="put", Body=b"x")
    _post_form(s3, bucket, "post")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "put"})
    _upload_in_parts(s3, bucket, "parts")
    s3.put_object_tagging(
        Bucket=bucket, Key="put", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
    )
    s3.get_object(Bucket=bucket, Key="put")
    s3.delete_object(Bucket=bucket, Key="put")
    s3.put_object(Bucket=bucket, Key="last", Body=b"x")

    wait_for(system, name, succeeded=5, queued=0, running=0)
    wait_until(lambda: not system.redis.llen("bucketwheel:events"), "all events are taken")
    assert _names(system, name) == [
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectCreated:Copy",
        "ObjectCreated:Post",
        "ObjectCreated:Put",
        "ObjectCreated:Put",
    ]


def test_removals_run_a_function_that_asks_for_them(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """`events="ObjectRemoved:*"`: it runs when an object goes, and not when one comes."""
    deploy(_recorder(name, bucket, 'events="ObjectRemoved:*"'))
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="a")

    wait_for(system, name, succeeded=1, queued=0)
    assert _names(system, name) == ["ObjectRemoved:Delete"]


def test_the_same_key_again_is_a_new_event(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """Every write counts, also of the same bytes under the same key."""
    deploy(_recorder(name, bucket))
    for _ in range(5):
        s3.put_object(Bucket=bucket, Key="same", Body=b"x")

    wait_for(system, name, succeeded=5, queued=0)
    assert _keys(system, name) == ["same"] * 5


def test_rules_of_others_stay(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any, webhook: str
) -> None:
    """A bucket that already tells somebody of its events goes on doing so."""
    s3.create_bucket(Bucket=bucket)
    theirs = {"Id": "theirs", "QueueArn": webhook, "Events": ["s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [theirs]}
    )
    deploy(_recorder(name, bucket))
    found = s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"]

    assert [each for each in found if each["Id"] == "theirs"] == [theirs]
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    wait_for(system, name, succeeded=1)


def test_an_object_outside_every_trigger_runs_nothing(
    system: System, deploy: Deploy, bucket: str, name: str, s3: Any
) -> None:
    """An upload nobody waits for is no fault: nothing runs, nothing is kept."""
    deploy(_recorder(name, bucket, 'prefix="in/"'))
    dead = status(system, "bucketwheel:intake")["dead"]
    s3.put_object(Bucket=bucket, Key="elsewhere", Body=b"x")
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"x")

    wait_for(system, name, succeeded=1, queued=0)
    assert status(system, "bucketwheel:intake")["dead"] == dead


def _post_form(s3: Any, bucket: str, key: str) -> None:
    """Upload as a browser's form does."""
    form = s3.generate_presigned_post(Bucket=bucket, Key=key)
    border = uuid.uuid4().hex
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form["fields"].items()
    ]
    file = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n'
    body = "".join([*parts, file, f"--{border}--\r\n"]).encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={border}"}
    urllib.request.urlopen(urllib.request.Request(form["url"], body, headers)).close()


def _upload_in_parts(s3: Any, bucket: str, key: str) -> None:
    id = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    which = {"Bucket": bucket, "Key": key, "UploadId": id}
    tags = [
        s3.upload_part(**which, PartNumber=n, Body=bytes(size))["ETag"]
        for n, size in ((1, 5 * MB), (2, 10))
    ]
    parts = [{"ETag": tag, "PartNumber": n} for n, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(**which, MultipartUpload={"Parts": parts})
