"""What the programs of this folder share: the server under test from the environment of `run`, and one line per check."""

import contextlib
import html
import os
import re
import sys
import traceback
from urllib.parse import urljoin

import requests

BASE_URL = os.environ["BASE_URL"]
ISSUER = os.environ["ISSUER"]
OPAQUE_ID = os.environ["OPAQUE_ID"]
JWT_ID = os.environ["JWT_ID"]
BRIEF_ID = os.environ["BRIEF_ID"]
ENDLESS_ID = os.environ["ENDLESS_ID"]
CLIENT_SECRET = os.environ["CLIENT_SECRET"]
ADMIN_PASSWORD = os.environ["CLAVIGER_ADMIN_PASSWORD"]
CALLBACK = "https://app.invalid/cb"


@contextlib.contextmanager
def check(library, what):
    try:
        yield
    except Exception:
        print(f"FAIL {library}: {what}", file=sys.stderr)
        traceback.print_exc()
        sys.exit(1)
    print(f"ok   {library}: {what}", flush=True)


def browse(address):
    """What a browser does with an authorization request: the login page, the consent page; returns the answer's address."""
    browser = requests.Session()

    def follow(reply):
        while reply.status_code in (302, 303):
            target = urljoin(reply.url, reply.headers["location"])
            if target.startswith(CALLBACK + "?"):
                return target
            reply = browser.get(target, allow_redirects=False, timeout=10)
        assert reply.status_code == 200, reply.text
        return reply

    def hidden(page, name):
        return html.unescape(re.search(f'name="{name}" value="([^"]+)"', page.text)[1])

    def post(path, **fields):
        return follow(browser.post(BASE_URL + path, data=fields, allow_redirects=False, timeout=10))

    login = follow(browser.get(address, allow_redirects=False, timeout=10))
    key = hidden(login, "sessionDataKey")
    consent = post("/commonauth", sessionDataKey=key, username="admin", password=ADMIN_PASSWORD)
    return post("/oauth2/authorize", sessionDataKeyConsent=hidden(consent, "sessionDataKeyConsent"), consent="approve")
