"""One cluster for all tests of this folder: it starts in a second and is shared."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.catalog.protocol import ENVIRONMENT_VARIABLE
from tests.slurm.cluster import SYSTEM_PATH, TestCluster, a_cluster, missing_daemons
from tests.slurm.workspace_fixture import SlurmBench, bench_of
from tests.ssl_console.workspace_fixture import ROOT

REQUIRED = "SSL_CONSOLE_REQUIRE_SLURM"


@pytest.fixture(scope="session")
def cluster() -> Iterator[TestCluster]:
    """Skips without Slurm, unless it is required."""
    lacking = missing_daemons()
    if lacking and os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, and these are not installed: {', '.join(lacking)}")
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)} (Debian: slurmctld slurmd slurm-client munge)")
    folder = Path(tempfile.mkdtemp(prefix="sslc", dir="/tmp"))
    try:
        with a_cluster(folder / "c") as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(cluster: TestCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmBench]:
    """A new workspace; its processes and jobs are ended with the test."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SLURM_CONF", str(cluster.config))
    monkeypatch.setenv("PATH", SYSTEM_PATH)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "tests.ssl_console.rehearsal")
    made = bench_of(tmp_path, cluster)
    try:
        yield made
    finally:
        made.clean_up()
        cluster.end_all_jobs()
