"""Bucketwheel: what is installed, and what that needs."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="bucketwheel",
    version="0.1.0",
    description="Runs your functions when objects land in your buckets: AWS Lambda's contract, "
    "on your own machines, with MinIO, Redis and Celery underneath.",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # Named one by one: a `build/` or `tests/` beside them must never be installed.
    packages=find_packages(include=["bucketwheel*", "gateway*", "workers*", "broker*", "storage*"]),
    package_data={"broker": ["lua/*.lua"], "workers.runtimes": ["*.mjs"]},
    entry_points={"console_scripts": ["bucketwheel = bucketwheel.cli:main"]},
    install_requires=[
        "awslambdaric>=4.2,<5",
        "boto3>=1.40,<2",
        "celery>=5.7,<5.8",  # the pool's and the consumer's contracts, read in its source
        "click>=8.1,<9",
        "flower>=2.2,<3",
        "httptools>=0.6,<1",
        "kombu[redis]>=5.7,<5.8",  # the written message format
        "minio>=7.2.20,<8",  # 8 has other call signatures
        "orjson>=3.10,<4",
        "pillow>=11,<14",
        "prometheus-client>=0.21,<1",  # reads the store's metrics
        "psutil>=6,<8",
        "pydantic>=2.10,<3",
        "pydantic-settings>=2.7,<3",
        "pyyaml>=6,<7",  # reads templates
        "pyjwt>=2.9,<3",  # signs the request for them: MinIO takes a bearer token only
        "redis>=6.1,<9",
        "rich>=13.9,<16",
    ],
    extras_require={
        "test": [
            "aws-lambda-powertools[parser]>=3.20,<4",  # its S3 model judges our event records
            "hypothesis>=6.100,<7",
            "pytest>=8.3,<10",
        ],
        "bench": [
            "matplotlib>=3.10,<4",  # draws what was measured
            "numpy>=2,<3",  # a large import for cold starts
        ],
        "lint": ["import-linter>=2.1,<3", "mypy>=1.15,<3", "ruff>=0.9,<1", "types-pyyaml>=6,<7"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Typing :: Typed",
    ],
)
