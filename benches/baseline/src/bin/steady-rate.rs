//! A generator at a constant rate for rates of tens of thousands a second (open loop): a call has its moment, whatever became
//! of those before it, and its latency counts from that moment. Between the moments it sleeps: a virtual machine whose cores
//! are all busy has them taken away for milliseconds, and waiting in a loop would see to that.
//!
//! `steady-rate PORT PER_SECOND SECONDS CONNECTIONS`; the request comes from the environment as for the wrk scripts: METHOD,
//! TARGET, BODY, CONTENT_TYPE, AUTH, EXPECT (text of every body) and RUN. `@N@` in BODY becomes RUN and a number of its own
//! in every request. Prints `RESULT n= per_second= p50_us= p99_us= p999_us= max_us= late_us= bad=`; `late_us` is how late
//! the generator itself was with one call in a hundred that did not wait for a connection.

use anyhow::{Context as _, Result, bail, ensure};
use std::{
    cell::{Cell, RefCell},
    env,
    net::Ipv4Addr,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::{JoinSet, LocalSet},
};

/// The first call comes when all connections stand.
const LEAD: Duration = Duration::from_millis(50);
/// After the last moment, for answers under way.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, per_second, seconds, connections] = arguments.as_slice() else {
        bail!("usage: steady-rate PORT PER_SECOND SECONDS CONNECTIONS");
    };
    let per_second: f64 = per_second.parse().context("PER_SECOND")?;
    let seconds: f64 = seconds.parse().context("SECONDS")?;
    let flight = Rc::new(Flight {
        begin: Cell::new(Instant::now()),
        per_second,
        calls: whole(per_second * seconds),
        latencies_us: RefCell::default(),
        lateness_us: RefCell::default(),
        bad: Cell::new(0),
        request: Request::of_environment(port.parse().context("PORT")?),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limit = Duration::from_secs_f64(seconds) + PATIENCE;
    LocalSet::new().block_on(&runtime, run(flight.clone(), connections.parse().context("CONNECTIONS")?, limit))?;
    flight.report();
    Ok(())
}

async fn run(flight: Rc<Flight>, connections: usize, limit: Duration) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, flight.request.port)).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    flight.begin.set(Instant::now() + LEAD);
    let due = Rc::new(Mutex::new(clock(flight.begin.get(), flight.per_second, flight.calls)));
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn_local(work(flight.clone(), stream, due.clone()));
    }
    let all = async {
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        Ok(())
    };
    tokio::time::timeout(limit, all).await.context("some calls were never answered")?
}

/// A call and its moment.
type Due = (u64, Instant);

/// Hands out each call when its moment has come, on a thread of its own: the runtime's timers know milliseconds only.
#[expect(clippy::disallowed_methods, reason = "the pace of a generator is what sleeping is for")]
fn clock(begin: Instant, per_second: f64, calls: u64) -> mpsc::UnboundedReceiver<Due> {
    let (hand_out, due) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for number in 0..calls {
            let moment = begin + Duration::from_secs_f64(float(number) / per_second);
            thread::sleep(moment.saturating_duration_since(Instant::now()));
            if hand_out.send((number, moment)).is_err() {
                return;
            }
        }
    });
    due
}

struct Flight {
    begin: Cell<Instant>,
    per_second: f64,
    calls: u64,
    latencies_us: RefCell<Vec<f64>>,
    lateness_us: RefCell<Vec<f64>>,
    bad: Cell<u64>,
    request: Request,
}

/// One connection: takes the next call when it has an answer to its last.
async fn work(flight: Rc<Flight>, mut stream: TcpStream, due: Rc<Mutex<mpsc::UnboundedReceiver<Due>>>) -> Result<()> {
    let mut answer = Vec::new();
    loop {
        let free = Instant::now();
        // Whose turn it is waits with the lock in its hands, the others for the lock.
        let next = due.lock().await.recv().await;
        let Some((number, moment)) = next else { return Ok(()) };
        let bytes = flight.request.encode(number);
        if free < moment {
            flight.lateness_us.borrow_mut().push(moment.elapsed().as_secs_f64() * 1e6);
        }
        stream.write_all(&bytes).await?;
        let is_good = read_answer(&mut stream, &mut answer, &flight.request.expect).await?;
        flight.latencies_us.borrow_mut().push(moment.elapsed().as_secs_f64() * 1e6);
        if !is_good {
            flight.bad.set(flight.bad.get() + 1);
        }
    }
}

/// Reads one answer with a Content-Length; was it one of success, with the expected text?
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, expect: &[u8]) -> Result<bool> {
    buffer.clear();
    loop {
        let head_end = buffer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head_end) = head_end {
            let head = std::str::from_utf8(&buffer[..head_end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("an answer without Content-Length")?.trim().parse()?;
            let end = head_end + 4 + length;
            ensure!(end <= ANSWER_BYTES_MAX, "an answer of {end} bytes");
            while buffer.len() < end {
                ensure!(stream.read_buf(buffer).await? > 0, "an answer that ends too early");
            }
            ensure!(buffer.len() == end, "more than one answer");
            let is_success = head.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
            let body = &buffer[head_end + 4..];
            let is_expected = expect.is_empty() || body.windows(expect.len()).any(|part| part == expect);
            return Ok(is_success && is_expected);
        }
        ensure!(buffer.len() < ANSWER_BYTES_MAX, "an endless head");
        ensure!(stream.read_buf(buffer).await? > 0, "a connection that ends instead of an answer");
    }
}

/// What is sent again and again.
struct Request {
    port: u16,
    head: String,
    body: String,
    run: String,
    expect: Vec<u8>,
}

impl Request {
    #[expect(clippy::disallowed_methods, reason = "a program of its own; a body does not fit into an argument")]
    fn of_environment(port: u16) -> Self {
        let text = |name: &str| env::var(name).unwrap_or_default();
        let method = env::var("METHOD").unwrap_or_else(|_| "GET".to_owned());
        let header = |name: &str, value: String| {
            if value.is_empty() { value } else { format!("{name}: {value}\r\n") }
        };
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: application/json\r\n{}{}",
            text("TARGET"),
            header("Authorization", text("AUTH")),
            header("Content-Type", text("CONTENT_TYPE"))
        );
        Self { port, head, body: text("BODY"), run: text("RUN"), expect: text("EXPECT").into_bytes() }
    }

    fn encode(&self, number: u64) -> Vec<u8> {
        let body = self.body.replace("@N@", &format!("{}n{number}", self.run));
        format!("{}Content-Length: {}\r\n\r\n{body}", self.head, body.len()).into_bytes()
    }
}

impl Flight {
    fn report(&self) {
        let (mut latencies, mut lateness) = (self.latencies_us.borrow_mut(), self.lateness_us.borrow_mut());
        latencies.sort_by(f64::total_cmp);
        lateness.sort_by(f64::total_cmp);
        let took = self.begin.get().elapsed().as_secs_f64();
        let count = u64::try_from(latencies.len()).unwrap_or(u64::MAX);
        println!(
            "RESULT n={count} per_second={:.0} p50_us={:.0} p99_us={:.0} p999_us={:.0} max_us={:.0} late_us={:.0} bad={}",
            float(count) / took,
            quantile(&latencies, 0.5),
            quantile(&latencies, 0.99),
            quantile(&latencies, 0.999),
            quantile(&latencies, 1.0),
            quantile(&lateness, 0.99),
            self.bad.get()
        );
    }
}

/// The smallest value that this part of them does not exceed; 0 of none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "no run has that many calls")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive")]
fn whole(number: f64) -> u64 {
    number.max(1.0) as u64
}
