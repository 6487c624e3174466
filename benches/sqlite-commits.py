"""Single-row commits per second of SQLite (WAL, one writer, synchronous as given), on the shape of a token row:
python3 sqlite-commits.py FILE SECONDS FULL|NORMAL"""
import random
import sqlite3
import sys
import time

path, seconds, synchronous = sys.argv[1], float(sys.argv[2]), sys.argv[3]
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute(f"PRAGMA synchronous={synchronous}")
connection.execute("DROP TABLE IF EXISTS bench_token")
connection.execute(
    "CREATE TABLE bench_token (token_id TEXT PRIMARY KEY, access_token TEXT, authz_user TEXT, client_id INT,"
    " scope_hash TEXT, token_state TEXT, created INT, access_hash TEXT, refresh_hash TEXT)"
)
for index, columns in enumerate(("client_id, authz_user, scope_hash, token_state", "created", "access_hash", "refresh_hash")):
    connection.execute(f"CREATE INDEX bench_{index} ON bench_token ({columns})")
count, stop = 0, time.monotonic() + seconds
while time.monotonic() < stop:
    name, digest = f"{random.getrandbits(144):036x}", f"{random.getrandbits(256):064x}"
    row = (name, digest * 3, f"user{random.randrange(100000)}", random.randrange(1000), digest[:32], "ACTIVE", 1, digest, digest[::-1])
    connection.execute("INSERT INTO bench_token VALUES (?,?,?,?,?,?,?,?,?)", row)
    count += 1
print(f"{count / seconds:.0f}")
