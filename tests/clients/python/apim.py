"""How API Manager's Java code talks to a key manager, for `check_apim_key_manager.py`: what it sends and what it notices.

The facts are read from public sources: wso2/carbon-apimgt at the releases of API Manager 3.2.0 (v6.7.206) and 4.5.0 (v9.31.86),
`impl/AMDefaultKeyManagerImpl` (which the connector's `WSO2ISOAuthClient` of wso2-extensions/apim-km-wso2is extends) and
`impl/kmclient`: Feign clients on Apache's HttpClient, Gson for JSON. Nothing here knows what the server under test does.
"""

import base64
import dataclasses
import gzip
import http.client
import json
import os
import ssl
from urllib.parse import quote, quote_plus, urlencode, urlsplit

TIMEOUT_SECONDS = 10
ATTEMPTS_MAX = 5  # Feign's `Retryer.Default`, for connections that broke.
LONG_MAX = 2**63 - 1


class ClientError(Exception):
    """`KeyManagerClientException`: the status, and the reason that API Manager writes into its log and shows to a user."""

    def __init__(self, status, reason):
        super().__init__(f"status {status}, reason {reason}")
        self.status, self.reason = status, reason


class JavaFault(AssertionError):
    """An exception that Java would throw inside API Manager over an answer of ours (null pointer, class cast, Gson)."""


@dataclasses.dataclass
class Reply:
    status: int
    phrase: str
    headers: dict
    body: bytes


# Gson: what its adapters accept, and the value that stands for nothing.
def string(value):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise JavaFault(f"JsonSyntaxException: expected a string, was {value!r}")


def boxed_long(value):
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise JavaFault(f"JsonSyntaxException: expected a long, was {value!r}")
    try:
        number = int(value) if isinstance(value, (int, str)) else None
    except ValueError:
        number = None
    if number is None or not -LONG_MAX - 1 <= number <= LONG_MAX:
        raise JavaFault(f"NumberFormatException: expected a long, was {value!r}")
    return number


def boxed_boolean(value):
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.lower() == "true"
    raise JavaFault(f"JsonSyntaxException: expected a boolean, was {value!r}")


def long(value):
    return boxed_long(value) or 0


def boolean(value):
    return boxed_boolean(value) or False


def list_of(item):
    def read(value):
        if value is None:
            return None
        if not isinstance(value, list):
            raise JavaFault(f"JsonSyntaxException: expected an array, was {value!r}")
        return [item(one) for one in value]

    return read


def record(fields):
    def read(value):
        if value is None:
            return None
        if not isinstance(value, dict):
            raise JavaFault(f"JsonSyntaxException: expected an object, was {value!r}")
        return {name: adapter(value.get(name)) for name, adapter in fields.items()}

    return read


CLIENT_3 = dict(
    client_id=string,
    client_name=string,
    client_secret=string,
    token_type_extension=string,
    client_secret_expires_at=boxed_long,
    grant_types=list_of(string),
    redirect_uris=list_of(string),
    ext_param_client_id=string,
    ext_param_client_secret=string,
    ext_application_owner=string,
)
CLIENT_4 = CLIENT_3 | dict(
    ext_application_token_lifetime=boxed_long,
    ext_user_token_lifetime=boxed_long,
    ext_refresh_token_lifetime=boxed_long,
    ext_id_token_lifetime=boxed_long,
    application_display_name=string,
    pkceMandatory=boxed_boolean,
    pkceSupportPlain=boxed_boolean,
    bypassClientCredentials=boxed_boolean,
)
TOKEN = record(dict(access_token=string, expires_in=long, scope=string, token_type=string))
INTROSPECTION_3 = dict(
    active=boolean,
    client_id=string,
    device_id=string,
    exp=long,
    iat=long,
    nbf=long,
    scope=string,
    token_type=string,
    username=string,
)
INTROSPECTION_4 = INTROSPECTION_3 | dict(aut=string)
SCOPE = record(dict(name=string, displayName=string, description=string, bindings=list_of(string)))
CLAIMS = record(dict(count=long, list=list_of(record(dict(uri=string, value=string)))))
DISCOVERY_TEXTS = """issuer authorization_endpoint token_endpoint userinfo_endpoint jwks_uri registration_endpoint
    introspection_endpoint revocation_endpoint service_documentation op_policy_uri op_tos_uri"""
DISCOVERY_LISTS = """scopes_supported response_types_supported response_modes_supported grant_types_supported
    acr_values_supported subject_types_supported id_token_signing_alg_values_supported id_token_encryption_alg_values_supported
    id_token_encryption_enc_values_supported userinfo_signing_alg_values_supported token_endpoint_auth_methods_supported
    token_endpoint_auth_signing_alg_values_supported display_values_supported claim_types_supported claims_supported
    claims_locales_supported ui_locales_supported"""
DISCOVERY_FLAGS = """claims_parameter_supported request_parameter_supported request_uri_parameter_supported
    require_request_uri_registration"""
DISCOVERY = record(
    dict.fromkeys(DISCOVERY_TEXTS.split(), string)
    | dict.fromkeys(DISCOVERY_LISTS.split(), list_of(string))
    | dict.fromkeys(DISCOVERY_FLAGS.split(), boolean)
)


def form(**parameters):
    """`URLEncoder.encode` over names and values; parameters that are null in Java are left out."""
    pairs = [f"{quote_plus(name)}={quote_plus(value, safe='*')}" for name, value in parameters.items() if value is not None]
    return "&".join(pairs)


def gson(**members):
    """What Gson writes: no member that is null."""
    return json.dumps({name: value for name, value in members.items() if value is not None}, separators=(",", ":"))


def segment(value):
    """A `{variable}` of a Feign path: every character but the unreserved ones is encoded."""
    return quote(value, safe="-._~")


def url_base64(value):
    """Java's `Base64.getUrlEncoder()`, which pads."""
    return base64.urlsafe_b64encode(value.encode()).decode()


class Target:
    """A Feign target: one address, its interceptors (Basic credentials, tenant header) and one connection that stays open."""

    def __init__(self, profile, url, basic=None, tenant=None):
        self.profile = profile
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
        self.connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS, context=context)
        self.path = parts.path
        self.headers = {"Accept": "*/*"}
        if basic:
            self.headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode("latin-1")).decode()
        if tenant:
            self.headers["X-WSO2-Tenant"] = tenant

    def send(self, method, path="", query=None, body=None, kind=None, headers=None):
        """`kind` is the interface's Content-Type, which is sent without a body as well; so is the length of an empty body."""
        content = body.encode() if body is not None else b""
        target = self.path + path + ("?" + urlencode(query) if query else "")
        lines = self.headers | (headers or {}) | {"Content-Length": str(len(content)), "Accept-Encoding": "gzip,deflate"}
        if kind:
            lines["Content-Type"] = kind + ("; charset=UTF-8" if body is not None else "")
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return self.exchange(method, target, lines, content)
            except (ConnectionError, http.client.HTTPException, ssl.SSLError):
                self.connection.close()
                if attempt == ATTEMPTS_MAX:
                    raise

    def exchange(self, method, target, lines, content):
        self.connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (lines | {"Connection": "Keep-Alive", "User-Agent": "Apache-HttpClient/4.5.13 (Java/11.0.9)"}).items():
            self.connection.putheader(name, value)
        self.connection.endheaders(content)
        response = self.connection.getresponse()
        received = response.read()
        fields = {name.lower(): value for name, value in response.getheaders()}
        if fields.get("content-encoding") == "gzip":
            received = gzip.decompress(received)
        return Reply(response.status, response.reason, fields, received)

    def call(self, reader, method, path="", **arguments):
        """A method that returns an object, or nothing where `reader` is None."""
        reply = self.send(method, path, **arguments)
        if not 200 <= reply.status <= 299:
            raise self.error(reply)
        if reader is None:
            return None
        if not reply.body:
            raise JavaFault(f"NullPointerException: {reply.status} without a body where an object is used")
        try:
            value = json.loads(reply.body)
        except ValueError as error:
            raise JavaFault(f"JsonSyntaxException: {reply.body!r}") from error
        return reader(value)

    def error(self, reply):
        """`KMClientErrorDecoder`: 4.x prefers `error_description` of a JSON body, and casts that body to an object."""
        if not 400 <= reply.status <= 599:
            return JavaFault(f"NullPointerException: no exception for status {reply.status}")
        reason = None
        if self.profile.reads_error_description and reply.body:
            try:
                value = json.loads(reply.body)
            except ValueError:
                value = {}
            if not isinstance(value, dict):
                return JavaFault(f"ClassCastException: {value!r} is no JSONObject")
            reason = value.get("error_description")
        return ClientError(reply.status, reason or reply.phrase)


@dataclasses.dataclass(frozen=True)
class Profile:
    """What differs between releases."""

    name: str
    client: dict
    introspection: dict
    reads_error_description: bool
    has_encoded_ids: bool
    has_owner_in_body: bool
    has_basic_token_call: bool
    may_have_no_roles: bool

    def path_id(self, client_id):
        return "/" + segment(url_base64(client_id) if self.has_encoded_ids else client_id)


API_M_32 = Profile("3.2", CLIENT_3, INTROSPECTION_3, False, False, True, False, False)
API_M_4X = Profile("4.x", CLIENT_4, INTROSPECTION_4, True, True, False, True, True)


class KeyManager:
    """`AMDefaultKeyManagerImpl`: one configured key manager of one tenant."""

    def __init__(self, profile, base, basic, tenant, has_tenant_header=True):
        header = tenant if has_tenant_header else None
        context = "" if tenant == "carbon.super" else f"/t/{tenant}"
        self.profile, self.tenant = profile, tenant

        def target(path, **options):
            return Target(profile, base + path, **options)

        known = dict(basic=basic, tenant=header)
        self.dcr = target(context + "/keymanager-operations/dcr/register", **known)
        self.scopes = target(context + "/api/identity/oauth2/v1.0/scopes", **known)
        self.introspection = target(context + "/oauth2/introspect", **known)
        self.users = target(context + "/keymanager-operations/user-info", **known)
        self.one_time = target(context + "/keymanager-operations/revoke-one-time-token", **known)
        self.tokens = target("/oauth2/token")
        self.revocation = target("/oauth2/revoke")
        self.client = record(profile.client)

    # Clients
    def create(self, owner, application, key_type, **members):
        name = f"{owner.split('@')[0].replace('/', '_')}_{application}_{key_type}"
        return self.used(self.client_call("POST", "", client_name=name, ext_application_owner=owner, **members))

    def retrieve(self, client_id):
        return self.used(self.client_call("GET", self.profile.path_id(client_id)))

    def update(self, client_id, owner, application, key_type, **members):
        """4.5 first asks for the stored token type, and keeps it unless it is one that may become JWT."""
        if self.profile is API_M_4X:
            stored = self.retrieve(client_id)["token_type_extension"]
            may_change = members.get("token_type_extension") == "JWT" and stored in ("DEFAULT", "OAUTH")
            members["token_type_extension"] = "JWT" if may_change else stored
        name = f"{owner}_{application}_{key_type}"
        path = self.profile.path_id(client_id)
        members |= dict(client_id=client_id, client_name=name, ext_application_owner=owner)
        return self.used(self.client_call("PUT", path, **members))

    def change_owner(self, client_id, owner, is_in_body):
        """3.2.0 sends the owner as a member of a JSON body (Feign's form parameters through Gson), its updates in the query."""
        path = self.profile.path_id(client_id) + "/change-owner"
        if is_in_body:
            return self.used(self.client_call("POST", path, applicationOwner=owner))
        return self.used(self.dcr.call(self.client, "POST", path, query=dict(applicationOwner=owner), kind="application/json"))

    def regenerate_secret(self, client_id):
        path = self.profile.path_id(client_id) + "/regenerate-consumer-secret"
        return self.dcr.call(self.client, "POST", path, kind="application/json")["client_secret"]

    def map(self, client_id, secret):
        """An existing client is taken over by somebody who knows its secret."""
        found = self.retrieve(client_id)
        if secret != found["client_secret"]:
            raise PermissionError("The secret key is wrong for the given consumer key")
        return found

    def delete(self, client_id):
        self.dcr.call(None, "DELETE", self.profile.path_id(client_id), kind="application/json")

    def client_call(self, method, path, **members):
        body = gson(**members) if members else None
        return self.dcr.call(self.client, method, path, body=body, kind="application/json")

    def used(self, client):
        """`buildDTOFromClientInfo`: Java's `String.join` writes `null` for a missing element."""
        joined = {}
        for name, separator in [("redirect_uris", ","), ("grant_types", " ")]:
            if client[name] is not None:
                joined[name] = separator.join("null" if one is None else one for one in client[name])
        return client | joined

    # Tokens
    def application_token(self, client_id, secret, scopes=(), validity_seconds=None):
        scope = " ".join(scopes)
        kind = "application/x-www-form-urlencoded"
        if self.profile.has_basic_token_call:
            credentials = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
            content = form(grant_type="client_credentials", scope=scope)
            headers = {"Authorization": f"Basic {credentials}"}
        else:
            validity = None if validity_seconds is None else str(-2 if validity_seconds == -1 else validity_seconds)
            content = form(
                client_id=client_id, client_secret=secret, grant_type="client_credentials", scope=scope, validity_period=validity
            )
            headers = None
        return self.tokens.call(TOKEN, "POST", body=content, kind=kind, headers=headers)

    def user_token(self, client_id, secret, username, password, scopes=()):
        user = dict(username=username, password=password, scope=" ".join(scopes))
        content = form(client_id=client_id, client_secret=secret, grant_type="password", **user)
        return self.tokens.call(TOKEN, "POST", body=content, kind="application/x-www-form-urlencoded")

    def metadata(self, token):
        """`getTokenMetaData`: None for a token that is not to be accepted."""
        reader = record(self.profile.introspection)
        found = self.introspection.call(reader, "POST", body=form(token=token), kind="application/x-www-form-urlencoded")
        is_refresh = self.profile is API_M_4X and (found["token_type"] or "").lower() == "refresh"
        return found if found["active"] and not is_refresh else None

    def revoke(self, client_id, secret, token):
        content = form(client_id=client_id, client_secret=secret, token=token)
        self.revocation.call(None, "POST", body=content, kind="application/x-www-form-urlencoded")

    def revoke_one_time_token(self, token, client_id):
        """4.x compares the status with 200 and looks at nothing else."""
        return self.one_time.send("POST", body=gson(token=token, consumer_key=client_id), kind="application/json").status

    # Users
    def user_claims(self, username, **properties):
        """`getUserClaims`: the user store's domain is sent besides the name that holds it."""
        name = username.split("@")[0]
        domain = name.split("/")[0] if "/" in name else None
        members = dict(username=name, domain=domain) | properties
        if self.profile is API_M_4X:
            members.setdefault("bindFederatedUserClaims", False)
        claims = self.users.call(CLAIMS, "POST", "/claims/generate", body=gson(**members), kind="application/json")
        return {claim["uri"]: claim["value"] for claim in claims["list"] or []}

    def claims_of(self, username, domain="", dialect=""):
        query = dict(username=username, domain=domain, dialect=dialect)
        return self.users.call(CLAIMS, "GET", "/claims", query=query)

    # Scopes
    def register_scope(self, key, name, description, roles):
        body = self.scope_body(roles, name=key, displayName=name, description=description)
        reply = self.scopes.send("POST", body=body, kind="application/json")
        if reply.status != 201:
            raise ClientError(reply.status, reply.body.decode())

    def update_scope(self, key, name, description, roles):
        """3.2 does not look at the status."""
        body = self.scope_body(roles, displayName=name, description=description)
        reply = self.scopes.send("PUT", "/name/" + segment(key), body=body, kind="application/json")
        if reply.status != 200 and self.profile is API_M_4X:
            raise ClientError(reply.status, reply.body.decode())
        return reply.status

    def scope_body(self, roles, **members):
        """Roles are one string with commas in API Manager, and the DTO's list is empty unless it was set; Gson writes it."""
        if roles is None or (self.profile.may_have_no_roles and not roles.strip()):
            return gson(**members, bindings=[])
        return gson(**members, bindings=roles.split(","))

    def has_scope(self, key):
        reply = self.scopes.send("HEAD", "/name/" + segment(key))
        if reply.status not in (200, 404):
            raise ClientError(reply.status, reply.phrase)
        return reply.status == 200

    def scope(self, key):
        """`fromDTOToScope` joins the bindings: there must be a list without null."""
        found = self.scopes.call(SCOPE, "GET", "/name/" + segment(key))
        return self.scope_used(found)

    def all_scopes(self):
        return {one["name"]: self.scope_used(one) for one in self.scopes.call(list_of(SCOPE), "GET")}

    def scope_used(self, found):
        if found["bindings"] is None:
            raise JavaFault("NullPointerException: bindings of a scope")
        return found | dict(roles=",".join(found["bindings"]))

    def delete_scope(self, key):
        reply = self.scopes.send("DELETE", "/name/" + segment(key), kind="application/json")
        if reply.status != 200:
            raise ClientError(reply.status, reply.body.decode())


def discover(profile, url):
    """`POST /key-managers/discover` of the admin portal."""
    return Target(profile, url).call(DISCOVERY, "GET")
