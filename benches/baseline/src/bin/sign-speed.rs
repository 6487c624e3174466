//! Signatures per CPU-second with aws-lc-rs over a 420-byte message, the size of a JWT's signing input: the limit
//! of every path that issues a fresh JWT. `sign-speed [SECONDS [only]]` prints `NAME RATE`
//! lines; with `only` just the first, RS256 signing.

use anyhow::{Context as _, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
        RsaKeyPair, UnparsedPublicKey,
    },
};
use std::{fs, hint::black_box};

const MESSAGE_BYTES: usize = 420;
const WARM_UP_SECONDS: f64 = 0.2;
const NANOSECONDS: f64 = 1e9;
/// Signatures between two looks at the clock.
const BATCH: u32 = 16;

fn main() -> Result<()> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(1.5), |text| text.parse()).context("SECONDS")?;
    let message = [b'a'; MESSAGE_BYTES];
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let mut signature = vec![0; rsa.public_modulus_len()];
    let rate = measure(seconds, || Ok(rsa.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature)?))?;
    println!("rs256_sign {rate:.0}");
    if std::env::args().nth(2).is_some_and(|word| word == "only") {
        return Ok(());
    }
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa.public_key().as_ref());
    println!("rs256_verify {:.0}", measure(seconds, || Ok(public.verify(&message, &signature)?))?);
    let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let rate = measure(seconds, || {
        black_box(ecdsa.sign(&random, &message)?);
        Ok(())
    })?;
    println!("es256_sign {rate:.0}");
    Ok(())
}

fn measure(seconds: f64, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let warm = cpu_seconds()?;
    while cpu_seconds()? - warm < WARM_UP_SECONDS {
        work()?;
    }
    let (started, mut count) = (cpu_seconds()?, 0);
    loop {
        for _ in 0..BATCH {
            work()?;
        }
        count += BATCH;
        let used = cpu_seconds()? - started;
        if used >= seconds {
            return Ok(f64::from(count) / used);
        }
    }
}

/// CPU time of this thread: it stays right when other work competes for the core.
fn cpu_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().context("an empty schedstat")?.parse()?;
    Ok(nanoseconds / NANOSECONDS)
}
