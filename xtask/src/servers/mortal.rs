//! Servers that tests may kill: they start again by themselves, on the same port.

use super::database::Settings;
use super::random_hex;
use crate::process;
use anyhow::{Result, bail};
use std::{net::TcpListener, process::Command};

const PORTS_TRIED_MAX: usize = 1_000;
/// Variable with arguments for the first start only.
pub(super) const FIRST_ARGUMENTS: &str = "FIRST_ARGUMENTS";
/// Serves until the server is asked to end. The status of a program that SIGKILL ended is 137. What it leaves behind (its children,
/// their memory) may be in the way of the next one for a moment.
const SERVE: &str = "\
\"$@\" $FIRST_ARGUMENTS; status=$?
while [ $status -eq 137 ]; do
  tries=0
  while \"$@\"; status=$?; [ $status -eq 1 ] && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
done
exit $status";

/// A command that runs this server, with its environment, again whenever it was killed.
pub(super) fn immortal(server: &Command, settings: &Settings) -> Result<Command> {
    let mut command = settings.command(&process::program("sh")?);
    command.args(["-c", SERVE, "sh"]).arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(command)
}

/// A free port below the range from which systems take ports for outgoing connections: nobody takes it while its server is dead.
pub(super) fn steady_port() -> Result<u16> {
    for _ in 0..PORTS_TRIED_MAX {
        let port = 12_000 + u16::from_str_radix(&random_hex(2)?, 16)? % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on loopback")
}
