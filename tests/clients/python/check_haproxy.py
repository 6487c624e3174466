"""HAProxy checks our JWTs: `haproxy/haproxy.cfg` with the PEM of the key that /oauth2/jwks publishes, before a tiny service."""

import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from checks import BASE_URL, BRIEF_ID, CLIENT_SECRET, ENDLESS_ID, ISSUER, JWT_ID, check

CONFIG = pathlib.Path(__file__).resolve().parent.parent / "haproxy" / "haproxy.cfg"
WAIT_SECONDS_MAX = 30


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def token(client_id):
    form = {"grant_type": "client_credentials"}
    reply = requests.post(f"{BASE_URL}/oauth2/token", form, auth=(client_id, CLIENT_SECRET), timeout=10)
    reply.raise_for_status()
    return reply.json()["access_token"]


def checks(url, keys):
    def call(text):
        headers = {"Authorization": f"Bearer {text}"} if text else {}
        reply = requests.get(url, headers=headers, timeout=10)
        return reply.status_code, reply.headers.get("x-reason")

    def until_answer(text, expected):
        end = time.monotonic() + WAIT_SECONDS_MAX
        while (answer := call(text)) != expected:
            assert time.monotonic() < end, f"{answer} instead of {expected}"
            time.sleep(0.1)

    good = token(JWT_ID)
    header, claims, signature = good.split(".")
    payload = jwt.decode(good, keys, algorithms=["RS256"]).claims

    with check("haproxy", "our JWT passes"):
        assert call(good) == (200, None), call(good)
    with check("haproxy", "our JWT that never ends passes"):
        endless = token(ENDLESS_ID)
        assert call(endless) == (200, None), call(endless)
    with check("haproxy", "no token, and an altered one, are refused"):
        assert call(None) == (401, "no-token"), call(None)
        letter = "B" if claims[20] == "A" else "A"
        altered = f"{header}.{claims[:20]}{letter}{claims[21:]}.{signature}"
        assert call(altered) == (401, "signature"), call(altered)
    with check("haproxy", "the same claims signed with a stranger's key are refused"):
        forged = jwt.encode({"alg": "RS256"}, payload, RSAKey.generate_key(2048))
        assert call(forged) == (401, "signature"), call(forged)
    with check("haproxy", "a JWT passes while it lives and is refused when it is over"):
        brief = token(BRIEF_ID)
        assert call(brief) == (200, None), call(brief)
        until_answer(brief, (401, "expired"))


def main():
    keys = KeySet.import_key_set(requests.get(f"{BASE_URL}/oauth2/jwks", timeout=10).json())
    service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        key_file = pathlib.Path(directory) / "key.pem"
        key_file.write_bytes(keys.keys[0].as_pem(private=False))
        # HAProxy inherits the bound socket, so no port is ever guessed and connections wait until it accepts.
        listening = {"LISTEN_FD": str(listener.fileno()), "SERVICE_PORT": str(service.server_port), "KEY_FILE": str(key_file)}
        environment = os.environ | listening | {"ISSUER": ISSUER}
        command = ["haproxy", "-db", "-f", str(CONFIG)]
        proxy = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])
        try:
            checks(f"http://127.0.0.1:{listener.getsockname()[1]}/", keys)
        finally:
            proxy.terminate()
            proxy.wait(WAIT_SECONDS_MAX)
            service.shutdown()


main()
