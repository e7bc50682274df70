//! The input: one row for each job, from a CSV or made up.

use crate::Failure;
use jointo_credits::Timestamp;
use std::fs;
use std::path::Path;
use std::time::Duration;

const COLUMNS: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
/// Rows that are made up where the input says nothing else: as many as the Azure trace has, at its pace.
const MADE_UP_ROWS: u64 = 19_366;
/// How long the replay goes on after the last job has begun, so that it can end.
const AFTERMATH: Duration = Duration::from_secs(60);
/// The longest trace, in days: reversed credits live for 30 days, and none may expire before the replay ends.
const DAYS_MAX: i64 = 28;

/// One job of a language model.
pub struct Row {
    pub at: Timestamp,
    pub context_tokens: u32,
    pub generated_tokens: u32,
}

/// All of them, by time. There is at least one.
pub struct Trace {
    pub source: String,
    pub rows: Vec<Row>,
    start: Timestamp,
}

impl Trace {
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// When the replay ends: what has not happened by then does not happen.
    pub fn end(&self) -> Timestamp {
        self.rows.last().map_or(self.start, |row| row.at).plus(AFTERMATH)
    }
}

/// From `input`, else from the Azure trace beside the crate, else made up; the first `jobs` of it.
pub fn load(input: Option<&Path>, jobs: Option<u64>, seed: u64) -> Result<Trace, Failure> {
    let azure = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces/azure_llm_2023_conv.csv");
    let limit = usize::try_from(jobs.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let (source, mut rows) = match input.or_else(|| azure.exists().then_some(azure.as_path())) {
        Some(path) => {
            let name = path
                .file_name()
                .map_or_else(|| path.display().to_string(), |n| n.display().to_string());
            (name, read(path, limit)?)
        }
        None => (
            format!("made-up input (seed {seed})"),
            make_up(jobs.unwrap_or(MADE_UP_ROWS), seed),
        ),
    };
    rows.sort_by_key(|row| row.at);
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(Failure::Unusable(format!("{source} has no rows")));
    };
    if last.at.as_micros() - first.at.as_micros() > DAYS_MAX * 86_400_000_000 {
        return Err(Failure::Unusable(format!(
            "{source} spans more than {DAYS_MAX} days; cut it with --jobs"
        )));
    }
    Ok(Trace {
        start: first.at,
        source,
        rows,
    })
}

fn read(path: &Path, limit: usize) -> Result<Vec<Row>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|e| Failure::Unusable(format!("can't read the input {}: {e}", path.display())))?;
    let mut lines = (1..).zip(text.lines());
    let header = lines
        .next()
        .map_or("", |(_, line)| line.trim_start_matches('\u{feff}').trim());
    if header != COLUMNS {
        let problem = format!("{}: line 1 must be `{COLUMNS}`, not `{header}`", path.display());
        return Err(Failure::Unusable(problem));
    }
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .take(limit)
        .map(|(number, line)| {
            row(line).map_err(|why| Failure::Unusable(format!("{}: line {number}: {why}", path.display())))
        })
        .collect()
}

/// `2023-11-16 18:15:46.6805900,374,44`; times are UTC.
fn row(line: &str) -> Result<Row, String> {
    let mut fields = line.split(',').map(str::trim);
    let (Some(at), Some(context), Some(generated), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(format!("`{line}` has not three fields"));
    };
    let tokens = |field: &str| {
        field
            .parse()
            .map_err(|_| format!("`{field}` is no number of tokens"))
    };
    let at: Timestamp = format!("{}Z", at.replacen(' ', "T", 1))
        .parse()
        .map_err(|e| format!("{e}"))?;
    if !at.in_range() {
        return Err(format!(
            "{at} is out of the range {} .. {}",
            Timestamp::MIN,
            Timestamp::MAX
        ));
    }
    Ok(Row {
        at,
        context_tokens: tokens(context)?,
        generated_tokens: tokens(generated)?,
    })
}

/// Rows distributed like those of the Azure trace: its quantiles, at its pace.
fn make_up(jobs: u64, seed: u64) -> Vec<Row> {
    const CONTEXT: [f64; 9] = [
        2.0, 181.0, 207.0, 396.0, 1_020.0, 1_189.0, 2_735.0, 4_083.0, 14_050.0,
    ];
    const GENERATED: [f64; 9] = [7.0, 41.0, 54.0, 85.0, 129.0, 395.0, 424.0, 451.0, 1_000.0];
    let mut random = Random::new(seed, 0);
    let mut at = Timestamp::from_micros(1_700_158_546_000_000);
    let rows = (0..jobs).map(|_| {
        let context_tokens = quantile(&CONTEXT, random.unit());
        let generated_tokens = quantile(&GENERATED, random.unit());
        // Independent arrivals: the pauses are exponentially distributed, 181 ms on average.
        at = at.plus(Duration::from_secs_f64(-0.181 * (1.0 - random.unit()).ln()));
        Row {
            at,
            context_tokens,
            generated_tokens,
        }
    });
    rows.collect()
}

/// Draws from a distribution given by its quantiles 0, 5, 10, 25, 50, 75, 90, 95 and 100 %.
fn quantile(values: &[f64; 9], u: f64) -> u32 {
    const AT: [f64; 9] = [0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0];
    let pieces = AT.windows(2).zip(values.windows(2));
    for (at, value) in pieces {
        if let (&[from, to], &[low, high]) = (at, value)
            && u < to
        {
            return (low + (high - low) * (u - from) / (to - from)) as u32;
        }
    }
    1
}

/// SplitMix64: enough for a demonstration, and the same on every machine.
pub struct Random(u64);

impl Random {
    /// An independent stream for each `stream`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Random(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 up to, and not, 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }
}
