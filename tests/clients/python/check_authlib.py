"""Authlib: discovery (RFC 8414), the grants, revocation (RFC 7009), introspection (RFC 7662), JWTs (RFC 7519), ID tokens (OpenID
Connect Core).

Unlike the libraries of the node folder, Authlib puts id and secret into a Basic header as they stand. The introspection
endpoint wants a user with the permission to view applications: the administrator's session is one of its own.
"""

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from checks import ADMIN_PASSWORD, CALLBACK, CLIENT_SECRET, ENDLESS_ID, ISSUER, JWT_ID, OPAQUE_ID, browse, check

METHODS = ["client_secret_basic", "client_secret_post"]


def get(url):
    reply = requests.get(url, timeout=10)
    reply.raise_for_status()
    return reply.json()


with check("authlib", "discovery"):
    server = OpenIDProviderMetadata(get(get_well_known_url(ISSUER, external=True)))
    assert server.issuer == ISSUER
    server.validate_issuer()
    server.validate_token_endpoint_auth_methods_supported()
    server.validate_jwks_uri()
    server.validate_subject_types_supported()
    server.validate_id_token_signing_alg_values_supported()
    server.validate_scopes_supported()
    server.validate_claims_supported()
    assert set(METHODS) <= set(server["token_endpoint_auth_methods_supported"])


def session(client_id, secret, method):
    return OAuth2Session(
        client_id,
        secret,
        token_endpoint=server["token_endpoint"],
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
    )


admin = session("admin", ADMIN_PASSWORD, "client_secret_basic")


def introspect(token):
    reply = admin.introspect_token(server["introspection_endpoint"], token=token)
    reply.raise_for_status()
    return reply.json()


def id_claims(token, keys, client_id, **asked):
    """The claims of an ID token: its signature by joserfc, what it says by Authlib."""
    decoded = jwt.decode(token["id_token"], keys, algorithms=["RS256"])
    options = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": client_id}}
    options |= {name: {"essential": True} for name in ["sub", "exp", "iat", "azp", "at_hash"]}
    claims = CodeIDToken(
        decoded.claims, decoded.header, options, {"client_id": client_id, "access_token": token["access_token"], **asked}
    )
    claims.validate()
    return claims


for client_id in [OPAQUE_ID, JWT_ID]:
    for method in METHODS:
        client = session(client_id, CLIENT_SECRET, method)

        with check("authlib", f"{client_id} {method} client_credentials"):
            token = client.fetch_token(grant_type="client_credentials", scope="default")
            assert token["token_type"] == "Bearer" and not token.is_expired()
            found = introspect(token["access_token"])
            assert found["active"] is True and found["client_id"] == client_id

        with check("authlib", f"{client_id} {method} password, refresh, revocation"):
            first = client.fetch_token(username="admin", password=ADMIN_PASSWORD)
            second = client.refresh_token(refresh_token=first["refresh_token"])
            assert introspect(first["access_token"]) == {"active": False}
            assert introspect(second["access_token"])["username"] == "admin@carbon.super"
            client.revoke_token(server["revocation_endpoint"], token=second["access_token"]).raise_for_status()
            assert introspect(second["access_token"]) == {"active": False}

        with check("authlib", f"{client_id} {method} login with an ID token, refresh, userinfo"):
            client.redirect_uri, client.scope, client.code_challenge_method = CALLBACK, "openid profile", "S256"
            nonce, verifier = generate_token(30), generate_token(48)
            address, state = client.create_authorization_url(
                server["authorization_endpoint"], nonce=nonce, max_age=600, code_verifier=verifier
            )
            answer = browse(address)
            token = client.fetch_token(authorization_response=answer, state=state, code_verifier=verifier)
            keys = KeySet.import_key_set(get(server["jwks_uri"]))
            said = id_claims(token, keys, client_id, nonce=nonce, max_age=600)
            assert said["nonce"] == nonce and "pwd" in said["amr"]
            shown = client.get(server["userinfo_endpoint"])
            shown.raise_for_status()
            assert shown.json()["sub"] == said["sub"]
            # OpenID Connect Core section 12.2.
            refreshed = client.refresh_token(refresh_token=token["refresh_token"])
            later = id_claims(refreshed, keys, client_id, max_age=600)
            kept = ["iss", "sub", "aud", "azp", "auth_time"]
            assert [later[name] for name in kept] == [said[name] for name in kept] and "nonce" not in later
            # The next login gets a token of its own: of two that share one no time is said.
            client.revoke_token(server["revocation_endpoint"], token=refreshed["access_token"]).raise_for_status()

        with check("authlib", f"{client_id} {method} ID token of the password grant, none without a user"):
            token = client.fetch_token(username="admin", password=ADMIN_PASSWORD, scope="openid")
            id_claims(token, keys, client_id)
            assert "id_token" not in client.fetch_token(grant_type="client_credentials", scope="openid")

        with check("authlib", f"{client_id} {method} wrong secret"):
            try:
                session(client_id, "wrong", method).fetch_token(grant_type="client_credentials")
                raise AssertionError("a wrong secret was accepted")
            except OAuthError as error:
                assert error.error == "invalid_client", error

with check("authlib", "joserfc verifies a JWT with the published keys"):
    keys = KeySet.import_key_set(get(server["jwks_uri"]))
    text = session(JWT_ID, CLIENT_SECRET, METHODS[0]).fetch_token(grant_type="client_credentials")["access_token"]
    decoded = jwt.decode(text, keys, algorithms=["RS256"])
    wanted = {"essential": True}
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": JWT_ID}, exp=wanted, nbf=wanted, iat=wanted
    )
    registry.validate(decoded.claims)

with check("authlib", "joserfc refuses an altered JWT"):
    header, claims, signature = text.split(".")
    altered = ("B" if signature[0] == "A" else "A") + signature[1:]
    try:
        jwt.decode(f"{header}.{claims}.{altered}", keys, algorithms=["RS256"])
        raise AssertionError("an altered signature was accepted")
    except BadSignatureError:
        pass

with check("authlib", "a token that never ends"):
    token = session(ENDLESS_ID, CLIENT_SECRET, METHODS[0]).fetch_token(grant_type="client_credentials")
    assert not token.is_expired()
    registry = jwt.JWTClaimsRegistry(exp=wanted)
    registry.validate(jwt.decode(token["access_token"], keys, algorithms=["RS256"]).claims)
