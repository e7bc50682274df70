//! How many quotes a second one core makes on a prepared card, the breakdown included: design, budget `calculate`.
//!
//! ```text
//! cargo bench --bench calculate              all cards, 2 s each
//! cargo bench --bench calculate -- 5         5 s each
//! ```
//!
//! The last rows are the same quotes through `Ledger::calculate`, which finds the card in force and gives the quote its
//! version; with `--no-default-features` there is no ledger, and there are no such rows.
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

use jointo_credits::pricing::{Decimal, Quantities, Quote, RateCard, quote, shipped};
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
        let cards = shipped::rate_cards().unwrap();
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
    #[cfg(feature = "sqlite")]
    through_a_ledger(&[&images, &text, &audio], time);
}

/// As a caller has it: the usage put together anew for every call.
#[cfg(feature = "sqlite")]
fn through_a_ledger(cards: &[&Arc<RateCard>; 3], time: Duration) {
    use jointo_credits::{Ledger, Usage};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ledger = Ledger::connect("sqlite::memory:").await.unwrap();
        ledger.migrate().await.unwrap();
        ledger.seed_catalog().await.unwrap();
        let user = Some(uuid::Uuid::from_u128(1));
        let quoted = |usage: Usage| {
            let mut future = std::pin::pin!(ledger.calculate(&usage, user));
            let waiting = &mut std::task::Context::from_waker(std::task::Waker::noop());
            match future.as_mut().poll(waiting) {
                std::task::Poll::Ready(quote) => quote.unwrap(),
                // Only where the copy of the catalogue has to be read.
                std::task::Poll::Pending => {
                    tokio::task::block_in_place(|| runtime.handle().block_on(future)).unwrap()
                }
            }
        };
        run(
            "through a ledger: per unit, two multipliers",
            cards[0],
            time,
            |n| {
                quoted(
                    Usage::of("image_generation")
                        .quantity(1 + n % 8)
                        .attribute("resolution", "2048x2048")
                        .attribute("quality", "hd"),
                )
            },
        );
        run(
            "through a ledger: two quantities per 1000, a multiplier",
            cards[1],
            time,
            |n| {
                quoted(
                    Usage::of("text_processing")
                        .metered("input_tokens", 800 + n % 4096)
                        .metered("output_tokens", 100 + n % 1024)
                        .attribute("model", "pro"),
                )
            },
        );
        run("through a ledger: three graduated tiers", cards[2], time, |n| {
            quoted(Usage::of("audio_generation").quantity(Decimal::new(301_000 + (n % 60_000) as i64, 3)))
        });
        ledger.close().await;
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
