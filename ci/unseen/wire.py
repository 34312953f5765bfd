"""Answers in protobuf as trees that can be compared: fields with their numbers, read by the wire format alone, masked as `common` masks JSON."""

import common


def tree(kind, raw):
    """What an answer of this media type says; events of a watch one after the other."""
    if "stream=watch" not in kind:
        return _value(raw)
    events, at = [], 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at:at + 4], "big")
        events.append(_value(raw[at + 4:end]) if end <= len(raw) else "CUT")
        at = end
    return events


def _value(raw):
    """Text where it reads as such, else a message, else digits."""
    if raw.startswith(b"k8s\0"):
        return {"k8s": _fields(raw[4:])}
    try:
        text = raw.decode()
        if all(c == "\n" or c >= " " for c in text):
            return common.text_masked(text)
    except UnicodeDecodeError:
        pass
    try:
        return _fields(raw)
    except (ValueError, IndexError):
        return raw.hex()


def _varint(raw, at):
    n = shift = 0
    while True:
        byte = raw[at]
        at, n, shift = at + 1, n | (byte & 127) << shift, shift + 7
        if byte < 128:
            return n, at


def _fields(raw):
    out, at = [], 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("no field has this number")
        if wire == 0:
            value, at = _varint(raw, at)
            # A time of today, or a port that was given out.
            value = "TIME" if 1_700_000_000 <= value < 2_500_000_000 else "PORT" if 30_000 <= value < 32_768 else value
        elif wire in (1, 2):
            length, at = _varint(raw, at) if wire == 2 else (8, at)
            if at + length > len(raw):
                raise ValueError("a field is cut off")
            value, at = raw[at:at + length], at + length
            value = _value(value) if wire == 2 else value.hex()
        else:
            raise ValueError("no wire type that is used")
        # Versions of objects and lists, and tokens of pages.
        if isinstance(value, str) and number in (2, 6) and value.isdigit() and len(value) < 8:
            value = "VERSION"
        elif isinstance(value, str) and value.startswith("eyJ"):
            value = "TOKEN"
        out.append([number, value])
    return out
