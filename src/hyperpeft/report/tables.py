"""The tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hyperpeft.report import statistics
from hyperpeft.report.collect import Entry, Results, Setting
from hyperpeft.report.table import (
    LEAKAGE,
    LEAKAGE_NOTE,
    Column,
    Table,
    class_table,
    figures_table,
    leakage,
    leakage_range,
    mark_best,
    metric,
    oa,
    over_seeds,
    parameters,
    pattern,
)
from hyperpeft.system.text import megabytes


def scene_means(results: Results, setting: Setting) -> dict[str, dict[str, float]]:
    """Mean OA over seeds: method to scene to percent."""
    found: dict[str, dict[str, float]] = {}
    for method in results.methods:
        means = {}
        for scene in results.scenes:
            mean = over_seeds(results.select(setting=setting, method=method, scene=scene), oa)
            if mean is not None:
                means[scene] = mean.mean
        if means:
            found[method] = means
    return found


def ranks_of(results: Results, setting: Setting) -> tuple[statistics.Ranks, list[str]]:
    """Average ranks of the methods that were run on every scene, and the methods that were not."""
    means = scene_means(results, setting)
    scenes = {scene for of_method in means.values() for scene in of_method}
    whole = {method: found for method, found in means.items() if set(found) == scenes}
    return statistics.average_ranks(whole), [method for method in means if method not in whole]


def summary_table(results: Results, setting: Setting) -> Table:
    """OA of every method on every scene, the mean over scenes and the average rank."""
    entries = results.select(setting=setting)
    scenes = [scene for scene in results.scenes if any(e.scene == scene for e in entries)]
    ranks, partial = ranks_of(results, setting)
    rows = []
    for method in results.methods:
        own = [e for e in entries if e.method == method]
        if not own:
            continue
        by_scene = [over_seeds([e for e in own if e.scene == s], oa) for s in scenes]
        whole = all(mean is not None for mean in by_scene)
        mean = sum(m.mean for m in by_scene if m) / len(scenes) if whole else None
        counts = [f"{m.n}" for m in by_scene if m]
        rows.append(
            [
                method, *by_scene, mean, ranks.ranks.get(method), parameters(own),
                leakage_range(own), "/".join(dict.fromkeys(counts)),
            ]
        )  # fmt: skip
    heads = [*scenes, "Mean"]
    columns = [Column("Method"), *map(Column, heads), Column("Average rank")]
    columns += [Column("Trainable parameters", 0), Column(LEAKAGE), Column("Seeds")]
    note = "Overall accuracy in percent, mean ± standard deviation over seeds. "
    note += _rank_words(ranks, partial) + f" {LEAKAGE_NOTE}, from the least to the most of a scene."
    name = f"summary-{setting.slug}"
    title = f"Overall accuracy: {setting.words}"
    table = Table(name, title, columns, rows, note, pattern(entries))
    return mark_best(table, range(1, len(scenes) + 2))


def _rank_words(ranks: statistics.Ranks, partial: Sequence[str]) -> str:
    words = f"Ranks are over {ranks.scenes} scene{'s' if ranks.scenes != 1 else ''}"
    if ranks.p is not None:
        words += f"; Friedman's test that all methods are alike gives p = {ranks.p:.3g}"
    if ranks.critical is not None:
        words += (
            f", and average ranks nearer than {ranks.critical:.2f} (Nemenyi, 5 %) cannot be told "
            "apart"
        )
    if partial:
        words += f"; not ranked, because some scene lacks them: {', '.join(partial)}"
    return words + "."


def scene_table(results: Results, scene: str, budget: str) -> Table:
    """All methods on one scene: OA, AA, kappa and leakage, the splits side by side."""
    entries = [e for e in results.select(scene=scene) if e.budget == budget]
    splits = list(dict.fromkeys(e.split for e in entries))
    columns = [Column("Method")]
    for split in splits:
        columns += [Column(f"{name}, {split}") for name in ("OA", "AA", "Kappa")]
        columns.append(Column(f"{LEAKAGE}, {split}", 1))
    columns += [Column("Trainable parameters", 0), Column("Seeds")]
    rows = []
    for method in results.methods:
        own = [e for e in entries if e.method == method]
        if not own:
            continue
        row: list[Any] = [method]
        for split in splits:
            here = [e for e in own if e.split == split]
            row += [over_seeds(here, metric(name)) for name in ("oa", "aa", "kappa")]
            row.append(leakage(here))
        counts = [str(sum(e.split == split for e in own)) for split in splits]
        rows.append([*row, parameters(own), "/".join(dict.fromkeys(counts))])
    note = f"Percent, kappa times 100; mean ± standard deviation over seeds. {LEAKAGE_NOTE}."
    table = Table(
        f"scene-{scene}-{budget}", f"{scene}: {budget.replace('-', ' ')}", columns, rows, note,
        pattern(entries),
    )  # fmt: skip
    return mark_best(table, [4 * i + j for i in range(len(splits)) for j in (1, 2, 3)])


def comparison_table(results: Results, setting: Setting) -> Table | None:
    """Every method against the reference, paired over equal splits; None without one."""
    entries = results.select(setting=setting)
    reference = [e for e in entries if e.method == results.reference]
    others = [m for m in results.methods if m != results.reference]
    if not reference or not others:
        return None
    known = {
        (e.scene, e.seed): (value, e.split_hash) for e in reference if (value := oa(e)) is not None
    }
    tests: dict[str, float | None] = {}
    rows: list[list[Any]] = []
    for method in others:
        own = [e for e in entries if e.method == method]
        if not own:
            continue
        theirs = {
            (e.scene, e.seed): (value, e.split_hash) for e in own if (value := oa(e)) is not None
        }
        differences, unpaired = statistics.paired(theirs, known)
        groups: dict[str, list[float]] = {}
        for (scene, _), value in differences.items():
            groups.setdefault(scene, []).append(value)
        means = [round(sum(group) / len(group), 9) for group in groups.values()]  # no dust of sums
        interval = statistics.bootstrap(list(groups.values())) if groups else None
        test = statistics.wilcoxon(means)
        tests[method] = test.p
        wins = f"{sum(m > 0 for m in means)} / {sum(m == 0 for m in means)} / "
        wins += f"{sum(m < 0 for m in means)}"
        rows.append(
            [
                method, interval, wins, test.p, None, test.smallest if test.n else None,
                len(differences), len(unpaired), leakage_range(own),
            ]
        )  # fmt: skip
    adjusted = statistics.holm(tests)
    for row in rows:
        row[4] = adjusted[row[0]]
    columns = [
        Column("Method"), Column("Difference of OA [95 %]"), Column("Scenes won / tied / lost"),
        Column("Wilcoxon p", 4), Column("p (Holm)", 4), Column("Smallest possible p", 4),
        Column("Pairs", 0), Column("Not paired", 0), Column(LEAKAGE),
    ]  # fmt: skip
    scenes = len({e.scene for e in reference})
    least = min(1.0, len(rows) * 2.0 ** (1 - scenes))
    note = (
        f"Each method minus {results.reference}, in points of OA, run by run on the very same "
        "split (equal hash; others are counted as not paired and left out). The interval is a "
        "bootstrap over scenes and, within them, seeds. The Wilcoxon signed-rank test takes one "
        f"mean difference per scene, two-sided: over {scenes} scene{'s' if scenes != 1 else ''} "
        f"it cannot give a p below {min(1.0, 2.0 ** (1 - scenes)):.3g}"
        f" and, adjusted for {len(rows)} comparisons, {least:.3g}"
        + (": no difference can reach 0.05." if least > 0.05 else ".")
        + f" {LEAKAGE_NOTE}."
    )
    title = f"Against {results.reference}: {setting.words}"
    return Table(f"comparison-{setting.slug}", title, columns, rows, note, pattern(entries))


def splits_table(results: Results, budget: str) -> Table | None:
    """Mean OA of every method, the kinds of split side by side; None with one kind."""
    entries = [e for e in results.entries if e.budget == budget]
    kinds = list(dict.fromkeys(e.split for e in entries))
    if len(kinds) < 2:
        return None
    scenes = {
        kind: [s for s in results.scenes if any(e.scene == s and e.split == kind for e in entries)]
        for kind in kinds
    }
    rows: list[list[Any]] = []
    for method in results.methods:
        row: list[Any] = [method]
        for kind in kinds:
            here = [e for e in entries if e.method == method and e.split == kind]
            means = [over_seeds([e for e in here if e.scene == s], oa) for s in scenes[kind]]
            found = [mean.mean for mean in means if mean is not None]
            row.append(sum(found) / len(found) if found and len(found) == len(means) else None)
            row.append(leakage_range(here))
        if any(value is not None for value in row[1::2]):
            rows.append(row)
    if not rows:
        return None
    columns = [Column("Method")]
    for kind in kinds:
        count = len(scenes[kind])
        columns.append(Column(f"{kind.capitalize()}, {count} scene{'s' * (count != 1)}"))
        columns.append(Column(f"{LEAKAGE}, {kind}"))
    note = "Overall accuracy in percent, mean over the scenes that have the kind of split, for "
    note += "methods that were run on all of them: " + "; ".join(
        f"{kind}: {', '.join(scenes[kind])}" for kind in kinds
    )
    table = Table(
        f"splits-{budget}", f"Kinds of split: {budget.replace('-', ' ')}", columns, rows,
        f"{note}. {LEAKAGE_NOTE}.", pattern(entries),
    )  # fmt: skip
    return mark_best(table, range(1, 2 * len(kinds), 2))


def cost_table(results: Results) -> Table:
    """What each method costs, over all its runs."""
    rows = []
    for method in results.methods:
        own = results.select(method=method)
        rows.append(
            [
                method,
                parameters(own),
                over_seeds(own, lambda e: e.number("adapter", "trainable_percent")),
                over_seeds(own, lambda e: megabytes(e.number("adapter", "bytes"))),
                over_seeds(own, lambda e: e.number("timing", "train_seconds")),
                over_seeds(own, lambda e: e.number("timing", "train_samples_per_second")),
                over_seeds(own, lambda e: e.number("timing", "predict_samples_per_second")),
                over_seeds(own, lambda e: e.number("timing", "peak_rss_mb")),
                leakage_range(own),
            ]
        )
    columns = [
        Column("Method"), Column("Trainable parameters", 0), Column("Trainable %", 3),
        Column("Stored MB", 2), Column("Training s", 1), Column("Training samples/s", 1),
        Column("Prediction samples/s", 1), Column("Peak memory MB", 0), Column(LEAKAGE),
    ]  # fmt: skip
    machines = sorted({machine(e) for e in results.entries})
    note = (
        "Mean ± standard deviation over all runs of a method, scenes and splits included, with the "
        f"head in the parameters. Computed on: {'; '.join(machines)}. Peak memory is that of the "
        "process, which computes several cells in turn."
    )
    return Table("cost", "Cost of training", columns, rows, note, pattern(results.entries))


def machine(entry: Entry) -> str:
    """Device and precision of a run."""
    where = entry.record["environment"]
    threads = where.get("threads")
    parts = [where.get("device"), where.get("precision")]
    parts += [f"{threads} thread{'s' if threads != 1 else ''}"] if threads else []
    return " ".join(str(part) for part in parts if part)


def failure_table(results: Results) -> Table | None:
    """Cells that failed or are not there."""
    rows: list[list[Any]] = [[f.path, "failed", f.reason] for f in results.failures]
    rows += [[path, "not computed yet", ""] for path in results.missing]
    if not rows:
        return None
    columns = [Column("Cell"), Column("State"), Column("Reason")]
    return Table("failures", "Cells without a result", columns, rows)


def record_table(results: Results) -> Table:
    """Every record, one line each, with what its numbers depend on."""
    columns = [
        Column("Record"), Column("OA"), Column("AA"), Column("Kappa"), Column(LEAKAGE, 1),
        Column("Window", 0), Column("Trainable parameters", 0), Column("Training s", 1),
        Column("Backbone"), Column("Split hash"), Column("Created"), Column("Commit"),
    ]  # fmt: skip
    rows = [
        [
            f"{e.path}/run.json",
            *(e.metric(name) for name in ("oa", "aa", "kappa")),
            leakage([e]),
            (e.record["split"].get("leakage") or {}).get("patch_size"),
            parameters([e]),
            e.number("timing", "train_seconds"),
            str((e.record.get("backbone") or {}).get("name") or "-"),
            (e.split_hash or "-")[:12],
            str(e.record.get("created", "-")),
            commit(e),
        ]
        for e in results.entries
    ]
    return Table("records", "Records", columns, rows)


def commit(entry: Entry) -> str:
    """Of the source tree, with a mark where it had been changed."""
    where = entry.record["environment"]
    found = where.get("commit")
    return "-" if not found else f"{found[:10]}{' (changed)' if where.get('dirty') else ''}"


def all_tables(results: Results) -> list[Table]:
    """Every table of the report."""
    tables: list[Table | None] = []
    for budget in dict.fromkeys(setting.budget for setting in results.settings):
        tables.append(splits_table(results, budget))
    for setting in results.settings:
        tables.append(summary_table(results, setting))
        tables.append(comparison_table(results, setting))
    for scene in results.scenes:
        budgets = list(dict.fromkeys(e.budget for e in results.select(scene=scene)))
        tables += [scene_table(results, scene, budget) for budget in budgets]
        settings = list(dict.fromkeys(e.setting for e in results.select(scene=scene)))
        for setting in settings:
            tables.append(class_table(results, scene, setting))
            tables.append(figures_table(results, scene, setting))
    if results.entries:
        tables.append(cost_table(results))
        tables.append(record_table(results))
    tables.append(failure_table(results))
    return [table for table in tables if table is not None]
