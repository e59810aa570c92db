"""Logins and tokens in addresses: used for their downloads, and in no file and no message afterwards."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
import timm
import torch

from backbones.catalog.card import BackboneCard, UrlWeights
from backbones.io.card_files import read_cards
from backbones.io.download import Download
from backbones.io.errors import WeightsError
from backbones.io.urls import redacted, without_secrets
from tests.faults.conftest import MakeStage
from tests.faults.tally import Tally

GROUP = "credentials"
USER, PASSWORD, TOKEN = "plantedname", "plantedpassword", "plantedtoken"
PLANTED = (PASSWORD, TOKEN, "plantedhub", "plantedproxy", "plantedcloud", USER)
CARD = """
title = "Behind a login"
architecture = "test_resnet"
weights = {{ kind = "url", url = "{url}" }}
input = {{ size = 32 }}
facts = {{ method = "none" }}
"""


@dataclass
class Site:
    """A server that sends its file to requests with the login and the token."""

    url: str
    refused: list[int] = field(default_factory=list)


@contextmanager
def guarded_site(content: bytes) -> Iterator[Site]:
    """One on this machine."""
    wanted = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            good = self.headers.get("Authorization") == wanted and query.get("token") == [TOKEN]
            self.send_response(200 if good else 403)
            self.send_header("Content-Length", str(len(content) if good else 0))
            self.end_headers()
            self.wfile.write(content if good else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        yield Site(f"http://{USER}:{PASSWORD}@{host}/net.pth?token={TOKEN}&download=1")
        server.shutdown()


def leaks(root: Path) -> list[str]:
    """Files with a planted secret, except the user's own card."""
    files = [path for path in root.rglob("*") if path.is_file() and path.parent.name != "backbones"]
    return [f"{path}: {secret}" for path in files for secret in PLANTED if secret.encode() in path.read_bytes()]


def weights_file() -> bytes:
    buffer = io.BytesIO()
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), buffer)
    return buffer.getvalue()


@pytest.mark.slow
def test_no_file_and_no_message_of_a_fetch_a_run_and_a_bundle_holds_a_planted_secret(
    make_stage: MakeStage, tmp_path: Path, tally: Tally
) -> None:
    stage = make_stage(
        SSL_CONSOLE_PROTOCOLS="",
        HF_TOKEN="plantedhub",
        AWS_SECRET_ACCESS_KEY="plantedcloud",
        HTTPS_PROXY="http://u:plantedproxy@127.0.0.1:9",
        no_proxy="127.0.0.1",
    )
    place = stage.workspace.backbones / "secret.toml"
    with guarded_site(weights_file()) as site:
        place.write_text(CARD.format(url=site.url))
        commands = [stage("weights", "fetch", "secret")]
        assert commands[0].code == 0, commands[0].err
        place.with_name("wrong.toml").write_text(CARD.format(url=site.url.replace("download", "dl") + "&token=x"))
        commands.append(stage("weights", "fetch", "wrong"))
    place.with_name("away.toml").write_text(CARD.format(url=site.url.replace("net.pth", "away.pth")))
    commands += [stage("weights", "fetch", "away"), stage("run", "-b", "secret", "-t", "knn/digits", "--force")]
    assert commands[-1].code == 0, commands[-1].err
    commands += [
        stage(*words) for words in (["backbones"], ["doctor"], ["show", next(stage.workspace.run_folders()).run_id])
    ]
    commands.append(stage("bundle", "-o", str(tmp_path / "bundle.zip")))
    assert commands[-1].code == 0, commands[-1].err
    with zipfile.ZipFile(tmp_path / "bundle.zip") as packed:
        packed.extractall(tmp_path / "bundle")
    texts = [text for done in commands for text in (done.out, done.err)]
    assert [secret for secret in PLANTED for text in texts if secret in text] == []
    assert leaks(stage.workspace.root) == []
    assert leaks(tmp_path / "bundle") == []
    files = sum(path.is_file() for path in (*stage.workspace.root.rglob("*"), *(tmp_path / "bundle").rglob("*")))
    tally.add("files of a fetch, its failures, a run and a bundle, searched for planted credentials", files, "none")
    tally.add("messages of commands, searched for planted credentials", len(texts), "none")


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://example.org/net.pth", "https://example.org/net.pth"),
        ("https://example.org/net.pth?download=1", "https://example.org/net.pth?download=1"),
        ("https://u:p@example.org:8443/net.pth", "https://***@example.org:8443/net.pth"),
        ("https://u@example.org/net.pth", "https://***@example.org/net.pth"),
        ("https://e.org/n?X-Amz-Signature=ab&id=3", "https://e.org/n?X-Amz-Signature=***&id=3"),
        ("https://e.org/n#access_token=ab", "https://e.org/n#***"),
    ],
)
def test_the_public_form_of_an_address(url: str, public: str) -> None:
    assert redacted(url) == public
    assert redacted(public) == public


def test_a_card_keeps_the_address_for_fetching_and_shows_the_public_one() -> None:
    weights = UrlWeights(url="https://u:pw@example.org/net.pth")
    assert "pw" not in f"{weights!r} {weights} {weights.model_dump_json()}"
    assert weights.address(weights.url) == "https://u:pw@example.org/net.pth"
    again = UrlWeights.model_validate_json(weights.model_dump_json())
    assert again.url == weights.url


def test_a_broken_card_does_not_quote_its_login(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(CARD.format(url="ftp://u:plantedpassword@example.org/net.pth"))
    problems = read_cards(tmp_path, BackboneCard).problems
    assert problems
    assert "plantedpassword" not in " ".join(map(str, problems))


def test_a_failing_download_does_not_quote_its_login(tmp_path: Path) -> None:
    url = f"http://{USER}:{PASSWORD}@127.0.0.1:9/net.pth?token={TOKEN}"
    with pytest.raises(WeightsError) as raised:
        Download(url, tmp_path / "net.pth", attempts=1).run(lambda *_: None)
    assert not [secret for secret in PLANTED if secret in f"{raised.value} {raised.getrepr()}"]
    assert "http://***@127.0.0.1:9/net.pth?token=***" in str(raised.value)


def test_a_message_about_an_address_hides_its_parts_too() -> None:
    words = without_secrets("nonnumeric port: 'pw@host' for secret%20key", "https://u:pw@host/x?key=secret key")
    assert "pw" not in words
    assert "secret" not in words
