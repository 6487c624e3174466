// oauth4webapi 3, the strictest reader of responses, and jose 6 as a resource server.
//
// `validateJwtAccessToken` asks for the `typ` of RFC 9068, which tokens of this generation do not have: a resource server
// verifies them by RFC 7519 against the published keys, and the library must refuse them.
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { ADMIN_PASSWORD, CLIENT_SECRET, ENDLESS_ID, ISSUER, JWT_ID, OPAQUE_ID, assert, check } from './checks.mjs'

const report = (what, body) => check('oauth4webapi', what, body)
const issuer = new URL(ISSUER)
let server

await report('discovery by OpenID Connect Discovery and by RFC 8414', async () => {
  const discover = async (algorithm) =>
    oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm }))
  server = await discover('oidc')
  assert.deepEqual(await discover('oauth2'), server)
})

async function introspect(token) {
  const admin = { client_id: 'admin' }
  const response = await oauth.introspectionRequest(server, admin, oauth.ClientSecretBasic(ADMIN_PASSWORD), token)
  return oauth.processIntrospectionResponse(server, admin, response)
}

for (const client_id of [OPAQUE_ID, JWT_ID]) {
  for (const method of ['ClientSecretBasic', 'ClientSecretPost']) {
    const client = { client_id }
    const authentication = oauth[method](CLIENT_SECRET)
    const name = `${client_id} ${method}`

    await report(`${name} client_credentials`, async () => {
      const response = await oauth.clientCredentialsGrantRequest(server, client, authentication, { scope: 'default' })
      const reply = await oauth.processClientCredentialsResponse(server, client, response)
      assert.equal((await introspect(reply.access_token)).client_id, client_id)
    })

    await report(`${name} password, introspection, refresh, revocation`, async () => {
      const parameters = { username: 'admin', password: ADMIN_PASSWORD }
      let response = await oauth.genericTokenEndpointRequest(server, client, authentication, 'password', parameters)
      const first = await oauth.processGenericTokenEndpointResponse(server, client, response)
      response = await oauth.refreshTokenGrantRequest(server, client, authentication, first.refresh_token)
      const second = await oauth.processRefreshTokenResponse(server, client, response)
      assert.equal((await introspect(second.access_token)).active, true)
      response = await oauth.revocationRequest(server, client, authentication, second.refresh_token, {
        additionalParameters: { token_type_hint: 'refresh_token' },
      })
      await oauth.processRevocationResponse(response)
      assert.equal((await introspect(second.access_token)).active, false)
    })

    await report(`${name} errors are those of RFC 6749 section 5.2`, async () => {
      const request = (grant, secret) => oauth.genericTokenEndpointRequest(server, client, oauth[method](secret), grant, {})
      const refused = async (grant, secret, error, status) => {
        const response = await request(grant, secret)
        assert.equal(response.status, status)
        assert.equal((await response.json()).error, error)
      }
      await refused('client_credentials', 'wrong', 'invalid_client', 401)
      await refused('password', CLIENT_SECRET, 'invalid_request', 400)
    })
  }
}

await report('jose verifies a JWT with the published keys', async () => {
  const client = { client_id: JWT_ID }
  const request = oauth.clientCredentialsGrantRequest(server, client, oauth.ClientSecretBasic(CLIENT_SECRET), {})
  const { access_token } = await oauth.processClientCredentialsResponse(server, client, await request)
  const keys = jose.createRemoteJWKSet(new URL(server.jwks_uri))
  const expected = { issuer: ISSUER, audience: JWT_ID, algorithms: ['RS256'], requiredClaims: ['exp', 'iat', 'nbf', 'jti', 'sub'] }
  const { payload, protectedHeader } = await jose.jwtVerify(access_token, keys, expected)
  assert.equal(payload.azp, JWT_ID)
  assert.ok(protectedHeader.kid)

  const [header, claims, signature] = access_token.split('.')
  const altered = jose.base64url.encode(JSON.stringify({ ...payload, sub: 'mallory' }))
  await assert.rejects(jose.jwtVerify([header, altered, signature].join('.'), keys, expected), jose.errors.JWSSignatureVerificationFailed)

  const call = new Request('https://api.invalid/', { headers: { authorization: `Bearer ${access_token}` } })
  await assert.rejects(oauth.validateJwtAccessToken(server, call, JWT_ID), { message: /typ/ })
})

await report('a JWT that never ends', async () => {
  const client = { client_id: ENDLESS_ID }
  const request = oauth.clientCredentialsGrantRequest(server, client, oauth.ClientSecretBasic(CLIENT_SECRET), {})
  const { access_token, expires_in } = await oauth.processClientCredentialsResponse(server, client, await request)
  assert.ok(expires_in > 1e9)
  await jose.jwtVerify(access_token, jose.createRemoteJWKSet(new URL(server.jwks_uri)), { issuer: ISSUER, audience: ENDLESS_ID })
  assert.equal((await introspect(access_token)).active, true)
})
