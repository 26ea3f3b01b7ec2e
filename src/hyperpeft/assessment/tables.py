"""An assessment as text, HTML and LaTeX."""

from __future__ import annotations

from html import escape

from hyperpeft.assessment.assess import Assessment
from hyperpeft.assessment.estimators import Estimate

Table = tuple[str, list[str], list[list[str]]]  # caption, heads, rows


def all_tables(found: Assessment) -> list[Table]:
    """Error matrix in area proportions, accuracies, and areas."""
    names = [found.names[i] for i in found.estimates.classes]
    level = f"{100 * found.level:g} %"
    return [
        _matrix(found, names),
        (
            f"Accuracy in %, with intervals of {level}",
            ["class", "user's", level, "producer's", level, "points mapped", "points in reference"],
            _accuracies(found),
        ),
        (
            f"Area, with intervals of {level} ({found.how})",
            ["class", "mapped %", "estimated %", level,
             *(["mapped ha", "estimated ha", level] if found.hectares is not None else [])],
            _areas(found),
        ),
    ]  # fmt: skip


def headline(found: Assessment) -> str:
    """Overall accuracy in one line."""
    overall = found.estimates.overall
    points = int(found.estimates.counts.sum())
    return (
        f"overall accuracy {percent(overall.value)} % ({_interval(overall)}), "
        f"{points} checked pixels in {len(found.strata)} strata"
    )


def percent(value: float | None) -> str:
    """One digit after the point, or a dash."""
    return "-" if value is None else f"{100 * value:.1f}"


def _interval(estimate: Estimate, factor: float = 100, digits: int = 1) -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    low, high = (f"{factor * v:,.{digits}f}" for v in (estimate.low, estimate.high))
    return f"{low} to {high}" + (" (census)" if estimate.rule == "census" else "")


def _matrix(found: Assessment, names: list[str]) -> Table:
    shares = found.estimates.proportions
    rows = [
        [name, *(f"{v:.4f}" for v in row), f"{row.sum():.4f}"]
        for name, row in zip(names, shares, strict=True)
    ]
    rows.append(["total", *(f"{v:.4f}" for v in shares.sum(axis=0)), f"{shares.sum():.4f}"])
    return "Error matrix: shares of the area, map by reference", ["map", *names, "total"], rows


def _accuracies(found: Assessment) -> list[list[str]]:
    result = found.estimates
    rows = []
    for k, i in enumerate(result.classes):
        users, producers = result.users[i], result.producers[i]
        rows.append([
            found.names[i], percent(users.value), _interval(users), percent(producers.value),
            _interval(producers), str(result.counts[k].sum()), str(result.counts[:, k].sum()),
        ])  # fmt: skip
    return rows


def _areas(found: Assessment) -> list[list[str]]:
    rows = []
    for i, share in found.estimates.areas.items():
        mapped = found.mapped.get(i, 0.0)
        row = [found.names[i], percent(mapped), percent(share.value), _interval(share)]
        if found.hectares is not None and found.mapped_hectares is not None:
            area = found.mapped_hectares.get(i, 0.0)
            total, digits = found.hectares, 1 if found.hectares < 10_000 else 0
            row += [f"{area:,.{digits}f}", f"{(share.value or 0) * total:,.{digits}f}",
                    _interval(share, total, digits)]  # fmt: skip
        rows.append(row)
    return rows


def to_html(found: Assessment) -> str:
    """One page without outside files."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>Accuracy of {escape(found.map)}</title>",
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;"
        "padding:0 1rem;color-scheme:light dark}table{border-collapse:collapse;margin:1.5rem 0;"
        "display:block;overflow-x:auto}"
        "caption{text-align:left;font-weight:600;padding:.3rem 0}th,td{padding:.25rem .7rem;"
        "border-bottom:1px solid #8884;text-align:right;white-space:nowrap}"
        "th:first-child,td:first-child{text-align:left}</style>",
        f"<h1>Accuracy of {escape(found.map)}</h1><p>Reference: {escape(found.reference)}. "
        f"{escape(headline(found))}.</p>",
    ]
    for caption, heads, rows in all_tables(found):
        parts.append(f"<table><caption>{escape(caption)}</caption><tr>")
        parts += [f"<th scope='col'>{escape(head)}</th>" for head in heads]
        parts.append("</tr>")
        for row in rows:
            parts.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
        parts.append("</table>")
    if found.notes:
        parts.append("<h2>Notes</h2><ul>")
        parts += [f"<li>{escape(note)}</li>" for note in found.notes]
        parts.append("</ul>")
    parts.append(
        "<p>Estimators: Stehman (2014), doi:10.1080/01431161.2014.930207; Olofsson et al. (2014), "
        "doi:10.1016/j.rse.2014.02.015.</p></html>"
    )
    return "\n".join(parts)


_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}  # fmt: skip


def to_latex(found: Assessment) -> str:
    """Tables for a paper, with booktabs."""
    parts = ["% needs \\usepackage{booktabs}"]
    for caption, heads, rows in all_tables(found):
        parts += [
            r"\begin{table}", rf"\caption{{{_tex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule",
            " & ".join(map(_tex, heads)) + r" \\", r"\midrule",
            *(" & ".join(map(_tex, row)) + r" \\" for row in rows),
            r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]  # fmt: skip
    parts += [f"% {note}" for note in (headline(found), *found.notes)]
    return "\n".join(parts) + "\n"


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)
