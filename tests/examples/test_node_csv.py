"""The example in Node.js: summaries of CSV files."""

from __future__ import annotations

import json

import pytest

from bucketwheel.testing import System
from tests.conftest import wait_until
from tests.examples.conftest import Made, deployed
from tests.system.conftest import logged


@pytest.fixture(scope="module", autouse=True)
def _deployed(system: System) -> None:
    deployed(system, "node_csv", "npm", "nodejs20.x")


def test_a_table_is_summarised(made: Made) -> None:
    """Numbers as numbers, the rest by examples; a quoted field may hold commas and line ends."""
    table = (
        '\ufeffname,price,note\r\n"Müller, Eva",1.5,\r\nOtto,-2,"two\nlines"\r\n\r\nOtto,3,x\r\n'
    )

    made_of = made("tables", "in/a b+c.csv", table.encode(), "summaries/a b+c.json")

    assert json.loads(made_of) == {
        "rows": 3,
        "columns": [
            {"name": "name", "filled": 3, "examples": ["Müller, Eva", "Otto"]},
            {
                "name": "price",
                "filled": 3,
                "examples": ["1.5", "-2", "3"],
                "least": -2,
                "most": 3,
                "mean": pytest.approx(2.5 / 3),
            },
            {"name": "note", "filled": 2, "examples": ["two\nlines", "x"]},
        ],
    }


def test_a_large_table_fits_into_little_memory(made: Made) -> None:
    """60 MB within 256 MB of memory, of which the runtime itself has a good part."""
    row = b"2024-01-01,17.25,a text that is some sixty characters long, more or less\n"
    table = b"day,price,text,more\n" + row * (60_000_000 // len(row))

    found = json.loads(made("tables", "in/large.csv", table, "summaries/large.json"))

    assert found["rows"] == 60_000_000 // len(row)
    assert found["columns"][1]["mean"] == pytest.approx(17.25)


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("empty", b"", "in/empty.csv cannot be summarised: it is empty"),
        ("ragged", b"a,b\n1,2\n3\n", "Invalid Record Length"),
        ("wide", b"x," * 2_000 + b"x\n", "it has 2001 columns, and 1000 are allowed"),
        ("endless", b'a\n"' + b"x" * 2_000_000, "Max Record Size"),
    ],
)
def test_a_file_that_is_no_table_is_told(
    system: System, name: str, table: bytes, message: str
) -> None:
    """With the file's name, in the function's log."""
    system.s3().put_object(Bucket="tables", Key=f"in/{name}.csv", Body=table)

    wait_until(
        lambda: any(
            message in line and f"tables/in/{name}.csv" in line
            for line in logged(system, "summarise-table").splitlines()
        ),
        "it is logged",
    )
