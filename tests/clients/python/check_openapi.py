"""schemathesis: what the server answers is what the documents of docs/openapi say, whatever is sent; nothing is a 5xx."""

import os
import pathlib
import subprocess
import sys
import tempfile

import requests

from checks import ADMIN_PASSWORD, BASE_URL, CLIENT_SECRET, JWT_ID, check

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


with check("schemathesis", "a user's token"):
    # No document ends it: it is another client's than the one that they are driven with.
    login = {"grant_type": "password", "username": "admin", "password": ADMIN_PASSWORD, "scope": "openid profile"}
    answer = requests.post(f"{BASE_URL}/oauth2/token", data=login, auth=(JWT_ID, CLIENT_SECRET), timeout=10)
    answer.raise_for_status()
    os.environ["USER_TOKEN"] = answer.json()["access_token"]
documents = sorted(path for path in DOCUMENTS.glob("*.yaml") if path.name != SHARED)
with check("schemathesis", "there are documents"):
    assert documents
for document in documents:
    with check("schemathesis", document.name):
        run(document)
