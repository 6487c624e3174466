//! A generator at a constant rate (open loop): a call has its moment, whatever became of those before it, and its latency
//! counts from that moment. So a server that stands still is charged for everybody who would have come meanwhile, which a
//! generator that waits for each answer (wrk) forgets (performance.md section 4, rule 3).
//!
//! Each connection is a thread of this process on the generator's core. A call that finds no free connection waits for one, and
//! the wait counts too.

use super::load::GENERATOR_CPU;
use crate::process;
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The first call comes when all connections stand.
const LEAD: Duration = Duration::from_millis(50);
const READ_LIMIT: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Part of the asked rate that must have been answered, else the server was asked for more than it can do.
const KEPT_UP: f64 = 0.9;

/// One POST of a form.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) authorization: String,
    pub(super) path: &'static str,
    pub(super) form: String,
    /// Text that head or body of the answer must hold.
    pub(super) expect: &'static str,
}

/// What is to be sent.
pub(super) struct Volley<'a> {
    pub(super) port: u16,
    /// Calls per second; infinite: each as soon as a connection is free.
    pub(super) per_second: f64,
    pub(super) calls: usize,
    pub(super) connections: usize,
    /// The call of a number from 0.
    pub(super) call: &'a (dyn Fn(usize) -> Call + Sync),
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Flight {
    /// From the moment of each call to the end of its answer, in microseconds, sorted.
    latencies_us: Vec<f64>,
    /// How late calls were sent that did not wait for a connection, in microseconds, sorted.
    lateness_us: Vec<f64>,
    pub(super) per_second: f64,
}

impl Flight {
    /// The smallest latency that this part of the calls does not exceed.
    pub(super) fn latency_us(&self, part: f64) -> f64 {
        quantile(&self.latencies_us, part)
    }

    /// How late the generator itself was with one call in a hundred, in microseconds: latencies include it.
    pub(super) fn lateness_us(&self) -> f64 {
        quantile(&self.lateness_us, 0.99)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// The calls of a rate over some seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and small")]
pub(super) fn calls_in(per_second: f64, seconds: u32) -> usize {
    (per_second * f64::from(seconds)).ceil().max(1.0) as usize
}

/// Sends all calls. Any unexpected answer and a server that falls behind make it void.
pub(super) fn fire(volley: &Volley<'_>) -> Result<Flight> {
    let next = AtomicUsize::new(0);
    let (mut flight, took) = thread::scope(|scope| {
        // A thread of its own, so that only the generator is bound to the core.
        let generator = scope.spawn(|| {
            bind_to_core()?;
            let streams = (0..volley.connections).map(|_| connect(volley.port)).collect::<Result<Vec<_>>>()?;
            let begin = Instant::now() + LEAD;
            thread::scope(|scope| {
                let work = |stream| {
                    scope.spawn(|| {
                        // After an error no call counts any more.
                        work(volley, &next, begin, stream).inspect_err(|_| next.store(volley.calls, Ordering::Relaxed))
                    })
                };
                let workers: Vec<_> = streams.into_iter().map(work).collect();
                let mut all = Flight::default();
                for worker in workers {
                    let own = worker.join().map_err(|_| anyhow::anyhow!("a connection's thread died"))??;
                    all.latencies_us.extend(own.latencies_us);
                    all.lateness_us.extend(own.lateness_us);
                }
                Ok::<_, anyhow::Error>((all, begin.elapsed()))
            })
        });
        generator.join().map_err(|_| anyhow::anyhow!("the generator died"))?
    })?;
    flight.latencies_us.sort_by(f64::total_cmp);
    flight.lateness_us.sort_by(f64::total_cmp);
    flight.per_second = count(flight.latencies_us.len()) / took.as_secs_f64();
    check(&flight, volley)?;
    Ok(flight)
}

fn check(flight: &Flight, volley: &Volley<'_>) -> Result<()> {
    if volley.per_second.is_infinite() {
        return Ok(());
    }
    let (done, asked) = (flight.per_second, volley.per_second);
    // The last calls may end after the time of the volley.
    let is_behind = done < asked * KEPT_UP && count(volley.calls) / done > count(volley.calls) / asked + 1.0;
    ensure!(!is_behind, "void: {done:.0} of {asked:.0} calls per second were answered");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "no run has that many calls")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Threads inherit it from the thread that starts them.
fn bind_to_core() -> Result<()> {
    let own = std::fs::read_link("/proc/thread-self").context("/proc/thread-self")?;
    let thread = own.file_name().and_then(|name| name.to_str()).context("a thread without a number")?;
    process::capture(Command::new("taskset").args(["-p", "-c", GENERATOR_CPU, thread])).map(drop)
}

fn connect(port: u16) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_LIMIT))?;
    Ok(BufReader::new(stream))
}

/// One connection: takes the next call when it has an answer to its last.
fn work(volley: &Volley<'_>, next: &AtomicUsize, begin: Instant, mut stream: BufReader<TcpStream>) -> Result<Flight> {
    let mut flight = Flight::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= volley.calls {
            return Ok(flight);
        }
        let call = (volley.call)(number);
        let bytes = encode(&call, volley.port);
        let moment = if volley.per_second.is_infinite() {
            Instant::now()
        } else {
            begin + Duration::from_secs_f64(count(number) / volley.per_second)
        };
        let wait = moment.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            process::pause(wait);
            flight.lateness_us.push(moment.elapsed().as_secs_f64() * 1e6);
        }
        stream.get_mut().write_all(&bytes)?;
        let (status, text) = read_answer(&mut stream).with_context(|| format!("{} {}", call.path, call.form))?;
        flight.latencies_us.push(moment.elapsed().as_secs_f64() * 1e6);
        if !(200..300).contains(&status) || !text.contains(call.expect) {
            let start: String = text.chars().take(400).collect();
            bail!("void: {} {} was answered {status}, without `{}`: {start}", call.path, call.form, call.expect);
        }
    }
}

fn encode(call: &Call, port: u16) -> Vec<u8> {
    format!(
        "POST {} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: application/json\r\nAuthorization: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{}",
        call.path,
        call.authorization,
        call.form.len(),
        call.form
    )
    .into_bytes()
}

/// Status, and head (in small letters) and body.
fn read_answer(stream: &mut BufReader<TcpStream>) -> Result<(u16, String)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).with_context(|| format!("an answer without a status: {line:?}"))?.parse()?;
    let (mut text, mut length) = (String::new(), 0);
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line)? > 0, "an answer that ends in its head");
        if line == "\r\n" {
            break;
        }
        let lower = line.to_ascii_lowercase();
        ensure!(!lower.starts_with("transfer-encoding:"), "an answer in chunks");
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        text.push_str(&lower);
    }
    ensure!(length <= BODY_BYTES_MAX, "an answer of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    text.push_str(&String::from_utf8_lossy(&body));
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server for one connection after another that stands still once.
    fn serve(answer: &'static str, slow: usize) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            for number in 0.. {
                let (mut line, mut length) = (String::new(), 0);
                while line != "\r\n" {
                    line.clear();
                    if stream.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    length = line.strip_prefix("Content-Length: ").map_or(length, |text| text.trim().parse().unwrap());
                }
                stream.read_exact(&mut vec![0; length]).unwrap();
                if number == slow {
                    process::pause(Duration::from_millis(200));
                }
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    fn volley(port: u16, call: &(dyn Fn(usize) -> Call + Sync)) -> Volley<'_> {
        Volley { port, per_second: 200.0, calls: 100, connections: 1, call }
    }

    fn call(number: usize) -> Call {
        Call { authorization: "Basic x".into(), path: "/x", form: format!("n={number}"), expect: "good" }
    }

    #[test]
    fn who_would_have_come_while_the_server_stood_still_is_counted() {
        let port = serve("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood", 20);
        let flight = fire(&volley(port, &call)).unwrap();
        // 200 ms at 200 calls per second: the one that waited, and most of the forty after it.
        assert!(flight.latency_us(0.8) > 20_000.0, "{}", flight.latency_us(0.8));
        assert!(flight.latency_us(1.0) > 190_000.0);
        assert_eq!(flight.latencies_us.len(), 100);
    }

    #[test]
    fn an_unexpected_answer_or_a_server_that_falls_behind_is_void() {
        for answer in [
            "HTTP/1.1 503 Nothing\r\nContent-Length: 4\r\n\r\ngood",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
            "nothing\r\n\r\n",
        ] {
            assert!(fire(&volley(serve(answer, 1000), &call)).is_err(), "{answer}");
        }
        let flight = Flight { latencies_us: vec![1.0; 100], per_second: 20.0, ..Flight::default() };
        assert!(check(&flight, &volley(1, &call)).unwrap_err().to_string().contains("20 of 200"));
        let kept_up = Flight { per_second: 199.0, ..flight };
        assert!(check(&kept_up, &volley(1, &call)).is_ok());
    }

    #[test]
    fn quantiles_are_taken_from_above() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        let of = |sorted: &[f64], part| format!("{:.1}", quantile(sorted, part));
        assert_eq!(
            [of(&sorted, 0.5), of(&sorted, 0.99), of(&sorted, 1.0), of(&[7.0], 0.5)],
            ["50.0", "99.0", "100.0", "7.0"]
        );
        assert!(quantile(&[], 0.5).is_nan());
    }
}
