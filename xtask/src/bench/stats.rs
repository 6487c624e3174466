//! Figures of repeated runs and the Markdown tables made of them. No measuring here.

use anyhow::{Context as _, Result};
use std::{error::Error, fmt::Write as _, str::FromStr};

/// Median, smallest and largest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (*sorted.get((sorted.len() - 1) / 2)?, *sorted.get(sorted.len() / 2)?);
        Some(Self { median: f64::midpoint(below, above), min, max })
    }

    pub(crate) fn text(self, decimals: usize) -> String {
        format!("{:.decimals$} ({:.decimals$}-{:.decimals$})", self.median, self.min, self.max)
    }
}

/// What one run of one system gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sample {
    /// What systems are compared by; its meaning is the table's.
    pub(crate) figure: f64,
    pub(crate) per_second: f64,
    /// Answers, and the seconds in which they came, as the generator counted them; zero where there is none.
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
}

/// A system and its runs, one per round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

/// The figures of the RESULT line that our wrk scripts print.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WrkResult {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
}

/// The RESULT line of a generator's output: `name=figure` and so on.
pub(crate) struct Figures<'a>(&'a str);

impl<'a> Figures<'a> {
    pub(crate) fn find(output: &'a str) -> Result<Self> {
        output.lines().find_map(|line| line.strip_prefix("RESULT ")).map(Self).with_context(|| output.to_owned())
    }

    pub(crate) fn get<T: FromStr<Err: Error + Send + Sync + 'static>>(&self, name: &str) -> Result<T> {
        let text = self.0.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let text = text.with_context(|| format!("no {name} in {}", self.0))?;
        text.trim().parse().with_context(|| format!("{name} in {}", self.0))
    }
}

impl WrkResult {
    pub(crate) fn parse(output: &str) -> Result<Self> {
        let result = Figures::find(output)?;
        Ok(Self {
            requests: result.get("n")?,
            seconds: result.get::<f64>("us")? / 1e6,
            p50_us: result.get("p50_us")?,
            p99_us: result.get("p99_us")?,
            errors: result.get("bad")?,
        })
    }
}

/// A Markdown table. The first row is ours; the last column is ours divided by each other row, round by round, so
/// that what disturbs the machine in one round disturbs both sides of the ratio.
pub(crate) fn table(figure: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "| system | {figure}: median (min-max) | per second | p50 us | p99 us | errors | ours to it |\n|---|---|---|---|---|---|---|\n"
    );
    let ours = rows.first().map(|row| row.samples.as_slice()).unwrap_or_default();
    for (index, row) in rows.iter().enumerate() {
        let of = |pick: fn(&Sample) -> f64, decimals: usize| {
            Spread::of(row.samples.iter().map(pick))
                .map_or_else(String::new, |spread| format!("{:.decimals$}", spread.median))
        };
        let figures = Spread::of(row.samples.iter().map(|sample| sample.figure));
        let ratios = ours.iter().zip(&row.samples).map(|(our, its)| our.figure / its.figure);
        let ratio = Spread::of(ratios).filter(|_| index > 0).map_or_else(String::new, |spread| spread.text(2));
        let errors: u64 = row.samples.iter().map(|sample| sample.errors).sum();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {errors} | {ratio} |",
            row.name,
            figures.map_or_else(String::new, |spread| spread.text(0)),
            of(|sample| sample.per_second, 0),
            of(|sample| sample.p50_us, 0),
            of(|sample| sample.p99_us, 0),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_odd_and_even_numbers() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn the_result_line_of_wrk() {
        let output = "Running 1s test\n  1 threads\nRESULT n=1500 us=1000000 p50_us=250 p99_us=900 bad=2\n";
        let expected = WrkResult { requests: 1500.0, seconds: 1.0, p50_us: 250.0, p99_us: 900.0, errors: 2 };
        assert_eq!(WrkResult::parse(output).unwrap(), expected);
        assert!(WrkResult::parse("unable to connect").is_err());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let row = |name: &str, figures: &[f64]| Row {
            name: name.to_owned(),
            samples: figures.iter().map(|figure| Sample { figure: *figure, ..Sample::default() }).collect(),
        };
        let text = table("per CPU-second", &[row("ours", &[100.0, 50.0, 90.0]), row("other", &[200.0, 100.0, 90.0])]);
        let last = text.lines().last().unwrap();
        assert!(last.ends_with("| 0.50 (0.50-1.00) |"), "{text}");
        assert!(text.lines().nth(2).unwrap().ends_with("| 0 |  |"), "{text}");
    }
}
