/// Milliseconds: half of the calls took no longer, 99 in 100, all.
pub fn latencies(mut micros: Vec<u64>) -> String {
    micros.sort_unstable();
    let at = |q: f64| {
        let place = ((micros.len() as f64 * q) as usize).min(micros.len().saturating_sub(1));
        micros.get(place).copied().unwrap_or(0) as f64 / 1e3
    };
    format!(
        "{{\"calls\": {}, \"p50_ms\": {:.1}, \"p99_ms\": {:.1}, \"max_ms\": {:.1}}}",
        micros.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
