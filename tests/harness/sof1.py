"""The sizes of the stored format (docs/format), computed independently of the code under test."""

MIB = 1024 * 1024
SEGMENT = 65_536
FOOTER = 64


def stored_part(plain):
    """Stored bytes of one part."""
    return 74 + plain + 32 * max(1, -(-plain // SEGMENT))


def stored(plain):
    """Stored bytes of an object."""
    segments = max(1, -(-plain // SEGMENT))
    slots = 1 + min(plain // (5 * MIB), 9_998)
    return plain + 32 * segments + 160 * (slots + 1)


def borders(parts):
    """Offsets in a stored object where one structure ends and the next begins."""
    found, offset = {0}, 0
    for plain in parts:
        found |= {offset + 2, offset + 10, offset + 42, offset + 74}
        at, left = offset + 74, plain
        while True:
            step = min(left, SEGMENT)
            found |= {at + 4, at + 16, at + 16 + step, at + 32 + step}
            at, left = at + 32 + step, left - step
            if left <= 0:
                break
            # The first and the last two segments of a part are enough.
            skip = left // SEGMENT - 2
            if skip > 0:
                at, left = at + skip * (SEGMENT + 32), left - skip * SEGMENT
        offset += stored_part(plain)
    end = stored(sum(parts))
    manifest = 108 + 48 * len(parts)
    found |= {offset, end - FOOTER - manifest, end - FOOTER - manifest + 12, end - FOOTER - 16, end - FOOTER, end - 32, end}
    return sorted(found)
