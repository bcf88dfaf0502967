"""Declaring functions: what the decorator takes, and what a package tells of itself."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketwheel import declaration, function
from bucketwheel.declaration import Declaration
from storage.configuration import (
    ENVIRONMENT,
    PYTHON,
    WRITING_EVENTS,
    FunctionConfiguration,
    Layer,
)
from workers.deployment import _Code, _configuration, _declaration
from workers.errors import DeploymentFailed
from workers.manifest import Manifest

Describe = Callable[..., dict[str, Any]]


def crop(event: Any, context: Any) -> str:
    """A handler."""
    return f"cropped {event}"


def _declared(**arguments: Any) -> Declaration:
    """What a function with these arguments declares."""

    def handler(event: Any, context: Any) -> None:
        """Do nothing."""

    function(**arguments)(handler)
    found: Declaration = handler.__bucketwheel__  # type: ignore[attr-defined]
    return found


# -- the decorator ---------------------------------------------------------------------------------


def test_a_decorated_handler_is_the_handler_itself() -> None:
    """With and without parentheses; it can be called as before, in tests above all."""
    for decorate in (function, function(), function(bucket="photos")):
        assert decorate(crop) is crop

    assert crop("a", None) == "cropped a"


def test_what_is_left_out_is_as_lambda_has_it() -> None:
    """And the name is the handler's."""
    function(crop)

    found: Declaration = crop.__bucketwheel__  # type: ignore[attr-defined]
    assert (found.name, found.handler) == ("crop", f"{__name__}.crop")
    assert (found.memory, found.timeout, found.maximum_retry_attempts) == (128, 3, 2)
    assert (found.environment, found.triggers, found.writes) == ({}, (), None)


def test_what_is_said_is_declared() -> None:
    """One suffix is as good as several."""
    found = _declared(
        name="crop-it",
        bucket="photos",
        prefix="in/",
        suffix=[".jpg", ".png"],
        memory=256,
        timeout=30,
        environment={"SIZE": "128"},
        writes="thumbs/small",
        maximum_retry_attempts=0,
    )

    assert (found.name, found.memory, found.timeout) == ("crop-it", 256, 30)
    assert found.triggers == ({"bucket": "photos", "prefix": "in/", "suffixes": (".jpg", ".png")},)
    assert (found.environment, found.writes) == ({"SIZE": "128"}, ("thumbs/small",))
    assert found.maximum_retry_attempts == 0
    assert _declared(bucket="photos", suffix=".jpg").triggers[0]["suffixes"] == (".jpg",)


@pytest.mark.parametrize(
    ("events", "meant"),
    [
        ("ObjectCreated:Put", ("ObjectCreated:Put",)),
        ("s3:ObjectCreated:*", WRITING_EVENTS),
        (
            ["ObjectRemoved:*", "s3:ObjectRemoved:Delete"],
            ("ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated"),
        ),
    ],
)
def test_events_have_awss_names_and_a_star_means_finished_writes(
    events: Any, meant: tuple[str, ...]
) -> None:
    """The store's own star would include tagging, with which a function would call itself."""
    assert _declared(bucket="photos", events=events).triggers[0]["events"] == meant


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"memory": 127}, ValueError, "memory must be 128 to 10,240 megabytes, not 127"),
        ({"memory": 10_241}, ValueError, "memory must be"),
        ({"memory": "128"}, TypeError, "memory must be an int, not '128'"),
        ({"memory": True}, TypeError, "memory must be an int"),
        ({"timeout": 0}, ValueError, "timeout must be 1 to 900 seconds, not 0"),
        ({"timeout": 901}, ValueError, "timeout must be"),
        ({"timeout": 1.5}, TypeError, "timeout must be an int"),
        ({"maximum_retry_attempts": 3}, ValueError, "must be 0 to 2 retries"),
        ({"name": ""}, ValueError, "name must be 1 to 64 letters"),
        ({"name": "a" * 65}, ValueError, "name must be"),
        ({"name": "a\n"}, ValueError, "name must be"),
        ({"name": 7}, TypeError, "name must be a str"),
        ({"bucket": "Photos"}, ValueError, "bucket must be 3 to 63 lower-case letters"),
        ({"bucket": "ab"}, ValueError, "bucket must be 3 to 63 lower-case letters"),
        ({"bucket": ["photos"]}, TypeError, "bucket must be a str"),
        ({"prefix": "in/"}, TypeError, "prefix, suffix and events need a bucket"),
        ({"suffix": ".jpg"}, TypeError, "need a bucket"),
        ({"events": "ObjectCreated:Put"}, TypeError, "need a bucket"),
        ({"bucket": "photos", "prefix": 7}, TypeError, "prefix must be a str"),
        ({"bucket": "photos", "suffix": 7}, TypeError, "suffix must be a str or several"),
        ({"bucket": "photos", "suffix": [7]}, TypeError, "suffix must be a str or several"),
        ({"bucket": "photos", "events": "Written"}, ValueError, "'Written' is no event; these are"),
        ({"environment": ["A"]}, TypeError, "environment must be a mapping"),
        ({"environment": {"A": 1}}, TypeError, "environment must map str to str"),
        ({"environment": {"1A": ""}}, ValueError, "a name in environment must be letters"),
        ({"environment": {"A": "\0"}}, ValueError, "A in environment must not hold a NUL"),
        ({"environment": {"A": "x" * ENVIRONMENT}}, ValueError, "at most 4,096 bytes, not 4,097"),
        ({"writes": "*"}, ValueError, "before the first '/' in writes must be 3 to 63"),
        ({"writes": ["thumbs", "/x"]}, ValueError, "in writes must be 3 to 63 lower-case"),
        ({"writes": 7}, TypeError, "writes must be a str or several"),
        ({"reserved_concurrency": -1}, ValueError, "must be 0 to 10,000 environments, not -1"),
        ({"reserved_concurrency": "1"}, TypeError, "reserved_concurrency must be an int"),
        ({"provisioned_concurrency": None}, TypeError, "provisioned_concurrency must be an int"),
        (
            {"reserved_concurrency": 1, "provisioned_concurrency": 2},
            ValueError,
            "provisioned_concurrency must be at most reserved_concurrency, 1, not 2",
        ),
        ({"snap_start": 1}, TypeError, "snap_start must be a bool, not 1"),
        ({"ephemeral_storage": 511}, ValueError, "must be 512 to 10,240 megabytes, not 511"),
        ({"layers": "a:0"}, ValueError, "each of layers must be a layer's 'name' or"),
        ({"layers": ["a b"]}, ValueError, "each of layers must be a layer's 'name' or"),
        ({"layers": 7}, TypeError, "layers must be a str or several"),
        ({"layers": list("abcdef")}, ValueError, "layers must be at most 5, not 6"),
        ({"order": "size"}, ValueError, "order must be none or key, not 'size'"),
        ({"order": None}, TypeError, "order must be a str, not None"),
        ({"recursive_loop": "allow"}, ValueError, "recursive_loop must be Terminate or Allow"),
        ({"batch_size": 10}, TypeError, "batch_size and batch_window need a bucket"),
        ({"bucket": "photos", "batch_size": 0}, ValueError, "must be 1 to 10,000 records, not 0"),
        ({"bucket": "photos", "batch_window": 301}, ValueError, "must be 0 to 300 seconds"),
        ({"bucket": "photos", "batch_size": 11}, ValueError, "needs a batch_window of at least 1"),
        ({"schedule": "daily"}, ValueError, r"schedule must be rate\(5 minutes\)"),
        ({"schedule": ["rate(1 day)"] * 11}, ValueError, "schedule must be at most 10, not 11"),
        ({"schedule": 5}, TypeError, "schedule must be a str or several"),
        ({"schedule_catch_up": True}, TypeError, "schedule_catch_up needs a schedule"),
        ({"filters": [{"a": ["b"]}]}, TypeError, "filters need a bucket"),
        ({"bucket": "photos", "filters": {"a": ["b"]}}, TypeError, "filters must be several"),
        ({"bucket": "photos", "filters": [7]}, TypeError, "each of filters must be a dict or JSON"),
        ({"bucket": "photos", "filters": ["{"]}, ValueError, "in filters is not JSON"),
        ({"bucket": "photos", "filters": [{"a": {1}}]}, ValueError, "in filters is not JSON"),
        ({"bucket": "photos", "filters": [{}]}, ValueError, "must have at least one field"),
        ({"bucket": "photos", "filters": [{"a": ["b"]}] * 6}, ValueError, "at most 5, not 6"),
        (
            {"bucket": "photos", "filters": [{"a": ["b" * 4096]}]},
            ValueError,
            "at most 4,096 characters",
        ),
    ],
)
def test_bad_arguments_are_refused_where_they_are_written(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    """The line is the user's; a deployment would tell him later."""
    with pytest.raises(error, match=f"@function: .*{match}"):
        function(**arguments)


async def _async_handler(event: Any, context: Any) -> None:
    """Not run by Lambda either."""


@pytest.mark.parametrize("decorated", [7, None, functools.partial(crop, 1), "crop"])
def test_what_is_no_handler_is_refused(decorated: Any) -> None:
    """A runtime could not find it by its name."""
    with pytest.raises(TypeError, match="@function decorates a handler"):
        function(bucket="photos")(decorated)


def test_an_async_handler_is_refused_with_what_to_write() -> None:
    """It would return a coroutine, which nobody awaits."""
    with pytest.raises(TypeError, match=r"is async, which .* calls asyncio\.run"):
        function(_async_handler)


_buckets = st.text("ab1.-_A", min_size=2, max_size=5) | st.sampled_from(["photos", "10.0.0.1"])


@settings(deadline=None)
@given(
    bucket=_buckets,
    writes=st.lists(st.tuples(_buckets, st.sampled_from(["", "/", "/a*é"])).map("".join)),
    variables=st.dictionaries(st.text("A1_", max_size=2), st.text(max_size=3), max_size=3),
    events=st.none() | st.lists(st.sampled_from(sorted(WRITING_EVENTS)), max_size=2),
)
def test_what_the_decorator_takes_deploys_or_is_refused_in_words(
    bucket: str, writes: list[str], variables: dict[str, str], events: list[str] | None
) -> None:
    """It knows no library: of a bucket's name it checks what is quickly said."""
    try:
        found = _declared(bucket=bucket, writes=writes, environment=variables, events=events)
    except ValueError:
        return
    told = json.loads(json.dumps(declaration._told(found)))
    try:
        manifest, code = Manifest(modules=("photos",)), _Code("0" * 64, "1A")
        configuration = _configuration(_declaration(told), (), manifest, code)
    except DeploymentFailed as refused:
        assert "is no bucket's name" in str(refused)
        return

    assert configuration.triggers[0].bucket == bucket
    assert configuration.triggers[0].events == tuple(dict.fromkeys(events or WRITING_EVENTS))
    assert configuration.environment == variables


def test_what_is_declared_is_configured() -> None:
    """Under the same names; layers come with the versions that deployment has found."""
    asked = {
        "reserved_concurrency": 4,
        "provisioned_concurrency": 2,
        "snap_start": True,
        "ephemeral_storage": 1024,
        "order": "key",
        "recursive_loop": "Allow",
    }
    told = json.loads(json.dumps(declaration._told(_declared(**asked, layers="fonts:2"))))
    fonts = Layer(name="fonts", version=2, code_sha256="1" * 64)
    manifest, code = Manifest(modules=("photos",)), _Code("0" * 64, "1A")
    declared = _declaration(told)

    found = _configuration(declared, (fonts,), manifest, code)
    assert declared.layers == ("fonts:2",)
    assert {name: getattr(found, name) for name in asked} == asked
    assert (found.layers, found.runtime, found.upload) == ((fonts,), PYTHON, "1A")


def test_batches_and_schedules_are_configured() -> None:
    """One schedule is as good as several, and all of a function catch up or none."""
    cron = "cron(0 8 ? * MON-FRI *)"
    declared = _declared(
        bucket="photos",
        batch_size=100,
        batch_window=20,
        schedule=["rate(5 minutes)", cron],
        schedule_catch_up=True,
    )
    told = json.loads(json.dumps(declaration._told(declared)))
    manifest = Manifest(modules=("photos",))
    found = _configuration(_declaration(told), (), manifest, _Code("0" * 64, "1A"))

    assert (found.batch_size, found.batch_window) == (100, 20)
    assert [(each.expression, each.catch_up) for each in found.schedules] == [
        ("rate(5 minutes)", True),
        (cron, True),
    ]


def test_a_bad_schedule_is_refused_at_deployment() -> None:
    """With the function and the field."""
    declared = _declared(schedule="cron(0 25 * * ? *)")
    with pytest.raises(DeploymentFailed, match=r"'handler'.*'25' is no hour: these are 0 to 23"):
        _declaration(json.loads(json.dumps(declaration._told(declared))))


def test_filters_are_dicts_or_json() -> None:
    """Either way they are told as JSON, which is what is kept."""
    pattern = {"s3": {"object": {"key": [{"prefix": "é"}]}}}
    found = _declared(bucket="photos", filters=[pattern, json.dumps(pattern)])

    assert [json.loads(each) for each in found.filters] == [pattern, pattern]


def test_a_bad_filter_is_refused_at_deployment() -> None:
    """With the function, the filter and the field."""
    declared = _declared(bucket="photos", filters=[{"s3": [{"begins": "a"}]}])
    with pytest.raises(DeploymentFailed, match=r"'handler': filter 1: s3: 'begins' is no operator"):
        _configuration(
            _declaration(json.loads(json.dumps(declaration._told(declared)))),
            (),
            Manifest(modules=("photos",)),
            _Code("0" * 64, "1A"),
        )


@settings(deadline=None)
@given(bucket=_buckets)
def test_what_the_decorator_refuses_would_not_deploy(bucket: str) -> None:
    """Nobody has to find out twice."""
    try:
        function(bucket=bucket)
    except ValueError:
        with pytest.raises(ValueError, match="is no bucket's name"):
            FunctionConfiguration.model_validate({"triggers": [{"bucket": bucket}]})


# -- what a package tells --------------------------------------------------------------------------

_PROGRAM = """
import json, sys
from bucketwheel.declaration import describe
json.dump(describe({"modules": sys.argv[1:]}, None), sys.stdout)
"""


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Writes files and has the modules named describe themselves, in a process of their own."""

    def run(*modules: str, **files: str) -> dict[str, Any]:
        for name, text in files.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *modules],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


HEAD = "from bucketwheel import function\nimport bucketwheel, functools\n"


def _fault(found: dict[str, Any]) -> dict[str, Any]:
    assert found.keys() == {"fault"}
    fault: dict[str, Any] = found["fault"]
    return fault


def _handlers(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["handler"] for each in found["functions"]}


def test_all_functions_are_told_in_the_order_of_the_code(describe: Describe) -> None:
    """Each as it was declared, in JSON."""
    code = (
        '@function(bucket="photos", suffix=".jpg", layers=["fonts", "pillow:2"], snap_start=True,'
        " reserved_concurrency=4, provisioned_concurrency=2, ephemeral_storage=1024)\n"
        "def crop(e, c): ...\n"
        "@bucketwheel.function\ndef by_hand(e, c): ...\n"
    )

    found = describe("photos", photos=HEAD + code)

    delivery: dict[str, Any] = {
        "maximum_event_age": 21_600,
        "on_success": None,
        "on_failure": None,
        "filters": [],
        "order": "none",
        "recursive_loop": "Terminate",
        "batch_size": 1,
        "batch_window": 0,
        "schedules": [],
    }
    assert found["functions"] == [
        {
            "name": "crop",
            "handler": "photos.crop",
            "memory": 128,
            "timeout": 3,
            "environment": {},
            "triggers": [{"bucket": "photos", "prefix": "", "suffixes": [".jpg"]}],
            "writes": None,
            "maximum_retry_attempts": 2,
            "reserved_concurrency": 4,
            "provisioned_concurrency": 2,
            "snap_start": True,
            "layers": ["fonts", "pillow:2"],
            "ephemeral_storage": 1024,
            **delivery,
        },
        {
            "name": "by_hand",
            "handler": "photos.by_hand",
            "memory": 128,
            "timeout": 3,
            "environment": {},
            "triggers": [],
            "writes": None,
            "maximum_retry_attempts": 2,
            "reserved_concurrency": None,
            "provisioned_concurrency": 0,
            "snap_start": False,
            "layers": [],
            "ephemeral_storage": 512,
            **delivery,
        },
    ]


def test_a_packages_inner_modules_are_told_too(describe: Describe) -> None:
    """What it declares when it is imported must not be dropped without a word."""
    files = {
        "shop/__init__": "from shop import orders",
        "shop/orders": HEAD + "@function\ndef ship(e, c): ...",
    }

    found = describe("shop", **files)

    assert _handlers(found) == {"ship": "shop.orders.ship"}


def test_what_a_library_declares_is_the_librarys(describe: Describe) -> None:
    """Only the package's own modules are asked."""
    found = describe(
        "photos",
        photos=HEAD + "import library\n@function\ndef crop(e, c): ...",
        library=HEAD + "@function\ndef stray(e, c): ...",
    )

    assert _handlers(found) == {"crop": "photos.crop"}


def test_one_handler_may_be_several_functions(describe: Describe) -> None:
    """With other triggers, other limits."""
    code = '@function(name="a", memory=128)\n@function(name="b", memory=256)\ndef f(e, c): ...'

    assert _handlers(describe("photos", photos=HEAD + code)) == {"a": "photos.f", "b": "photos.f"}


WRAPS = """
def tell(f):
    @functools.wraps(f)
    def wrapper(e, c): return f(e, c)
    return wrapper
"""


@pytest.mark.parametrize("order", ["@tell\n@function", "@function\n@tell"])
def test_decorators_that_wrap_properly_may_stand_beside(describe: Describe, order: str) -> None:
    """Those of AWS's Powertools do."""
    found = describe("photos", photos=HEAD + WRAPS + f"{order}\ndef crop(e, c): ...")

    assert _handlers(found) == {"crop": "photos.crop"}


@pytest.mark.parametrize(
    "code",
    [
        "def make():\n    @function\n    def inner(e, c): ...\nmake()",
        "class A:\n    @function\n    def method(e, c): ...",
        "@function\ndef crop(e, c): ...\ndel crop",
        "@function\ndef crop(e, c): ...\ncrop = 7",
        "def hide(f): return lambda e, c: f(e, c)\n@hide\n@function\ndef crop(e, c): ...",
        '@function(name="a")\ndef f(e, c): ...\n@function(name="b")\ndef f(e, c): ...',
    ],
)
def test_a_handler_that_the_runtime_would_not_find_is_refused(
    describe: Describe, code: str
) -> None:
    """Or would find another by its name, and run that."""
    fault = _fault(describe("photos", photos=HEAD + code))

    assert fault["type"] == "Runtime.HandlerNotFound"
    assert fault["message"].startswith("Handler 'photos.")


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("", "no function is declared in photos: write @bucketwheel.function"),
        ("def crop(e, c): ...", "no function is declared in photos"),
    ],
)
def test_no_function_is_a_fault_with_what_to_write(
    describe: Describe, code: str, match: str
) -> None:
    """Perhaps the decorator was forgotten."""
    fault = _fault(describe("photos", photos=code))

    assert (fault["type"], fault["message"][: len(match)]) == ("Runtime.HandlerNotFound", match)


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (
            "@function\ndef f(e, c): ...\n@function(name='f')\ndef g(e, c): ...",
            "2 functions are named 'f': name them apart",
        ),
        ("f = function(lambda e, c: 1)", "'<lambda>' cannot be a function's name: give it one"),
        ("@function\ndef é(e, c): ...", "'é' cannot be a function's name"),
    ],
)
def test_names_that_cannot_be_are_refused(describe: Describe, code: str, match: str) -> None:
    """A name is a key, a queue and a user."""
    fault = _fault(describe("photos", photos=HEAD + code))

    assert fault["type"] == "InvalidParameterValueException"
    assert fault["message"].startswith(match)


@pytest.mark.parametrize(
    ("code", "type", "message"),
    [
        ("def", "Runtime.UserCodeSyntaxError", "Syntax error in module 'photos': "),
        ("import is_not_there", "Runtime.ImportModuleError", "Unable to import module 'photos': "),
        ("import sys; sys.exit(3)", "Runtime.ExitError", "module 'photos' ended the process"),
        ("{}['key']", "KeyError", "module 'photos' failed while it was imported: 'key'"),
        (HEAD + "function(memory=1)", "ValueError", "module 'photos' failed while it was imported"),
        ("\0", "", "photos"),
    ],
)
def test_a_module_that_cannot_be_imported_is_its_own_fault(
    describe: Describe, code: str, type: str, message: str
) -> None:
    """In the names that AWS has for it."""
    fault = _fault(describe("photos", photos=code))

    assert message in fault["message"]
    assert type in ("", fault["type"])


def test_a_module_that_there_is_not_is_told(describe: Describe) -> None:
    """The manifest may be older than the code."""
    fault = _fault(describe("photos"))

    assert fault["type"] == "Runtime.ImportModuleError"
    assert fault["message"] == "Unable to import module 'photos': No module named 'photos'"


def test_a_trace_begins_with_the_users_code(describe: Describe) -> None:
    """Not with ours, nor with Python's; what it calls is in it, whatever it is called."""
    code = "import importlib_of_mine\nimportlib_of_mine.fail()"

    fault = _fault(describe("photos", photos=code, importlib_of_mine="def fail(): 1 / 0"))

    places = [line.strip() for line in fault["trace"] if line.strip().startswith("File")]
    assert ["photos.py" in places[0], "importlib_of_mine.py" in places[1]] == [True, True]
    assert (len(places), fault["trace"][-1]) == (2, "ZeroDivisionError: division by zero")


def test_a_syntax_errors_trace_is_its_place(describe: Describe) -> None:
    """File, line, and the line itself."""
    fault = _fault(describe("photos", photos="x = 1\n    y = = 2\n"))

    assert 'photos.py", line 2' in fault["trace"][0]
    assert fault["trace"][1].strip() == "y = = 2"
