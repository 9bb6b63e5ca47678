"""Numbers, sizes and names as people read them."""

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def count(number: int, noun: str) -> str:
    """`1 tag`, `20,000 tags`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def size_of(number: int) -> str:
    """Bytes in binary units, and exactly where that differs."""
    if number < 1024:
        return count(number, "byte")
    exponent = min((number.bit_length() - 1) // 10, len(_UNITS))
    return f"{number / 1024**exponent:.1f} {_UNITS[exponent - 1]} ({number:,} bytes)"


def shown(text: str) -> str:
    """A name from the volume as a terminal may see it: without control characters."""
    return text if text.isprintable() else text.encode("unicode_escape", "surrogatepass").decode()
