//! How many quotes a second one core makes on a prepared card, the breakdown included: design, budget `calculate`.
//!
//! ```text
//! cargo bench --no-default-features --bench calculate              all cards, 2 s each
//! cargo bench --no-default-features --bench calculate -- 5         5 s each
//! ```
//!
//! Prints one JSON object per card. The clock is read once in 1,000 quotes, and quantities change from quote to quote, so
//! that nothing can be worked out once for all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(missing_docs, clippy::disallowed_methods)]

use jointo_credits::pricing::{Decimal, Quantities, Quote, RateCard, catalogue, quote};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const QUOTES_PER_READING: u64 = 1_000;

fn main() {
    // cargo bench passes --bench; cargo test --benches passes nothing, and gets a moment each.
    let bench = std::env::args().any(|a| a == "--bench");
    let seconds = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let time = Duration::from_secs_f64(seconds.unwrap_or(if bench { 2.0 } else { 0.01 }));
    let find = |feature: &str| {
        let cards = catalogue::rate_cards().unwrap();
        cards
            .into_iter()
            .find(|(_, card)| card.feature() == feature)
            .unwrap()
            .1
    };

    let images = find("image_generation");
    let hd = [("resolution", "2048x2048"), ("quality", "hd")];
    run("per unit, two multipliers", &images, time, |n| {
        quote(&images, 1 + n % 8, black_box(&hd)).unwrap()
    });
    let text = find("text_processing");
    let pro = [("model", "pro")];
    run("two quantities per 1000, a multiplier", &text, time, |n| {
        let used = [
            ("input_tokens", Decimal::from(800 + n % 4096)),
            ("output_tokens", Decimal::from(100 + n % 1024)),
        ];
        quote(&text, Quantities::Named(&used), black_box(&pro)).unwrap()
    });
    let audio = find("audio_generation");
    run("three graduated tiers, assumed attribute", &audio, time, |n| {
        quote(&audio, Decimal::new(301_000 + (n % 60_000) as i64, 3), &[]).unwrap()
    });
    let voice = find("voiceover_generation");
    run("package, a multiplier", &voice, time, |n| {
        quote(&voice, 1 + n % 5_000, black_box(&[("voice", "cloned")])).unwrap()
    });
    let effects = find("sound_effect_generation");
    run("flat, a multiplier", &effects, time, |_| {
        quote(&effects, 1, &[]).unwrap()
    });

    let held = quote(&text, Quantities::Named(&[("input_tokens", 1200.into())]), &pro).unwrap();
    run("priced again for confirm", &text, time, |n| {
        held.reprice(Quantities::Named(&[(
            "output_tokens",
            Decimal::from(100 + n % 1024),
        )]))
        .unwrap()
    });
    run("and read out as text", &text, time, |n| {
        let quote = held
            .reprice(Quantities::Named(&[(
                "output_tokens",
                Decimal::from(100 + n % 1024),
            )]))
            .unwrap();
        black_box(quote.to_string());
        quote
    });
}

fn run(what: &str, card: &Arc<RateCard>, time: Duration, mut one: impl FnMut(u64) -> Quote) {
    let lines = one(0).lines().len();
    let mut best = 0.0_f64;
    let (begin, mut quotes) = (Instant::now(), 0);
    while begin.elapsed() < time {
        let reading = Instant::now();
        for n in quotes..quotes + QUOTES_PER_READING {
            black_box(one(black_box(n)));
        }
        best = best.max(QUOTES_PER_READING as f64 / reading.elapsed().as_secs_f64());
        quotes += QUOTES_PER_READING;
    }
    println!(
        "{{\"quotes\": \"{what}\", \"feature\": \"{}\", \"lines\": {lines}, \"per_second\": {:.0}, \"best_thousand_per_second\": {best:.0}}}",
        card.feature(),
        quotes as f64 / begin.elapsed().as_secs_f64(),
    );
}
