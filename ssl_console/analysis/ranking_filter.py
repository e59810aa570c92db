"""A filter of a ranking's rows and columns, for the terminal app and the command line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.filter_query import SCORE, Filter, Filterable, Value, parse, split
from ssl_console.analysis.published import PUBLISHED
from ssl_console.analysis.ranking import AGGREGATES, Ranking, RankingColumn, RankingRow, pick_columns, pick_rows
from tasks.datasets.card import DatasetCard

ROW_FIELDS = "name, family, method, arch, params, pretraining, top1, year, epochs, dim, size, weights"
COLUMN_FIELDS = "task, protocol, dataset, domain, metric, classes, data"
RANKING_FIELDS = "score:TASK>70, mean, mean_rank, win_rate, source, complete"


def backbone_subject(card: BackboneCard, weights: str) -> Filterable:
    """The words and fields of a backbone; `weights` is `present` or `missing`."""
    facts = card.facts
    fields: dict[str, Value] = {
        "name": card.name,
        "family": facts.method,
        "method": facts.method,
        "arch": card.architecture,
        "params": facts.parameters_millions,
        "pretraining": facts.pretraining_data,
        "top1": facts.imagenet_top1,
        "year": facts.year,
        "epochs": facts.epochs,
        "dim": facts.feature_dimension,
        "size": card.input.size,
        "weights": weights,
    }
    return Filterable(f"{card.name} {facts.method} {card.architecture}", fields)


def task_subject(name: str, protocol: str, dataset: DatasetCard, data: str) -> Filterable:
    """The words and fields of a task; `data` is `present` or `missing`."""
    fields: dict[str, Value] = {
        "task": name,
        "protocol": protocol,
        "dataset": dataset.name,
        "domain": dataset.domain,
        "metric": dataset.metric,
        "classes": dataset.classes,
        "data": data,
    }
    return Filterable(f"{name} {dataset.title}", fields)


def column_subject(column: RankingColumn, task: Filterable | None) -> Filterable:
    """A column of a ranking: its task, if its card is known, and its variant."""
    fields = {**(task.fields if task else {}), "variant": column.variant, "task": column.task}
    return Filterable(f"{column.label} {task.words if task else ''}", fields)


def row_subject(row: RankingRow, backbone: Filterable | None) -> Filterable:
    """A row of a ranking: its backbone, if its card is known, its scores and its aggregates."""
    found = backbone or Filterable(row.backbone, {"name": row.backbone})
    own: dict[str, Value] = {aggregate.name: aggregate.value(row) for aggregate in AGGREGATES}
    own |= {
        "complete": "yes" if row.complete else "no",
        "source": "published" if row.backbone.endswith(PUBLISHED) else "mine",
    }
    if own["win_rate"] is not None:
        own["win_rate"] = 100 * float(own["win_rate"])
    scores = {label: cell.value for label, cell in row.cells.items()}
    return replace(found, fields={**found.fields, **own}, scores=scores)


def filter_ranking(
    base: Ranking, text: str, rows: Mapping[str, Filterable], columns: Mapping[str, Filterable]
) -> tuple[Ranking, tuple[str, ...]]:
    """The matching rows and columns, with aggregates recomputed, and the fields of the filter that no row or column
    has.

    `rows` are the subjects by backbone, `columns` those by label; other columns are omitted.
    """
    terms = parse(text)
    for_rows, for_columns = split(terms, rows.values(), columns.values())
    fields = {SCORE, *(name for subject in (*rows.values(), *columns.values()) for name in subject.fields)}
    labels = [label for label, subject in columns.items() if for_columns.matches(subject)]
    matching = rows if for_rows == Filter() else {name for name, row in rows.items() if for_rows.matches(row)}
    ranking = pick_rows(base, matching) if len(labels) == len(base.columns) else pick_columns(base, labels, matching)
    return ranking, tuple(terms.unknown_fields(fields))
