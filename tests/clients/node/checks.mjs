// What the programs of this folder share: the server under test from the environment of `run`, and one line per check.
import assert from 'node:assert/strict'

export const { ISSUER, OPAQUE_ID, JWT_ID, ENDLESS_ID, CLIENT_SECRET, CLAVIGER_ADMIN_PASSWORD: ADMIN_PASSWORD } = process.env

export async function check(library, what, body) {
  try {
    await body()
    console.log(`ok   ${library}: ${what}`)
  } catch (error) {
    console.error(`FAIL ${library}: ${what}`)
    console.error(error, error.cause ?? '')
    process.exit(1)
  }
}

// What a browser does with an authorization request: the login page, the consent page, and back with the answer's address.
export async function browse(address) {
  let cookie = ''
  let page = await fetch(address, { redirect: 'manual' })
  const follow = async () => {
    while (page.status === 302 || page.status === 303) {
      cookie = page.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
      address = new URL(page.headers.get('location'), address)
      if (address.hostname === 'app.invalid') return address
      page = await fetch(address, { redirect: 'manual', headers: { cookie } })
    }
    assert.equal(page.status, 200)
    return await page.text()
  }
  const post = async (path, fields) => {
    address = new URL(path, address)
    page = await fetch(address, { method: 'POST', redirect: 'manual', headers: { cookie }, body: new URLSearchParams(fields) })
    return await follow()
  }
  const hidden = (html, name) => html.match(new RegExp(`name="${name}" value="([^"]+)"`))[1]
  const sessionDataKey = hidden(await follow(), 'sessionDataKey')
  const consent = await post('/commonauth', { sessionDataKey, username: 'admin', password: ADMIN_PASSWORD })
  const sessionDataKeyConsent = hidden(consent, 'sessionDataKeyConsent')
  return await post('/oauth2/authorize', { sessionDataKeyConsent, consent: 'approve' })
}

export { assert }
