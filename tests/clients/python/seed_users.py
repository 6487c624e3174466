"""Puts a tenant and users into a fresh SQLite database, as rows of the tables that WSO2 products share (`um_*` of carbon-kernel).

`seed_users.py DATABASE`, between `claviger db create` and the first start. Passwords are stored as carbon-kernel's JDBC user
store does by default: base64 of SHA-256 over password and salt.
"""

import base64
import hashlib
import os
import sqlite3
import sys

SUPER_TENANT_ID = -1234
TENANT_ID = 1


def insert(database, table, **columns):
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    return database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(columns.values())).lastrowid


def add_user(database, tenant_id, name, password):
    salt = base64.b64encode(os.urandom(16)).decode()
    digest = base64.b64encode(hashlib.sha256((password + salt).encode()).digest()).decode()
    now = "2026-01-01 00:00:00"
    columns = dict(UM_USER_ID=f"{name}-{tenant_id}", UM_USER_NAME=name, UM_USER_PASSWORD=digest, UM_SALT_VALUE=salt)
    return insert(database, "UM_USER", **columns, UM_CHANGED_TIME=now, UM_TENANT_ID=tenant_id)


def add_tenant(database, domain, password):
    tenant = dict(UM_TENANT_ID=TENANT_ID)
    created = "2026-01-01 00:00:00"
    insert(database, "UM_TENANT", UM_ID=TENANT_ID, UM_DOMAIN_NAME=domain, UM_ACTIVE=1, UM_CREATED_DATE=created)
    domains = {name: insert(database, "UM_DOMAIN", UM_DOMAIN_NAME=name, **tenant) for name in ["PRIMARY", "INTERNAL"]}
    insert(database, "UM_HYBRID_ROLE", UM_ROLE_NAME="everyone", **tenant)
    admin = add_user(database, TENANT_ID, "admin", password)
    role = insert(database, "UM_ROLE", UM_ROLE_NAME="admin", **tenant)
    insert(database, "UM_USER_ROLE", UM_ROLE_ID=role, UM_USER_ID=admin, **tenant)
    right = insert(database, "UM_PERMISSION", UM_RESOURCE_ID="/permission", UM_ACTION="ui.execute", **tenant)
    given = dict(UM_PERMISSION_ID=right, UM_ROLE_NAME="admin", UM_IS_ALLOWED=1, UM_DOMAIN_ID=domains["PRIMARY"])
    insert(database, "UM_ROLE_PERMISSION", **given, **tenant)


def main():
    password = os.environ["CLAVIGER_ADMIN_PASSWORD"]
    developer = os.environ["DEVELOPER_NAME"]
    with sqlite3.connect(sys.argv[1]) as database:
        add_tenant(database, os.environ["TENANT_DOMAIN"], password)
        for tenant_id in [SUPER_TENANT_ID, TENANT_ID]:
            add_user(database, tenant_id, developer, password)


main()
