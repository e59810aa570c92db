"""The HTML report: everything inside, nothing requested, nothing executed, every mark explained."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from ssl_console.analysis.export import NO_NOTES
from ssl_console.analysis.further_scores import ProtocolOptimism
from ssl_console.analysis.html_report import POLICY, ReportFacts, ReportPicture, html_report
from ssl_console.analysis.ranking import rank
from ssl_console.workspace.result import Result, ResultRecord
from tests.ssl_console.analysis.test_published import measured

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HOSTILE = "own/<script>alert(1)</script>'\""


class Collector(HTMLParser):
    """Tags, and every attribute that could lead out of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = {"src", "href", "srcset", "action", "data", "poster", "background"}
        self.addresses += [value or "" for name, value in attrs if name in names]
        assert not any(name.startswith("on") for name, _ in attrs)


def record_of(result: Result) -> ResultRecord:
    return ResultRecord(
        result=result, metrics={}, interval_method="wilson", samples={"test": 100}, versions={"ssl-console": "0.1.0"},
        identity={"backbone": {"weights": "w" * 64}}, parameters={"strengths": 45}, warnings=("a warning",),
    )  # fmt: skip


def page(*results: Result) -> str:
    facts = ReportFacts(
        title="Birds & bees",
        made="2026-11-30",
        records={one.run_id: record_of(one) for one in results},
        notes=NO_NOTES,
        optimism=[ProtocolOptimism("linear", 2, 0, 0.5, 0.9, 1, 0, 1, 0)],
        apart=["not comparable: another version"],
        pictures=[ReportPicture("a picture", PNG)],
        left_out=3,
    )
    return html_report(rank(results), facts)


def two() -> list[Result]:
    marked = measured("own/b", "linear/cars", 71.0).model_copy(update={"badges": ("chance",)})
    return [measured("own/a", "linear/cars", 80.0), marked, measured("own/a", "knn/cars", 60.0)]


def test_the_report_holds_ranking_intervals_optimism_pictures_and_provenance() -> None:
    text = page(*two())
    for words in ("Ranking", "Scores with 95 % intervals", "Optimism", "Pictures", "Provenance"):
        assert f"<h2>{words}</h2>" in text
    assert "79.0 to 81.0" in text
    assert "71.0!" in text
    assert "chance" in text
    assert "3 more pictures" in text
    assert "not comparable: another version" in text
    assert "w" * 64 in text
    assert "a warning" in text
    assert "ssl-console reproduce own/a-linear/cars-default" in text


def test_nothing_in_the_report_leads_out_of_it_or_runs() -> None:
    text = page(*two())
    collector = Collector()
    collector.feed(text)
    assert all(one.startswith("data:image/png;base64,") for one in collector.addresses)
    assert len(collector.addresses) == 1
    assert not collector.tags & {"script", "link", "iframe", "object", "embed", "form", "base", "video", "audio"}
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://", text)
    assert POLICY in text
    assert "default-src 'none'" in POLICY


def test_names_and_titles_are_text_and_never_markup() -> None:
    results = [measured(HOSTILE, "linear/cars", 80.0), measured("own/\x1b[31mred", "linear/cars", 70.0)]
    text = page(*[replace_task(one) for one in results])
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "Birds &amp; bees" in text


def replace_task(result: Result) -> Result:
    return result.model_copy(update={"task": "linear/<b>cars"})


def test_sections_without_content_are_left_out() -> None:
    text = html_report(rank(two()), ReportFacts("t", "m", {}, NO_NOTES))
    assert "Pictures" not in text
    assert "Provenance" not in text
    assert "Optimism" not in text
