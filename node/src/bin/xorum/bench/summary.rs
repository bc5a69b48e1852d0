//! What is printed in the end.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    Plan,
    measure::{Latencies, Seen},
};

/// For people.
pub(super) fn text(plan: Plan, seen: &Seen) -> String {
    let loop_kind = plan.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate} ops/s"));
    let mut text = format!(
        "{loop_kind}, {} clients, {} B values, {} % reads, {} keys, {:.1} s\n",
        plan.clients,
        plan.value_bytes,
        plan.reads_percent,
        plan.keys,
        seen.took.as_secs_f64(),
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<6}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "", "ops", "ops/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms"
    );
    for (name, latencies) in [("put", &seen.puts), ("get", &seen.gets), ("all", &seen.all())] {
        if latencies.count() > 0 {
            text += &row(name, latencies, seen.took.as_secs_f64());
        }
    }
    let _ = write!(text, "errors {}", seen.failed_count());
    for (code, count) in &seen.failures {
        let _ = write!(text, " {code}={count}");
    }
    if seen.not_sent > 0 {
        let _ = write!(text, "\nnot sent {}: all clients were busy when these were due", seen.not_sent);
    }
    text
}

fn row(name: &str, latencies: &Latencies, seconds: f64) -> String {
    let ms = |us: u64| us as f64 / 1000.0;
    format!(
        "{name:<6}{:>12}{:>12.0}{:>12.3}{:>12.3}{:>12.3}{:>12.3}\n",
        latencies.count(),
        latencies.count() as f64 / seconds,
        ms(latencies.quantile_us(0.5)),
        ms(latencies.quantile_us(0.99)),
        ms(latencies.quantile_us(0.999)),
        ms(latencies.max_us()),
    )
}

/// For programs.
pub(super) fn json(plan: Plan, seen: &Seen) -> Value {
    json!({
        "ok": seen.done() > 0,
        "clients": plan.clients,
        "value_size": plan.value_bytes,
        "reads_percent": plan.reads_percent,
        "keys": plan.keys,
        "rate": plan.rate,
        "seconds": seen.took.as_secs_f64(),
        "ops": seen.done(),
        "ops_per_s": seen.per_second(),
        "errors": seen.failed_count(),
        "errors_by_code": seen.failures,
        "not_sent": seen.not_sent,
        "all": latencies(&seen.all()),
        "puts": latencies(&seen.puts),
        "gets": latencies(&seen.gets),
    })
}

fn latencies(latencies: &Latencies) -> Value {
    json!({
        "count": latencies.count(),
        "p50_us": latencies.quantile_us(0.5),
        "p99_us": latencies.quantile_us(0.99),
        "p999_us": latencies.quantile_us(0.999),
        "max_us": latencies.max_us(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_summary_tells_rates_latencies_and_failures() {
        let plan = Plan {
            clients: 2,
            duration: Duration::from_secs(2),
            value_bytes: 100,
            reads_percent: 0,
            rate: None,
            keys: 10,
        };
        let mut seen = Seen { took: Duration::from_secs(2), not_sent: 3, ..Seen::new() };
        (1..=1000).for_each(|ms| seen.put(Duration::from_millis(ms)));
        seen.failed("busy");
        let object = json(plan, &seen);
        assert_eq!(object["ops_per_s"], 500.0);
        assert_eq!(object["errors_by_code"]["busy"], 1);
        let p99 = object["puts"]["p99_us"].as_u64().expect("a number");
        assert!((985_000..=995_000).contains(&p99), "{p99}");
        let text = text(plan, &seen);
        assert!(text.contains("errors 1 busy=1") && text.contains("not sent 3"), "{text}");
        assert!(!text.contains("get"), "{text}");
    }
}
