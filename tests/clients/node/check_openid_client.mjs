// openid-client 6: discovery, the grants, codes with PKCE (RFC 7636) and the issuer's name (RFC 9207), ID tokens and userinfo
// (OpenID Connect Core), revocation (RFC 7009) and introspection (RFC 7662) with either way of client authentication (RFC 6749
// section 2.3.1).
//
// The introspection endpoint wants a user with the permission to view applications, not the client: the administrator's
// name and password are given to the library as if they were a client's.
import * as client from 'openid-client'
import { ADMIN_PASSWORD, CLIENT_SECRET, ISSUER, JWT_ID, OPAQUE_ID, assert, browse, check } from './checks.mjs'

const report = (what, body) => check('openid-client', what, body)
const discover = (id, authentication) => client.discovery(new URL(ISSUER), id, undefined, authentication)

await report('discovery', async () => {
  const config = await discover(OPAQUE_ID, client.ClientSecretBasic(CLIENT_SECRET))
  assert.equal(config.serverMetadata().issuer, ISSUER)
  assert.equal(config.serverMetadata().token_endpoint, ISSUER)
})

const admin = await discover('admin', client.ClientSecretBasic(ADMIN_PASSWORD))
const isActive = async (token) => (await client.tokenIntrospection(admin, token)).active

for (const id of [OPAQUE_ID, JWT_ID]) {
  for (const method of ['ClientSecretBasic', 'ClientSecretPost']) {
    const config = await discover(id, client[method](CLIENT_SECRET))
    const name = `${id} ${method}`

    await report(`${name} client_credentials`, async () => {
      const reply = await client.clientCredentialsGrant(config)
      assert.equal(reply.token_type, 'bearer')
      assert.ok(reply.expiresIn() > 3500)
      assert.equal(reply.refresh_token, undefined)
    })

    await report(`${name} password, introspection, refresh, revocation`, async () => {
      const parameters = { username: 'admin', password: ADMIN_PASSWORD, scope: 'default' }
      const first = await client.genericGrantRequest(config, 'password', parameters)
      const found = await client.tokenIntrospection(admin, first.access_token)
      assert.equal(found.active, true)
      assert.equal(found.client_id, id)
      assert.equal(found.username, 'admin@carbon.super')

      const second = await client.refreshTokenGrant(config, first.refresh_token)
      assert.notEqual(second.access_token, first.access_token)
      assert.equal(await isActive(first.access_token), false)
      assert.equal(await isActive(second.access_token), true)

      await client.tokenRevocation(config, second.access_token)
      assert.equal(await isActive(second.access_token), false)
      const revoked = { code: 'OAUTH_RESPONSE_BODY_ERROR', error: 'invalid_grant' }
      await assert.rejects(client.refreshTokenGrant(config, second.refresh_token), revoked)
    })

    await report(`${name} authorization code with PKCE, second use`, async () => {
      const pkceCodeVerifier = client.randomPKCECodeVerifier()
      const expectedState = client.randomState()
      const answer = await browse(
        client.buildAuthorizationUrl(config, {
          redirect_uri: 'https://app.invalid/cb',
          scope: 'read',
          state: expectedState,
          code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
          code_challenge_method: 'S256',
        }),
      )
      const tokens = await client.authorizationCodeGrant(config, answer, { pkceCodeVerifier, expectedState })
      assert.equal((await client.tokenIntrospection(admin, tokens.access_token)).username, 'admin@carbon.super')
      const used = { code: 'OAUTH_RESPONSE_BODY_ERROR', error: 'invalid_grant' }
      await assert.rejects(client.authorizationCodeGrant(config, answer, { pkceCodeVerifier, expectedState }), used)
      assert.equal(await isActive(tokens.access_token), false)
    })

    await report(`${name} ID token with its signature, refresh, userinfo`, async () => {
      const careful = await discover(id, client[method](CLIENT_SECRET))
      client.enableNonRepudiationChecks(careful)
      const pkceCodeVerifier = client.randomPKCECodeVerifier()
      const expectedNonce = client.randomNonce()
      const answer = await browse(
        client.buildAuthorizationUrl(careful, {
          redirect_uri: 'https://app.invalid/cb',
          scope: 'openid email',
          nonce: expectedNonce,
          max_age: '600',
          code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
          code_challenge_method: 'S256',
        }),
      )
      const tokens = await client.authorizationCodeGrant(careful, answer, { pkceCodeVerifier, expectedNonce, maxAge: 600 })
      const said = tokens.claims()
      assert.equal(said.nonce, expectedNonce)
      assert.equal((await client.fetchUserInfo(careful, tokens.access_token, said.sub)).sub, said.sub)
      const refreshed = await client.refreshTokenGrant(careful, tokens.refresh_token)
      const later = refreshed.claims()
      for (const kept of ['iss', 'sub', 'aud', 'azp', 'auth_time']) assert.equal(later[kept], said[kept])
      assert.equal(later.nonce, undefined)
      // The next login gets a token of its own: of two that share one no time is said.
      await client.tokenRevocation(careful, refreshed.access_token)
    })

    await report(`${name} wrong secret`, async () => {
      const wrong = await discover(id, client[method](`${CLIENT_SECRET}x`))
      await assert.rejects(client.clientCredentialsGrant(wrong), (error) => {
        assert.ok(error instanceof client.ResponseBodyError || error instanceof client.WWWAuthenticateChallengeError, error)
        assert.equal(error.status, 401)
        return true
      })
    })
  }
}
