"""schemathesis: what the server answers is what the documents of docs/openapi say, whatever is sent; nothing is a 5xx."""

import os
import pathlib
import subprocess
import sys
import tempfile

from checks import BASE_URL, check

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENTS = HERE.parents[2] / "docs" / "openapi"
SHARED = "common.yaml"
RUN_SECONDS_MAX = 120


def run(document):
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", str(document), "--url", BASE_URL, "--tls-verify", os.environ["REQUESTS_CA_BUNDLE"]]
    with tempfile.TemporaryDirectory() as directory:
        # It leaves files where it stands.
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    assert done.returncode == 0, done.stdout + done.stderr


documents = sorted(path for path in DOCUMENTS.glob("*.yaml") if path.name != SHARED)
with check("schemathesis", "there are documents"):
    assert documents
for document in documents:
    with check("schemathesis", document.name):
        run(document)
