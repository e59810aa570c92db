"""Formats, and files that are written or imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
JsonLines = Annotated[bool, typer.Option("--json", help="JSON lines on standard output.")]
BudgetJson = Annotated[bool, typer.Option("--json", help="One JSON document; with --run, JSON lines.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Comma-separated values.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="A Markdown table.")]
AsLatex = Annotated[bool, typer.Option("--latex", help="A LaTeX booktabs table.")]
PngFile = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The PNG file.")]
ZipFile = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The zip file to write.")]
TableFile = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A new file, .csv or .parquet.")]
HtmlFile = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A new file, .html.")]
ReportTitle = Annotated[str, typer.Option("--title", metavar="TEXT", help="Heading of the report.")]
PageFolder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write into.")]
Benchmarks = Annotated[
    list[str] | None,
    typer.Option(
        "--benchmark",
        metavar="DATASET=ORG/NAME[:TASK]",
        help="Benchmark of the hub for a dataset of this workspace; may repeat.",
    ),
]
SourceUrl = Annotated[
    str | None, typer.Option("--source-url", metavar="URL", help="Address that documents the results.")
]
BoardFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="results.csv of the attentive board, results-*.csv of timm, or JSON.")
]
BundleFile = Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")]
ForeignBundle = Annotated[Path, typer.Argument(metavar="FILE", help="A bundle of another workspace.")]
TakeConflicting = Annotated[
    bool,
    typer.Option("--take-conflicting", help="Also import results that conflict with a local score."),
]
ImportDryRun = Annotated[bool, typer.Option("--dry-run", help="Report what would be imported.")]
