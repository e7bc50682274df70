//! The comparison: the ledger's books, the balances that customers are told, and the example's own count.

use crate::Failure;
use crate::count::{Counted, Credits};
use crate::product::Product;
use jointo_credits::{Balance, TrialBalance, Verification};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Everything that was found.
pub struct Audit {
    pub counted: Counted,
    /// The figures that the ledger's books give.
    pub books: Credits,
    pub trial: TrialBalance,
    pub verification: Verification,
    /// How long verifying took.
    pub took: Duration,
    /// What does not add up: nothing, if every credit is accounted for.
    pub faults: Vec<String>,
}

impl Audit {
    /// Reads the ledger's books and compares them with what was counted.
    pub async fn of(product: &Product, jobs: usize, concurrency: usize) -> Result<Audit, Failure> {
        let mut counted = product.count.at(product.stage.now());
        let trial = product.ledger.trial_balance().await?;
        let balances = balances(product, concurrency).await?;
        let began = Instant::now();
        let verification = product.ledger.verify().await?;
        let took = began.elapsed();

        let books = books(&trial);
        let mut faults = std::mem::take(&mut counted.faults);
        compare(&mut faults, &counted.credits, &books, &balances);
        check(&mut faults, &counted, jobs as u64, &trial, &verification);
        Ok(Audit {
            counted,
            books,
            trial,
            verification,
            took,
            faults,
        })
    }
}

/// What the ledger's counter-accounts say.
fn books(trial: &TrialBalance) -> Credits {
    let sum = |wanted: fn(&str) -> bool| -> i128 {
        trial
            .counter_accounts
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, credits)| credits)
            .sum()
    };
    Credits {
        issued: -sum(|name| name.starts_with("issued.")),
        spent: sum(|name| name.starts_with("earned")),
        held: trial.held,
        expired: sum(|name| name == "expired"),
        left: trial.available,
    }
}

/// What the customers are told, added up. (A balance does not say what has expired.)
async fn balances(product: &Product, concurrency: usize) -> Result<Credits, Failure> {
    let mut sum = Credits::default();
    let mut add = |balance: Balance| {
        sum.issued += i128::from(balance.granted);
        sum.spent += i128::from(balance.spent);
        sum.held += i128::from(balance.held);
        sum.left += i128::from(balance.available);
    };
    let mut reads = JoinSet::new();
    for customer in &product.customers {
        if reads.len() >= concurrency
            && let Some(balance) = reads.join_next().await
        {
            add(balance??);
        }
        let (ledger, id) = (product.ledger.clone(), customer.id);
        reads.spawn(async move { ledger.balance(id).await });
    }
    while let Some(balance) = reads.join_next().await {
        add(balance??);
    }
    Ok(sum)
}

/// Every figure, from each source, against what was counted.
fn compare(faults: &mut Vec<String>, counted: &Credits, books: &Credits, balances: &Credits) {
    let figures = counted
        .lines()
        .into_iter()
        .zip(books.lines())
        .zip(balances.lines());
    for (((name, counted), (_, books)), (_, balances)) in figures {
        if books != counted {
            faults.push(format!(
                "{name}: the ledger's books say {books}, the answers add up to {counted}"
            ));
        }
        if balances != counted && name != "expired" {
            faults.push(format!(
                "{name}: the balances add up to {balances}, the answers to {counted}"
            ));
        }
    }
    for (whose, credits) in [("the ledger's books", books), ("the answers", counted)] {
        let missing = credits.unaccounted();
        if missing != 0 {
            faults.push(format!(
                "{whose}: issued - spent - held - expired - left = {missing}, not 0"
            ));
        }
    }
}

/// Counts of things, and the ledger's own findings.
fn check(
    faults: &mut Vec<String>,
    counted: &Counted,
    jobs: u64,
    trial: &TrialBalance,
    verification: &Verification,
) {
    let outcomes = &counted.outcomes;
    if outcomes.jobs() != jobs {
        faults.push(format!(
            "{jobs} jobs were replayed and {} have an outcome",
            outcomes.jobs()
        ));
    }
    let (books, answers) = (verification.holds, outcomes.accepted());
    if books != answers {
        faults.push(format!(
            "the ledger has {books} consumptions, the answers named {answers}"
        ));
    }
    // It may have more lots: it makes some for credits that come back after their lot has expired.
    let (books, answers) = (verification.lots, counted.lots);
    if books < answers {
        faults.push(format!(
            "the ledger has {books} lots, the answers named {answers}"
        ));
    }
    if !trial.is_balanced() {
        faults.push(format!(
            "trial balance: everything together is {}, not 0",
            trial.total()
        ));
    }
    if !verification.is_clean() {
        faults.push(format!("verify found {} faults", verification.fault_count));
    }
}
