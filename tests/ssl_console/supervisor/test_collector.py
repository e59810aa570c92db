"""Results reach the database soon, and in groups when they arrive faster than its file can be written."""

from __future__ import annotations

import time

from ssl_console.supervisor.collector import TRY_AGAIN_S, Collector
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.run_index import RunIndex, RunInfo
from tests.ssl_console.workspace.test_results_db import result
from tests.ssl_console.workspace_fixture import Bench


def done(bench: Bench, index: RunIndex, number: int) -> tuple[RunInfo, ...]:
    """Add one more run with a result; return its entry in the index."""
    found = result(number)
    record = ResultRecord(result=found, metrics={}, interval_method="wilson", samples={})
    bench.submit(found.run_id).result.write_text(record.model_dump_json())
    return index.refresh(time.time()).changed


def test_result_that_follows_at_once_waits_for_a_share_of_what_writing_took(bench: Bench) -> None:
    collector, index, now = Collector(bench.workspace), RunIndex(bench.workspace), time.time()
    collector.open()
    collector.note(done(bench, index, 0))
    collector.write(now)
    assert set(bench.results()) == {"run00000"}
    for number in (1, 2):
        collector.note(done(bench, index, number))
        collector.write(now)
    assert collector.behind
    assert set(bench.results()) == {"run00000"}
    collector.write(now + TRY_AGAIN_S + 1)
    assert not collector.behind
    assert len(bench.results()) == 3
