"""A backbone that a protocol cannot measure is refused before anything is queued."""

from __future__ import annotations

from tests.ssl_console.cli.shell import Shell

PAIRS = ("-b", "timm/mae-hiera-tiny", "-b", "demo/mae", "-t", "segmentation/shapes-scenes", "--preset", "small")


def test_what_a_backbone_lacks_for_a_protocol_is_said_and_nothing_is_started(shell: Shell) -> None:
    planned = shell("plan", *PAIRS, "--json").document
    reasons = [item["advice"] for item in planned["missing"] if item["kind"] == "backbone"]
    assert len(reasons) == 1
    assert reasons[0].startswith(
        "segmentation/shapes-scenes cannot measure timm/mae-hiera-tiny: hiera_tiny_224 accepts"
    )
    assert planned["counts"]["to_run"] == 1
    refused = shell("run", *PAIRS, "--detach")
    assert refused.code == 3
    assert "1 cannot run" in refused.err
    assert "nothing was started" in refused.err
    assert not any(shell.workspace.runs.iterdir())
