"""Count what is in each text that lands under `in/` of the bucket `documents`, into `counts/`.

Memory stays the same whatever the size of a text: beyond 100,000 different words, the rarer half is
forgotten.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from string import punctuation
from typing import Any
from urllib.parse import unquote_plus

import boto3

from bucketwheel import function

S3 = boto3.client("s3")


@function(bucket="documents", prefix="in/", suffix=".txt", memory=256, timeout=300)
def count_words(event: dict[str, Any], context: object) -> None:
    """Lambda handler: store `counts/<name>.json` for each `in/<name>.txt`."""
    for record in event["Records"]:
        bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
        text = S3.get_object(Bucket=bucket, Key=key)["Body"]
        counts = json.dumps(count(text.iter_chunks(65_536)), ensure_ascii=False).encode()
        target = f"counts/{key.removeprefix('in/').removesuffix('.txt')}.json"
        S3.put_object(Bucket=bucket, Key=target, Body=counts, ContentType="application/json")


def count(chunks: Iterable[bytes]) -> dict[str, Any]:
    """Lines, words and characters of a UTF-8 text, and its ten most common words."""
    lines = words = 0
    characters = -1  # the space at the end, which ends the last word, is not the text's
    common: Counter[str] = Counter()
    begun = ""
    for text in chain(codecs.iterdecode(chunks, "utf-8-sig", errors="replace"), " "):
        lines += text.count("\n")
        characters += len(text)
        *pieces, begun = re.split(r"\s+", begun + text)
        begun = begun[:100]
        found = [word for each in pieces if (word := each.strip(punctuation).casefold()[:100])]
        words += len(found)
        common.update(found)
        if len(common) > 100_000:
            common = Counter(dict(common.most_common(50_000)))
    top = dict(common.most_common(10))
    return {"lines": lines, "words": words, "characters": characters, "common": top}
