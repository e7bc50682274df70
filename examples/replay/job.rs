//! One AI job: what a product does with the ledger before, after and instead of it. This is the part to copy.

use crate::Failure;
use crate::meter::Call;
use crate::product::{Customer, FEATURE, Product};
use crate::stage::Turn;
use jointo_credits::pricing::Decimal;
use jointo_credits::{
    Confirm, Consumption, Gift, Overage, PricedConfirm, PricedConsume, Refund, Refusal, Status, Timestamp,
    Usage,
};
use std::time::Duration;

/// How long a customer who complains takes to do so.
const COMPLAINS_AFTER: Duration = Duration::from_secs(2 * 60);

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Succeeds,
    /// And the customer asks for the credits back, and gets them.
    Complaint,
    /// The worker reports an error.
    Fails,
    /// The worker never answers.
    Forgotten,
    /// The worker answers when its hold has expired.
    Late,
}

pub struct Job {
    pub number: u64,
    /// Whose it is, by number.
    pub customer: usize,
    /// The language model that it asks for: the price depends on it.
    pub model: &'static str,
    /// Known before.
    pub input_tokens: u32,
    /// What the product takes the answer to be before it is there; where it has no idea, the rate card says.
    pub output_guess: Option<u32>,
    /// What the answer will have been.
    pub output_tokens: u32,
    pub done_at: Timestamp,
    pub fate: Fate,
    /// Whether the answer to `consume` gets lost, so that it is called again.
    pub consume_twice: bool,
    /// The same for the call that settles it.
    pub settle_twice: bool,
    /// Whether a failure is made up for.
    pub apology: bool,
}

impl Job {
    /// What is known about it, with an answer of this many tokens.
    pub fn usage(&self, output_tokens: Option<u32>) -> Usage {
        let usage = Usage::of(FEATURE)
            .attribute("model", self.model)
            .metered("input_tokens", self.input_tokens);
        match output_tokens {
            Some(tokens) => usage.metered("output_tokens", tokens),
            None => usage,
        }
    }
}

/// The whole life of a job.
pub async fn run(product: &Product, job: &Job, turn: Turn) -> Result<(), Failure> {
    let Some(customer) = product.customers.get(job.customer) else {
        return Err(Failure::Unusable(format!("job {} has no customer", job.number)));
    };
    let Some(hold) = hold(product, customer, job).await? else {
        product.count.refused();
        return Ok(());
    };
    if job.fate == Fate::Forgotten {
        product.count.unanswered(hold);
        return Ok(());
    }
    // The worker works. Others go on meanwhile.
    let Some(turn) = product.stage.later(turn, job.done_at).await else {
        product.count.unanswered(hold);
        return Ok(());
    };
    if job.fate == Fate::Fails {
        return give_back(product, customer, job, hold).await;
    }
    let Some(confirmed) = confirm(product, job, &hold).await? else {
        product.count.late(hold);
        return Ok(());
    };
    // A second opinion on what was charged: what the same work costs whoever asks for its price.
    let used = job.usage(Some(job.output_tokens));
    let price = product.ledger.calculate(&used, Some(customer.id)).await?;
    product.count.confirmed(&hold, &confirmed, price.credits())?;
    if job.fate == Fate::Complaint {
        let complaint = product.stage.now().plus(COMPLAINS_AFTER);
        if let Some(_turn) = product.stage.later(turn, complaint).await {
            return reverse(product, job, &confirmed).await;
        }
    }
    Ok(())
}

/// Before the job: holds what the rate card asks for the estimate. `None` where the customer has not got it.
async fn hold(product: &Product, customer: &Customer, job: &Job) -> Result<Option<Consumption>, Failure> {
    // One key for one intention. It belongs to the job, not to the attempt: a retry after a timeout, a crash or a
    // second delivery of the same message then finds what the first one did.
    let key = format!("job-{}", job.number);
    let request = PricedConsume::new(customer.id, job.usage(job.output_guess)).reference(&key);
    let consume = || product.ledger.consume_priced(request.clone(), Some(&key));

    let bought = customer.orders_made();
    match unless_insufficient(product.call(Call::Consume, job.consume_twice, consume).await)? {
        Some(hold) => return Ok(Some(hold)),
        None if !customer.buys_again => return Ok(None),
        None => {}
    }
    // Jobs of this customer that were refused at the same time make the same order, which is granted once.
    product.buy(customer, bought).await?;
    // With the same key: a refused command does not use its key up.
    unless_insufficient(product.call(Call::Consume, false, consume).await)
}

/// A refusal for lack of credits is an answer, not a failure.
fn unless_insufficient(result: Result<Consumption, Failure>) -> Result<Option<Consumption>, Failure> {
    match result {
        Ok(hold) => Ok(Some(hold)),
        Err(failure) if matches!(failure.refusal(), Some(Refusal::Insufficient { .. })) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// After the job: spends the price of what it really used. `None` where that comes too late.
async fn confirm(product: &Product, job: &Job, hold: &Consumption) -> Result<Option<Consumption>, Failure> {
    let key = format!("job-{}-done", job.number);
    // Less than was held: the rest goes back. More: the difference is taken if it is there.
    let used = [("output_tokens", Decimal::from(job.output_tokens))];
    let request = PricedConfirm::metered(hold.id, used).overage(Overage::Available);
    let confirm = || product.ledger.confirm_priced(request.clone(), Some(&key));
    let failure = match product.call(Call::Confirm, job.settle_twice, confirm).await {
        Ok(confirmed) => return Ok(Some(confirmed)),
        Err(failure) => failure,
    };
    match failure.refusal() {
        // The credits went back to the customer when the deadline passed; this product bears the cost. It could
        // have called `extend` in time, or confirm with `Late::Recharge` now.
        Some(Refusal::HoldExpired { .. }) => Ok(None),
        // The difference is not there: this product is content with what was held. It is another request, so it has
        // a key of its own.
        Some(Refusal::Insufficient { .. }) => {
            let key = format!("{key}-as-held");
            let confirm = || product.ledger.confirm(Confirm::all(hold.id), Some(&key));
            product.call(Call::Confirm, false, confirm).await.map(Some)
        }
        _ => Err(failure),
    }
}

/// Instead of the job: it failed, so everything goes back to where it came from.
async fn give_back(
    product: &Product,
    customer: &Customer,
    job: &Job,
    hold: Consumption,
) -> Result<(), Failure> {
    let key = format!("job-{}-failed", job.number);
    let request = Refund::all(hold.id).reason("the worker reported an error");
    let refund = || product.ledger.refund(request.clone(), Some(&key));
    let refunded = product.call(Call::Refund, job.settle_twice, refund).await?;
    if refunded.status == Status::Expired {
        // It had expired: the credits were back already, and refund says so.
        product.count.late(hold);
    } else {
        product.count.refunded();
    }
    if job.apology {
        // A key names one request of an account, whatever its kind: this is another request.
        let gift = Gift::new(customer.id, 5, "sorry for the failed job").operator("support");
        product.gift(gift, &format!("job-{}-sorry", job.number)).await?;
    }
    Ok(())
}

/// Long after the job: the customer gets the credits back that were spent.
async fn reverse(product: &Product, job: &Job, confirmed: &Consumption) -> Result<(), Failure> {
    let key = format!("job-{}-complaint", job.number);
    let request = Refund::all(confirmed.id).reason("the customer complained");
    let refund = || product.ledger.refund(request.clone(), Some(&key));
    let reversed = product.call(Call::Reverse, job.settle_twice, refund).await?;
    product.count.reversed(confirmed, &reversed);
    Ok(())
}
