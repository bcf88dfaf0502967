"""Templates: AWS SAM's format is read as AWS means it, or refused in one line with its place."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketwheel.errors import PackingError, TemplateError
from bucketwheel.template import packing
from bucketwheel.template.document import LARGEST
from bucketwheel.template.template import Template, find, read
from storage.configuration import WRITING_EVENTS, FunctionDeclaration, Schedule
from workers.manifest import read_manifest

FUNCTION = "AWS::Serverless::Function"

WHOLE = """
AWSTemplateFormatVersion: 2010-09-09
Transform: AWS::Serverless-2016-10-31
Description: Everything that is supported.
Parameters:
  Stage: {Type: String, Default: dev, AllowedValues: [dev, live]}
Globals:
  Function:
    Runtime: python3.11
    Timeout: 10
    Layers: [fonts:3]
    Environment: {Variables: {STAGE: !Ref Stage, NAME: shared}}
Resources:
  Photos:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    Properties: {BucketName: !Sub "${Stage}-photos"}
  ThumbNails:
    Type: AWS::S3::Bucket
  Library:
    Type: AWS::Serverless::LayerVersion
    Metadata: {BuildMethod: python3.11}
    Properties:
      LayerName: !Join ["-", [!Ref Stage, library]]
      ContentUri: layer/
      CompatibleRuntimes: [python3.11]
  Crop:
    Type: AWS::Serverless::Function
    DependsOn: Photos
    Properties:
      FunctionName: !Sub crop-${Stage}
      Handler: app.handler
      CodeUri: code/
      MemorySize: 256
      EphemeralStorage: {Size: 1024}
      ReservedConcurrentExecutions: 5
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 2}
      AutoPublishAlias: live
      SnapStart: {ApplyOn: PublishedVersions}
      EventInvokeConfig: {MaximumRetryAttempts: 0}
      Tracing: Active
      Architectures: [x86_64]
      Layers: [!Ref Library]
      Environment:
        Variables: {NAME: own, ARN: !GetAtt Photos.Arn, PORT: 8080, ON: no, WHERE: !Ref AWS::Region}
      Policies:
        - AWSLambdaBasicExecutionRole
        - S3ReadPolicy: {BucketName: !Ref Photos}
        - S3WritePolicy: {BucketName: !Ref ThumbNails}
      Events:
        Written:
          Type: S3
          Properties:
            Bucket: !Ref Photos
            Events: s3:ObjectCreated:*
            Filter:
              S3Key: {Rules: [{Name: prefix, Value: in/}, {Name: Suffix, Value: .jpg}]}
        Removed:
          Type: S3
          Properties: {Bucket: other-bucket, Events: ["s3:ObjectRemoved:Delete"]}
  ByHand:
    Type: AWS::Serverless::Function
    Properties: {Handler: index.handler, InlineCode: "def handler(e, c): return 1"}
"""

#: The beginning of a function; tests add properties.
CROP = f"""
Resources:
  Crop:
    Type: {FUNCTION}
    Properties:
      Runtime: python3.11
      Handler: app.handler
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with code and a layer."""
    for name in ("code/app.py", "layer/requirements.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    return tmp_path


def _read(folder: Path, text: str, **parameters: str) -> Template:
    path = folder / "template.yaml"
    path.write_text(text)
    return read(path, parameters, "eu-west-1")


def _function(folder: Path, text: str, **parameters: str) -> FunctionDeclaration:
    ((declared, _),) = _read(folder, text, **parameters).functions
    return declared


def _refused(folder: Path, text: str, **parameters: str) -> str:
    """What is said of a template, without the file's name, in one line."""
    with pytest.raises(TemplateError) as refused:
        _read(folder, text, **parameters)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(f"{folder}/template.yaml: ")
    return message.removeprefix(f"{folder}/template.yaml: ")


# -- what is meant ---------------------------------------------------------------------------------


def test_a_function_is_declared_as_the_template_says(folder: Path) -> None:
    """All of it, with what Globals say beneath."""
    (crop, code), (by_hand, inline) = _read(folder, WHOLE, Stage="live").functions

    assert crop.model_dump(exclude={"triggers"}) == {
        "name": "crop-live",
        "runtime": "python3.11",
        "handler": "app.handler",
        "memory": 256,
        "timeout": 10,
        "ephemeral_storage": 1024,
        "environment": {
            "ARN": "arn:aws:s3:::live-photos",
            "NAME": "own",
            "ON": "no",
            "PORT": "8080",
            "STAGE": "live",
            "WHERE": "eu-west-1",
        },
        "writes": ("thumbnails/",),
        "reads": ("live-photos/",),
        "maximum_retry_attempts": 0,
        "reserved_concurrency": 5,
        "provisioned_concurrency": 2,
        "snap_start": True,
        "layers": ("fonts:3", "live-library"),
        "maximum_event_age": 21_600,
        "on_success": None,
        "on_failure": None,
        "filters": (),
        "order": "none",
        "recursive_loop": "Terminate",
        "batch_size": 1,
        "batch_window": 0,
        "schedules": (),
    }
    assert code.path == folder / "code"
    assert (by_hand.name, by_hand.writes, by_hand.reads) == ("ByHand", None, ())
    assert inline.inline == "def handler(e, c): return 1"


def test_each_s3_event_is_a_trigger(folder: Path) -> None:
    """A bucket of the template or any other; rules by either spelling."""
    (crop, _), _ = _read(folder, WHOLE).functions
    written, removed = crop.triggers

    assert (written.bucket, written.prefix, written.suffixes) == ("dev-photos", "in/", (".jpg",))
    assert written.events == WRITING_EVENTS
    assert (removed.bucket, removed.prefix, removed.suffixes) == ("other-bucket", "", ())
    assert removed.events == ("ObjectRemoved:Delete",)


def test_batches_and_schedules_are_those_of_the_template(folder: Path) -> None:
    """In SAM's words for the sources that have them; what is disabled does not run."""
    found = _function(
        folder,
        CROP
        + "      Events:\n"
        + "        Up: {Type: S3, Properties: {Bucket: photos, Events: s3:ObjectCreated:*,\n"
        + "          BatchSize: 100, MaximumBatchingWindowInSeconds: 20,\n"
        + "          FunctionResponseTypes: [ReportBatchItemFailures]}}\n"
        + "        Often: {Type: Schedule, Properties: {Schedule: rate(5 minutes), Name: often}}\n"
        + "        Never: {Type: Schedule, Properties: {Schedule: rate(1 day), Enabled: false}}\n"
        + "        Daily: {Type: ScheduleV2, Properties: {Input: '{\"a\": 1}',\n"
        + "          ScheduleExpression: 'cron(0 8 * * ? *)', FlexibleTimeWindow: {Mode: 'OFF'}}}\n"
        + "        Gone: {Type: ScheduleV2, Properties: {State: DISABLED,\n"
        + "          ScheduleExpression: rate(1 hour)}}\n"
        + "    Metadata: {Bucketwheel: {ScheduleCatchUp: true}}\n",
    )

    assert (found.batch_size, found.batch_window) == (100, 20)
    assert found.schedules == (
        Schedule(expression="rate(5 minutes)", catch_up=True),
        Schedule(expression="cron(0 8 * * ? *)", catch_up=True, input='{"a": 1}'),
    )
    assert [each.bucket for each in found.triggers] == ["photos"]


def test_filters_loops_and_order_are_those_of_the_template(folder: Path) -> None:
    """Order by key is not AWS's: it stands in the function's Metadata."""
    found = _function(
        folder,
        CROP
        + "      RecursiveLoop: Allow\n"
        + "      Events: {Up: {Type: S3, Properties: {Bucket: photos, Events: s3:ObjectCreated:*,"
        + ' FilterCriteria: {Filters: [{Pattern: \'{"eventName": ["x"]}\'}]}}}}\n'
        + "    Metadata: {Bucketwheel: {Order: key}}\n",
    )

    assert found.filters == ('{"eventName": ["x"]}',)
    assert (found.recursive_loop, found.order) == ("Allow", "key")
    refused = _refused(folder, CROP + "    Metadata: {Bucketwheel: {Order: size}}\n")
    assert refused.startswith("Crop: Metadata.Bucketwheel: Order: 'size' is not supported here")


def test_layers_and_buckets_are_those_of_the_template(folder: Path) -> None:
    """A bucket without a name has its logical id's, in the letters that buckets have."""
    found = _read(folder, WHOLE)

    ((layer, code),) = found.layers
    assert (layer.name, layer.runtimes) == ("dev-library", ("python3.11",))
    assert (code.path, code.runtime, code.is_layer) == (folder / "layer", "python3.11", True)
    assert found.buckets == ("dev-photos", "thumbnails")


def test_what_has_no_meaning_is_told_once_for_each_resource(folder: Path) -> None:
    """It is no error: the function does what it did."""
    found = _read(
        folder,
        WHOLE.replace("Tracing: Active", "LoggingConfig: {LogGroup: !Ref Log}")
        + "  Log:\n    Type: AWS::Logs::LogGroup\n    Properties: {RetentionInDays: 7}\n",
    )

    place = f"{folder}/template.yaml: "
    assert found.remarks == (
        f"{place}Log: AWS::Logs::LogGroup has no meaning here",
        f"{place}Crop: AutoPublishAlias, LoggingConfig have no meaning here",
    )


def test_snap_start_of_other_languages_is_told(folder: Path) -> None:
    """AWS has it for Java too; its functions start as they always do."""
    text = CROP.replace("python3.11", "java17") + "      SnapStart: {ApplyOn: PublishedVersions}\n"
    found = _read(folder, text)

    assert not found.functions[0][0].snap_start
    assert found.remarks[0].endswith("Crop: SnapStart has no meaning here for java17")


@pytest.mark.parametrize(
    ("policies", "writes", "reads"),
    [
        ("AWSLambdaBasicExecutionRole", (), ()),
        ("[]", (), ()),
        ("{S3CrudPolicy: {BucketName: photos}}", ("photos/",), ("photos/",)),
        ("[arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]", (), ()),
        (
            "[{S3WritePolicy: {BucketName: thumbs}}, {S3CrudPolicy: {BucketName: thumbs}}]",
            ("thumbs/",),
            ("thumbs/",),
        ),
    ],
)
def test_policies_say_what_may_be_read_and_written(
    folder: Path, policies: str, writes: tuple[str, ...], reads: tuple[str, ...]
) -> None:
    """Where there are some, nothing else is allowed: as on AWS."""
    found = _function(folder, CROP + f"      Policies: {policies}\n")

    assert (found.writes, found.reads) == (writes, reads)


def test_a_property_that_is_no_value_is_left_out(folder: Path) -> None:
    """As if it had not been written."""
    text = CROP + "      Timeout: !Ref AWS::NoValue\n"

    assert _function(folder, text).timeout == 3


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("!Sub 'a-${Name}'", "a-x"),
        ("!Sub 'a-${!Name}'", "a-${Name}"),
        ("!Sub ['${A}-${Name}', {A: !Ref Name}]", "x-x"),
        ("{'Fn::Sub': '${AWS::AccountId}'}", "000000000000"),
        ("!Join [',', [a, !Ref Name, !Ref AWS::NoValue]]", "a,x"),
        ("!Join ['+', !Ref List]", "a+b"),
        ("!GetAtt [Crop, Arn]", "arn:aws:lambda:eu-west-1:000000000000:function:Crop"),
        ("{'Fn::GetAtt': Crop.Arn}", "arn:aws:lambda:eu-west-1:000000000000:function:Crop"),
        ("!Sub '${Crop.Arn}'", "arn:aws:lambda:eu-west-1:000000000000:function:Crop"),
        ("{Ref: Crop}", "Crop"),
    ],
)
def test_functions_of_cloudformation_are_resolved(folder: Path, written: str, meant: str) -> None:
    """In their short and their long forms."""
    head = "Parameters: {Name: {Default: x}, List: {Type: CommaDelimitedList, Default: 'a, b'}}\n"
    text = head + CROP + f"      Environment: {{Variables: {{V: {written}}}}}\n"

    assert _function(folder, text).environment == {"V": meant}


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ("Timeout: 901", "Timeout: Input should be less than or equal to 900, not '901'"),
        ("Timeout: soon", "Timeout: Input should be a valid integer"),
        ("MemorySize: 64", "MemorySize: Input should be greater than or equal to 128"),
        ("EphemeralStorage: {Size: 1}", "EphemeralStorage.Size: Input should be greater"),
        ("VpcConfig: {SubnetIds: [a]}", "VpcConfig: it is not supported here"),
        ("Role: arn:aws:iam::1:role/x", "Role: it is not supported here"),
        ("PackageType: Image", "PackageType: 'Image' is not supported here; 'Zip' is"),
        ("Architectures: [arm64]", "Architectures.0: 'arm64' is not supported here; 'x86_64' is"),
        ("CodeUri: s3://bucket/key", "CodeUri: 's3://bucket/key' is elsewhere"),
        ("CodeUri: nowhere", "nowhere does not exist"),
        ("CodeUri: code/app.py", "app.py is no folder, .zip or .jar"),
        ("Policies: AmazonS3FullAccess", "Policies: 'AmazonS3FullAccess' is not supported here"),
        (
            "Policies: [{Statement: []}]",
            "Policies.0.Statement: it is not supported here",
        ),
        (
            "Events: {Api: {Type: Api, Properties: {Path: /, Method: get}}}",
            "Events.Api.Type: 'Api' is not supported here; these are: 'S3', 'Schedule',",
        ),
        (
            "Events: {Up: {Type: S3, Properties: {Bucket: photos, Events: s3:ObjectTagging:*}}}",
            "Events.Up.Properties.Events: 's3:ObjectTagging:*' is not supported here; these are",
        ),
        (
            "Events: {Up: {Type: S3, Properties: {Bucket: No_Bucket, Events: s3:ObjectCreated:*}}}",
            "Events.Up.Properties.Bucket: 'No_Bucket' is no bucket's name",
        ),
        (
            "Events: {Up: {Type: S3, Properties: {Bucket: !Ref P, Events: s3:ObjectCreated:*}}}",
            "Events: 'P' is no parameter and no resource of the template",
        ),
        (
            "Events: {Up: {Type: S3, Properties: {Bucket: photos, Events: s3:ObjectCreated:*,"
            ' FilterCriteria: {Filters: [{Pattern: \'{"s3": [{"begins": 1}]}\'}]}}}}',
            "FilterCriteria: filter 1: s3: 'begins' is no operator",
        ),
        (
            "Events:\n"
            "        A: {Type: S3, Properties: {Bucket: photos, Events: s3:ObjectCreated:*}}\n"
            "        B: {Type: S3, Properties: {Bucket: films, Events: s3:ObjectCreated:*,"
            ' FilterCriteria: {Filters: [{Pattern: \'{"a": ["b"]}\'}]}}}',
            "FilterCriteria must be the same for each of its S3 events",
        ),
        (
            "Events: {Api: {Properties: {Path: /, Method: get}}}",
            "Events.Api.Type: it is missing",
        ),
        (
            "Events: {Daily: {Type: Schedule, Properties: {Schedule: daily}}}",
            "Events.Daily.Properties.Schedule: 'daily' is neither rate(5 minutes) nor",
        ),
        (
            "Events: {At: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 day),"
            " ScheduleExpressionTimezone: Europe/Rome}}}",
            "Events.At.Properties.ScheduleExpressionTimezone: 'Europe/Rome' is not supported here",
        ),
        (
            "Events: {Up: {Type: S3, Properties: {Bucket: photos, Events: s3:ObjectCreated:*,"
            " BatchSize: 100}}}",
            "a batch size of 100 needs a batch window",
        ),
        (
            "Events:\n"
            "        A: {Type: S3, Properties: {Bucket: photos, Events: s3:ObjectCreated:*}}\n"
            "        B: {Type: S3, Properties: {Bucket: films, Events: s3:ObjectCreated:*,"
            " BatchSize: 2}}",
            "BatchSize must be the same for each of its S3 events",
        ),
        ("RecursiveLoop: Never", "RecursiveLoop: 'Never' is not supported here"),
        ("Layers: [a, 'a:2']", "Layers: layer 'a' is named 2 times"),
        ("Layers: [arn:aws:lambda:eu-west-1:1:layer:a:2]", "Layers.0: String should match"),
        ("Environment: {Variables: {A-B: x}}", "Environment.Variables.A-B.[key]: "),
        ("Environment: {Variables: {A: [x]}}", "Environment.Variables.A: Input should be a valid"),
        ("Environment: {Variables: {A: !ImportValue x}}", "Environment: Fn::ImportValue is not"),
        ("Environment: {Variables: {A: !If [a, b, c]}}", "Environment: Fn::If is not supported"),
        ("Environment: {Variables: {A: !GetAtt Crop.Version}}", "Environment: Crop.Version is not"),
        ("FunctionName: !Sub 'a-${Crop}'", "FunctionName: the name of 'Crop' refers to itself"),
        ("FunctionName: a b", "FunctionName: String should match pattern"),
        (
            "ReservedConcurrentExecutions: 1\n"
            "      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 2}",
            "provisioned concurrency, 2, must be at most reserved concurrency, 1",
        ),
    ],
)
def test_a_bad_property_is_told_with_its_place(folder: Path, properties: str, told: str) -> None:
    """File, resource, property: as the user wrote them."""
    found = _refused(folder, CROP + f"      {properties}\n")
    assert found.startswith("Crop: ")
    assert told in found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Input should be a valid dictionary"),
        ("Resources: {}", "Resources: Dictionary should have at least 1 item"),
        ("{}", "Resources: it is missing"),
        ("Resources: {A: 1}", "Resources.A: Input should be a valid dictionary"),
        ("Resources: {A: {}}", "Resources.A.Type: it is missing"),
        (
            "Resources: {T: {Type: AWS::DynamoDB::Table}}",
            "T: Type: AWS::DynamoDB::Table is not supported here",
        ),
        (CROP + "    Condition: IsLive\n", "Resources.Crop.Condition: it is not supported here"),
        ("Resources: {Box: {Type: AWS::S3::Bucket}}", "it has no AWS::Serverless::Function"),
        (CROP.replace("      Handler: app.handler\n", ""), "Crop: Handler: it is missing"),
        (CROP.replace("python3.11", "ruby3.2"), "Crop: Runtime: String should match"),
        (CROP.replace("Resources", "Parameters: {P: {}}\nResources"), "Parameters: P: it has no"),
        ("a: [", "line 1: "),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' stands twice"),
        ("? [a]\n: 1", "line 1: key "),
        ("a: &x 1\nb: *x", "line 2: aliases (*name) are not read"),
        ("a: &x [*x]", "aliases (*name) are not read"),
        ("a: \x00", "special characters are not allowed"),
        ("[" * 5_000, "it is nested too deeply"),
        ("#" * (LARGEST + 1), "is too large"),
        (
            CROP
            + CROP.replace("Resources:", "")
            .replace("  Crop:", "  Other:")
            .replace("      Handler", "      FunctionName: Crop\n      Handler"),
            "2 functions are named 'Crop'",
        ),
    ],
)
def test_what_is_no_such_template_is_told(folder: Path, text: str, told: str) -> None:
    """With the line, where it is no YAML."""
    with pytest.raises(TemplateError, match=r"template\.yaml") as refused:
        _read(folder, text)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("method", "runtime", "told"),
    [
        ("esbuild", "nodejs20.x", "'esbuild' is not supported here: makefile is"),
        ("rust-cargolambda", "provided.al2023", "'rust-cargolambda' is not supported here"),
        ("python3.11", "nodejs20.x", "'python3.11' is not supported here"),
    ],
)
def test_build_methods_that_are_not_run_are_told(
    folder: Path, method: str, runtime: str, told: str
) -> None:
    """What the runtime's own build makes of it could be something else."""
    text = CROP.replace(
        "    Properties", f"    Metadata: {{BuildMethod: {method}}}\n    Properties"
    )

    assert told in _refused(folder, text.replace("python3.11\n      H", f"{runtime}\n      H"))


def test_parameters_are_known_and_have_values(folder: Path) -> None:
    """One that is misspelt would be passed over without a word."""
    assert _refused(folder, WHOLE, Stag="x") == "it has no parameter 'Stag'; it has: Stage"
    told = "Parameters: Stage: 'x' is not allowed; these are: dev, live"
    assert _refused(folder, WHOLE, Stage="x") == told


# -- whatever it is --------------------------------------------------------------------------------

_WORDS = (
    "A b Ref Fn::Sub Fn::Join Fn::GetAtt Type Properties ${A.b} AWS::S3::Bucket Handler Runtime"
    " python3.11 InlineCode 1 AWS::NoValue Events S3 Bucket Policies Environment Variables"
    f" BucketName Globals {FUNCTION}"
)
_words = st.sampled_from(_WORDS.split()) | st.text(max_size=8)
_values = st.recursive(
    _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=20,
)
_resources = st.fixed_dictionaries(
    {"Type": st.sampled_from([FUNCTION, "AWS::S3::Bucket", "AWS::Serverless::LayerVersion"])},
    optional={"Properties": st.dictionaries(_words, _values, max_size=6), "Metadata": _values},
)
_documents = _values | st.fixed_dictionaries(
    {"Resources": st.dictionaries(_words, _resources, max_size=3)},
    optional={"Parameters": _values, "Globals": _values},
)


def _is_template_or_one_line(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "template.yaml"
        path.write_bytes(content)
        try:
            found = read(path, {}, "us-east-1")
        except TemplateError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
        else:
            assert found.functions or found.layers


@settings(deadline=None, max_examples=300)
@given(document=_documents)
def test_any_document_is_a_template_or_one_clear_error(document: Any) -> None:
    """Whatever values stand where."""
    _is_template_or_one_line(yaml.safe_dump(document, allow_unicode=True).encode())


@settings(deadline=None, max_examples=300)
@given(
    content=st.binary(max_size=60)
    | st.text("ab:-[]{}!&*#|>?'\"% \n\t\\Ref.", max_size=60).map(str.encode)
)
def test_any_text_is_a_template_or_one_clear_error(content: bytes) -> None:
    """Whatever bytes a file has."""
    _is_template_or_one_line(content)


# -- finding and packing ---------------------------------------------------------------------------


def test_a_template_is_a_file_or_lies_in_the_folder(folder: Path) -> None:
    """Under either ending; anything else is code."""
    assert find(folder) is None
    (folder / "template.yml").touch()
    assert find(folder) == folder / "template.yml"
    (folder / "template.yaml").touch()
    assert find(folder) == folder / "template.yaml"
    assert find(folder / "other.yaml") == folder / "other.yaml"
    assert find(folder / "app.py") is None


def test_functions_of_one_code_share_a_package(folder: Path) -> None:
    """Layers come first; each manifest says what its package is."""
    text = WHOLE + (
        "  Sort:\n    Type: AWS::Serverless::Function\n"
        "    Properties: {Handler: app.sort, CodeUri: code}\n"
    )
    found = _read(folder, text)
    with packing.packed(found, {"A": "1"}, lambda line: None, frozenset()) as packages:
        manifests = [read_manifest(each.path) for each in packages]
        names = [set(ZipFile(each.path).namelist()) for each in packages]

    assert [each.layer.name if each.layer else "" for each in manifests] == ["dev-library", "", ""]
    assert [[f.name for f in each.functions] for each in manifests[1:]] == [
        ["crop-dev", "Sort"],
        ["ByHand"],
    ]
    assert [each.environment for each in manifests[1:]] == [{"A": "1"}, {"A": "1"}]
    assert names == [
        {"bucketwheel.json", "python/requirements.txt"},
        {"bucketwheel.json", "app.py"},
        {"bucketwheel.json", "index.py"},
    ]


def test_the_same_template_gives_the_same_bytes(folder: Path) -> None:
    """A layer whose content is unchanged is known by them."""

    def packed() -> list[bytes]:
        found = _read(folder, WHOLE)
        with packing.packed(found, {}, lambda line: None, frozenset()) as packages:
            return [each.path.read_bytes() for each in packages]

    assert packed() == packed()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [("empty", None, "has no files"), ("bad.zip", b"rubbish", "cannot be unpacked")],
)
def test_code_that_cannot_be_packed_is_told(
    folder: Path, name: str, content: bytes | None, told: str
) -> None:
    """Before anything is uploaded."""
    if content is None:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(content)
    found = _read(folder, CROP + f"      CodeUri: {name}\n")

    with (
        pytest.raises(PackingError, match=f"{name}.*{told}"),
        packing.packed(found, {}, lambda line: None, frozenset()),
    ):
        pytest.fail("it was packed")
