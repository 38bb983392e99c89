"""Ranges of every form, on objects of several sizes."""

from harness.differential import add, case

from .bodies import BODY

WHOLE, NOT = 200, "InvalidRange"
LAST = len(BODY) - 1
# A range, and what S3 answers for 10 240 bytes: first and last byte, the whole, or a refusal.
RANGES = {
    "bytes=0-0": (0, 0),
    "bytes=0-9": (0, 9),
    "bytes=5-5": (5, 5),
    "bytes=5-": (5, LAST),
    "bytes=0-": (0, LAST),
    "bytes=-1": (LAST, LAST),
    "bytes=-64": (LAST - 63, LAST),
    "bytes=-10240": (0, LAST),
    "bytes=-99999": (0, LAST),
    "bytes=10239-": (LAST, LAST),
    "bytes=10239-20000": (LAST, LAST),
    "bytes=0-10239": (0, LAST),
    "bytes=0-99999": (0, LAST),
    "bytes=1000-18446744073709551615": (1000, LAST),
    "bytes=10240-": NOT,
    "bytes=10240-10250": NOT,
    "bytes=99999-": NOT,
    "bytes=99999-100000": NOT,
    "bytes=-0": NOT,
    "bytes=5-4": WHOLE,
    "bytes=a-b": WHOLE,
    "bytes=": WHOLE,
    "bytes=-": WHOLE,
    "bytes": WHOLE,
    "bytes=1": WHOLE,
    "bytes 0-1": WHOLE,
    "items=0-1": WHOLE,
    "bytes=--1": WHOLE,
    "bytes=1-2-3": WHOLE,
    "bytes=+1-2": WHOLE,
    "bytes=0x1-2": WHOLE,
    "bytes=0-1,3-4": WHOLE,
    "bytes=0-1, 3-4": WHOLE,
    "bytes=-1,-2": WHOLE,
    "bytes=0-1,99999-": WHOLE,
}


def story(value, meaning):
    def tell(side):
        side("put", "PUT", "k", headers={"x-amz-meta-one": "1"}, body=BODY)
        for method in ("GET", "HEAD"):
            if isinstance(meaning, tuple):
                first, last = meaning
                shows = {"content-range": f"bytes {first}-{last}/{len(BODY)}", "content-length": str(last - first + 1)}
                gives = BODY[first : last + 1] if method == "GET" else None
                side(method, method, "k", headers={"range": value}, says=206, gives=gives, shows=shows)
            else:
                gives = BODY if method == "GET" and meaning == WHOLE else None
                shows = {"content-range": None} if meaning == WHOLE else None
                side(method, method, "k", headers={"range": value}, says=meaning, gives=gives, shows=shows)

    return tell


for value, meaning in RANGES.items():
    add("ranges", value, story(value, meaning))


def of_nothing(value, says):
    def tell(side):
        side("put", "PUT", "k")
        side("get", "GET", "k", headers={"range": value}, says=says)

    return tell


for value, says in {"bytes=0-0": NOT, "bytes=0-": NOT, "bytes=-1": NOT, "bytes=x": WHOLE}.items():
    add("ranges", f"{value} of nothing", of_nothing(value, says))

LARGE = (BODY * 20)[:200_000]


def of_many_segments(first, last):
    def tell(side):
        side("put", "PUT", "k", body=LARGE)
        side("get", "GET", "k", headers={"range": f"bytes={first}-{last}"}, says=206, gives=LARGE[first : last + 1],
             shows={"content-range": f"bytes {first}-{last}/{len(LARGE)}"})  # fmt: skip

    return tell


for first, last in [(65_535, 65_536), (65_536, 131_071), (1, 199_998), (131_072, 199_999), (65_500, 65_510), (0, 65_535)]:
    add("ranges", f"{first} to {last} of several segments", of_many_segments(first, last))


@case("ranges")
def upper_case_unit(side):
    side("put", "PUT", "k", body=BODY)
    side("get", "GET", "k", headers={"range": "Bytes=0-1"}, says=(200, 206))


@case("ranges")
def of_a_missing_object(side):
    side("get", "GET", "none", headers={"range": "bytes=0-1"}, says="NoSuchKey")


@case("ranges")
def with_if_range(side):
    side("put", "PUT", "k", body=BODY)
    side("get", "GET", "k", headers={"range": "bytes=0-1", "if-range": '"x"'}, says=(200, 206))
