"""Names of functions as AWS has them: the region is the store's, the account is nobody's.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
"""

from __future__ import annotations

from typing import Final

ACCOUNT: Final = "000000000000"


def function_arn(region: str, name: str) -> str:
    """The ARN of a function."""
    return f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"
