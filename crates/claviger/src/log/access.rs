//! How an access line is written. It is by far the most frequent line, so it does not go through the general formatter, whose
//! buffers and spans cost more than its text; what it prints is the same, but for colours on a terminal.

use crate::cli::LogFormat;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Target of the access lines, of the management ports and of the gateway.
pub(super) const TARGET: &str = "access";

/// Writes access lines itself and leaves every other event to a general formatter.
pub(super) struct AccessFirst<E> {
    pub(super) format: LogFormat,
    pub(super) other: E,
}

impl<S, N, E> FormatEvent<S, N> for AccessFirst<E>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    E: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if event.metadata().target() == TARGET {
            write_line(&mut out, self.format, event)
        } else {
            self.other.format_event(context, out, event)
        }
    }
}

fn write_line(out: &mut Writer<'_>, format: LogFormat, event: &Event<'_>) -> fmt::Result {
    let level = event.metadata().level().as_str();
    match format {
        LogFormat::Text => {
            SystemTime.format_time(out)?;
            write!(out, " {level:>5} {TARGET}:")?;
        }
        LogFormat::Json => {
            out.write_str("{\"timestamp\":\"")?;
            SystemTime.format_time(out)?;
            write!(out, "\",\"level\":\"{level}\",\"fields\":{{")?;
        }
    }
    let mut fields = Fields { out: out.by_ref(), format, is_first: true, outcome: Ok(()) };
    event.record(&mut fields);
    fields.outcome?;
    match format {
        LogFormat::Text => out.write_char('\n'),
        LogFormat::Json => writeln!(out, "}},\"target\":\"{TARGET}\"}}"),
    }
}

/// Writes the fields of an event, one behind the other.
struct Fields<'a> {
    out: Writer<'a>,
    format: LogFormat,
    is_first: bool,
    /// The first failure; fields behind it are left out.
    outcome: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>, LogFormat) -> fmt::Result) {
        let separator = if std::mem::take(&mut self.is_first) { "" } else { "," };
        let (out, format) = (&mut self.out, self.format);
        self.outcome = self.outcome.and_then(|()| {
            let pieces = match format {
                LogFormat::Text => [" ", name, "="],
                LogFormat::Json => [separator, "\"", name],
            };
            pieces.iter().try_for_each(|piece| out.write_str(piece))?;
            if format == LogFormat::Json {
                out.write_str("\":")?;
            }
            value(out, format)
        });
    }
}

/// Texts are quoted and escaped in both forms, so that no path or name can begin a line of its own.
fn write_quoted(out: &mut Writer<'_>, format: LogFormat, text: &str) -> fmt::Result {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    match format {
        _ if is_plain => ["\"", text, "\""].iter().try_for_each(|piece| out.write_str(piece)),
        LogFormat::Text => write!(out, "{text:?}"),
        LogFormat::Json => out.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?),
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field.name(), |out, format| write_quoted(out, format, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field.name(), |out, _| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field.name(), |out, _| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field.name(), |out, _| write!(out, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field.name(), |out, format| match format {
            LogFormat::Text => write!(out, "{value:?}"),
            LogFormat::Json => write_quoted(out, format, &format!("{value:?}")),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_samples() {
        for path in ["/a/b", "/quo\"te", "/back\\slash", "/a\"\\\n2026-01-01 INFO forged", "/ä\u{1b}[31m"] {
            let (method, missing) = (http::Method::GET, None::<&str>);
            tracing::info!(target: "access", peer = "127.0.0.1:1", %method, path, missing, status = 200_u16, left = -1_i64, is_tls = true);
            tracing::warn!(target: "other", path, "said");
        }
    }

    /// What is printed without the times, which differ.
    fn lines(page: &Page) -> Vec<String> {
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let without_time = |line: &str| {
            let (before, rest) = line.split_at(line.find("20").unwrap());
            let (time, after) = rest.split_at(27);
            assert!(time.ends_with('Z'), "{line}");
            format!("{before}{after}")
        };
        text.lines().map(without_time).collect()
    }

    #[test]
    fn access_lines_read_as_if_the_general_formatter_had_written_them() {
        let (ours, theirs) = (Page::default(), Page::default());
        let to = |page: &Page| {
            let page = page.clone();
            tracing_subscriber::fmt().with_writer(move || page.clone())
        };
        let text = to(&ours).with_ansi(false).map_event_format(|other| AccessFirst { format: LogFormat::Text, other });
        tracing::subscriber::with_default(text.finish(), log_samples);
        tracing::subscriber::with_default(to(&theirs).with_ansi(false).finish(), log_samples);
        assert_eq!(lines(&ours), lines(&theirs));
        assert_eq!(lines(&ours).len(), 10);

        let (ours, theirs) = (Page::default(), Page::default());
        let json = to(&ours).json().map_event_format(|other| AccessFirst { format: LogFormat::Json, other });
        tracing::subscriber::with_default(json.finish(), log_samples);
        tracing::subscriber::with_default(to(&theirs).json().finish(), log_samples);
        let parsed = |page: &Page| -> Vec<serde_json::Value> {
            lines(page).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        assert_eq!(parsed(&ours), parsed(&theirs));
        assert_eq!(parsed(&ours).len(), 10);
    }
}
