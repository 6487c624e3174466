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

export { assert }
