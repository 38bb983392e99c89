"""What a client of the matrix does not do, with the reason: every empty cell, and nothing else.

`test_every_gap_has_its_reason` compares this with the classes, so that neither can lose a line.
"""

# The client has no such action.
_LIBRARY = "a library of S3 calls: what to sync is its caller's business"
_TABLES = "it reads and writes tables, and does not manage objects"
_ARCHIVE = "its objects are archives of its own; the backup's content is compared instead"

GAPS = {
    "s5cmd": {"range": "no option for part of an object; its downloads are ranged reads in parallel"},
    "restic": {
        "range": "not as a command; restore and check read ranges of packs",
        "list": _ARCHIVE,
        "copy": _ARCHIVE,
        "sync": "a backup; test_programs.py has its whole life",
    },
    "duplicity": {
        "range": "it reads volumes whole",
        "list": _ARCHIVE,
        "copy": _ARCHIVE,
        "sync": "a backup",
    },
    "s3fs (FUSE)": {"sync": "a file system: any program for folders syncs it"},
    "boto3 1.44": {"sync": _LIBRARY},
    "boto3 1.26 (Debian)": {"sync": _LIBRARY},
    "minio-py": {"sync": _LIBRARY},
    "pyarrow": {"sync": "it copies trees, and does not compare them"},
    "duckdb": {
        "range": "for Parquet only: see parquet",
        "copy": _TABLES,
        "delete": _TABLES,
        "sync": _TABLES,
    },
    "polars": {
        "range": "for Parquet only: see parquet",
        "list": _TABLES,
        "copy": _TABLES,
        "delete": _TABLES,
        "sync": _TABLES,
    },
    "obstore": {"sync": _LIBRARY},
    "AWS SDK for JavaScript": {"sync": _LIBRARY},
    "AWS SDK for Go": {"sync": _LIBRARY},
    "AWS SDK for Java": {"sync": _LIBRARY},
}

# What a client tries and does not get done: it fails, and must keep failing until this line goes.
KNOWN = {}
# The same at the bare store (SeaweedFS), where the matrix itself is tried.
KNOWN_AT_STORE = {
    ("s5cmd", "copy-unicode"): (
        "it writes a space in the name of a copy's source as a plus sign, which AWS S3 reads so, and SeaweedFS does not"
    ),
}
