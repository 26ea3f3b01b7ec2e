"""Work that would not fit into memory is refused before it begins, with the estimate."""

from __future__ import annotations

from pathlib import Path

from hyperpeft.errors import ConfigError, HyperpeftError

_CGROUPS = (  # of a container, version 2 and 1: folder, limit, use
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available() -> int:
    """Bytes that this process can still take without swapping: the machine's, or a container's."""
    import psutil  # not needed to show the help

    free = int(psutil.virtual_memory().available)
    for folder, limit, used in _CGROUPS:
        try:
            most, taken = (int((Path(folder) / name).read_text()) for name in (limit, used))
            lines = (Path(folder) / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
        # Cached files are given back when memory is short.
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        free = min(free, most - taken + cached)
    return max(free, 0)


def require_memory(
    what: str, size: float, *, hint: str | None = None, error: type[HyperpeftError] = ConfigError
) -> None:
    """Refuse what needs more than is available.

    Parameters
    ----------
    what : str
        Begins the message.
    size : float
        Estimate in bytes.
    hint : str, optional
        What the user can do.
    error : type
        Of what is raised.
    """
    free = available()
    if size > free:
        raise error(
            f"{what} needs about {format_bytes(size)} of memory",
            expected=f"at most the {format_bytes(free)} of memory that are free here",
            hint=hint,
        )


def format_bytes(size: float) -> str:
    """Bytes for people.

    >>> format_bytes(3.2 * 2**30), format_bytes(2**20)
    ('3.2 GiB', '1.0 MiB')
    """
    for unit in ("MiB", "GiB", "TiB"):
        size /= 1024 if unit != "MiB" else 2**20
        if size < 1024 or unit == "TiB":
            break
    return f"{size:,.1f} {unit}"
