"""Wavelengths of bands, of which files give numbers with a unit, tags, or parts of names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyperpeft.records import to_nm

_UNIT = "nanomet(?:er|re)s?|nm|micromet(?:er|re)s?|microns?|um|µm|μm"
_RUN = r"(?=[.,]*\d)[\d.,]+(?:e[-+]?\d+)?"
_DASH = r"-\u2013\u2014"  # hyphen, en dash, em dash
_MEASURE = re.compile(rf"({_RUN})\s*({_UNIT})?")
_NAMED = re.compile(  # from the first digit on only: a thousand digits are looked at once
    rf"(?<![\d.,])({_RUN})\s*\(?({_UNIT})\b"
)
_BEFORE = re.compile(rf"(?<![\d.,])({_RUN})\s*([{_DASH}/±]|\+/?-|to)\s*$")
_BEHIND = re.compile(rf"\s*\)?\s*(?:[{_DASH}]|to)\s*({_RUN})\s*\(?({_UNIT})\b")
_PLAIN = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
_DECIMAL = re.compile(r"\d+,\d+")
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
_REACH = 64  # characters before a number
_OPTICAL = (100.0, 100_000.0)  # nm
_WIDEST = 2.0  # of a band, from one end to the other
_EXCLUSIVE = ({"decimals", "thousands"}, {"range", "number"})  # ways to read bands of one file


def widths_to_nm(
    values: np.ndarray, units: str | None, centres: np.ndarray | None
) -> np.ndarray | None:
    """Band widths in nm: in the unit of the centres, which tells nm from um where none is given."""
    if centres is None:
        return None
    unit = (units or "").strip().lower()
    if unit in ("", "unknown"):  # widths of 5 to 20 look like micrometres: ask the centres
        unit = "um" if np.max(centres) < 100 else "nm"
    return to_nm(values, unit)


def measures(
    texts: Sequence[str], units: str | None, *, centres: bool
) -> tuple[np.ndarray, str | None] | None:
    """The numbers of tags such as "400.5", "400,5" or "400 nm", and their unit.

    Parameters
    ----------
    texts : sequence of str
        One for each band.
    units : str or None
        Of numbers without a unit.
    centres : bool
        They are wavelengths; False for widths.

    Returns
    -------
    (ndarray, str or None) or None
        None where a text is no number, or can be read in two ways.

    Examples
    --------
    >>> measures(["400,5", "410,5"], None, centres=True)
    (array([400.5, 410.5]), None)
    >>> measures(["0.9 um", "1 um"], "nm", centres=True)
    (array([0.9, 1. ]), 'um')
    """
    try:
        return np.array([float(text) for text in texts]), units
    except ValueError:
        matches = [_MEASURE.fullmatch(text.strip().lower()) for text in texts]
    found = [match for match in matches if match]
    own = {_short_unit(match[2]) if match[2] else units for match in found}
    if len(found) < len(texts) or len(own) != 1:
        return None
    unit = own.pop()
    factors = _factors(unit) if centres else ()
    read = [_number(match[1], factors) for match in found]
    values = np.array([value for value, _ in read])
    if np.isnan(values).any() or _differ({form for _, form in read}):
        return None
    return values, unit


def named_wavelengths(names: Sequence[str]) -> tuple[np.ndarray | None, str]:
    """Band centres in nm from names such as "band 8 (0.460 Micrometers)".

    A comma stands before decimals, or between thousands: whichever gives a wavelength from 100 nm
    to 100 µm. Of a range the middle is taken.

    Returns
    -------
    ndarray or None
        None unless every name has one that can be read in one way only.
    str
        A name that cannot; "" where there is none.

    Examples
    --------
    >>> named_wavelengths(["a (950,5 nm)", "b (1060,5 nm)"])[0]
    array([ 950.5, 1060.5])
    >>> named_wavelengths(["900-910 nm", "910-920 nm"])[0]
    array([905., 915.])
    >>> named_wavelengths(["Band 1,400 nm", "Band 2,410 nm"])
    (None, 'Band 1,400 nm')
    """
    found = [one for one in map(_named, names) if one is not None]
    if not names or len(found) < len(names):
        return None, ""
    values = np.array([one.value for one in found])
    rest = np.array([one.rest for one in found])
    counted = [one.lead for one in found] == [str(i + 1) for i in range(len(found))]
    if len(found) > 1 and counted and not np.isnan(rest).any():
        if (~np.isnan(values) & (values != rest)).all():
            return None, names[0]
        return rest, ""
    doubtful = np.isnan(values)
    if not doubtful.any() and not _differ({form for one in found for form in one.forms}):
        return values, ""
    return None, names[int(doubtful.argmax())]


class _Named(NamedTuple):
    """A wavelength in a band's name, in nm, NaN where it is doubtful.

    `rest` is what it would be if `lead`, the digits before a comma or a dash, were the band's
    number; `forms` tell how `value` was read.
    """

    value: float
    forms: set[str]
    lead: str = ""
    rest: float = math.nan


def _named(name: str) -> _Named | None:
    text = name.lower()
    match = _NAMED.search(text)
    if match is None:
        return None
    run, (to,) = match[1], _factors(_short_unit(match[2]))
    behind = _BEHIND.match(text, match.end())
    if behind is not None:
        (last,) = _factors(_short_unit(behind[2]))
        return _range(_optical(run, to), _optical(behind[1], last))
    value, form = _optical(run, to)
    before = _BEFORE.search(text[max(0, match.start() - _REACH) : match.start()])
    if before is None:
        lead, _, tail = run.partition(",")
        return _Named(value, {form}, lead, _optical(tail, to)[0] if tail else math.nan)
    lead, sign = before[1], before[2]
    if sign in ("/", "±", "+-", "+/-"):
        return _Named(math.nan, set(), lead, value)  # a width, as likely as not
    first = _optical(lead, to)
    if math.isnan(first[0]) and _PLAIN.fullmatch(lead) and float(lead) * to < _OPTICAL[0]:
        return _Named(value, {form, "number"}, lead, value)
    return _range(first, (value, form))._replace(lead=lead, rest=value)


def _range(first: tuple[float, str], last: tuple[float, str]) -> _Named:
    """The middle of two ends, each a wavelength and how it was read."""
    forms = {first[1], last[1], "range"}
    is_one = first[0] < last[0] <= _WIDEST * first[0]  # False for NaN
    return _Named((first[0] + last[0]) / 2 if is_one else math.nan, forms)


def _optical(run: str, to: float) -> tuple[float, str]:
    """A wavelength in nm and how it was read; NaN where it is none."""
    value, form = _number(run, (to,))
    return (value * to, form) if _OPTICAL[0] <= value * to < _OPTICAL[1] else (math.nan, form)


def _number(run: str, factors: Sequence[float]) -> tuple[float, str]:
    """A number with a point or commas, and how it was read; NaN where it has two readings.

    `factors`, of which one makes it nm, tell readings that are no wavelength.
    """
    run = run.strip(",")
    if _PLAIN.fullmatch(run):
        return float(run), ""
    readings = {}
    if _DECIMAL.fullmatch(run):
        readings["decimals"] = float(run.replace(",", "."))
    if _GROUPED.fullmatch(run):
        readings["thousands"] = float(run.replace(",", ""))
    if len(readings) > 1 and factors:
        low, high = _OPTICAL
        readings = {
            form: value
            for form, value in readings.items()
            if any(low <= value * to < high for to in factors)
        }
    if len(readings) != 1:
        return math.nan, ""
    ((form, value),) = readings.items()
    return value, form


def _differ(forms: set[str]) -> bool:
    """Whether bands of one file were read in ways of which only one can be right."""
    return any(pair <= forms for pair in _EXCLUSIVE)


def _short_unit(text: str) -> str:
    return "nm" if text.startswith("n") else "um"


def _factors(unit: str | None) -> tuple[float, ...]:
    """What makes a number of a unit nm; of an unknown unit, either."""
    nm = to_nm(np.ones(1), unit) if unit and unit.strip().lower() != "unknown" else None
    return (1.0, 1000.0) if nm is None else (float(nm[0]),)
