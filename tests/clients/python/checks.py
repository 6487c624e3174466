"""What the programs of this folder share: the server under test from the environment of `run`, and one line per check."""

import contextlib
import os
import sys
import traceback

BASE_URL = os.environ["BASE_URL"]
ISSUER = os.environ["ISSUER"]
OPAQUE_ID = os.environ["OPAQUE_ID"]
JWT_ID = os.environ["JWT_ID"]
BRIEF_ID = os.environ["BRIEF_ID"]
ENDLESS_ID = os.environ["ENDLESS_ID"]
CLIENT_SECRET = os.environ["CLIENT_SECRET"]
ADMIN_PASSWORD = os.environ["CLAVIGER_ADMIN_PASSWORD"]


@contextlib.contextmanager
def check(library, what):
    try:
        yield
    except Exception:
        print(f"FAIL {library}: {what}", file=sys.stderr)
        traceback.print_exc()
        sys.exit(1)
    print(f"ok   {library}: {what}", flush=True)
