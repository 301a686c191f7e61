//! Runs measurements through criterion, keeps what they say, and sums it up.

use chord::cpu::Level;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use serde_json::json;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a kernel is limited by, and what its work is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes from memory.
    Memory,
    /// Bytes from and to the second-level cache.
    Cache,
    /// Multiplications of int8 by int8.
    Int8,
    /// Multiplications of f32 by f32, each with an addition.
    Float,
}

impl Limit {
    const ALL: [(Limit, &str); 4] = [
        (Limit::Memory, "memory_bytes_per_second"),
        (Limit::Cache, "cache_bytes_per_second"),
        (Limit::Int8, "int8_macs_per_second"),
        (Limit::Float, "float_macs_per_second"),
    ];
}

/// The work of one call.
#[derive(Clone, Copy)]
pub struct Work {
    pub limit: Limit,
    /// In units of the limit.
    pub amount: usize,
    /// How many of them the result is worth: less where high precision multiplies twice.
    pub useful: usize,
}

impl Work {
    pub fn new(limit: Limit, amount: usize) -> Work {
        Work { limit, amount, useful: amount }
    }
}

/// What one kernel did at one level.
struct Row {
    group: String,
    name: String,
    level: Level,
    work: Work,
    seconds: f64,
}

impl Row {
    /// Useful units per second.
    fn rate(&self) -> f64 {
        self.work.useful as f64 / self.seconds
    }
}

pub struct Report {
    criterion: Criterion,
    rows: Vec<Row>,
    /// What the machine does at best, in units per second; for memory, at any level.
    ceilings: Vec<(Level, Limit, f64)>,
    /// What else there is to say about the machine.
    probes: Vec<(String, f64)>,
}

/// Samples of a measurement, as many as criterion takes: its earlier ones warm up.
const SAMPLES: usize = 10;

impl Report {
    pub fn new(criterion: Criterion) -> Report {
        Report { criterion, rows: Vec::new(), ceilings: Vec::new(), probes: Vec::new() }
    }

    /// Notes what the machine does at best; the best of several times counts.
    pub fn ceiling(&mut self, level: Level, limit: Limit, rate: f64) {
        self.ceilings.push((level, limit, rate));
    }

    /// Notes something in units per second.
    pub fn probe(&mut self, name: String, rate: f64) {
        self.probes.push((name, rate));
    }

    /// Measures one kernel at one level, unless it is filtered out.
    pub fn measure<T>(&mut self, group: &str, name: &str, level: Level, work: Work, mut call: impl FnMut() -> T) {
        let samples = RefCell::new(VecDeque::with_capacity(SAMPLES));
        let mut criterion = self.criterion.benchmark_group(group);
        criterion.sampling_mode(SamplingMode::Flat);
        criterion.throughput(match work.limit {
            Limit::Memory | Limit::Cache => Throughput::Bytes(work.useful as u64),
            Limit::Int8 | Limit::Float => Throughput::Elements(work.useful as u64),
        });
        criterion.bench_function(BenchmarkId::new(name, level), |bencher| {
            bencher.iter_custom(|count| {
                let took = time(count, &mut call);
                let mut samples = samples.borrow_mut();
                if samples.len() == SAMPLES {
                    samples.pop_front();
                }
                samples.push_back(took.as_secs_f64() / count as f64);
                took
            });
        });
        criterion.finish();
        let mut samples = Vec::from(samples.into_inner());
        if samples.is_empty() {
            return;
        }
        samples.sort_by(f64::total_cmp);
        let seconds = (samples[(samples.len() - 1) / 2] + samples[samples.len() / 2]) / 2.0;
        self.rows.push(Row { group: group.to_owned(), name: name.to_owned(), level, work, seconds });
    }

    /// The best that was noted for a limit.
    fn best(&self, level: Level, limit: Limit) -> Option<f64> {
        let fits = |&&(at, what, _): &&(Level, Limit, f64)| what == limit && (at == level || limit == Limit::Memory);
        self.ceilings.iter().filter(fits).map(|&(.., rate)| rate).max_by(f64::total_cmp)
    }

    fn share(&self, row: &Row) -> Option<f64> {
        Some(row.work.amount as f64 / row.seconds / self.best(row.level, row.work.limit)?)
    }

    fn speedup(&self, row: &Row) -> Option<f64> {
        let same = |other: &&Row| other.level == Level::Scalar && other.group == row.group && other.name == row.name;
        Some(row.rate() / self.rows.iter().find(same)?.rate())
    }

    fn levels(&self) -> Vec<Level> {
        Level::ALL.iter().copied().filter(|&level| self.ceilings.iter().any(|&(at, ..)| at == level)).collect()
    }

    /// Prints tables, one per group, and writes everything to `path`.
    pub fn finish(&self, path: &Path) {
        println!("\nAt best, in 10^9 per second");
        for (name, rate) in &self.probes {
            println!("  {name:40} {:8.1}", rate / 1e9);
        }
        for level in self.levels() {
            let rates = Limit::ALL[1..].iter().filter_map(|&(limit, name)| Some((name, self.best(level, limit)?)));
            let rates: Vec<_> = rates.map(|(name, rate)| format!("{name} {:.1}", rate / 1e9)).collect();
            println!("  {:40} {}", level.name(), rates.join(", "));
        }
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&row.group.as_str()) {
                groups.push(&row.group);
            }
        }
        for group in groups {
            println!("\n{group}: 10^9 per second, share of the best, times scalar");
            let rows = || self.rows.iter().filter(|row| row.group == group);
            let mut names: Vec<&str> = Vec::new();
            for row in rows().filter(|row| row.level == Level::Scalar || self.speedup(row).is_none()) {
                if !names.contains(&row.name.as_str()) {
                    names.push(&row.name);
                }
            }
            let heads: Vec<_> = self.levels().iter().map(|level| format!("{:>24}", level.name())).collect();
            println!("| {:32} | {} |\n|{:-<34}|{}", "", heads.join(" | "), "", format!("{:->25}:|", "").repeat(heads.len()));
            for name in names {
                let cells = self.levels().into_iter().map(|level| {
                    let Some(row) = rows().find(|row| row.name == name && row.level == level) else { return " ".repeat(24) };
                    let share = self.share(row).map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share));
                    let speedup = match level {
                        Level::Scalar => String::new(),
                        _ => self.speedup(row).map_or_else(String::new, |times| format!("x {times:.1}")),
                    };
                    format!("{:8.2} {share:>6} {speedup:>8}", row.rate() / 1e9)
                });
                println!("| {name:32} | {} |", cells.collect::<Vec<_>>().join(" | "));
            }
        }
        let written = fs::create_dir_all(path.parent().unwrap_or(path)).and_then(|()| fs::write(path, self.json()));
        match written {
            Ok(()) => println!("\nwritten to {}", path.display()),
            Err(error) => eprintln!("\n{}: {error}", path.display()),
        }
    }

    fn json(&self) -> String {
        let ceilings = self.levels().into_iter().map(|level| {
            let rates = Limit::ALL.iter().filter_map(|&(limit, name)| Some((name.to_owned(), json!(self.best(level, limit)?))));
            (level.name().to_owned(), serde_json::Value::Object(rates.collect()))
        });
        let rows = self.rows.iter().map(|row| {
            json!({
                "group": row.group,
                "name": row.name,
                "level": row.level.name(),
                "seconds": row.seconds,
                "per_second": row.rate(),
                "limit": Limit::ALL.iter().find(|(limit, _)| *limit == row.work.limit).map(|(_, name)| name),
                "share_of_limit": self.share(row),
                "times_scalar": self.speedup(row),
            })
        });
        let probes = self.probes.iter().map(|(name, rate)| (name.clone(), json!(rate)));
        let all = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "probes": serde_json::Value::Object(probes.collect()),
            "ceilings": serde_json::Value::Object(ceilings.collect()),
            "results": rows.collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }
}

/// How long `count` calls take.
pub fn time<T>(count: u64, call: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        std::hint::black_box(call());
    }
    start.elapsed()
}
