//! What we are compared with: the bare hyper server, the signing rate, nginx, haproxy, and the databases' own commit
//! rate. Their configurations are files of `benches/`.

use super::{
    Bench,
    http::{Alphabet, base64},
    load::{GENERATOR_CPU, SERVER_CPU, cpu_seconds_of},
    stats::Sample,
};
use crate::{packages, process, servers};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const START_LIMIT: Duration = Duration::from_secs(10);
/// Clients that commit at the same time, as our load has connections.
const COMMITTERS: u32 = 32;

/// A baseline server and the port asked.
pub(crate) struct Baseline {
    pub(crate) pid: u32,
    pub(crate) port: u16,
}

impl Baseline {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// The bare hyper server on a core.
pub(crate) fn hyper_hello(bench: &mut Bench, cpu: &str, body_bytes: u32) -> Result<Baseline> {
    let port = servers::free_port()?;
    let mut command = Command::new("taskset");
    command.args(["-c", cpu]).arg(process::target_directory().join("release/hyper-hello"));
    command.arg(format!("127.0.0.1:{port}")).args(["1", &body_bytes.to_string()]);
    serve(bench, command, &[port])
}

/// A backend beside the generator, with a body of 1 KiB.
pub(crate) fn backend(bench: &mut Bench) -> Result<Baseline> {
    hyper_hello(bench, GENERATOR_CPU, 1024)
}

fn serve(bench: &mut Bench, mut command: Command, ports: &[u16]) -> Result<Baseline> {
    let mut child = bench.guard.spawn(command.stdin(Stdio::null()), "TERM")?;
    for port in ports {
        process::poll(&process::describe(&command), START_LIMIT, || {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("ended with {status}");
            }
            Ok(TcpStream::connect(("127.0.0.1", *port)).ok().map(drop))
        })?;
    }
    Ok(Baseline { pid: child.id(), port: *ports.first().context("a server without a port")? })
}

/// RS256 signatures per CPU-second.
pub(crate) fn sign_rate(seconds: u32) -> Result<Sample> {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CPU]).arg(process::target_directory().join("release/sign-speed"));
    let output = process::capture(command.args([&seconds.to_string(), "only"]))?;
    let rate = output.lines().find_map(|line| line.strip_prefix("rs256_sign ")).context("no rs256_sign")?;
    let figure = rate.trim().parse()?;
    Ok(Sample { figure, per_second: figure, ..Sample::default() })
}

/// The two nginx servers: plain proxy, and proxy with a cached verdict.
pub(crate) struct Nginx {
    pub(crate) plain: Baseline,
    pub(crate) auth: Baseline,
}

pub(crate) fn nginx(bench: &mut Bench, backend: &Baseline) -> Result<Nginx> {
    let authoriser = hyper_hello(bench, GENERATOR_CPU, 2)?;
    let run = bench.directory.join("nginx");
    fs::create_dir(&run)?;
    let (plain, auth) = (servers::free_port()?, servers::free_port()?);
    let ports = [("PLAIN", plain), ("AUTH", auth), ("BACKEND", backend.port), ("AUTHORISER", authoriser.port)];
    let configuration = fill("benches/gateway/nginx.conf", &run, &ports)?;
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CPU]).arg(process::program("nginx")?).arg("-c").arg(configuration);
    command.arg("-e").arg(run.join("nginx-error.log"));
    let plain = serve(bench, command, &[plain, auth])?;
    let auth = Baseline { pid: plain.pid, port: auth };
    Ok(Nginx { plain, auth })
}

/// haproxy that verifies a JWT, and the Authorization value that passes.
pub(crate) fn haproxy(bench: &mut Bench, backend: &Baseline) -> Result<(Baseline, String)> {
    let run = bench.directory.join("haproxy");
    fs::create_dir(&run)?;
    let authorization = format!("Bearer {}", make_jwt(&run)?);
    let port = servers::free_port()?;
    let configuration = fill("benches/gateway/haproxy.cfg", &run, &[("JWT", port), ("BACKEND", backend.port)])?;
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CPU]).arg(process::program("haproxy")?).arg("-f").arg(configuration);
    Ok((serve(bench, command, &[port])?, authorization))
}

/// Writes a configuration with its places filled in; returns where.
fn fill(template: &str, run: &Path, ports: &[(&str, u16)]) -> Result<PathBuf> {
    let source = process::workspace_root().join(template);
    let run_text = run.to_str().context("a directory name that is not plain text")?;
    let mut text = fs::read_to_string(&source)?.replace("@RUN@", run_text);
    for (name, port) in ports {
        text = text.replace(&format!("@{name}@"), &port.to_string());
    }
    let file = run.join(source.file_name().context("a template without a name")?);
    fs::write(&file, text)?;
    Ok(file)
}

/// An RS256 JWT with about the claims of our own; its public key goes to `rs256.pub` for haproxy.
fn make_jwt(run: &Path) -> Result<String> {
    let openssl = |arguments: &[&str]| process::capture(Command::new("openssl").args(arguments).current_dir(run));
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rs256.key"])?;
    openssl(&["pkey", "-in", "rs256.key", "-pubout", "-out", "rs256.pub"])?;
    let now: u64 = process::capture(Command::new("date").arg("+%s"))?.trim().parse()?;
    let header = json!({"x5t": "ZDFlMzYzZTNmZDYyNmNhZmJlYjY0NzM2", "kid": "bench", "alg": "RS256"});
    let claims = json!({"sub": "2f1c9c2e-6f9b-4f0a-9a1e-2c2c8f2f7a11", "aut": "APPLICATION", "nbf": now, "iat": now,
        "aud": "x3fWkPrT5GmYq0aAbCdEfGhIjKla", "azp": "x3fWkPrT5GmYq0aAbCdEfGhIjKla", "exp": now + 86_400,
        "scope": "am_application_scope default", "iss": "https://km.example/oauth2/token",
        "jti": "b4c1f0a2-7a37-4b56-8a5c-5a2f3c1c9d10"});
    let encode = |value: &serde_json::Value| base64(value.to_string().as_bytes(), Alphabet::Url);
    let input = format!("{}.{}", encode(&header), encode(&claims));
    let mut sign = Command::new("openssl");
    sign.args(["dgst", "-sha256", "-sign", "rs256.key", "-binary"]).current_dir(run);
    let mut child = sign.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("openssl")?;
    child.stdin.take().context("openssl without input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success() && output.stdout.len() == 256, "openssl did not sign");
    Ok(format!("{input}.{}", base64(&output.stdout, Alphabet::Url)))
}

/// What one signature and one commit allow together, per CPU-second: the sum of what each costs. `commits` runs an
/// engine's load program; the time of that program counts, as it stands for the driver in our own process.
pub(crate) fn sign_and_commit(
    servers: &[u32],
    seconds: u32,
    commits: impl FnOnce(u32) -> Result<Commits>,
) -> Result<Sample> {
    let signing = sign_rate(seconds)?;
    let (commits, used) = cpu_seconds_of(servers, || commits(seconds))?;
    let figure = 1.0 / (1.0 / signing.figure + used / commits.count);
    Ok(Sample { figure, per_second: figure, ..Sample::default() })
}

/// What an engine's load program did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commits {
    pub(crate) count: f64,
    pub(crate) per_second: f64,
}

impl Commits {
    pub(crate) fn sample(self) -> Sample {
        Sample { figure: self.per_second, per_second: self.per_second, ..Sample::default() }
    }
}

/// A row as wide and as indexed as an access token's, and one INSERT per commit: what the engine itself can do.
const TOKEN_TABLE: &str = "CREATE TABLE bench_token (token_id VARCHAR(64) PRIMARY KEY, access_token VARCHAR(255), \
    refresh_token VARCHAR(255), client_id INT, authz_user VARCHAR(100), user_domain VARCHAR(50), tenant_id INT, \
    token_state VARCHAR(25), scope_hash VARCHAR(32), validity BIGINT, access_hash CHAR(64), refresh_hash CHAR(64), \
    UNIQUE (client_id, authz_user, user_domain, tenant_id, scope_hash, token_state, token_id))";
const TOKEN_INDEXES: &[&str] = &[
    "CREATE INDEX bench_access ON bench_token (access_hash)",
    "CREATE INDEX bench_refresh ON bench_token (refresh_hash)",
    "CREATE INDEX bench_user ON bench_token (authz_user, tenant_id)",
];

/// Single-row commits per second of MariaDB, by its own load program.
pub(crate) fn mariadb_commits(server: &servers::Running, database: &str, seconds: u32) -> Result<Commits> {
    let ready = format!("DROP TABLE IF EXISTS bench_token; {TOKEN_TABLE}; {}", TOKEN_INDEXES.join("; "));
    let client = |program: &str| -> Result<Command> {
        let mut command = Command::new(process::program(program)?);
        command.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=claviger"]);
        command.arg(format!("--port={}", server.port)).env("MYSQL_PWD", &server.password);
        Ok(command)
    };
    process::capture(client("mariadb")?.arg(format!("--execute={ready}")).arg(database))?;
    let hash = "SHA2(UUID(),256)";
    let insert = format!(
        "INSERT INTO bench_token VALUES (UUID(), REPEAT({hash},3), UUID(), RAND()*1000, CONCAT('user',FLOOR(RAND()*100000)), \
         'PRIMARY', -1234, 'ACTIVE', MD5(RAND()), 3600000, {hash}, {hash})"
    );
    // It takes a number of statements, not a time: about as many as the fastest machine would do meanwhile.
    let statements = seconds.saturating_mul(8_000);
    let mut slap = client("mariadb-slap")?;
    slap.arg(format!("--create-schema={database}")).arg("--no-drop").arg(format!("--query={insert}")).arg("--csv");
    slap.arg(format!("--concurrency={COMMITTERS}")).arg(format!("--number-of-queries={statements}"));
    let output = process::capture(&mut slap)?;
    let taken = output.lines().rev().find_map(|line| line.split(',').nth(2)).context("no time from mariadb-slap")?;
    let count = f64::from(statements);
    Ok(Commits { count, per_second: count / taken.parse::<f64>().with_context(|| output.clone())? })
}

/// Single-row commits per second of PostgreSQL, by its own load program.
pub(crate) fn postgres_commits(bench: &Bench, url: &str, seconds: u32) -> Result<Commits> {
    let mut psql = Command::new(process::program("psql")?);
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", url, "-c", "DROP TABLE IF EXISTS bench_token", "-c", TOKEN_TABLE]);
    for index in TOKEN_INDEXES {
        psql.args(["-c", index]);
    }
    process::capture(&mut psql)?;
    let script = bench.directory.join("commit.sql");
    let hash = "md5(random()::text) || md5(random()::text)";
    fs::write(
        &script,
        format!(
            "INSERT INTO bench_token VALUES (gen_random_uuid()::text, repeat({hash}, 3), gen_random_uuid()::text, \
             random()*1000, 'user' || floor(random()*100000), 'PRIMARY', -1234, 'ACTIVE', md5(random()::text), 3600000, \
             {hash}, {hash});\n"
        ),
    )?;
    let directory = packages::postgres_directory().context("PostgreSQL is not installed")?;
    let mut pgbench = Command::new(directory.join("pgbench"));
    pgbench.arg("-n").arg("-f").arg(&script).arg(format!("-c{COMMITTERS}")).arg(format!("-T{seconds}"));
    let output = process::capture(pgbench.args(["-M", "prepared", url]))?;
    let rate = output.lines().find_map(|line| line.strip_prefix("tps = ")).context("no tps from pgbench")?;
    let per_second: f64 = rate.split(' ').next().context("no tps")?.parse()?;
    Ok(Commits { count: per_second * f64::from(seconds), per_second })
}

/// Single-row commits per second of SQLite with one writer, through Python's own library.
pub(crate) fn sqlite_commits(bench: &Bench, seconds: u32) -> Result<Commits> {
    let script = process::workspace_root().join("benches/sqlite-commits.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(bench.directory.join("commits.sqlite")).arg(seconds.to_string()).arg("FULL");
    let per_second: f64 = process::capture(&mut python)?.trim().parse()?;
    Ok(Commits { count: per_second * f64::from(seconds), per_second })
}
