//! `docs/rate-cards.md`: its cards are cards, and its calculations are what the code answers.

use super::{checks, d};
use jointo_credits::pricing::{Quantities, Quote, QuoteError, RateCard, quote};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

const PAGE: &str = include_str!("../../docs/rate-cards.md");

/// `name=value`, told apart by what the card meters.
fn call(card: &Arc<RateCard>, words: &str, held: Option<&Quote>) -> Result<Quote, QuoteError> {
    let meters = |name: &str| {
        card.components()
            .iter()
            .any(|c| c.quantity.as_deref() == Some(name))
    };
    let given: Vec<(&str, &str)> = words
        .split_whitespace()
        .map(|w| w.split_once('=').unwrap())
        .collect();
    let (used, attributes): (Vec<_>, Vec<_>) = given.into_iter().partition(|(name, _)| meters(name));
    let used: Vec<_> = used.into_iter().map(|(name, n)| (name, d(n))).collect();
    match held {
        Some(held) => held.reprice(Quantities::Named(&used)),
        None => quote(card, Quantities::Named(&used), &attributes),
    }
}

/// The page as it should be, and how many calculations it has of each model.
fn worked_out() -> (String, Vec<&'static str>) {
    let (mut page, mut models) = (String::new(), Vec::new());
    let (mut card, mut held): (Option<Arc<RateCard>>, Option<Quote>) = (None, None);
    for (number, part) in PAGE.split("```").enumerate() {
        let separator = if number > 0 { "```" } else { "" };
        if number % 2 == 1
            && let Some(json) = part.strip_prefix("json\n")
        {
            card = Some(Arc::new(
                RateCard::parse(json).unwrap_or_else(|e| panic!("{e}\n{json}")),
            ));
        }
        let asked = part.strip_prefix("text\n>").and_then(|text| text.lines().next());
        let (Some(asked), Some(card)) = (asked, card.as_ref().filter(|_| number % 2 == 1)) else {
            write!(page, "{separator}{part}").unwrap();
            continue;
        };
        let answer = match asked.strip_prefix(" then ") {
            Some(words) => call(card, words, held.as_ref()),
            None => call(card, asked, None),
        };
        if let Ok(quote) = &answer {
            checks::whole_quote(quote);
            models.extend(card.components().iter().map(|c| c.model.as_str()));
        }
        let told = answer
            .as_ref()
            .map_or_else(|e| format!("refused: {e}"), ToString::to_string);
        write!(page, "{separator}text\n>{asked}\n{told}\n").unwrap();
        held = answer.ok();
    }
    (page, models)
}

#[test]
fn every_calculation_of_the_page_is_what_the_code_answers() {
    let (page, models) = worked_out();
    // Line by line, so that a failure shows the line and not two pages.
    for (number, (stated, answered)) in (1..).zip(PAGE.lines().zip(page.lines())) {
        assert_eq!(stated, answered, "docs/rate-cards.md, line {number}");
    }
    assert_eq!(PAGE, page);
    let models: BTreeSet<&str> = models.into_iter().collect();
    assert_eq!(
        models,
        BTreeSet::from(["flat", "graduated", "package", "per_unit", "volume"])
    );
}
