"""API Manager 3.2 and 4.x in front of the key manager: what each does in the life of an application, as `apim.py` emulates it.

Every profile runs for the super tenant and for a tenant, with the tenant's administrator and, as the built-in key manager of a
tenant does, with the super tenant's administrator and the tenant's header.
"""

import os
import time

import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from apim import API_M_32, API_M_4X, ClientError, KeyManager, discover
from checks import ADMIN_PASSWORD, BASE_URL, ISSUER, check

DEVELOPER = os.environ["DEVELOPER_NAME"]
TENANT = os.environ["TENANT_DOMAIN"]
SUPER_TENANT = "carbon.super"
APPLICATION_SCOPES = ["default"]
CALLBACKS = ["https://one.example/callback", "https://two.example/callback"]


def fails(statuses, action, *arguments, **options):
    """The action ends with API Manager's own exception; its reason is what the portal shows, so there must be one."""
    try:
        action(*arguments, **options)
    except ClientError as error:
        assert error.status in statuses, f"{error} instead of {statuses}"
        assert error.reason, f"{error.status} has no reason"
        return error
    raise AssertionError("it was accepted")


class Life:
    """An application of one tenant, from its keys to its end."""

    def __init__(self, profile, tenant, administrator, has_tenant_header, suffix=""):
        self.label = f"apim {profile.name} {tenant} as {administrator}{suffix}"
        self.profile, self.tenant = profile, tenant
        self.administrator = administrator
        self.manager = KeyManager(profile, BASE_URL, (administrator, ADMIN_PASSWORD), tenant, has_tenant_header)
        self.application = f"app-{os.urandom(6).hex()}"
        self.is_4x = profile is API_M_4X

    def check(self, what):
        return check(self.label, what)

    def user(self, name):
        return name if self.tenant == SUPER_TENANT else f"{name}@{self.tenant}"

    def is_token_user(self, found, name):
        return found["username"] == f"{name}@{self.tenant}"

    def run(self):
        self.create()
        self.read()
        self.update()
        self.tokens()
        self.claims()
        self.scopes()
        self.secret()
        self.owner()
        self.revoke()
        self.strangers()
        self.delete()

    def create(self):
        manager = self.manager
        wanted = dict(grant_types=["client_credentials", "password", "refresh_token"], redirect_uris=CALLBACKS)
        if self.is_4x:
            wanted |= dict(ext_application_token_lifetime=1800, ext_user_token_lifetime=1700, ext_refresh_token_lifetime=90000)
            wanted |= dict(ext_id_token_lifetime=1600, pkceMandatory=False, pkceSupportPlain=False, bypassClientCredentials=False)
            wanted |= dict(application_display_name=self.application)
        with self.check("create"):
            created = manager.create("admin", self.application, "PRODUCTION", token_type_extension="JWT", **wanted)
            self.client_id, self.client_secret = created["client_id"], created["client_secret"]
            assert self.client_id and self.client_secret
            assert created["client_name"] == f"admin_{self.application}_PRODUCTION", created["client_name"]
            assert created["grant_types"].split(" ") == wanted["grant_types"], created["grant_types"]
            assert all(uri in created["redirect_uris"] for uri in CALLBACKS), created["redirect_uris"]
            assert created["ext_application_owner"] == "admin"
            for name in [name for name in wanted if name.endswith("_lifetime") or name.startswith("pkce")]:
                assert created[name] == wanted[name], f"{name}: {created[name]}"
        with self.check("create with a name that exists"):
            fails({400, 409}, manager.create, "admin", self.application, "PRODUCTION", **wanted)
        with self.check("create with keys that were chosen, without a callback"):
            key, secret = f"preset_{os.urandom(6).hex()}", "a preset secret/+=&%25"
            preset = dict(ext_param_client_id=key, ext_param_client_secret=secret, grant_types=["client_credentials"])
            chosen = manager.create("admin", self.application, "SANDBOX", token_type_extension="JWT", **preset)
            assert (chosen["client_id"], chosen["client_secret"]) == (key, secret), chosen
            token = manager.application_token(key, secret, APPLICATION_SCOPES)
            assert manager.metadata(token["access_token"])["client_id"] == key
            fails({400, 409}, manager.create, "admin", self.application + "-2", "SANDBOX", **preset)
            manager.delete(key)

    def read(self):
        manager = self.manager
        with self.check("read"):
            found = manager.retrieve(self.client_id)
            assert (found["client_id"], found["client_secret"]) == (self.client_id, self.client_secret)
            assert found["client_name"] == f"admin_{self.application}_PRODUCTION"
        if self.profile.has_encoded_ids:
            with self.check("read with the id as it stands, as 4.0 does"):
                assert manager.used(manager.client_call("GET", f"/{self.client_id}")) == found
        with self.check("map an existing client"):
            assert manager.map(self.client_id, self.client_secret)["client_id"] == self.client_id
            try:
                manager.map(self.client_id, "another secret")
                raise AssertionError("a wrong secret was taken")
            except PermissionError:
                pass

    def update(self):
        manager = self.manager
        wanted = dict(grant_types=["password", "client_credentials"], redirect_uris=["https://three.example/callback"])
        if self.is_4x:
            wanted |= dict(ext_application_token_lifetime=900, application_display_name=self.application)
        with self.check("update"):
            changed = manager.update(self.client_id, "admin", self.application, "PRODUCTION", token_type_extension="JWT", **wanted)
            assert changed["client_id"] == self.client_id and changed["client_secret"] == self.client_secret
            assert changed["grant_types"].split(" ") == wanted["grant_types"], changed["grant_types"]
            assert changed["redirect_uris"] == "https://three.example/callback", changed["redirect_uris"]
            assert not self.is_4x or changed["ext_application_token_lifetime"] == 900
            assert manager.retrieve(self.client_id) == changed
        with self.check("update as API Manager does when it knows the secret: the secret stands in `client_id`"):
            members = dict(client_id=self.client_secret, client_name=f"admin_{self.application}_PRODUCTION", **wanted)
            changed = manager.client_call("PUT", self.profile.path_id(self.client_id), ext_application_owner="admin", **members)
            assert (changed["client_id"], changed["client_secret"]) == (self.client_id, self.client_secret)

    def tokens(self):
        manager = self.manager
        with self.check("application token, a JWT that the gateway's validator takes"):
            token = manager.application_token(self.client_id, self.client_secret, APPLICATION_SCOPES)
            assert token["token_type"] == "Bearer" and token["scope"].split(" ") == ["default"], token
            assert 0 < token["expires_in"] <= (900 if self.is_4x else 3600), token["expires_in"]
            claims = self.valid_claims(token["access_token"])
            assert claims["scope"].split(" ") == ["default"], claims
        with self.check("introspection of that token"):
            found = manager.metadata(token["access_token"])
            assert found["client_id"] == self.client_id and found["scope"] == "default"
            assert found["iat"] > 0 and 0 < found["exp"] - found["iat"] <= 3600, found
            assert self.is_token_user(found, "admin"), found["username"]
            # 4.x takes a token for an application's by `aut`; of a JWT that has none it believes that it is a user's.
            assert not self.is_4x or found["aut"] == "APPLICATION", found
            assert claims.get("aut", "APPLICATION") == "APPLICATION", claims
        with self.check("application token without a scope"):
            bare = manager.application_token(self.client_id, self.client_secret)
            assert manager.metadata(bare["access_token"])["scope"] == "default"
        if not self.profile.has_basic_token_call:
            with self.check("application token with a lifetime (taken, without effect)"):
                # A grant handler of the connector's 1.0 releases obeys `validity_period`, where it is configured; others do not.
                for seconds in [120, -1]:
                    token = manager.application_token(self.client_id, self.client_secret, APPLICATION_SCOPES, seconds)
                    assert 120 < token["expires_in"] <= 3600, token
                    assert manager.metadata(token["access_token"])
        with self.check("no token for a wrong secret, or an unknown client"):
            fails({400, 401}, manager.application_token, self.client_id, "wrong", APPLICATION_SCOPES)
            fails({400, 401}, manager.application_token, "nobody_knows_this_client", "wrong", APPLICATION_SCOPES)
        with self.check("introspection of what is no token"):
            assert manager.metadata("no-token") is None and manager.metadata("a.b.c") is None
        with self.check("introspection by a user who may not"):
            stranger = KeyManager(self.profile, BASE_URL, (self.user(DEVELOPER), ADMIN_PASSWORD), self.tenant)
            fails({401, 403}, stranger.metadata, token["access_token"])
        with self.check("opaque token"):
            members = dict(token_type_extension="DEFAULT", grant_types=["client_credentials"])
            opaque = manager.create("admin", self.application, "OPAQUE", **members)
            token = manager.application_token(opaque["client_id"], opaque["client_secret"], APPLICATION_SCOPES)
            assert "." not in token["access_token"]
            assert manager.metadata(token["access_token"])["client_id"] == opaque["client_id"]
            if self.is_4x:
                # 4.4 and 4.5 make a JWT client only of one whose stored type reads `DEFAULT` or `OAUTH`, in capitals.
                members = dict(token_type_extension="JWT", grant_types=["client_credentials"])
                changed = manager.update(opaque["client_id"], "admin", self.application, "OPAQUE", **members)
                assert changed["token_type_extension"] == "JWT", changed
            manager.delete(opaque["client_id"])
            assert manager.metadata(token["access_token"]) is None

    def valid_claims(self, token):
        """`JWTValidatorImpl` and `DefaultJWTTransformer`: key by `kid`, an RSA signature, expiry, consumer key."""
        found = jwt.decode(token, keys, algorithms=["RS256", "RS384", "RS512", "PS256"])
        assert found.header.get("kid") in {key.kid for key in keys.keys}, found.header
        claims = found.claims
        assert claims["iss"] == ISSUER and claims["sub"] and claims["jti"] and claims["exp"] > time.time(), claims
        consumer_key = claims.get("consumerKey") or claims.get("azp")
        assert consumer_key == self.client_id, claims
        return claims

    def claims(self):
        manager = self.manager
        role_claim = "http://wso2.org/claims/role"
        with self.check("claims of a user"):
            token = manager.user_token(self.client_id, self.client_secret, self.user("admin"), ADMIN_PASSWORD)["access_token"]
            claims = manager.user_claims(self.user("admin"), accessToken=token)
            assert "admin" in claims[role_claim].split(","), claims
            assert manager.user_claims(self.user("admin"), dialect="http://wso2.org/claims") == claims
            assert manager.user_claims(self.user("PRIMARY/admin")) == claims
        with self.check("claims by query"):
            listed = manager.claims_of("admin")
            assert listed["count"] == len(listed["list"]) and {claim["uri"]: claim["value"] for claim in listed["list"]} == claims
            assert manager.claims_of("admin", domain="PRIMARY", dialect="http://wso2.org/claims") == listed
        with self.check("claims of nobody"):
            fails({404}, manager.claims_of, "nobody")
            if self.is_4x:
                assert manager.user_claims(self.user("nobody")) == {}
        with self.check("introspection of a user's token"):
            found = manager.metadata(token)
            assert self.is_token_user(found, "admin") and found["client_id"] == self.client_id
            assert not self.is_4x or found["aut"] == "APPLICATION_USER", found

    def scopes(self):
        manager = self.manager
        ours, theirs = f"{self.application}:ours", f"{self.application}:theirs"
        with self.check("register scopes with roles"):
            assert not manager.has_scope(ours)
            manager.register_scope(ours, "Ours", "What we may", "admin,Internal/everyone")
            manager.register_scope(theirs, "Theirs", "What others may", "Internal/nobody-has-it")
            assert manager.has_scope(ours) and manager.has_scope(theirs)
            found = manager.scope(ours)
            assert (found["name"], found["displayName"], found["description"]) == (ours, "Ours", "What we may"), found
            assert sorted(found["bindings"]) == ["Internal/everyone", "admin"], found
            assert manager.all_scopes()[theirs]["roles"] == "Internal/nobody-has-it"
        with self.check("register a scope that exists"):
            fails({409}, manager.register_scope, ours, "Ours", "Again", "admin")
            assert manager.scope(ours)["description"] == "What we may"
        with self.check("a user's token has the scopes of the user's roles"):
            user = [self.user("admin"), ADMIN_PASSWORD]
            token = manager.user_token(self.client_id, self.client_secret, *user, scopes=[ours, theirs])
            assert token["scope"].split(" ") == [ours], token
            assert manager.metadata(token["access_token"])["scope"] == ours
            token = manager.user_token(self.client_id, self.client_secret, *user, scopes=[theirs])
            assert token["scope"] == "default", token
        with self.check("update a scope"):
            assert manager.update_scope(ours, "Ours no more", "Changed", "Internal/nobody-has-it") == 200
            found = manager.scope(ours)
            shown = [found["displayName"], found["description"], found["roles"]]
            assert shown == ["Ours no more", "Changed", "Internal/nobody-has-it"], shown
            token = manager.user_token(self.client_id, self.client_secret, *user, scopes=[ours])
            assert token["scope"] == "default", token
        with self.check("take a scope's roles away"):
            assert manager.update_scope(ours, "Ours", "For all", None) == 200
            assert manager.scope(ours)["roles"] == ""
        with self.check("delete scopes"):
            for key in [ours, theirs]:
                manager.delete_scope(key)
                assert not manager.has_scope(key) and key not in manager.all_scopes()
        with self.check("a scope that does not exist"):
            fails({404}, manager.scope, ours)
            fails({404}, manager.delete_scope, ours)
            unknown = (manager.update_scope, ours, "Ours", "Nothing", "admin")
            if self.is_4x:
                fails({404}, *unknown)
            else:
                assert unknown[0](*unknown[1:]) == 404
            assert not manager.has_scope(ours)

    def secret(self):
        manager = self.manager
        with self.check("regenerate the secret"):
            previous = self.client_secret
            self.client_secret = manager.regenerate_secret(self.client_id)
            assert self.client_secret and self.client_secret != previous
            assert manager.retrieve(self.client_id)["client_secret"] == self.client_secret
            fails({400, 401}, manager.application_token, self.client_id, previous, APPLICATION_SCOPES)
            assert manager.application_token(self.client_id, self.client_secret, APPLICATION_SCOPES)["access_token"]

    def owner(self):
        manager = self.manager
        for is_in_body in [True, False] if self.profile.has_owner_in_body else [False]:
            with self.check(f"change the owner ({'body' if is_in_body else 'query'})"):
                changed = manager.change_owner(self.client_id, DEVELOPER, is_in_body)
                assert (changed["client_id"], changed["client_secret"]) == (self.client_id, self.client_secret)
                assert changed["ext_application_owner"] == DEVELOPER, changed
                token = manager.application_token(self.client_id, self.client_secret, APPLICATION_SCOPES)
                assert self.is_token_user(manager.metadata(token["access_token"]), DEVELOPER)
                assert manager.change_owner(self.client_id, "admin", is_in_body)["ext_application_owner"] == "admin"
            with self.check("no owner who does not exist"):
                fails(range(400, 600), manager.change_owner, self.client_id, "nobody", is_in_body)
                assert manager.retrieve(self.client_id)["ext_application_owner"] == "admin"

    def revoke(self):
        manager = self.manager
        with self.check("revoke"):
            token = manager.application_token(self.client_id, self.client_secret, APPLICATION_SCOPES)["access_token"]
            assert manager.metadata(token)
            manager.revoke(self.client_id, self.client_secret, token)
            assert manager.metadata(token) is None
            manager.revoke(self.client_id, self.client_secret, token)
            manager.revoke(self.client_id, self.client_secret, "never-issued")
            assert manager.application_token(self.client_id, self.client_secret, APPLICATION_SCOPES)["access_token"] != token
        if self.is_4x:
            with self.check("revoke a one-time token"):
                token = manager.application_token(self.client_id, self.client_secret, ["OTT"])["access_token"]
                assert manager.revoke_one_time_token(token, self.client_id) == 200

    def strangers(self):
        manager = self.manager
        unknown = "nobody_knows_this_client"
        with self.check("an unknown client"):
            fails({401, 404}, manager.retrieve, unknown)
            fails({401, 404}, manager.delete, unknown)
            path = self.profile.path_id(unknown)
            fails({401, 404}, manager.client_call, "PUT", path, client_name="admin_x_y", grant_types=["password"])
            fails(range(400, 600), manager.regenerate_secret, unknown)
            fails(range(400, 600), manager.change_owner, unknown, "admin", False)
        with self.check("nobody without the right credentials"):
            for name, password in [(self.administrator, "wrong"), (self.user(DEVELOPER), ADMIN_PASSWORD)]:
                stranger = KeyManager(self.profile, BASE_URL, (name, password), self.tenant)
                for action in [
                    lambda: stranger.retrieve(self.client_id),
                    lambda: stranger.create("admin", self.application, "STOLEN", grant_types=["client_credentials"]),
                    lambda: stranger.regenerate_secret(self.client_id),
                    lambda: stranger.delete(self.client_id),
                    lambda: stranger.register_scope(f"{self.application}:stolen", "Stolen", "", "admin"),
                    lambda: stranger.user_claims(self.user("admin")),
                ]:
                    fails({401, 403}, action)
            assert manager.retrieve(self.client_id)["client_secret"] == self.client_secret
        with self.check("a client of another tenant"):
            other = SUPER_TENANT if self.tenant == TENANT else TENANT
            name = "admin" if other == SUPER_TENANT else f"admin@{other}"
            neighbour = KeyManager(self.profile, BASE_URL, (name, ADMIN_PASSWORD), other)
            for action in [neighbour.retrieve, neighbour.regenerate_secret, neighbour.delete]:
                fails(range(400, 600), action, self.client_id)
            assert manager.retrieve(self.client_id)["client_secret"] == self.client_secret

    def delete(self):
        manager = self.manager
        with self.check("delete"):
            token = manager.application_token(self.client_id, self.client_secret, APPLICATION_SCOPES)["access_token"]
            manager.delete(self.client_id)
            fails({401, 404}, manager.retrieve, self.client_id)
            fails({400, 401}, manager.application_token, self.client_id, self.client_secret, APPLICATION_SCOPES)
            assert manager.metadata(token) is None
            fails({401, 404}, manager.delete, self.client_id)


for profile in [API_M_32, API_M_4X]:
    with check(f"apim {profile.name}", "discovery of a key manager's endpoints"):
        found = discover(profile, ISSUER + "/.well-known/openid-configuration")
        assert found["issuer"] == ISSUER
        endpoints = dict(token="/oauth2/token", revocation="/oauth2/revoke", introspection="/oauth2/introspect")
        endpoints["registration"] = "/keymanager-operations/dcr/register"
        for name, path in endpoints.items():
            assert found[f"{name}_endpoint"] == BASE_URL + path, found
        assert {"client_credentials", "password", "refresh_token"} <= set(found["grant_types_supported"]), found
        reply = requests.get(found["jwks_uri"], timeout=10)
        assert reply.status_code == 200
        keys = KeySet.import_key_set(reply.json())
        assert keys.keys and all(key.kid and key.key_type == "RSA" for key in keys.keys)
    with check(f"apim {profile.name}", "a tenant that does not exist"):
        nowhere = KeyManager(profile, BASE_URL, ("admin", ADMIN_PASSWORD), "nowhere.example")
        fails(range(400, 500), nowhere.create, "admin", "app", "PRODUCTION", grant_types=["client_credentials"])
        fails(range(400, 500), nowhere.all_scopes)
        fails(range(400, 500), nowhere.metadata, "token")

    Life(profile, SUPER_TENANT, "admin", True).run()
    Life(profile, TENANT, f"admin@{TENANT}", True).run()
    Life(profile, TENANT, "admin", True).run()
    if profile is API_M_4X:
        # 4.x sends the tenant's header only for key managers that are configured with a tenant.
        Life(profile, SUPER_TENANT, "admin", False, " without a tenant header").run()
        Life(profile, TENANT, f"admin@{TENANT}", False, " without a tenant header").run()
